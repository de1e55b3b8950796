//! What a cell does: one kind of work a file, each behind [`Task`].

mod figure;
mod measure;
mod sample;
mod take;
mod train;

pub(crate) use figure::{DrawFigure, FIGURE};
pub(crate) use measure::{DRAWING, Measuring};
pub(crate) use sample::{DrawSamples, GRID};
pub(crate) use take::TakeCheckpoint;
pub(crate) use train::{TrainModel, Trained};

use anyhow::Result;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// One call of one binary.
pub(crate) trait Task: Send + Sync {
    /// The binary.
    fn binary(&self) -> &'static str;

    /// All that determines the result, apart from its inputs and the binary: canonical JSON.
    fn config(&self) -> Result<String>;

    /// For every input, a file of it whose content belongs to the key, beside the input's own key.
    fn keyed_by(&self) -> &[Option<&'static str>] {
        &[]
    }

    /// Writes what the binary has to find in `folder`.
    fn prepare(&self, _folder: &Path) -> Result<()> {
        Ok(())
    }

    /// The arguments for a run in `folder`, on the folders of the input cells.
    fn arguments(&self, folder: &Path, inputs: &[PathBuf]) -> Vec<String>;

    /// The arguments to go on with what an interrupted run left in `folder`, if that can be done.
    fn resume(&self, _folder: &Path) -> Option<Vec<String>> {
        None
    }

    /// The files it leaves, relative to its folder.
    fn outputs(&self) -> Vec<&'static str>;

    /// Those of them that only other cells read, and that a result can do without.
    fn bulky(&self) -> &'static [&'static str] {
        &[]
    }

    /// Refuses a result that is empty or not finite. `summary` is what the binary printed.
    fn check(&self, folder: &Path, summary: &Value) -> Result<()>;

    /// Network evaluations of single pictures, for an estimate of its cost; none for training,
    /// which the trainer estimates itself.
    fn evaluations(&self) -> Option<f64>;
}

/// Options as flags.
fn flags(options: &BTreeMap<String, toml::Value>) -> impl Iterator<Item = String> {
    options.iter().flat_map(|(name, value)| {
        let value = match value {
            toml::Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        // A negative number may follow.
        [format!("--{name}={value}")]
    })
}

fn text(path: PathBuf) -> String {
    path.to_string_lossy().into_owned()
}
