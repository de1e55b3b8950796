//! What two runs have in common and what sets them apart.

use super::read::{Entry, Place, Run, leaves};
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// Two runs, A and B.
#[derive(Debug, Serialize)]
pub(super) struct Comparison {
    /// The files.
    pub(super) files: [String; 2],
    /// The experiments.
    pub(super) experiments: [String; 2],
    /// Whether they differ in nothing but these parts of the results; `None` if in more.
    pub(super) identical_apart_from: Option<Vec<&'static str>>,
    /// Every number that both have.
    pub(super) values: Vec<Pair>,
    /// What only one of them has.
    pub(super) only_in: [Vec<String>; 2],
    /// Training settings that differ.
    pub(super) settings: Vec<Row>,
    /// Cells that ended otherwise or were keyed otherwise.
    pub(super) cells: Vec<Row>,
    /// Everything else that is short enough to be shown: titles, versions, machines.
    pub(super) surroundings: Vec<Row>,
    /// What differs and is no number, by name.
    pub(super) others: Vec<String>,
}

/// A number in both runs.
#[derive(Debug, Serialize)]
pub(super) struct Pair {
    #[serde(flatten)]
    pub(super) place: Place,
    pub(super) key: String,
    pub(super) a: f64,
    pub(super) b: f64,
    /// B less A.
    pub(super) difference: f64,
    /// B by A; `None` if A is 0.
    pub(super) ratio: Option<f64>,
}

/// Something that differs, as text; `None` where a run has none.
#[derive(Debug, Serialize, PartialEq)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) a: Option<String>,
    pub(super) b: Option<String>,
}

impl Comparison {
    pub(super) fn of(a: &Run, b: &Run) -> Self {
        let word = |run: &Run| shown(run.results.get("experiment").unwrap_or(&Value::Null));
        let mut comparison = Comparison {
            files: [a.path.clone(), b.path.clone()],
            experiments: [word(a), word(b)],
            identical_apart_from: identical_apart_from(&a.results, &b.results),
            values: Vec::new(),
            only_in: [Vec::new(), Vec::new()],
            settings: settings(&a.results, &b.results),
            cells: Vec::new(),
            surroundings: surroundings(&a.results, &b.results),
            others: Vec::new(),
        };
        comparison.add_entries(&a.entries, &b.entries);
        comparison.add_cells(&cells(&a.results), &cells(&b.results));
        comparison
    }

    fn add_entries(&mut self, a: &[Entry], b: &[Entry]) {
        for entry in a {
            match b.iter().find(|other| other.place == entry.place) {
                Some(other) => self.add_leaves(entry, other),
                None => self.only_in[0].push(name(&entry.place, None)),
            }
        }
        let missing = b.iter().filter(|entry| a.iter().all(|other| other.place != entry.place));
        self.only_in[1].extend(missing.map(|entry| name(&entry.place, None)));
    }

    fn add_leaves(&mut self, a: &Entry, b: &Entry) {
        for (key, left) in &a.leaves {
            let Some(right) = b.leaves.get(key) else {
                self.only_in[0].push(name(&a.place, Some(key)));
                continue;
            };
            match (left.as_f64(), right.as_f64()) {
                (Some(left), Some(right)) => self.values.push(Pair {
                    place: a.place.clone(),
                    key: key.clone(),
                    a: left,
                    b: right,
                    difference: right - left,
                    ratio: Some(right / left).filter(|ratio| ratio.is_finite()),
                }),
                _ if left != right => self.others.push(name(&a.place, Some(key))),
                _ => {}
            }
        }
        let missing = b.leaves.keys().filter(|key| !a.leaves.contains_key(*key));
        self.only_in[1].extend(missing.map(|key| name(&a.place, Some(key))));
    }

    fn add_cells(&mut self, a: &BTreeMap<String, String>, b: &BTreeMap<String, String>) {
        for row in rows(a, b) {
            match (&row.a, &row.b) {
                (Some(_), None) => self.only_in[0].push(format!("cell {}", row.name)),
                (None, Some(_)) => self.only_in[1].push(format!("cell {}", row.name)),
                _ => self.cells.push(row),
            }
        }
    }
}

