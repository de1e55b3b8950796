//! One axis of a chart: from values to places on the page, and where its ticks are.

/// Values `low..=high` (their logarithms to base 10 if `log`) on the page from `start` to `end`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Axis {
    /// The value, or its logarithm, at `start`.
    pub low: f64,
    /// The value, or its logarithm, at `end`.
    pub high: f64,
    /// Whether the axis is logarithmic.
    pub log: bool,
    /// Where it begins, in the units of the drawing.
    pub start: f64,
    /// Where it ends.
    pub end: f64,
}

impl Axis {
    /// An axis that shows all of `values`, which are finite (and positive if `log`); `wide` leaves
    /// a margin and lets a linear axis start at 0 when the values come near it.
    pub(super) fn around(
        values: impl Iterator<Item = f64>,
        log: bool,
        wide: bool,
        start: f64,
        end: f64,
    ) -> Self {
        let on_scale = |v: f64| if log { v.log10() } else { v };
        let (mut low, mut high) = values
            .map(on_scale)
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
        if low > high {
            (low, high) = (0.0, 1.0);
        }
        if low == high {
            let half = if log || low == 0.0 { 0.5 } else { low.abs() / 2.0 };
            (low, high) = (low - half, high + half);
        } else if wide {
            let margin = 0.04 * (high - low);
            let from_zero = !log && low >= 0.0 && low < 0.3 * high;
            (low, high) = (if from_zero { 0.0 } else { low - margin }, high + margin);
        }
        Axis { low, high, log, start, end }
    }

    /// Where a value stands on the page; `None` if it has no place on this axis.
    pub fn place(&self, value: f64) -> Option<f64> {
        let value = if self.log { value.log10() } else { value };
        // Axes wider than the largest f64 have no places.
        Some(self.place_on_scale(value)).filter(|place| place.is_finite())
    }

    fn place_on_scale(&self, value: f64) -> f64 {
        self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)
    }

    /// Places and labels of the ticks, ascending.
    pub(super) fn ticks(&self) -> Vec<(f64, String)> {
        let decades = self.high.floor() - self.low.ceil();
        if self.log && decades >= 1.0 { self.decade_ticks() } else { self.even_ticks() }
    }

    /// Powers of ten, thinned to about eight; between few of them 2 and 5 times a power too.
    fn decade_ticks(&self) -> Vec<(f64, String)> {
        let (first, last) = (self.low.ceil() as i32, self.high.floor() as i32);
        if last - first <= 2 {
            return (first - 1..=last)
                .flat_map(|exponent| [1.0_f64, 2.0, 5.0].map(|m| (m, exponent)))
                .map(|(m, exponent)| (f64::from(exponent) + m.log10(), m, exponent))
                .filter(|(at, ..)| (self.low..=self.high).contains(at))
                .map(|(at, m, exponent)| (self.place_on_scale(at), multiple(m, exponent)))
                .collect();
        }
        let every = (last - first) / 8 + 1;
        (first..=last)
            .filter(|exponent| exponent % every == 0)
            .map(|exponent| (self.place_on_scale(exponent.into()), power(exponent)))
            .collect()
    }

    /// Multiples of 1, 2 or 5 times a power of ten; on a log axis of less than two decades too.
    fn even_ticks(&self) -> Vec<(f64, String)> {
        let value = |v: f64| if self.log { 10f64.powf(v) } else { v };
        let (low, high) = (value(self.low), value(self.high));
        let rough = (high - low) / 6.0;
        let unit = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0]
            .into_iter()
            .map(|m| m * unit)
            .find(|step| *step >= rough * 0.999)
            .unwrap_or(unit);
        // Widths below the smallest f64 or beyond the largest have no ticks.
        if !(step > 0.0 && step.is_finite() && rough.is_finite()) {
            return Vec::new();
        }
        let (first, last) = ((low / step).ceil(), (high / step).floor());
        (0..=(last - first).clamp(0.0, 20.0) as usize)
            .map(|i| (first + i as f64) * step)
            .filter_map(|tick| Some((self.place(tick)?, label(tick, step))))
            .collect()
    }
}

