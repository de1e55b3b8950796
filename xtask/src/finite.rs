//! Numbers that are not finite, in JSON.

use anyhow::{Result, bail};
use serde_json::Value;

/// Refuses null, which is how JSON spells a number that is not finite, anywhere in `value`.
pub(crate) fn check_finite(value: &Value, name: &str) -> Result<()> {
    match value {
        Value::Null => bail!("{name} is not a finite number"),
        Value::Object(map) => map.iter().try_for_each(|(k, v)| check_finite(v, &join(name, k))),
        Value::Array(items) => items.iter().try_for_each(|item| check_finite(item, name)),
        _ => Ok(()),
    }
}

fn join(name: &str, key: &str) -> String {
    if name.is_empty() { key.to_string() } else { format!("{name}.{key}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_null_is_found_however_deep_and_named() {
        let value = json!({"loss": 1.0, "parts": {"simple": 1.0, "sa": null}});
        assert_eq!(
            check_finite(&value, "").unwrap_err().to_string(),
            "parts.sa is not a finite number"
        );
        assert!(check_finite(&json!({"a": [0.0, -1e300]}), "").is_ok());
    }
}
