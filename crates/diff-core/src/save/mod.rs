//! The one way files and folders are replaced: temporary sibling, fsync, rename, fsync of the
//! folder above. After a crash the old one or the new one is there, whole.

mod disk;
mod folder;

pub use disk::{
    Observation, Operation, Output, create_folder, observe, remove, rename, sync_folder,
};
pub use folder::folder;

use crate::error::{Error, Result};
use std::{
    io::{BufWriter, Write},
    path::{Path, PathBuf},
};

/// Writes `path` through `fill`; nothing is visible under `path` until all of it is on disk.
///
/// A failed write leaves an existing file as it was and removes the temporary one. `fill` may
/// fail with any error that an [`Error`] converts into.
pub fn atomic<E: From<Error>>(
    path: &Path,
    fill: impl FnOnce(&mut BufWriter<Output>) -> Result<(), E>,
) -> Result<(), E> {
    let folder = folder_of(path);
    create_folder(&folder)?;
    let scratch = scratch_of(path);
    let written = write_scratch(&scratch, path, fill);
    if written.is_err() {
        // The first error is the one to report; a scratch file that stays is harmless.
        let _ = remove(&scratch);
    }
    written?;
    sync_folder(&folder)?;
    Ok(())
}

/// [`atomic`] for bytes at hand.
pub fn atomic_bytes(path: &Path, bytes: &[u8]) -> Result<()> {
    atomic(path, |file| file.write_all(bytes).map_err(io_error(path, "write")))
}

/// An [`Error::Io`] for `path`, for use with `map_err`.
pub fn io_error(path: &Path, action: &'static str) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_path_buf();
    move |source| Error::Io { path, action, source }
}

fn write_scratch<E: From<Error>>(
    scratch: &Path,
    path: &Path,
    fill: impl FnOnce(&mut BufWriter<Output>) -> Result<(), E>,
) -> Result<(), E> {
    let file = Output::create(scratch).map_err(io_error(path, "create"))?;
    let mut writer = BufWriter::with_capacity(1 << 20, file);
    fill(&mut writer)?;
    let file = writer.into_inner().map_err(|e| io_error(path, "write")(e.into_error()))?;
    file.sync().map_err(io_error(path, "sync"))?;
    rename(scratch, path).map_err(io_error(path, "rename into place"))?;
    Ok(())
}

fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

fn scratch_of(path: &Path) -> PathBuf {
    sibling(path, "tmp")
}

/// A hidden name beside `path` that no other process uses.
fn sibling(path: &Path, suffix: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}.{suffix}", std::process::id()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_failed_write_leaves_the_existing_file_intact() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        atomic_bytes(&path, b"old").unwrap();
        let failed: Result<()> = atomic(&path, |file| {
            file.write_all(b"half").unwrap();
            Err(Error::argument("x", 1, "2"))
        });
        assert!(failed.is_err());
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no scratch file may stay");
    }

    #[test]
    fn whatever_operation_fails_the_old_file_or_the_new_one_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        for failing in 1..10 {
            atomic_bytes(&path, b"old").unwrap();
            let mut count = 0;
            let observation = observe(move |_, _| {
                count += 1;
                match count == failing {
                    true => Err(std::io::Error::other("fault")),
                    false => Ok(()),
                }
            });
            let written = atomic_bytes(&path, b"newer");
            drop(observation);
            // create, write, sync, rename, sync of the folder: the last comes after the rename.
            let expected: &[u8] = if failing < 5 { b"old" } else { b"newer" };
            assert_eq!(fs::read(&path).unwrap(), expected, "operation {failing}");
            assert_eq!(written.is_err(), failing <= 5, "operation {failing}");
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "operation {failing}");
        }
    }

    #[test]
    fn missing_folders_are_made_and_bytes_arrive() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/er/a.bin");
        atomic_bytes(&path, &[1, 2, 3]).unwrap();
        assert_eq!(fs::read(&path).unwrap(), [1, 2, 3]);
    }

    #[test]
    fn an_impossible_path_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        atomic_bytes(&file, b"").unwrap();
        let error = atomic_bytes(&file.join("below"), b"").unwrap_err().to_string();
        assert!(error.contains("file"), "{error}");
    }
}