/// `m` times 10 to the `exponent`.
fn multiple(m: f64, exponent: i32) -> String {
    match exponent {
        -3..=4 => format!("{}", format!("{m}e{exponent}").parse::<f64>().unwrap_or(f64::NAN)),
        _ if m == 1.0 => power(exponent),
        _ => format!("{m}·{}", power(exponent)),
    }
}

/// 10 to the `exponent`, short where that reads well.
fn power(exponent: i32) -> String {
    match exponent {
        -3..=4 => format!("{}", 10f64.powi(exponent)),
        _ => {
            let raised: String = exponent.to_string().chars().map(superscript).collect();
            format!("10{raised}")
        }
    }
}

fn superscript(c: char) -> char {
    match c {
        '-' => '⁻',
        '1' => '¹',
        '2' => '²',
        '3' => '³',
        digit => char::from_u32('⁰' as u32 + digit as u32 - '0' as u32).unwrap_or(digit),
    }
}

/// A tick's value with as many decimals as its step needs.
fn label(tick: f64, step: f64) -> String {
    let size = tick.abs().max(step);
    if size >= 1e6 || step < 1e-5 {
        let digits = (size.log10().floor() - step.log10().floor()).clamp(0.0, 12.0) as usize;
        return if tick == 0.0 {
            "0".into()
        } else {
            format!("{tick:.digits$e}").replace('-', "−")
        };
    }
    let decimals = (-step.log10().floor()).max(0.0) as usize;
    let text = format!("{tick:.decimals$}");
    // A minus sign in front of nothing but zeros.
    match text.strip_prefix('-') {
        Some(rest) if rest.chars().all(|c| c == '0' || c == '.') => rest.to_string(),
        Some(rest) => format!("−{rest}"),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(values: &[f64], log: bool) -> Vec<String> {
        let axis = Axis::around(values.iter().copied(), log, false, 0.0, 100.0);
        axis.ticks().into_iter().map(|(_, label)| label).collect()
    }

    #[test]
    fn ticks_are_round_numbers() {
        assert_eq!(labels(&[1.0, 1000.0], false), ["200", "400", "600", "800", "1000"]);
        assert_eq!(labels(&[0.0, 1.0], false), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(labels(&[-0.1, 0.12], false), ["−0.10", "−0.05", "0.00", "0.05", "0.10"]);
        assert_eq!(labels(&[0.0, 4e-6], false), ["0", "1e−6", "2e−6", "3e−6", "4e−6"]);
        assert_eq!(labels(&[0.0, 5e7], false).last().unwrap(), "5e7");
    }

    #[test]
    fn decades_are_thinned_and_narrow_log_axes_still_have_ticks() {
        assert_eq!(
            labels(&[1e-5, 10.0], true),
            ["10⁻⁵", "10⁻⁴", "0.001", "0.01", "0.1", "1", "10"]
        );
        assert_eq!(labels(&[1.0, 50.0], true), ["1", "2", "5", "10", "20", "50"]);
        assert_eq!(labels(&[1e-7, 1.5e-6], true), ["10⁻⁷", "2·10⁻⁷", "5·10⁻⁷", "10⁻⁶"]);
        assert!(labels(&[1e-300, 1e300], true).len() <= 9);
        assert_eq!(labels(&[2.0, 7.0], true), ["2", "3", "4", "5", "6", "7"]);
    }

    #[test]
    fn an_axis_has_room_for_one_value_and_for_none() {
        for (values, log) in
            [(vec![], false), (vec![5.0], false), (vec![0.0], false), (vec![3.0], true)]
        {
            let axis = Axis::around(values.iter().copied(), log, true, 0.0, 100.0);
            for value in values {
                assert_eq!(axis.place(value), Some(50.0));
            }
            assert!(!axis.ticks().is_empty());
        }
    }

    #[test]
    fn places_run_from_start_to_end() {
        let axis = Axis::around([1.0, 100.0].into_iter(), true, false, 350.0, 50.0);
        assert_eq!((axis.place(1.0), axis.place(100.0)), (Some(350.0), Some(50.0)));
        assert_eq!(axis.place(10.0), Some(200.0));
        assert_eq!((axis.place(0.0), axis.place(-1.0), axis.place(f64::NAN)), (None, None, None));
    }
}
