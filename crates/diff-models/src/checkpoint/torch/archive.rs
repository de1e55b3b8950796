//! The zip container: `data.pkl`, and beside it a file for each storage.

use super::{Storages, pickle, tensor::Storage, value::Pickle};
use crate::error::{Error, Result};
use std::{
    fs::File,
    io::{BufReader, Read},
};
use zip::{CompressionMethod, ZipArchive};

/// A zip file, and the folder in it that holds everything.
pub(super) struct Archive {
    zip: ZipArchive<BufReader<File>>,
    folder: String,
    length: u64,
}

const ROOT: &str = "data.pkl";

/// Reads what was pickled; storages are read when tensors ask for them.
pub(super) fn open(reader: BufReader<File>, length: u64) -> Result<(Pickle, Archive)> {
    let damaged = |e| {
        Error::Input(format!("damaged or truncated PyTorch zip archive of {length} bytes: {e}"))
    };
    let zip = ZipArchive::new(reader).map_err(damaged)?;
    let mut folders = Vec::new();
    for name in zip.file_names() {
        let name = name.map_err(damaged)?;
        let folder = name.strip_suffix(ROOT);
        folders.extend(folder.filter(|f| f.is_empty() || f.ends_with('/')).map(String::from));
    }
    let [folder] = folders.as_slice() else {
        let message = format!("a zip archive with {} {ROOT}, expected one", folders.len());
        return Err(Error::Input(message));
    };
    let mut archive = Archive { folder: folder.clone(), zip, length };
    if archive.zip.index_for_name(&format!("{folder}byteorder")).is_some() {
        let order = archive.entry("byteorder")?;
        if order != b"little" {
            let order = String::from_utf8_lossy(&order).into_owned();
            return Err(Error::unsupported("byteorder", order, "little"));
        }
    }
    let pickle = pickle::read(archive.entry(ROOT)?.as_slice())
        .map_err(|e| Error::Input(format!("{ROOT}: {e}")))?;
    Ok((pickle, archive))
}

impl Archive {
    /// The bytes of a file of the archive, whose checksum the reader compares.
    fn entry(&mut self, name: &str) -> Result<Vec<u8>> {
        let fault = |message: String| Error::Input(format!("{name}: {message}"));
        let path = format!("{}{name}", self.folder);
        let entry = self.zip.by_name(&path).map_err(|e| fault(e.to_string()))?;
        if entry.compression() != CompressionMethod::Stored {
            return Err(fault("compressed; expected it stored, as torch.save does".into()));
        }
        let size = entry.size();
        if size > self.length {
            return Err(fault(format!("{size} bytes in an archive of {} bytes", self.length)));
        }
        let mut bytes = Vec::with_capacity(size as usize);
        entry.take(size + 1).read_to_end(&mut bytes).map_err(|e| fault(e.to_string()))?;
        match bytes.len() as u64 == size {
            true => Ok(bytes),
            false => Err(fault(format!("expected {size} bytes, found {}", bytes.len()))),
        }
    }
}

impl Storages for Archive {
    fn bytes(&mut self, storage: &Storage) -> Result<Vec<u8>> {
        self.entry(&format!("data/{}", storage.key))
    }
}
