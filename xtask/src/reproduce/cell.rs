//! Running a cell, or finding that it has been run.
//!
//! A cell lives in `OUT/cells/NAME-KEY`; `cell.json` is written last, so a folder without it, or
//! whose files are not those it lists, is unfinished and done again. Bulky files may be missing where
//! nothing starts from them.

use super::plan::Cell;
use crate::{machine, process, workspace::Binaries};
use anyhow::{Context, Result, bail};
use diff_core::save::{self, io_error};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::Command,
};

/// The file that makes a cell finished.
pub(super) const RECORD: &str = "cell.json";

/// What `cell.json` holds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The cell's name.
    pub(crate) name: String,
    /// Hash of everything its result depends on.
    pub(crate) key: String,
    /// Keys of the cells it started from.
    pub(crate) inputs: Vec<String>,
    /// The binary's answer to `--version`.
    pub(crate) version: String,
    /// The command line.
    pub(crate) command: String,
    /// Wall time.
    pub(crate) seconds: f64,
    /// The processor it ran on; empty where the system does not say, and in older records.
    #[serde(default)]
    pub(crate) processor: String,
    /// What the binary printed.
    pub(crate) summary: Value,
    /// SHA-256 of every file it left, by its path in the cell's folder.
    pub(crate) outputs: BTreeMap<String, String>,
}

/// A cell with a result.
#[derive(Clone)]
pub(crate) struct Finished {
    /// The content of its `cell.json`.
    pub(crate) record: Record,
    /// Where its files are.
    pub(crate) folder: PathBuf,
    /// Whether it was finished before this run.
    pub(crate) reused: bool,
    /// Whether all its files are there, the bulky ones too.
    pub(crate) whole: bool,
}

/// How a cell ended.
pub(crate) enum Outcome {
    /// With a result.
    Done(Box<Finished>),
    /// Without one, for this reason.
    Failed(String),
    /// Not begun, for this reason.
    Skipped(String),
    /// Not asked for, and not there from an earlier run.
    Absent,
}

impl Outcome {
    /// The result, if there is one.
    pub(crate) fn finished(&self) -> Option<&Finished> {
        match self {
            Outcome::Done(done) => Some(done),
            Outcome::Failed(_) | Outcome::Skipped(_) | Outcome::Absent => None,
        }
    }
}

/// Where and how cells are run.
pub(crate) struct Bench<'a> {
    /// The binaries.
    pub(crate) binaries: &'a Binaries,
    /// The folder whose `cells` they live in.
    pub(crate) out: &'a Path,
    /// Runs a cell even if it is finished.
    pub(crate) force: bool,
    /// Threads a cell may use.
    pub(crate) threads: usize,
}

/// Runs `cell` on the results of its inputs, unless it has been run already: with all its files, if it
/// must be `whole`. An error is one of the surroundings; a failure of the cell itself is an [`Outcome`].
pub(crate) fn run(cell: &Cell, inputs: &[Finished], whole: bool, bench: &Bench) -> Result<Outcome> {
    let (key, folder) = place(cell, inputs, bench)?;
    if !bench.force
        && let Some(done) = finished(cell, &folder, &key)
        && (done.whole || !whole)
    {
        return Ok(Outcome::Done(Box::new(done)));
    }
    let mut command = Command::new(bench.binaries.path(cell.task.binary())?);
    command.env("RAYON_NUM_THREADS", bench.threads.to_string());
    match cell.task.resume(&folder).filter(|_| !bench.force) {
        Some(arguments) => command.args(arguments),
        None => {
            start_afresh(&folder)?;
            cell.task.prepare(&folder)?;
            let inputs: Vec<PathBuf> = inputs.iter().map(|input| input.folder.clone()).collect();
            command.args(cell.task.arguments(&folder, &inputs))
        }
    };
    let (stdout, log) = (folder.join("summary.json"), folder.join("log.txt"));
    let ended = process::run_logged(&mut command, &stdout, &log)?;
    if !ended.status.success() {
        return Ok(Outcome::Failed(format!("{}\n{}", ended.status, process::tail(&log, 5))));
    }
    let (summary, outputs) = match inspect(cell, &folder, &stdout) {
        Ok(found) => found,
        Err(reason) => return Ok(Outcome::Failed(format!("{reason:#}"))),
    };
    // By the binary's name, not where it was.
    let mut named = Command::new(cell.task.binary());
    named.args(command.get_args());
    let record = Record {
        name: cell.name.clone(),
        key,
        inputs: inputs.iter().map(|input| input.record.key.clone()).collect(),
        version: bench.binaries.version(cell.task.binary()).to_string(),
        command: process::command_line(&named),
        // A training that was resumed counts what it took before.
        seconds: summary.get("seconds").and_then(Value::as_f64).unwrap_or(0.0).max(ended.seconds),
        processor: machine::processor(),
        summary,
        outputs,
    };
    let text = serde_json::to_string_pretty(&record)? + "\n";
    save::atomic_bytes(&folder.join(RECORD), text.as_bytes())?;
    Ok(Outcome::Done(Box::new(Finished { record, folder, reused: false, whole: true })))
}

