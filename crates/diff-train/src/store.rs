//! The checkpoints of a run: folders named by the pictures seen, each with a manifest that lists
//! the SHA-256 of every part. One is complete if its manifest is there and right.

use crate::{Error, Result};
use diff_core::save::{self, io_error};
use diff_models::digest::sha256;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// The folder of a run's checkpoints.
#[derive(Clone, Debug)]
pub struct Store {
    folder: PathBuf,
}

/// A complete checkpoint, and those that should have been and are not.
#[derive(Debug)]
pub struct Newest {
    /// Its folder.
    pub folder: PathBuf,
    /// Pictures seen.
    pub images: usize,
    /// Newer ones that are damaged, and what is wrong with them.
    pub damaged: Vec<(PathBuf, String)>,
}

const MANIFEST: &str = "manifest.json";
const FORMAT: &str = "diff-checkpoint-1";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    format: String,
    images: usize,
    parts: BTreeMap<String, Part>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Part {
    bytes: u64,
    sha256: String,
}

impl Store {
    /// The checkpoints of the run in `out`.
    pub fn new(out: &Path) -> Self {
        Store { folder: out.join("checkpoints") }
    }

    /// Saves a checkpoint of about `bytes` bytes: `fill` writes its parts, the manifest comes last,
    /// and the folder gets its name when all of it is on disk.
    ///
    /// # Errors
    /// [`Error::Save`]; the checkpoints that were there are untouched.
    pub fn save(
        &self,
        images: usize,
        bytes: u64,
        fill: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<PathBuf> {
        let target = self.folder.join(format!("{images:010}"));
        let own = ["model", "training", MANIFEST];
        let saved = save::folder(&target, &own, |scratch| {
            fill(scratch)?;
            let manifest =
                Manifest { format: FORMAT.into(), images, parts: parts(scratch, scratch)? };
            let text = serde_json::to_string_pretty(&manifest)
                .map_err(|e| io_error(&target, "encode")(std::io::Error::other(e)))?;
            Ok(save::atomic_bytes(&scratch.join(MANIFEST), format!("{text}\n").as_bytes())?)
        });
        match saved {
            Ok(()) => Ok(target),
            Err(source) => Err(Error::Save { folder: target, bytes, source: Box::new(source) }),
        }
    }

    /// The newest complete checkpoint.
    ///
    /// # Errors
    /// When the folder cannot be listed.
    pub fn newest(&self) -> Result<Option<Newest>> {
        let mut damaged = Vec::new();
        for (images, folder) in self.list()?.into_iter().rev() {
            match check(&folder) {
                Ok(()) => return Ok(Some(Newest { folder, images, damaged })),
                Err(problem) => damaged.push((folder, problem)),
            }
        }
        match damaged.is_empty() {
            true => Ok(None),
            false => Err(Error::Input {
                path: self.folder.clone(),
                message: format!("no checkpoint is complete: {}", list_problems(&damaged)),
            }),
        }
    }

    /// Removes all but the newest `keep` checkpoints, and what writers left that died.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub fn prune(&self, keep: usize) -> Result<()> {
        let all = self.list()?;
        for (_, folder) in &all[..all.len().saturating_sub(keep)] {
            // Without its manifest a checkpoint is none, however much of it is left.
            save::remove(&folder.join(MANIFEST))?;
            save::sync_folder(folder)?;
            save::remove(folder)?;
        }
        for name in self.names()? {
            let folder = self.folder.join(&name);
            let scratch =
                name.starts_with('.') && (name.ends_with(".tmp") || name.ends_with(".old"));
            let half_removed = name.parse::<usize>().is_ok() && !folder.join(MANIFEST).is_file();
            if scratch || half_removed {
                save::remove(&folder)?;
            }
        }
        Ok(())
    }

    /// Gives damaged checkpoints another name, so that they count no more.
    ///
    /// # Errors
    /// When they cannot be renamed.
    pub fn set_aside(&self, newest: &Newest) -> Result<()> {
        for (folder, _) in &newest.damaged {
            let aside = folder.with_extension("damaged");
            save::remove(&aside)?;
            save::rename(folder, &aside).map_err(io_error(folder, "rename"))?;
        }
        Ok(())
    }

    /// Every checkpoint with a manifest, oldest first.
    fn list(&self) -> Result<Vec<(usize, PathBuf)>> {
        let names = self.names()?;
        let numbered = names.iter().filter_map(|name| Some((name.parse().ok()?, name)));
        let mut all: Vec<(usize, PathBuf)> =
            numbered.map(|(images, name)| (images, self.folder.join(name))).collect();
        all.retain(|(_, folder)| folder.join(MANIFEST).is_file());
        all.sort_unstable();
        Ok(all)
    }

    fn names(&self) -> Result<Vec<String>> {
        if !self.folder.is_dir() {
            return Ok(Vec::new());
        }
        let entries = fs::read_dir(&self.folder).map_err(io_error(&self.folder, "list"))?;
        let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        let names = names.collect::<std::io::Result<_>>();
        Ok(names.map_err(io_error(&self.folder, "list"))?)
    }
}

/// One line for every damaged checkpoint.
pub(crate) fn list_problems(damaged: &[(PathBuf, String)]) -> String {
    let lines = damaged.iter().map(|(folder, problem)| format!("{}: {problem}", folder.display()));
    lines.collect::<Vec<_>>().join("; ")
}

/// Size and hash of every file below `folder`, by its path from `root`.
fn parts(root: &Path, folder: &Path) -> Result<BTreeMap<String, Part>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).map_err(io_error(folder, "list"))? {
        let path = entry.map_err(io_error(folder, "list"))?.path();
        if path.is_dir() {
            found.extend(parts(root, &path)?);
            continue;
        }
        let bytes = fs::metadata(&path).map_err(io_error(&path, "examine"))?.len();
        let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().replace('\\', "/");
        found.insert(name, Part { bytes, sha256: sha256(&path)? });
    }
    Ok(found)
}

/// Says what is wrong with a checkpoint, if anything is.
fn check(folder: &Path) -> Result<(), String> {
    let text = fs::read(folder.join(MANIFEST)).map_err(|e| format!("{MANIFEST}: {e}"))?;
    let manifest: Manifest =
        serde_json::from_slice(&text).map_err(|e| format!("{MANIFEST}: {e}"))?;
    if manifest.format != FORMAT {
        return Err(format!("{MANIFEST}: format {:?}, expected {FORMAT:?}", manifest.format));
    }
    for (name, part) in &manifest.parts {
        let path = folder.join(name);
        let bytes = fs::metadata(&path).map_err(|e| format!("{name}: {e}"))?.len();
        if bytes != part.bytes {
            return Err(format!("{name}: {bytes} bytes, expected {}", part.bytes));
        }
        let found = sha256(&path).map_err(|e| e.to_string())?;
        if found != part.sha256 {
            return Err(format!("{name}: sha256 {found}, expected {}", part.sha256));
        }
    }
    Ok(())
}
