//! `cargo xtask golden`: the fixtures of the golden tests, made anew with the peers' code.

mod compare;
mod files;
mod packages;
mod registry;
mod repository;
mod show;

use crate::{
    process::{run_logged, tail},
    python,
    scratch::Scratch,
    workspace,
};
use anyhow::{Context, Result, bail};
use compare::{Comparison, Verdict, compare};
use diff_core::{
    Error,
    save::{atomic_bytes, create_folder, io_error},
};
use packages::Packages;
use registry::Script;
use repository::Checkouts;
use show::Row;
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Lines of a failed script's messages that are shown.
const LINES: usize = 10;

/// Make the golden fixtures anew with the peers' code, and compare them with those committed.
///
/// Nothing is written unless asked for. Scripts whose packages or checkouts are missing are skipped and
/// named at the end. Ends with 1 when anything differs. Distances are relative; a file that is not the
/// `same` byte for byte may be `equal` in all it says, or `close`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Scripts of tests/golden, without `.py` [default: all].
    names: Vec<String>,
    /// A python with the packages of tests/golden/requirements.txt [default: what DIFF_PEER_PYTHON
    /// names].
    #[arg(long, value_name = "PATH")]
    peer_python: Option<PathBuf>,
    /// A folder of checkouts of the peers' repositories; those that are not there are fetched with git
    /// into target/golden.
    #[arg(long, value_name = "DIR")]
    repositories: Option<PathBuf>,
    /// Put what differs in place of what is committed.
    #[arg(long)]
    write: bool,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let scripts = registry::select(&args.names)?;
    let expected = format!("a python; {}", python::NOT_NAMED);
    let python = python::peer(args.peer_python.as_deref())
        .ok_or_else(|| Error::argument("--peer-python", "nothing", expected))?;
    if let Some(folder) = args.repositories.as_ref().filter(|folder| !folder.is_dir()) {
        bail!(Error::argument("--repositories", folder.display(), "a folder of checkouts"));
    }
    let modules: BTreeSet<&str> = scripts.iter().flat_map(|script| script.all_modules()).collect();
    let packages = Packages::ask(&python, &modules)?;
    let others = packages.others();
    if !others.is_empty() {
        eprintln!("other versions than the fixtures were made with: {}", others.join(", "));
    }
    let scratch = Scratch::new("golden")?;
    let root = workspace::root();
    let checkouts =
        Checkouts { given: args.repositories.as_deref(), fetched: root.join("target/golden") };
    let place = Place { root, scratch: scratch.path(), python, write: args.write };
    let (mut rows, mut skipped) = (Vec::new(), Vec::new());
    for script in scripts {
        match arguments(script, &packages, &checkouts, &place.python) {
            Ok(arguments) => rows.extend(place.run(script, &arguments)?),
            Err(reason) => skipped.push((script.name, reason)),
        }
    }
    print!("{}", show::text(&rows, &skipped));
    match rows.iter().filter(|row| row.fails).count() {
        0 => Ok(()),
        count if args.write => bail!("{count} of {} rows are not put right", rows.len()),
        count => bail!("{count} of {} files differ; --write takes them over", rows.len()),
    }
}

/// The checkouts that a script is given, or why it is skipped.
fn arguments(
    script: &'static Script,
    packages: &Packages,
    checkouts: &Checkouts,
    python: &Path,
) -> Result<Vec<PathBuf>, String> {
    if let Some(missing) = packages.missing(python, script.all_modules()) {
        return Err(missing);
    }
    script.repositories.iter().map(|repository| checkouts.find(repository)).collect()
}

/// What scripts run with.
struct Place<'a> {
    root: PathBuf,
    scratch: &'a Path,
    python: PathBuf,
    write: bool,
}

impl Place<'_> {
    /// Runs a script and holds what it makes against what is committed.
    fn run(&self, script: &'static Script, checkouts: &[PathBuf]) -> Result<Vec<Row>> {
        eprintln!("{}", script.name);
        let (folder, file) = script.place.parts();
        let made = self.scratch.join(script.name);
        create_folder(&made)?;
        let path = self.root.join(format!("tests/golden/{}.py", script.name));
        let mut command = Command::new(&self.python);
        command.arg(path).args(checkouts).arg(file.map_or(made.clone(), |file| made.join(file)));
        // Nothing may be fetched, and nothing may stay beside the scripts and in the checkouts.
        command.env("HF_HUB_OFFLINE", "1").env("PYTHONDONTWRITEBYTECODE", "1");
        let log = self.scratch.join(format!("{}.log", script.name));
        let ended = run_logged(&mut command, &log.with_extension("out"), &log)?;
        if !ended.status.success() {
            eprintln!("{}", tail(&log, LINES));
            let reason = format!("failed ({}): {}", ended.status, tail(&log, 1).trim());
            return Ok(vec![Row::failed(script.name, folder, reason)]);
        }
        self.compare_all(script, &self.root.join(folder), &made)
    }

    fn compare_all(&self, script: &Script, committed: &Path, made: &Path) -> Result<Vec<Row>> {
        let is_ours = |file: &String| script.owns(file);
        let old: BTreeSet<String> = files::below(committed)?.into_iter().filter(is_ours).collect();
        let new: BTreeSet<String> = files::below(made)?.into_iter().collect();
        let mut rows = Vec::new();
        for file in old.union(&new) {
            let (target, source) = (committed.join(file), made.join(file));
            let row = |comparison| Row::new(script.name, file, comparison);
            let differs = |reason: &str| {
                let verdict = Verdict::Differs(reason.to_string());
                row(Comparison { distance: None, verdict })
            };
            let found = match (old.contains(file), new.contains(file)) {
                (true, true) => row(compare(&target, &source)?),
                (true, false) => differs("the script no longer makes it: remove it"),
                (false, _) if !is_ours(file) => {
                    differs("not among the script's files in xtask/src/golden/registry.rs")
                }
                (false, _) => differs("new"),
            };
            let replace = self.write && found.fails && new.contains(file) && is_ours(file);
            rows.push(if replace {
                put(&source, &target)?;
                found.written()
            } else {
                found
            });
        }
        Ok(rows)
    }
}

/// Copies a file into the fixtures, readable for all, as git keeps it.
fn put(source: &Path, target: &Path) -> Result<()> {
    let bytes = fs::read(source).map_err(io_error(source, "read"))?;
    atomic_bytes(target, &bytes).with_context(|| format!("writing {}", target.display()))?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(target, fs::Permissions::from_mode(0o644))
            .map_err(io_error(target, "set the mode of"))?;
    }
    Ok(())
}
