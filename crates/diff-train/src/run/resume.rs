//! Going on with a run: which checkpoint, and what may have changed since.

use crate::{
    Error, Result,
    config::RunConfig,
    log::Means,
    store::{Newest, Store, list_problems},
};
use diff_core::{config, save::io_error};
use serde::{Deserialize, Serialize};
use std::{fs, path::Path};
use toml::{Table, Value};

/// The counters of a checkpoint, in `training/state.json`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Counters {
    pub(super) format: String,
    pub(super) version: String,
    pub(super) step: usize,
    pub(super) images: usize,
    pub(super) seed: u64,
    /// Seconds of training so far.
    pub(super) seconds: f64,
    pub(super) data: DataPosition,
    /// What the next log line has gathered.
    pub(super) means: Means,
    /// Mean loss of the last log line.
    pub(super) loss: Option<f64>,
}

/// Where in its data a run is. The position is a function of the step; it is there to be read.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DataPosition {
    /// SHA-256 of the pictures, labels and indices.
    pub(super) sha256: String,
    pub(super) pictures: usize,
    /// Passes over the data that are complete.
    pub(super) epoch: usize,
    /// Pictures seen of the pass under way.
    pub(super) position: usize,
}

pub(super) const FORMAT: &str = "diff-training-1";

impl Counters {
    pub(super) fn read(folder: &Path) -> Result<Self> {
        let path = folder.join("training/state.json");
        let text = fs::read(&path).map_err(io_error(&path, "read"))?;
        let wrong = |message: String| Error::Input { path: path.clone(), message };
        let counters: Counters = serde_json::from_slice(&text).map_err(|e| wrong(e.to_string()))?;
        match counters.format == FORMAT {
            true => Ok(counters),
            false => Err(wrong(format!("format {:?}, expected {FORMAT:?}", counters.format))),
        }
    }
}

/// The newest complete checkpoint of a run, with a warning for every newer one that is damaged.
pub(super) fn newest(out: &Path) -> Result<Option<Newest>> {
    let newest = Store::new(out).newest()?;
    if let Some(newest) = newest.as_ref().filter(|newest| !newest.damaged.is_empty()) {
        eprintln!("warning: damaged and left aside: {}", list_problems(&newest.damaged));
    }
    Ok(newest)
}

/// The configuration of the run in `out`, with overrides. Only what does not change the course of
/// the run may be overridden: its length (at a constant learning rate), what is saved, logged and
/// shown, and where its data lie.
///
/// # Errors
/// When there is no run in `out`, or an override would change its course.
pub fn resumed(out: &Path, overrides: &[String]) -> Result<RunConfig> {
    let path = out.join("config.toml");
    let before: RunConfig = config::load(Some(&path), &[])?;
    let mut after: RunConfig = config::load(Some(&path), overrides)?;
    after.out = Some(out.to_path_buf());
    let (was, is) = (table(&before, &path)?, table(&after, &path)?);
    let mut changed = Vec::new();
    differences(&was, &is, "", &mut changed);
    let constant = after.train.decay == crate::optim::Decay::Constant;
    changed.retain(|key| !may_change(key, constant));
    match changed.is_empty() {
        true => Ok(after),
        false => Err(Error::Input {
            path: path.clone(),
            message: format!(
                "the run was started with another {}; a resumed run goes on as it began",
                changed.join(", ")
            ),
        }),
    }
}

fn may_change(key: &str, constant_rate: bool) -> bool {
    // Other pictures are noticed by their hash, wherever they lie.
    let free = ["out", "data.source", "data.cache", "train.log_every"];
    let sections = ["save.", "preview.", "held_out."];
    free.contains(&key)
        || sections.iter().any(|section| key.starts_with(section))
        || (key == "train.steps" && constant_rate)
}

fn table(config: &RunConfig, path: &Path) -> Result<Table> {
    let wrong =
        |e: toml::ser::Error| Error::Input { path: path.to_path_buf(), message: e.to_string() };
    Table::try_from(config).map_err(wrong)
}

/// Names of the values that differ.
fn differences(a: &Table, b: &Table, prefix: &str, found: &mut Vec<String>) {
    let mut keys: Vec<&String> = a.keys().chain(b.keys()).collect();
    keys.sort_unstable();
    keys.dedup();
    for key in keys {
        match (a.get(key), b.get(key)) {
            (Some(Value::Table(a)), Some(Value::Table(b))) => {
                differences(a, b, &format!("{prefix}{key}."), found);
            }
            (a, b) if a != b => found.push(format!("{prefix}{key}")),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(text: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("config.toml"), text).unwrap();
        dir
    }

    fn with(dir: &Path, overrides: &[&str]) -> Result<RunConfig> {
        resumed(dir, &overrides.iter().map(|s| s.to_string()).collect::<Vec<_>>())
    }

    #[test]
    fn length_and_habits_may_change_and_the_folder_may_have_moved() {
        let dir = folder("out = 'elsewhere'\n[train]\nsteps = 60");
        let overrides = [
            "train.steps=200",
            "save.last=5",
            "preview.every=9",
            "train.log_every=1",
            "data.source=moved",
        ];
        let config = with(dir.path(), &overrides).unwrap();
        assert_eq!(config.out.as_deref(), Some(dir.path()));
        assert_eq!((config.train.steps, config.save.last, config.preview.every), (200, 5, 9));
    }

    #[test]
    fn the_course_of_a_run_may_not_change() {
        let dir = folder("[train]\nsteps = 60\ndecay = 'cosine'");
        for change in
            ["train.lr=1", "seed=4", "train.batch=7", "objective.kind=sa", "train.steps=9"]
        {
            let message = with(dir.path(), &[change]).unwrap_err().to_string();
            let key = change.split('=').next().unwrap();
            assert!(message.contains(key), "{change}: {message}");
        }
        assert!(with(&dir.path().join("none"), &[]).is_err());
    }
}
