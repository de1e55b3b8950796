//! Configuration: TOML, overrides of the form `a.b=c`, and errors that name the key and the
//! nearest name that would have worked.

use crate::{
    error::{Error, Result},
    save::io_error,
};
use serde::{Serialize, de::DeserializeOwned};
use std::{fs, path::Path};
use toml::{Table, Value};

/// Reads `path` (or starts from nothing), applies the overrides in order, and deserialises.
///
/// An override is `key.sub=value`; the value is read as TOML and, failing that, as a string, so
/// `objective.kind=sa` needs no quotes.
pub fn load<T: DeserializeOwned>(path: Option<&Path>, overrides: &[String]) -> Result<T> {
    match path {
        None => read("", "configuration", overrides),
        Some(path) => {
            let text = fs::read_to_string(path).map_err(io_error(path, "read"))?;
            read(&text, &path.display().to_string(), overrides)
        }
    }
}

/// [`load`] for text at hand; `origin` names it in errors.
pub fn read<T: DeserializeOwned>(text: &str, origin: &str, overrides: &[String]) -> Result<T> {
    let mut table = text
        .parse::<Table>()
        .map_err(|e| Error::Config { origin: origin.into(), message: e.to_string() })?;
    for text in overrides {
        set(&mut table, text)?;
    }
    parse(table, origin)
}

/// `value` as TOML, which [`read`] takes.
///
/// # Errors
/// When it has no form in TOML.
pub fn text<T: Serialize>(value: &T) -> Result<String> {
    toml::to_string(value).map_err(|e| {
        let message = e.to_string();
        Error::Config { origin: "resolved configuration".into(), message }
    })
}

/// Deserialises a table; `origin` names it in errors.
pub fn parse<T: DeserializeOwned>(table: Table, origin: &str) -> Result<T> {
    serde_path_to_error::deserialize(Value::Table(table)).map_err(|e| {
        let (key, message) = (e.path().to_string(), with_hint(e.inner().message()));
        let message = if key == "." { message } else { format!("{key}: {message}") };
        Error::Config { origin: origin.to_string(), message }
    })
}

fn set(table: &mut Table, text: &str) -> Result<()> {
    let bad = |message: String| Error::Config { origin: format!("--set {text}"), message };
    let (path, value) = text.split_once('=').ok_or_else(|| bad("expected key=value".into()))?;
    let value = match format!("v = {value}").parse::<Table>() {
        Ok(mut parsed) => parsed.remove("v").unwrap_or(Value::String(value.to_string())),
        Err(_) => Value::String(value.to_string()),
    };
    let (parents, last) = match path.trim().rsplit_once('.') {
        Some((parents, last)) => (parents.split('.').collect(), last),
        None => (Vec::new(), path.trim()),
    };
    let mut at = table;
    for key in parents {
        let entry = at.entry(key).or_insert_with(|| Value::Table(Table::new()));
        at = entry.as_table_mut().ok_or_else(|| bad(format!("`{key}` is not a section")))?;
    }
    at.insert(last.to_string(), value);
    Ok(())
}

/// Adds "did you mean" to serde's "unknown field `x`, expected one of `a`, `b`".
fn with_hint(message: &str) -> String {
    let mut names = message.split('`').skip(1).step_by(2);
    let unknown = message.starts_with("unknown field") || message.starts_with("unknown variant");
    match names.next() {
        Some(given) if unknown => match nearest(given, names) {
            Some(hint) => format!("{message}; did you mean `{hint}`?"),
            None => message.to_string(),
        },
        _ => message.to_string(),
    }
}

/// The name most like `given`, if any is like it.
pub fn nearest<'a>(given: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    names
        .into_iter()
        .map(|name| (strsim::jaro_winkler(given, name), name))
        .filter(|(score, _)| *score > 0.7)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Outer {
        steps: usize,
        #[serde(default)]
        inner: Inner,
    }

    #[derive(Debug, Default, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields, default)]
    struct Inner {
        kind: String,
        lambda: f64,
    }

    fn from(overrides: &[&str]) -> Result<Outer> {
        load(None, &overrides.iter().map(|s| s.to_string()).collect::<Vec<_>>())
    }

    #[test]
    fn overrides_reach_into_sections_and_read_toml_or_words() {
        let got = from(&["steps=3", "inner.kind=sa", "inner.lambda=0.5"]).unwrap();
        assert_eq!(got, Outer { steps: 3, inner: Inner { kind: "sa".into(), lambda: 0.5 } });
    }

    #[test]
    fn an_unknown_key_is_named_with_the_nearest_one() {
        let error = from(&["steps=3", "inner.lamda=1.0"]).unwrap_err().to_string();
        assert!(error.contains("`lamda`") && error.contains("did you mean `lambda`"), "{error}");
    }

    #[test]
    fn a_value_of_another_type_is_named_by_its_key() {
        let error = from(&["steps=3", "inner.lambda=many"]).unwrap_err().to_string();
        assert!(error.contains("inner.lambda: invalid type: string \"many\""), "{error}");
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = load::<Outer>(Some(Path::new("/no/such.toml")), &[]).unwrap_err();
        assert!(error.to_string().contains("/no/such.toml") && !error.is_usage());
    }

    #[test]
    fn an_override_without_a_value_or_through_a_number_is_refused() {
        assert!(from(&["steps"]).unwrap_err().is_usage());
        let error = from(&["steps=3", "steps.x=4"]).unwrap_err().to_string();
        assert!(error.contains("steps"), "{error}");
    }
}
