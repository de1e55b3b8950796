//! The operations that change files. All saving goes through them, so that a test can make any of
//! them fail and look at what is left.

use super::io_error;
use crate::error::Result;
use std::{
    cell::RefCell,
    fs::{self, File},
    io::{self, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

/// A kind of change to a file or folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Making a folder.
    CreateFolder,
    /// Making a file, or emptying one.
    Create,
    /// Writing bytes.
    Write,
    /// Making a file or a folder's names durable.
    Sync,
    /// Renaming a file or folder.
    Rename,
    /// Removing a file or an empty folder.
    Remove,
}

type Observer = Box<dyn FnMut(Operation, &Path) -> io::Result<()>>;

thread_local! {
    static OBSERVER: RefCell<Option<Observer>> = const { RefCell::new(None) };
}

/// Ends an observation when dropped.
#[must_use = "the observation ends when this is dropped"]
pub struct Observation(());

impl Drop for Observation {
    fn drop(&mut self) {
        OBSERVER.with_borrow_mut(Option::take);
    }
}

/// Calls `observer` before every operation of this thread. An error it returns takes the
/// operation's place; a write then leaves half of its bytes, as a full disk would.
pub fn observe(observer: impl FnMut(Operation, &Path) -> io::Result<()> + 'static) -> Observation {
    OBSERVER.set(Some(Box::new(observer)));
    Observation(())
}

fn ask(operation: Operation, path: &Path) -> io::Result<()> {
    OBSERVER.with_borrow_mut(|observer| match observer {
        None => Ok(()),
        Some(observer) => observer(operation, path),
    })
}

/// Makes a folder and those above it; one that is there already is no error.
pub fn create_folder(path: &Path) -> Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    ask(Operation::CreateFolder, path)
        .and_then(|()| fs::create_dir_all(path))
        .map_err(io_error(path, "create folder"))
}

/// Removes a file, or a folder with all that is in it; what is not there is no error.
pub fn remove(path: &Path) -> Result<()> {
    remove_tree(path).map_err(io_error(path, "remove"))
}

fn remove_tree(path: &Path) -> io::Result<()> {
    let about = match fs::symlink_metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        about => about?,
    };
    if !about.is_dir() {
        return ask(Operation::Remove, path).and_then(|()| fs::remove_file(path));
    }
    for entry in fs::read_dir(path)? {
        remove_tree(&entry?.path())?;
    }
    ask(Operation::Remove, path).and_then(|()| fs::remove_dir(path))
}

/// Makes the names in `folder` durable.
pub fn sync_folder(folder: &Path) -> Result<()> {
    ask(Operation::Sync, folder)
        .and_then(|()| File::open(folder)?.sync_all())
        .map_err(io_error(folder, "sync folder"))
}

/// Renames a file or folder.
///
/// # Errors
/// The system's.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    ask(Operation::Rename, to).and_then(|()| fs::rename(from, to))
}

/// A file being written.
#[derive(Debug)]
pub struct Output {
    path: PathBuf,
    file: File,
}

impl Output {
    /// Makes the file, or empties the one that is there.
    ///
    /// # Errors
    /// The system's.
    pub fn create(path: &Path) -> io::Result<Self> {
        ask(Operation::Create, path)?;
        Ok(Output { path: path.to_path_buf(), file: File::create(path)? })
    }

    /// Makes a file that must not be there yet.
    ///
    /// # Errors
    /// The system's.
    pub fn create_new(path: &Path) -> io::Result<Self> {
        ask(Operation::Create, path)?;
        Ok(Output { path: path.to_path_buf(), file: File::create_new(path)? })
    }

    /// Opens a file to write at its end; it is made if it is not there.
    ///
    /// # Errors
    /// The system's.
    pub fn append(path: &Path) -> io::Result<Self> {
        ask(Operation::Create, path)?;
        let file = File::options().append(true).create(true).open(path)?;
        Ok(Output { path: path.to_path_buf(), file })
    }

    /// Waits until the bytes are on disk.
    ///
    /// # Errors
    /// The system's.
    pub fn sync(&self) -> io::Result<()> {
        ask(Operation::Sync, &self.path)?;
        self.file.sync_all()
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Err(e) = ask(Operation::Write, &self.path) {
            // Half of it gets there, so that readers meet torn files in tests as well.
            let _ = self.file.write(&bytes[..bytes.len() / 2]);
            return Err(e);
        }
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Seek for Output {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}
