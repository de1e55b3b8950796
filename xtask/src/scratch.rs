//! Folders for the time of one command.

use anyhow::Result;
use diff_core::save::{create_folder, remove};
use std::{
    env,
    path::{Path, PathBuf},
    process,
};

/// A folder that goes with its owner.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    /// An empty folder for the command called `name`.
    pub(crate) fn new(name: &str) -> Result<Self> {
        let folder = env::temp_dir().join(format!("diff-{name}-{}", process::id()));
        // A process of the same number may have been killed before it could clean up.
        remove(&folder)?;
        create_folder(&folder)?;
        Ok(Scratch(folder))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.0) {
            eprintln!("{} stays: {error}", self.0.display());
        }
    }
}
