//! Where pictures come from: one file each, one line each in [`open_files`].

mod archive;
mod cifar;
mod files;
mod idx;
mod lmdb;
mod mmap;
mod npy;
mod npz;

use super::{Source, Split};
use crate::Result;
use std::path::Path;

/// Opens a file or folder in whichever of the known layouts it is.
///
/// # Errors
/// When it is in none, or does not read.
pub fn open_files(path: &Path, split: Split) -> Result<Box<dyn Source>> {
    match path {
        _ if idx::recognises(path) => idx::open(path, split),
        _ if cifar::recognises(path) => cifar::open(path, split),
        _ if npz::recognises(path) => npz::open(path, split),
        _ if lmdb::recognises(path) => lmdb::open(path, split),
        _ => Err(files::fault(path, "expected IDX, CIFAR or .npz files, or an LMDB")),
    }
}