/// A place, or a value there, in a line of text.
pub(super) fn name(place: &Place, key: Option<&str>) -> String {
    let Place { model, sampler, measure, of } = place;
    let words = [model, sampler, measure, of].map(String::as_str);
    let words = words.into_iter().chain(key).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(", ")
}

fn identical_apart_from(a: &Value, b: &Value) -> Option<Vec<&'static str>> {
    let mut parts = Vec::new();
    let (mut a, mut b) = (a.clone(), b.clone());
    for part in ["times", "machine"] {
        let take = |value: &mut Value| value.as_object_mut().and_then(|map| map.remove(part));
        let (left, right) = (take(&mut a), take(&mut b));
        if part == "times" || left != right {
            parts.push(part);
        }
    }
    (a == b).then_some(parts)
}

/// The keys of two maps whose values differ.
fn rows(a: &BTreeMap<String, String>, b: &BTreeMap<String, String>) -> Vec<Row> {
    let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    let differing = names.into_iter().filter(|name| a.get(*name) != b.get(*name));
    let row = |name: &String| Row {
        name: name.clone(),
        a: a.get(name).cloned(),
        b: b.get(name).cloned(),
    };
    differing.map(row).collect()
}

/// Cells by name: how they ended, and their key.
fn cells(results: &Value) -> BTreeMap<String, String> {
    let cells = results.get("cells").and_then(Value::as_array).into_iter().flatten();
    let field = |cell: &Value, key: &str| shown(cell.get(key).unwrap_or(&Value::Null));
    let text = |cell: &Value| format!("{} {}", field(cell, "state"), field(cell, "key"));
    cells.map(|cell| (field(cell, "name"), text(cell).trim().to_string())).collect()
}

/// Settings that differ: in a row where all models of both runs agree on it, and a row a model
/// otherwise.
fn settings(a: &Value, b: &Value) -> Vec<Row> {
    let empty = Value::Object(Map::new());
    let [a, b] = [a, b].map(|results| results.get("settings").unwrap_or(&empty));
    let both = |read: fn(&Value) -> BTreeMap<String, String>| rows(&read(a), &read(b));
    let shared = both(|settings| texts(settings.get("shared")));
    let differing = both(per_model);
    let rest = both(|settings| {
        let mut all = texts(Some(settings));
        all.retain(|key, _| !key.starts_with("shared.") && !key.starts_with("differing."));
        all
    });
    // What all models share in one run may be a row a model in the other.
    let spread = |row: &Row| {
        let name = format!("{} (", row.name);
        row.a.is_some() != row.b.is_some() && differing.iter().any(|d| d.name.starts_with(&name))
    };
    let (mut split, whole): (Vec<Row>, Vec<Row>) = shared.into_iter().partition(spread);
    split.iter_mut().for_each(|row| row.name += " (all models)");
    whole.into_iter().chain(split).chain(differing).chain(rest).collect()
}

/// The settings that differ between the models of a run, as `key (model)`.
fn per_model(settings: &Value) -> BTreeMap<String, String> {
    let keys = settings.get("differing").and_then(Value::as_object).into_iter().flatten();
    let models = keys.flat_map(|(key, models)| {
        let models = models.as_object().into_iter().flatten();
        models.map(move |(model, value)| (format!("{key} ({model})"), shown(value)))
    });
    models.collect()
}

/// What is not compared elsewhere: titles, versions, the machine, keys of later versions.
fn surroundings(a: &Value, b: &Value) -> Vec<Row> {
    let elsewhere = ["settings", "models", "samples", "values", "cells", "times"];
    let rest = |results: &Value| {
        let map = results.as_object().into_iter().flatten();
        let map = map.filter(|(key, _)| !elsewhere.contains(&key.as_str()));
        texts(Some(&Value::Object(map.map(|(k, v)| (k.clone(), v.clone())).collect())))
    };
    rows(&rest(a), &rest(b))
}

