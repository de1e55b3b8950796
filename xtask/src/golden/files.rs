//! The files of a folder.

use anyhow::Result;
use diff_core::save::io_error;
use std::{fs, path::Path};

/// All files below a folder, in order, seen from it and with slashes; none where it is missing.
pub(super) fn below(folder: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    if folder.is_dir() {
        collect(folder, "", &mut found)?;
    }
    found.sort();
    Ok(found)
}

fn collect(folder: &Path, prefix: &str, found: &mut Vec<String>) -> Result<()> {
    for entry in fs::read_dir(folder).map_err(io_error(folder, "list"))? {
        let path = entry.map_err(io_error(folder, "list"))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let name = format!("{prefix}{name}");
        match path.is_dir() {
            true => collect(&path, &format!("{name}/"), found)?,
            false => found.push(name),
        }
    }
    Ok(())
}
