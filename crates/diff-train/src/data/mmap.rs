//! Files as memory: the one place of the data sets with unsafe code.
#![allow(unsafe_code)]

use crate::Result;
use diff_core::save::io_error;
use memmap2::Mmap;
use std::{fs::File, ops::Deref, path::Path};

/// A whole file, read where it is looked at.
#[derive(Debug)]
pub(super) struct Mapped(Mmap);

impl Mapped {
    /// Maps a file that nobody changes any more.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(io_error(path, "open"))?;
        // SAFETY: the file lies in the cache under the hash of its content. It got that name when
        // it was complete, and is replaced or removed as a whole, never written to or cut short.
        let map = unsafe { Mmap::map(&file) };
        Ok(Mapped(map.map_err(io_error(path, "map"))?))
    }
}

impl Deref for Mapped {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}
