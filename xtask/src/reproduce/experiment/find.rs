//! Experiments by name.

use crate::workspace;
use anyhow::{Result, bail};
use diff_core::{Error, config, save::io_error};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// The file of an experiment: one of the project's by name, or a path that ends in `.toml`.
pub(crate) fn find(name: &str) -> Result<PathBuf> {
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
