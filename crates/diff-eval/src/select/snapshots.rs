//! The weights a run leaves on its way.

use crate::{Error, Result};
use diff_core::save::io_error;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Averaged weights at one moment of a run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Snapshot {
    /// Pictures seen, where the name tells; a finished model's does not.
    pub(super) images: Option<u64>,
    /// The folder in the run's: `milestones/0000003200`, `model`.
    pub(super) name: String,
}

/// Whether the run has written its model, which it does last.
pub(super) fn is_finished(run: &Path) -> bool {
    run.join("model").is_dir()
}

/// Milestones in the order they were made, then the models of a finished run.
pub(super) fn snapshots(run: &Path) -> Result<Vec<Snapshot>> {
    let mut found = milestones(run)?;
    if is_finished(run) {
        let models =
            names(run)?.into_iter().filter(|n| n == "model" || n.starts_with("model-ema-"));
        found.extend(models.map(|name| Snapshot { images: None, name }));
    }
    Ok(found)
}

/// The milestones of a run, oldest first.
pub(super) fn milestones(run: &Path) -> Result<Vec<Snapshot>> {
    let folder = run.join("milestones");
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    // Folders under way have hidden names.
    let milestone = |name: String| {
        let digits = name.split('-').next()?;
        let images = digits.parse().ok()?;
        Some(Snapshot { images: Some(images), name: format!("milestones/{name}") })
    };
    let mut found: Vec<Snapshot> = names(&folder)?.into_iter().filter_map(milestone).collect();
    found.sort_unstable();
    Ok(found)
}

/// Names of the folders in a folder, in order.
fn names(folder: &Path) -> Result<Vec<String>> {
    let failed = || io_error(folder, "list");
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed())? {
        let entry = entry.map_err(failed())?;
        if entry.path().is_dir() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// What is wrong with a run that leaves nothing to choose from.
pub(super) fn nothing_to_choose(run: &Path) -> Error {
    Error::File {
        path: PathBuf::from(run),
        message: "no milestones to choose from; a run keeps them every so many pictures with \
                  --set save.keep_every=PICTURES"
            .into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshots_come_in_order_and_what_is_under_way_does_not() {
        let run = tempfile::tempdir().unwrap();
        let run = run.path();
        assert!(snapshots(run).unwrap().is_empty());
        for name in [
            "milestones/0000000200",
            "milestones/0000000100-ema-0.9",
            "milestones/0000000100",
            "milestones/.0000000300.7.tmp",
            "milestones/notes",
            "model-ema-0.9",
        ] {
            fs::create_dir_all(run.join(name)).unwrap();
        }
        fs::write(run.join("milestones/0000000400"), "").unwrap();
        let names = || -> Vec<String> {
            snapshots(run).unwrap().into_iter().map(|snapshot| snapshot.name).collect()
        };
        let milestones =
            ["0000000100", "0000000100-ema-0.9", "0000000200"].map(|n| format!("milestones/{n}"));
        assert_eq!(names(), milestones, "no model before the last one is there");
        fs::create_dir(run.join("model")).unwrap();
        assert_eq!(names()[3..], ["model", "model-ema-0.9"]);
    }
}
