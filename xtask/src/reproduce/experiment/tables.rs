//! Configurations as tables.

use std::collections::BTreeMap;
use toml::{Table, Value};

/// Lays `over` on `base`: sections are merged, except that one with another `kind` replaces the
/// section below it, whose options would not fit.
pub(super) fn merge(base: &mut Table, over: &Table) {
    for (key, value) in over {
        match (base.get_mut(key), value) {
            (Some(Value::Table(below)), Value::Table(above))
                if above.get("kind").is_none_or(|kind| below.get("kind") == Some(kind)) =>
            {
                merge(below, above);
            }
            _ => {
                base.insert(key.clone(), value.clone());
            }
        }
    }
}

/// A table as rows: dotted key, value in TOML.
pub(crate) fn flatten(table: &Table) -> BTreeMap<String, String> {
    let mut rows = BTreeMap::new();
    for (key, value) in table {
        match value {
            Value::Table(inner) => {
                rows.extend(flatten(inner).into_iter().map(|(k, v)| (format!("{key}.{k}"), v)));
            }
            _ => {
                rows.insert(key.clone(), value.to_string());
            }
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_kind_replaces_a_section_and_the_same_kind_is_merged() {
        let mut base: Table = "o = { kind = 'sa', steps = 2 }\nx = { a = 1 }".parse().unwrap();
        merge(&mut base, &"o = { kind = 'simple' }\nx = { b = 2 }".parse().unwrap());
        assert_eq!(base, "o = { kind = 'simple' }\nx = { a = 1, b = 2 }".parse().unwrap());
    }
}
