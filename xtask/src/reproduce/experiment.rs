//! An experiment: what to train, sample and measure. Read from a TOML file.

use crate::workspace;
use anyhow::{Result, bail};
use diff_core::{Error, config, save::io_error};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};
use toml::{Table, Value};

/// A file of `xtask/experiments`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Experiment {
    /// The file's name without its ending.
    #[serde(skip)]
    pub(crate) name: String,
    /// Heading of the report.
    pub(crate) title: String,
    /// What is asked, in a paragraph.
    pub(crate) about: String,
    /// Whether its numbers may be read as results; otherwise the report says that they may not.
    pub(crate) evidence: bool,
    /// The training configuration that the models share, in diff-train's own terms.
    pub(crate) config: Table,
    /// What is trained.
    pub(crate) models: Vec<Model>,
    /// How every model is sampled.
    pub(crate) samplers: Vec<Sampler>,
    /// What every sampler is asked for.
    pub(crate) sample: Samples,
    /// What is measured on the samples of every model and sampler.
    #[serde(default)]
    pub(crate) measures: Vec<Measure>,
}

/// A model to train.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Model {
    /// Its name in cells and tables.
    pub(crate) name: String,
    /// What sets it apart, in a line.
    #[serde(default)]
    pub(crate) about: String,
    /// Multiplies `config.train.steps`.
    #[serde(default = "one")]
    pub(crate) times_steps: u32,
    /// What differs from the shared configuration.
    #[serde(default)]
    pub(crate) config: Table,
}

/// A way to sample.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sampler {
    /// Its name in cells and tables.
    pub(crate) name: String,
    /// diff-sample's name of the sampler.
    pub(crate) sampler: String,
    /// Sampling steps.
    pub(crate) steps: u32,
    /// Stochasticity, where the sampler has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) eta: Option<f64>,
    /// The sub-sequence of time steps; diff-sample's default where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) trajectory: Option<String>,
}

/// How many samples, and which.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Samples {
    /// Images a cell.
    pub(crate) num: u32,
    /// Images at once; the pictures do not depend on it.
    pub(crate) batch: u32,
    /// Seed of the samples, the same for every model.
    pub(crate) seed: u64,
}

/// Something to measure on samples.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Measure {
    /// diff-eval's command.
    pub(crate) kind: MeasureKind,
    /// What the samples are held against.
    pub(crate) reference: String,
}

/// The commands of diff-eval that take samples and a reference.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum MeasureKind {
    /// Plain statistics of pixels.
    Pixels,
}

impl MeasureKind {
    /// Its name on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            MeasureKind::Pixels => "pixels",
        }
    }

    /// What it tells and what it does not, for readers of a report.
    pub(crate) fn about(self) -> &'static str {
        match self {
            MeasureKind::Pixels => {
                "Pixels: plain statistics of grey values. They see pictures that are too dark, \
                 too flat or all alike; they do not see whether a picture shows a digit. They \
                 are not an FID, nor a substitute for one."
            }
        }
    }
}

fn one() -> u32 {
    1
}

impl Experiment {
    /// Reads an experiment by its name or by the path of its file, and applies overrides.
    pub(crate) fn load(name: &str, overrides: &[String]) -> Result<Self> {
        let path = find(name)?;
        let mut experiment: Experiment = config::load(Some(&path), overrides)?;
        experiment.name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        experiment.check()?;
        Ok(experiment)
    }

    fn check(&self) -> Result<()> {
        names("models", self.models.iter().map(|model| &model.name))?;
        names("samplers", self.samplers.iter().map(|sampler| &sampler.name))?;
        let measures = self.measures.iter().map(|measure| measure.kind.name().to_string());
        if !self.measures.is_empty() {
            names("measures", measures.collect::<Vec<_>>().iter())?;
        }
        for (key, value) in [("sample.num", self.sample.num), ("sample.batch", self.sample.batch)] {
            at_least_one(key, value)?;
        }
        for sampler in &self.samplers {
            at_least_one(&format!("samplers.{}.steps", sampler.name), sampler.steps)?;
        }
        for model in &self.models {
            at_least_one(&format!("models.{}.times_steps", model.name), model.times_steps)?;
            let config = self.config_of(model)?;
            if config.contains_key("out") {
                bail!(Error::argument("config.out", "a folder", "nothing: a run has its own"));
            }
        }
        Ok(())
    }

