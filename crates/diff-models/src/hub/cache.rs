//! One repository in the cache that every Hub client shares:
//!
//! ```text
//! <cache>/models--org--name/refs/<revision>            the commit
//!                           snapshots/<commit>/<path>  a link into blobs/
//!                           blobs/<etag>               the bytes
//!                           .incoming/                 ours: see `incoming` and `unfinished`
//! ```

use super::request::{Repository, Request};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

pub(super) struct Cached {
    /// `<cache>/models--org--name`.
    root: PathBuf,
    /// Held while files are added; other clients keep their locks beside it.
    #[cfg(feature = "hub")]
    pub(super) lock: PathBuf,
}

impl Cached {
    pub(super) fn new(cache: &Path, repository: &Repository) -> Self {
        let folder = repository.folder();
        Cached {
            #[cfg(feature = "hub")]
            lock: cache.join(".locks").join(&folder).join("diff.lock"),
            root: cache.join(folder),
        }
    }

    /// The snapshot folder that answers `request`; the error says what is missing where.
    pub(super) fn find(&self, request: &Request) -> Result<PathBuf, String> {
        let revision = request.revision;
        let root = self.root.display();
        let commit = self
            .commit(revision)
            .ok_or_else(|| format!("{root} holds no revision `{revision}`"))?;
        let folder = self.snapshot(&commit);
        if !folder.is_dir() {
            return Err(format!("{root} holds no snapshot of {commit}"));
        }
        if self.unfinished(&commit).exists() {
            return Err(format!("the download of {} has not finished", folder.display()));
        }
        let mut names = Vec::new();
        list(&folder, "", &mut names)
            .map_err(|e| format!("{} cannot be read ({e})", folder.display()))?;
        match request.wanted.choose(&names) {
            Ok(_) => Ok(folder),
            Err(missing) => Err(format!("{} has {missing}", folder.display())),
        }
    }

    /// The commit `revision` stood for when it was fetched.
    pub(super) fn commit(&self, revision: &str) -> Option<String> {
        if is_commit(revision) {
            return Some(revision.to_string());
        }
        let commit = fs::read_to_string(self.reference(revision)).ok()?;
        Some(commit.trim().to_string()).filter(|commit| is_commit(commit))
    }

    pub(super) fn reference(&self, revision: &str) -> PathBuf {
        self.root.join("refs").join(revision)
    }

    pub(super) fn snapshot(&self, commit: &str) -> PathBuf {
        self.root.join("snapshots").join(commit)
    }

    /// Where downloads lie until they are checked.
    #[cfg(feature = "hub")]
    pub(super) fn incoming(&self) -> PathBuf {
        self.root.join(".incoming/files")
    }

    /// There from the first to the last new file of a snapshot.
    pub(super) fn unfinished(&self, commit: &str) -> PathBuf {
        self.root.join(".incoming").join(commit)
    }

    /// The folder of the bytes.
    #[cfg(feature = "hub")]
    pub(super) fn blobs(&self) -> PathBuf {
        self.root.join("blobs")
    }
}

/// The files below `folder`, by their path in the repository.
fn list(folder: &Path, prefix: &str, names: &mut Vec<String>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        // A link counts as what it leads to, and as nothing when that is gone.
        match fs::metadata(entry.path()) {
            Ok(found) if found.is_dir() => list(&entry.path(), &format!("{name}/"), names)?,
            Ok(_) => names.push(name),
            Err(_) => {}
        }
    }
    names.sort();
    Ok(())
}

/// Whether `revision` is a commit in full.
pub(super) fn is_commit(revision: &str) -> bool {
    revision.len() == 40 && revision.bytes().all(|b| b.is_ascii_hexdigit())
}
