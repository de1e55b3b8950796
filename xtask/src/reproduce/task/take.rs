use super::{Task, text, train::Trained};
use crate::reproduce::cell::hash_of;
use anyhow::{Result, bail};
use diff_core::save::io_error;
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Takes a checkpoint that is there already, in place of a training.
pub(crate) struct TakeCheckpoint {
    /// A folder, or `hub:org/name`.
    pub(crate) checkpoint: String,
}

impl Task for TakeCheckpoint {
    fn binary(&self) -> &'static str {
        "diff-models"
    }

    /// What a folder holds may change under its name.
    fn config(&self) -> Result<String> {
        let mut hashes = Vec::new();
        if Path::new(&self.checkpoint).is_dir() {
            hash_weights(Path::new(&self.checkpoint), &mut hashes)?;
        }
        Ok(serde_json::to_string(&("copy", &self.checkpoint, hashes))?)
    }

    fn arguments(&self, folder: &Path, _inputs: &[PathBuf]) -> Vec<String> {
        let out = text(folder.join("run/model"));
        vec!["copy".into(), self.checkpoint.clone(), "--out".into(), out, "--json".into()]
    }

    fn outputs(&self) -> Vec<&'static str> {
        let weights = [Trained::Denoiser.weights()];
        weights.into_iter().chain(Trained::Denoiser.texts().iter().copied()).collect()
    }

    fn bulky(&self) -> &'static [&'static str] {
        Trained::Denoiser.bulky()
    }

    fn check(&self, _folder: &Path, summary: &Value) -> Result<()> {
        match summary.get("parameters").and_then(Value::as_u64) {
            Some(_) => Ok(()),
            None => bail!("diff-models' summary has no parameters: {summary}"),
        }
    }

    fn evaluations(&self) -> Option<f64> {
        Some(0.0)
    }
}

fn hash_weights(folder: &Path, hashes: &mut Vec<String>) -> Result<()> {
    let entries = fs::read_dir(folder).map_err(io_error(folder, "list"))?;
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            hash_weights(&path, hashes)?;
        } else if path.extension().is_some_and(|e| e == "safetensors" || e == "bin") {
            hashes.push(hash_of(&path)?);
        }
    }
    Ok(())
}
