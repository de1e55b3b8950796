//! A zip archive of pictures.

use super::{
    Opened, Request,
    names::{Entry, Listing, arrange},
    stamp::Stamp,
};
use crate::{
    Error, Result,
    data::{Item, Raw, Source, fault},
};
use ::zip::ZipArchive;
use diff_core::save::io_error;
use std::{
    fs::File,
    io::{BufReader, Read},
    path::{Path, PathBuf},
};

type Archive = ZipArchive<BufReader<File>>;

struct Zip {
    name: String,
    path: PathBuf,
    split: String,
    /// Names of the entries, in the order of the archive.
    names: Vec<String>,
    /// The entry of each name.
    places: Vec<usize>,
    listing: Listing,
}

pub(super) fn recognises(path: &Path) -> bool {
    path.is_file() && path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("zip"))
}

pub(super) fn open(path: &Path, request: &Request) -> Opened {
    let mut archive = archive(path)?;
    let (mut names, mut places) = (Vec::new(), Vec::new());
    for place in 0..archive.len() {
        let entry = archive.by_index_raw(place).map_err(|e| damaged(path, &e))?;
        if entry.is_file() {
            names.push(String::from_utf8_lossy(entry.name_raw()).replace('\\', "/"));
            places.push(place);
        }
    }
    let read = |name: usize| {
        let bytes = read(&mut self::archive(path)?, places[name]);
        bytes.map_err(|e| damaged(path, &format!("{}: {e}", names[name])))
    };
    let listing = arrange(&names, request, &read)?;
    let (name, split) = (request.name.to_string(), format!("{:?}", request.split));
    Ok(Box::new(Zip { name, path: path.to_path_buf(), split, names, places, listing }))
}

fn archive(path: &Path) -> Result<Archive> {
    let file = File::open(path).map_err(io_error(path, "open"))?;
    ZipArchive::new(BufReader::new(file)).map_err(|e| damaged(path, &e))
}

fn damaged(path: &Path, reason: &dyn std::fmt::Display) -> Error {
    let message = format!("{reason}; expected a complete zip archive");
    Error::Input { path: path.to_path_buf(), message }
}

/// The bytes of an entry.
fn read(archive: &mut Archive, place: usize) -> Result<Vec<u8>, String> {
    let entry = archive.by_index(place).map_err(|e| e.to_string())?;
    // The size that an archive declares is only a claim.
    let mut bytes = Vec::with_capacity(entry.size().min(1 << 20) as usize);
    entry.take(fault::BYTES + 1).read_to_end(&mut bytes).map_err(|e| e.to_string())?;
    match bytes.len() as u64 > fault::BYTES {
        true => Err(format!("more than {} bytes", fault::BYTES)),
        false => Ok(bytes),
    }
}

impl Source for Zip {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn fingerprint(&self) -> Result<String> {
        Ok(Stamp::default().text("zip").text(&self.split).file(&self.path)?.finish())
    }

    fn count(&self) -> Option<u64> {
        Some(self.listing.entries.len() as u64)
    }

    fn classes(&self) -> Vec<String> {
        self.listing.classes.clone()
    }

    fn ignored(&self) -> u64 {
        self.listing.ignored
    }

    fn items(&self) -> Result<Box<dyn Iterator<Item = Result<Item>> + Send + '_>> {
        let mut archive = archive(&self.path)?;
        let item = move |(index, entry): (usize, &Entry)| {
            let raw = match read(&mut archive, self.places[entry.place]) {
                Ok(bytes) => Raw::Encoded(bytes),
                Err(reason) => Raw::Unreadable(reason),
            };
            let name = self.names[entry.place].clone();
            Ok(Item { index: index as u64, name, label: entry.label, raw })
        };
        Ok(Box::new(self.listing.entries.iter().enumerate().map(item)))
    }
}