    /// The training configuration of a model.
    pub(crate) fn config_of(&self, model: &Model) -> Result<Table> {
        let mut config = self.config.clone();
        merge(&mut config, &model.config);
        if model.times_steps > 1 {
            let steps = config.get_mut("train").and_then(|train| train.get_mut("steps"));
            let Some(Value::Integer(steps)) = steps else {
                bail!(Error::argument(
                    format!("models.{}.times_steps", model.name),
                    model.times_steps,
                    "config.train.steps, a whole number, to multiply"
                ));
            };
            *steps = steps.saturating_mul(i64::from(model.times_steps));
        }
        Ok(config)
    }
}

/// Lays `over` on `base`: sections are merged, except that one with another `kind` replaces the
/// section below it, whose options would not fit.
fn merge(base: &mut Table, over: &Table) {
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

fn names<'a>(what: &str, names: impl Iterator<Item = &'a String>) -> Result<()> {
    let mut seen = BTreeSet::new();
    for name in names {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if name.is_empty() || name.starts_with('.') || !name.chars().all(plain) {
            bail!(Error::argument(format!("{what}.name"), name, "letters, digits, - _ ."));
        }
        if !seen.insert(name) {
            bail!(Error::argument(format!("{what}.name"), name, "a name used once"));
        }
    }
    if seen.is_empty() {
        bail!(Error::argument(what, "nothing", "at least one"));
    }
    Ok(())
}

fn at_least_one(key: &str, value: u32) -> Result<()> {
    if value == 0 {
        bail!(Error::argument(key, value, "at least 1"));
    }
    Ok(())
}

fn find(name: &str) -> Result<PathBuf> {
    if name.ends_with(".toml") {
        return Ok(PathBuf::from(name));
    }
    let folder = folder();
    let known = list(&folder)?;
    if !known.iter().any(|known| known == name) {
        let hint = config::nearest(name, known.iter().map(String::as_str));
        let hint = hint.map(|hint| format!("; did you mean `{hint}`?")).unwrap_or_default();
        let expected = format!("one of {} or a path ending in .toml{hint}", known.join(", "));
        bail!(Error::argument("EXPERIMENT", name, expected));
    }
    Ok(folder.join(format!("{name}.toml")))
}

/// Where the project's experiments are.
pub(crate) fn folder() -> PathBuf {
    workspace::root().join("xtask/experiments")
}

/// The experiments of a folder, by name.
pub(crate) fn list(folder: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(folder).map_err(io_error(folder, "list"))?;
    let mut names: Vec<String> = entries
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            (path.extension()? == "toml").then(|| path.file_stem()?.to_str().map(String::from))?
        })
        .collect();
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(overrides: &[&str]) -> Result<Experiment> {
        let overrides: Vec<_> = overrides.iter().map(|s| s.to_string()).collect();
        Experiment::load("digits", &overrides)
    }

    #[test]
    fn every_experiment_of_the_project_is_sound() {
        for name in list(&folder()).unwrap() {
            let experiment = Experiment::load(&name, &[]).unwrap();
            assert_eq!(experiment.name, name);
        }
    }

    #[test]
    fn twice_the_steps_follows_an_override_of_the_steps() {
        let experiment = set(&["config.train.steps=7"]).unwrap();
        let steps = |i: usize| {
            flatten(&experiment.config_of(&experiment.models[i]).unwrap())["train.steps"].clone()
        };
        assert_eq!((steps(0).as_str(), steps(2).as_str()), ("7", "14"));
    }

    #[test]
    fn another_kind_replaces_a_section_and_the_same_kind_is_merged() {
        let mut base: Table = "o = { kind = 'sa', steps = 2 }\nx = { a = 1 }".parse().unwrap();
        merge(&mut base, &"o = { kind = 'simple' }\nx = { b = 2 }".parse().unwrap());
        assert_eq!(base, "o = { kind = 'simple' }\nx = { a = 1, b = 2 }".parse().unwrap());
    }

    #[test]
    fn what_cannot_be_run_is_refused_by_name() {
        for (overrides, named) in [
            (["sample.num=0"], "sample.num"),
            (["config.out=x"], "config.out"),
            (["sampel.num=3"], "did you mean `sample`"),
            (["config.train.steps=many"], "times_steps"),
            (["models=[]"], "models"),
        ] {
            let error = format!("{:#}", set(&overrides).unwrap_err());
            assert!(error.contains(named), "{overrides:?}: {error}");
        }
        let error = Experiment::load("digit", &[]).unwrap_err().to_string();
        assert!(error.contains("did you mean `digits`"), "{error}");
    }
}
