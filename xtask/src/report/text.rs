//! How numbers and words are written, in every form of the report.

/// A number to four significant digits.
pub(crate) fn number(value: f64) -> String {
    if value.fract() == 0.0 && value.abs() < 1e9 {
        return thousands(value);
    }
    let magnitude = value.abs().log10().floor();
    if !(-4.0..7.0).contains(&magnitude) {
        return format!("{value:.3e}");
    }
    let digits = (3.0 - magnitude).max(0.0) as usize;
    format!("{value:.digits$}")
}

/// A number that may be missing.
pub(crate) fn optional(value: Option<f64>) -> String {
    value.map(number).unwrap_or_default()
}

/// A time a person reads.
pub(crate) fn seconds(value: f64) -> String {
    if value < 99.95 {
        return format!("{value:.1} s");
    }
    let whole = value.round() as u64;
    format!("{} min {:02} s", whole / 60, whole % 60)
}

fn thousands(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = String::from(if value < 0.0 { "-" } else { "" });
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A name of the machines, for people: `mean_image_rms` is `mean image rms`.
pub(crate) fn words(name: &str) -> String {
    name.replace('_', " ")
}

/// Whether a field of a summary holds a time, or a rate, which no two runs share.
pub(crate) fn is_time(name: &str) -> bool {
    name.contains("second")
}

/// Text as it may stand in an element or in a quoted attribute.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            _ => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_four_digits_whatever_their_size() {
        let cases = [
            (0.0, "0"),
            (1234567.0, "1,234,567"),
            (-1000.0, "-1,000"),
            (0.123456, "0.1235"),
            (12.3456, "12.35"),
            (123456.7, "123457"),
            (1.5e-7, "1.500e-7"),
        ];
        for (value, expected) in cases {
            assert_eq!(number(value), expected);
        }
    }

    #[test]
    fn long_times_are_in_minutes() {
        assert_eq!((seconds(59.94), seconds(125.2)), ("59.9 s".into(), "2 min 05 s".into()));
    }

    #[test]
    fn text_cannot_become_markup() {
        assert_eq!(escape(r#"<a b="&">"#), "&lt;a b=&quot;&amp;&quot;&gt;");
    }
}
