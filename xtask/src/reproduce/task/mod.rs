//! What a cell does: one kind of work a file, each behind [`Task`].

mod measure;
mod sample;
mod train;

pub(crate) use measure::MeasureSamples;
pub(crate) use sample::{DrawSamples, GRID};
pub(crate) use train::TrainModel;

use anyhow::Result;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// One call of one binary.
pub(crate) trait Task {
    /// The binary.
    fn binary(&self) -> &'static str;

    /// All that determines the result, apart from its inputs and the binary: canonical JSON.
    fn config(&self) -> Result<String>;

    /// A file of the input cell whose content belongs to the key, beside the input's own key.
    fn keyed_by(&self) -> Option<&'static str> {
        None
    }

    /// Writes what the binary has to find in `folder`.
    fn prepare(&self, _folder: &Path) -> Result<()> {
        Ok(())
    }

    /// The arguments for a run in `folder`, on the input cell's folder.
    fn arguments(&self, folder: &Path, input: Option<&Path>) -> Vec<String>;

    /// The files it leaves, relative to its folder.
    fn outputs(&self) -> &'static [&'static str];

    /// Refuses a result that is empty or not finite. `summary` is what the binary printed.
    fn check(&self, folder: &Path, summary: &Value) -> Result<()>;
}

fn text(path: PathBuf) -> String {
    path.to_string_lossy().into_owned()
}
