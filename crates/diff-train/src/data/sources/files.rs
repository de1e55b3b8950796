//! What the sources that read plain files share.

use crate::{Error, Result};
use diff_core::save::io_error;
use std::{
    fs::{self, File},
    io::{self, Read},
    path::Path,
};

/// The longest side of a picture that a source hands over.
pub(super) const MAX_SIDE: usize = 16_384;

/// Something wrong with a file, and what was expected.
pub(super) fn fault(path: &Path, message: impl Into<String>) -> Error {
    Error::Input { path: path.to_path_buf(), message: message.into() }
}

/// A fault of reading: what ended too early is said so.
pub(in super::super) fn read_fault(path: &Path, what: &str, error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => fault(path, format!("{what}: the file ends too early")),
        _ => fault(path, format!("{what}: {error}")),
    }
}

pub(super) fn open(path: &Path) -> Result<File> {
    Ok(File::open(path).map_err(io_error(path, "open"))?)
}

pub(super) fn size(path: &Path) -> Result<u64> {
    Ok(fs::metadata(path).map_err(io_error(path, "examine"))?.len())
}

/// Names of the files in a folder, sorted; nothing where there is no folder.
pub(super) fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let files = entries.filter(|entry| entry.path().is_file());
    let mut names: Vec<String> =
        files.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

/// Exactly `length` bytes; memory grows with what is there, not with what a header claims.
pub(in super::super) fn exactly(reader: &mut impl Read, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(length.min(1 << 20));
    reader.take(length as u64).read_to_end(&mut bytes)?;
    if bytes.len() == length { Ok(bytes) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

/// From planes [C, H, W] to pixels [H, W, C].
pub(super) fn interleaved(planes: &[u8], channels: usize) -> Vec<u8> {
    let plane = planes.len() / channels;
    (0..plane).flat_map(|i| (0..channels).map(move |c| planes[c * plane + i])).collect()
}

/// The labels as class names, where a source has none.
pub(super) fn numbered(classes: usize) -> Vec<String> {
    (0..classes).map(|class| class.to_string()).collect()
}
