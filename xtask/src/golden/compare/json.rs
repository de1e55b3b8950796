//! JSON: the same structure and words, and numbers alike.

use super::{Differences, over};
use anyhow::{Context, Result};
use serde_json::Value;

/// How far numbers may be apart.
const BOUND: f64 = 1e-6;

/// A number that is smaller than this part of the greatest one beside it is compared with that
/// part: gradients that are nothing but rounding stand among others that are not.
const SMALL: f64 = 1e-2;

pub(super) fn compare(old: &[u8], new: &[u8], differences: &mut Differences) -> Result<()> {
    let read = |bytes, whose| -> Result<Value> {
        serde_json::from_slice(bytes).with_context(|| format!("the {whose} file: expected JSON"))
    };
    let (old, new) = (read(old, "committed")?, read(new, "new")?);
    value("", &old, &new, 0.0, differences);
    Ok(())
}

/// Holds values against each other; the greatest number beside the committed one is `greatest`.
fn value(path: &str, old: &Value, new: &Value, greatest: f64, differences: &mut Differences) {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            let greatest = greatest_of(old.values());
            for (key, old) in old {
                let path = format!("{path}.{key}");
                match new.get(key) {
                    Some(new) => value(&path, old, new, greatest, differences),
                    None => differences.other(format!("{path} is missing")),
                }
            }
            for key in new.keys().filter(|key| !old.contains_key(*key)) {
                differences.other(format!("{path}.{key} is new"));
            }
        }
        (Value::Array(old), Value::Array(new)) if old.len() != new.len() => {
            let (new, old) = (new.len(), old.len());
            differences.other(format!("{path} has {new} entries instead of {old}"));
        }
        (Value::Array(old), Value::Array(new)) => {
            let greatest = greatest_of(old.iter());
            for (i, (old, new)) in old.iter().zip(new).enumerate() {
                value(&format!("{path}[{i}]"), old, new, greatest, differences);
            }
        }
        (Value::Number(a), Value::Number(b)) => {
            let number = |number: &serde_json::Number| number.as_f64().unwrap_or(f64::NAN);
            let (a, b) = (number(a), number(b));
            let scale = a.abs().max(SMALL * greatest);
            differences.distance(|| path.to_string(), over((a - b).abs(), scale), BOUND);
        }
        _ if old == new => {}
        _ => differences.other(format!("{path} is {} instead of {}", short(new), short(old))),
    }
}

/// The beginning of a value.
fn short(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(40) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

fn greatest_of<'a>(values: impl Iterator<Item = &'a Value>) -> f64 {
    values.filter_map(Value::as_f64).map(f64::abs).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::super::{
        Comparison, Verdict,
        tests::{compared, reason},
    };

    const OLD: &str = r#"{"a": [1.0, 200, 1e-9], "b": {"c": "x", "d": null}}"#;

    fn with(old: &str, new: &str) -> Comparison {
        assert!(OLD.contains(old));
        compared("a.json", OLD.as_bytes(), OLD.replace(old, new).as_bytes())
    }

    #[test]
    fn numbers_may_differ_by_little_and_spaces_by_any() {
        let spaced = with(": ", ":  ");
        assert_eq!(spaced, Comparison { distance: Some(0.0), verdict: Verdict::Close });
        let close = with("1.0", "1.0000005");
        assert_eq!(close.verdict, Verdict::Close);
        assert!(close.distance.is_some_and(|d| (1e-7..1e-6).contains(&d)), "{close:?}");
        // Rounding beside a number of 200.
        assert_eq!(with("1e-9", "-2e-9").verdict, Verdict::Close);
    }

    #[test]
    fn whatever_else_differs_is_named() {
        for (old, new, words) in [
            ("1.0", "1.00001", ".a[0] is 5.0e-6 away, at most 1e-6"),
            ("200", "200.001", ".a[1] is 5.0e-6 away"),
            ("1e-9", "1e-5", ".a[2] is 5.0e-6 away"),
            (", 200", "", ".a has 2 entries instead of 3"),
            (r#""x""#, r#""y""#, r#".b.c is "y" instead of "x""#),
            ("null", "0", ".b.d is 0 instead of null"),
            ("null", &format!("[{}0]", "0,".repeat(50)), "0,0... instead of null"),
            (r#", "d": null"#, "", ".b.d is missing"),
            ("null", r#"null, "e": 1"#, ".b.e is new"),
            ("null", "", "cannot be compared: the new file: expected JSON"),
        ] {
            let new = OLD.replace(old, new);
            let found = reason("a.json", OLD.as_bytes(), new.as_bytes());
            assert!(found.contains(words), "{found}");
        }
    }
}
