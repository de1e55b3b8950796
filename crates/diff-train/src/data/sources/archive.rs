//! The arrays in an .npz file: a zip archive of .npy files, stored or deflated.

use super::{
    files::{self, fault, read_fault},
    npy::Header,
};
use crate::{Error, Result};
use flate2::{CrcReader, bufread::DeflateDecoder};
use std::{
    collections::BTreeMap,
    io::{BufReader, Read, Seek, SeekFrom},
    path::Path,
};
use zip::{CompressionMethod, ZipArchive, result::ZipError};

/// One array in the archive.
pub(in super::super) struct Member {
    pub(in super::super) name: String,
    start: u64,
    stored: u64,
    pub(super) length: u64,
    pub(in super::super) checksum: u32,
    deflated: bool,
}

/// A reader that counts its checksum.
pub(in super::super) type Checked = CrcReader<Box<dyn Read + Send>>;

impl Member {
    /// A reader behind the header, and the header.
    pub(in super::super) fn open(&self, path: &Path) -> Result<(Checked, Header)> {
        let mut file = files::open(path)?;
        file.seek(SeekFrom::Start(self.start)).map_err(|e| read_fault(path, &self.name, &e))?;
        let stored = BufReader::with_capacity(1 << 17, file.take(self.stored));
        let reader: Box<dyn Read + Send> = if self.deflated {
            Box::new(DeflateDecoder::new(stored).take(self.length))
        } else {
            Box::new(stored)
        };
        let mut reader = CrcReader::new(reader);
        let header = Header::read(&mut reader).map_err(|message| self.fault(path, message))?;
        Ok((reader, header))
    }

    /// A fault of this array.
    pub(in super::super) fn fault(&self, path: &Path, message: impl AsRef<str>) -> Error {
        fault(path, format!("{}: {}", self.name, message.as_ref()))
    }
}

/// The arrays of the file by name.
pub(in super::super) fn members(path: &Path) -> Result<BTreeMap<String, Member>> {
    let damaged = |e: ZipError| fault(path, format!("not a whole .npz (zip) file: {e}"));
    let reader: BufReader<_> = BufReader::new(files::open(path)?);
    let mut archive = ZipArchive::new(reader).map_err(damaged)?;
    let mut members = BTreeMap::new();
    for index in 0..archive.len() {
        let entry = archive.by_index_raw(index).map_err(damaged)?;
        let file = entry.name().map_err(damaged)?.into_owned();
        let Some(name) = file.strip_suffix(".npy") else { continue };
        let method = entry.compression();
        let known = [CompressionMethod::Stored, CompressionMethod::Deflated].contains(&method);
        if !known || entry.encrypted() {
            return Err(fault(
                path,
                format!("{file}: expected it stored or deflated, not {method}"),
            ));
        }
        let start =
            entry.data_start().ok_or_else(|| fault(path, format!("{file}: has no data")))?;
        let member = Member {
            name: name.to_string(),
            start,
            stored: entry.compressed_size(),
            length: entry.size(),
            checksum: entry.crc32(),
            deflated: method == CompressionMethod::Deflated,
        };
        members.insert(member.name.clone(), member);
    }
    Ok(members)
}
