//! What a comparison takes from a `results.json`. Keys it does not know are kept, not refused.

use crate::report::text;
use anyhow::{Context, Result};
use diff_core::{Error, save::io_error};
use serde::Serialize;
use serde_json::Value;
use std::{collections::BTreeMap, fs, path::Path};

/// The results of a run.
pub(super) struct Run {
    /// Its file.
    pub(super) path: String,
    /// All of it.
    pub(super) results: Value,
    /// What was trained, sampled and measured.
    pub(super) entries: Vec<Entry>,
}

/// What belongs together: a training, the samples of a model by a sampler, a measure on them.
pub(super) struct Entry {
    /// What it is of.
    pub(super) place: Place,
    /// What it came to, by dotted key.
    pub(super) leaves: BTreeMap<String, Value>,
}

/// A place in an experiment, the same in two runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Place {
    pub(super) model: String,
    pub(super) sampler: String,
    /// `training`, `sampling`, or the measure.
    pub(super) measure: String,
    /// What else tells two entries apart: the reference, a seed.
    pub(super) of: String,
}

impl Run {
    /// Reads a `results.json`; an error names the file and the key.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let bytes = fs::read(path).map_err(io_error(path, "read"))?;
        let origin = path.display().to_string();
        let results: Value =
            serde_json::from_slice(&bytes).with_context(|| format!("{origin} is not JSON"))?;
        Ok(Self { entries: entries(&results, &origin)?, path: origin, results })
    }
}

fn entries(results: &Value, origin: &str) -> Result<Vec<Entry>> {
    let wrong = |key: String, expected: &str| {
        let message = format!("{key}: expected {expected}");
        anyhow::Error::from(Error::Config { origin: origin.to_string(), message })
    };
    let values = results.get("values").and_then(Value::as_array);
    let values = values.ok_or_else(|| wrong("values".into(), "a list, as in a results.json"))?;
    let mut found: Vec<Entry> = Vec::new();
    for model in list(results, "models") {
        found.push(entry(model, "training", &["name"], Some("trained")));
    }
    for samples in list(results, "samples") {
        found.push(entry(samples, "sampling", &["model", "sampler"], None));
    }
    for (i, value) in values.iter().enumerate() {
        let at = |key: &str| format!("values[{i}].{key}");
        // Not every measure is of a model, or of samples.
        for key in ["model", "sampler"] {
            if value.get(key).is_some_and(|name| !name.is_string() && !name.is_null()) {
                return Err(wrong(at(key), "a name, or nothing"));
            }
        }
        let measure = value.get("measure").and_then(Value::as_str);
        measure.ok_or_else(|| wrong(at("measure"), "a name"))?;
        // A cell that was not run has no values.
        if value.get("values").is_some_and(Value::is_null) {
            continue;
        }
        let numbers = value.get("values").filter(|values| values.is_object());
        numbers.ok_or_else(|| wrong(at("values"), "an object of numbers"))?;
        found.push(measured(value));
    }
    tell_apart(&mut found);
    Ok(found)
}

fn list<'a>(results: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    results.get(key).and_then(Value::as_array).into_iter().flatten()
}

fn word(value: &Value, key: &str) -> String {
    value.get(key).and_then(Value::as_str).unwrap_or_default().to_string()
}

/// An entry of `models` or `samples`, named by `names`; the keys inside `part` need no prefix.
fn entry(value: &Value, measure: &str, names: &[&str], part: Option<&str>) -> Entry {
    let seed = value.get("seed").map(|seed| format!("seed {seed}")).unwrap_or_default();
    let place = Place {
        model: names.first().map(|key| word(value, key)).unwrap_or_default(),
        sampler: names.get(1).map(|key| word(value, key)).unwrap_or_default(),
        measure: measure.to_string(),
        of: seed,
    };
    let mut all = leaves(value);
    all.retain(|key, _| !names.contains(&key.as_str()) && key != "seed");
    let prefix = part.map(|part| format!("{part}.")).unwrap_or_default();
    let short = |key: String| key.strip_prefix(&prefix).map(String::from).unwrap_or(key);
    Entry { place, leaves: all.into_iter().map(|(key, value)| (short(key), value)).collect() }
}