fn texts(value: Option<&Value>) -> BTreeMap<String, String> {
    let all = value.map(leaves).unwrap_or_default();
    all.into_iter().map(|(key, leaf)| (key, shown(&leaf))).collect()
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::compare::read::Run;
    use serde_json::json;
    use std::fs;

    fn results() -> Value {
        json!({
            "experiment": "x",
            "settings": {"shared": {"seed": "0", "lr": "1"}, "differing": {"k": {"a": "1", "b": "2"}}},
            "models": [{"name": "a", "about": "", "trained": {"loss": 2.0}}],
            "values": [
                {"model": "a", "sampler": "s", "measure": "m", "values": {"n": 2.0, "z": 0.0}},
                {"model": "b", "sampler": "s", "measure": "m", "values": {"n": 1.0}},
            ],
            "cells": [{"name": "c", "key": "1", "state": "done"}],
            "versions": {"diff-train": "1"},
            "machine": {"cores": 2},
            "times": {"run": 1.0},
        })
    }

    fn compare(change: impl Fn(&mut Value)) -> Comparison {
        let mut other = results();
        change(&mut other);
        let dir = tempfile::tempdir().unwrap();
        let runs = [results(), other].map(|results| {
            let path = dir.path().join("results.json");
            fs::write(&path, results.to_string()).unwrap();
            Run::read(&path).unwrap()
        });
        Comparison::of(&runs[0], &runs[1])
    }

    fn row(name: &str, a: Option<&str>, b: Option<&str>) -> Row {
        Row { name: name.into(), a: a.map(String::from), b: b.map(String::from) }
    }

    #[test]
    fn two_runs_that_differ_in_times_are_identical() {
        let comparison = compare(|b| b["times"]["run"] = json!(9.0));
        assert_eq!(comparison.identical_apart_from, Some(vec!["times"]));
        assert!(comparison.values.iter().all(|pair| pair.difference == 0.0));
        let comparison = compare(|b| b["machine"]["cores"] = json!(8));
        assert_eq!(comparison.identical_apart_from, Some(vec!["times", "machine"]));
        assert_eq!(comparison.surroundings, [row("machine.cores", Some("2"), Some("8"))]);
    }

    #[test]
    fn a_value_has_its_difference_and_ratio() {
        let comparison = compare(|b| {
            b["values"][0]["values"] = json!({"n": 3.0, "z": 1.0, "extra": 1.0});
            b["models"][0]["trained"]["loss"] = json!(1.0);
        });
        assert_eq!(comparison.identical_apart_from, None);
        let found: Vec<_> = comparison
            .values
            .iter()
            .map(|p| (p.place.measure.as_str(), p.key.as_str(), p.difference, p.ratio))
            .collect();
        let expected = [
            ("training", "loss", -1.0, Some(0.5)),
            ("m", "n", 1.0, Some(1.5)),
            ("m", "z", 1.0, None),
            ("m", "n", 0.0, Some(1.0)),
        ];
        assert_eq!(found, expected);
        assert_eq!(comparison.only_in, [vec![], vec!["a, s, m, extra".to_string()]]);
    }

    #[test]
    fn what_only_one_run_has_is_named() {
        let comparison = compare(|b| {
            b["values"].as_array_mut().unwrap().remove(1);
            b["cells"] = json!([{"name": "d", "key": "1", "state": "done"}]);
        });
        assert_eq!(comparison.only_in[0], ["b, s, m", "cell c"]);
        assert_eq!(comparison.only_in[1], ["cell d"]);
    }

    #[test]
    fn settings_cells_versions_and_words_that_differ_are_named() {
        let comparison = compare(|b| {
            b["settings"] = json!({
                "shared": {"seed": "1", "k": "1"}, "differing": {"lr": {"a": "1", "b": "3"}},
            });
            b["cells"][0]["state"] = json!("failed");
            b["versions"]["diff-train"] = json!("2");
            b["models"][0]["about"] = json!("other");
        });
        let names: Vec<&str> = comparison.settings.iter().map(|row| row.name.as_str()).collect();
        let expected =
            ["seed", "k (all models)", "lr (all models)", "k (a)", "k (b)", "lr (a)", "lr (b)"];
        assert_eq!(names, expected);
        assert_eq!(comparison.cells, [row("c", Some("done 1"), Some("failed 1"))]);
        assert_eq!(comparison.surroundings, [row("versions.diff-train", Some("1"), Some("2"))]);
        assert_eq!(comparison.others, ["a, training, about"]);
    }
}