/// The result of `cell`, if it has been run already.
pub(crate) fn find(cell: &Cell, inputs: &[Finished], bench: &Bench) -> Result<Outcome> {
    let (key, folder) = place(cell, inputs, bench)?;
    Ok(finished(cell, &folder, &key).map_or(Outcome::Absent, |done| Outcome::Done(Box::new(done))))
}

/// The key of a cell, and its folder: that of its name, or else a finished one of an earlier run in
/// which the same cell had another name, as one without seeds in its names.
fn place(cell: &Cell, inputs: &[Finished], bench: &Bench) -> Result<(String, PathBuf)> {
    let key = key(cell, inputs, bench.binaries.version(cell.task.binary()))?;
    let cells = bench.out.join("cells");
    let folder = cells.join(format!("{}-{key}", cell.name));
    if folder.exists() || !cells.is_dir() {
        return Ok((key, folder));
    }
    let ending = format!("-{key}");
    for entry in fs::read_dir(&cells).map_err(io_error(&cells, "list"))? {
        let path = entry.map_err(io_error(&cells, "list"))?.path();
        let alike = path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(&ending));
        // One that is under way belongs to whoever runs it.
        if alike && finished(cell, &path, &key).is_some() {
            return Ok((key, path));
        }
    }
    Ok((key, folder))
}

/// The first 16 digits of a hash of the cell's configuration, its binary, and its inputs.
fn key(cell: &Cell, inputs: &[Finished], version: &str) -> Result<String> {
    let mut keys = Vec::new();
    for (i, Finished { record: input, .. }) in inputs.iter().enumerate() {
        let file = cell.task.keyed_by().get(i).copied().flatten();
        let hash = file.map(|file| {
            let hash = input.outputs.get(file);
            hash.with_context(|| format!("{} has no {file}", input.name))
        });
        keys.push((&input.key, hash.transpose()?));
    }
    let parts = (cell.task.binary(), version, cell.task.config()?, keys);
    let mut key = hex(&Sha256::digest(serde_json::to_vec(&parts)?));
    key.truncate(16);
    Ok(key)
}

/// The result in `folder`, if it is of this key and the files it lists are the same; of the bulky ones,
/// those that are there.
fn finished(cell: &Cell, folder: &Path, key: &str) -> Option<Finished> {
    let text = fs::read(folder.join(RECORD)).ok()?;
    let record: Record = serde_json::from_slice(&text).ok().filter(|r: &Record| r.key == key)?;
    let mut whole = true;
    for (name, hash) in &record.outputs {
        let path = folder.join(name);
        if !path.exists() && cell.task.bulky().contains(&name.as_str()) {
            whole = false;
        } else if hash_of(&path).ok()? != *hash {
            return None;
        }
    }
    Some(Finished { record, folder: folder.to_path_buf(), reused: true, whole })
}

fn start_afresh(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).map_err(io_error(folder, "remove"))?;
    }
    Ok(fs::create_dir_all(folder).map_err(io_error(folder, "create folder"))?)
}

/// What the binary printed and the files it left, if they are a result.
fn inspect(cell: &Cell, folder: &Path, stdout: &Path) -> Result<(Value, BTreeMap<String, String>)> {
    let text = fs::read(stdout).map_err(io_error(stdout, "read"))?;
    let summary: Value = serde_json::from_slice(&text)
        .with_context(|| format!("{} did not print one JSON object", cell.task.binary()))?;
    let mut outputs = BTreeMap::new();
    for name in cell.task.outputs() {
        let path = folder.join(name);
        if fs::metadata(&path).map_err(io_error(&path, "read"))?.len() == 0 {
            bail!("{name} is empty");
        }
        outputs.insert(name.to_string(), hash_of(&path)?);
    }
    cell.task.check(folder, &summary)?;
    Ok((summary, outputs))
}

/// The SHA-256 of a file.
pub(crate) fn hash_of(path: &Path) -> Result<String> {
    let mut file = File::open(path).map_err(io_error(path, "read"))?;
    let mut hash = Hash(Sha256::new());
    io::copy(&mut file, &mut hash).map_err(io_error(path, "read"))?;
    Ok(hex(&hash.0.finalize()))
}

/// A hash as the end of a pipe.
struct Hash(Sha256);

impl io::Write for Hash {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_hashes_to_its_sha_256() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("abc");
        fs::write(&path, "abc").unwrap();
        assert_eq!(
            hash_of(&path).unwrap(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
