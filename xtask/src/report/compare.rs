//! `cargo xtask report`: two runs side by side.

mod differences;
mod read;
mod show;

use crate::workspace;
use anyhow::Result;
use diff_core::{Error, save};
use differences::Comparison;
use read::Run;
use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

/// Compares the results of two runs: every value that both have, and what else sets them apart.
///
/// A run is given as its folder, its results.json, or a name in runs or xtask/reports.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The first run, A.
    #[arg(value_name = "RUN_A")]
    first: String,
    /// The second run, B.
    #[arg(value_name = "RUN_B")]
    second: String,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// Write the comparison as a page, too.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write comparison.html and comparison.json into a folder, too.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let root = workspace::root();
    let runs = [Run::read(&find(&args.first, &root)?)?, Run::read(&find(&args.second, &root)?)?];
    let comparison = Comparison::of(&runs[0], &runs[1]);
    let page = show::page(&comparison);
    let data = serde_json::to_string_pretty(&comparison)? + "\n";
    if let Some(file) = &args.html {
        save::atomic_bytes(file, page.as_bytes())?;
    }
    if let Some(folder) = &args.out {
        save::atomic_bytes(&folder.join("comparison.html"), page.as_bytes())?;
        save::atomic_bytes(&folder.join("comparison.json"), data.as_bytes())?;
    }
    let text = if args.json { data } else { show::text(&comparison) };
    Ok(io::stdout().write_all(text.as_bytes())?)
}

/// The results of a run by its path or, in the workspace at `root`, by its name.
fn find(run: &str, root: &Path) -> Result<PathBuf> {
    let given = Path::new(run);
    if given.is_file() {
        return Ok(given.to_path_buf());
    }
    let mut folders = vec![given.to_path_buf()];
    if !run.contains(['/', '\\']) {
        folders.extend([root.join("runs").join(run), root.join("xtask/reports").join(run)]);
    }
    let found = folders.into_iter().map(|folder| folder.join("results.json")).find(|p| p.is_file());
    found.ok_or_else(|| {
        let expected = "a results.json, a folder with one, or a name in runs or xtask/reports";
        Error::argument("RUN", run, expected).into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_run_is_found_by_file_folder_and_name() {
        let root = tempfile::tempdir().unwrap();
        for folder in ["runs/a", "xtask/reports/b"] {
            fs::create_dir_all(root.path().join(folder)).unwrap();
            fs::write(root.path().join(folder).join("results.json"), "{}").unwrap();
        }
        let folder = root.path().join("runs/a");
        let file = folder.join("results.json");
        for run in ["a", folder.to_str().unwrap(), file.to_str().unwrap()] {
            assert_eq!(find(run, root.path()).unwrap(), file);
        }
        assert!(find("b", root.path()).unwrap().ends_with("xtask/reports/b/results.json"));
        let error = find("c", root.path()).unwrap_err().to_string();
        assert!(error.contains("RUN = c"), "{error}");
    }
}