/// An entry of `values`. Its words and its seed say what it is, `values` what it came to.
fn measured(value: &Value) -> Entry {
    let mut of = Vec::new();
    let mut rest = BTreeMap::new();
    for (key, leaf) in leaves(value) {
        match (key.as_str(), leaf) {
            ("model" | "sampler" | "measure", _) => {}
            ("reference", Value::String(reference)) => of.insert(0, reference),
            (_, Value::String(text)) if !key.contains('.') => of.push(format!("{key} {text}")),
            ("seed", seed) => of.push(format!("seed {seed}")),
            (_, leaf) => {
                let short = key.strip_prefix("values.").unwrap_or(&key).to_string();
                rest.insert(short, leaf);
            }
        }
    }
    let [model, sampler, measure] = ["model", "sampler", "measure"].map(|key| word(value, key));
    Entry { place: Place { model, sampler, measure, of: of.join(", ") }, leaves: rest }
}

/// Numbers the entries that nothing else tells apart.
fn tell_apart(entries: &mut [Entry]) {
    let places: Vec<Place> = entries.iter().map(|entry| entry.place.clone()).collect();
    for (i, entry) in entries.iter_mut().enumerate() {
        let earlier = places[..i].iter().filter(|place| **place == places[i]).count();
        if earlier > 0 {
            entry.place.of += &format!(" ({})", earlier + 1);
        }
    }
}

/// What is neither an object nor a time, by dotted key.
pub(super) fn leaves(value: &Value) -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    let mut open = vec![(String::new(), value)];
    while let Some((key, value)) = open.pop() {
        match value {
            Value::Object(map) => open.extend(
                map.iter()
                    .filter(|(name, _)| !text::is_time(name))
                    .map(|(name, inner)| (join(&key, name), inner)),
            ),
            leaf => {
                found.insert(key, leaf.clone());
            }
        }
    }
    found
}

fn join(key: &str, name: &str) -> String {
    if key.is_empty() { name.to_string() } else { format!("{key}.{name}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(text: &str) -> Result<Run> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("results.json");
        fs::write(&path, text).unwrap();
        Run::read(&path)
    }

    #[test]
    fn an_error_names_the_file_and_the_key() {
        for (text, named) in [
            ("{", "not JSON"),
            ("{}", "values: expected a list"),
            (r#"{"values": [{"model": "a", "sampler": "b", "values": {}}]}"#, "values[0].measure"),
            (
                r#"{"values": [{"model": "a", "sampler": "b", "measure": "c", "values": 3}]}"#,
                "values[0].values",
            ),
        ] {
            let error = format!("{:#}", read(text).err().unwrap());
            assert!(error.contains("results.json") && error.contains(named), "{error}");
        }
    }

    #[test]
    fn unknown_keys_are_kept_and_words_and_seeds_tell_entries_apart() {
        let value = json!({
            "model": "a", "sampler": "b", "measure": "fd", "reference": "r", "seed": 3,
            "features": "digits", "spread": [1, 2], "n": 9,
            "values": {"fd": 1.5, "parts": {"mean": 1.0}, "seconds": 4.0},
        });
        let run = read(&json!({ "values": [value, value, value] }).to_string()).unwrap();
        let of: Vec<&str> = run.entries.iter().map(|entry| entry.place.of.as_str()).collect();
        let own = "r, features digits, seed 3";
        assert_eq!(of, [own, &format!("{own} (2)"), &format!("{own} (3)")]);
        let keys: Vec<&str> = run.entries[0].leaves.keys().map(String::as_str).collect();
        assert_eq!(keys, ["fd", "n", "parts.mean", "spread"]);
    }
}
