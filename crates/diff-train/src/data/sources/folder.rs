//! A folder of pictures.

use super::{
    Opened, Request, is_folder,
    names::{Listing, arrange},
    stamp::Stamp,
};
use crate::{
    Result,
    data::{Dataset, Item, Raw, Source},
};
use diff_core::save::io_error;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Folders inside folders, above which a link that points upwards is the likelier reason.
const DEPTH: usize = 32;

struct Folder {
    name: String,
    split: String,
    /// Every file, relative to the folder.
    files: Vec<(String, PathBuf)>,
    listing: Listing,
}

pub(super) fn recognises(path: &Path) -> bool {
    path.is_dir()
}

pub(super) fn open(path: &Path, request: &Request) -> Opened {
    let mut files = Vec::new();
    walk(path, "", 0, request.name, &mut files)?;
    let names: Vec<String> = files.iter().map(|(name, _)| name.clone()).collect();
    let read = |place: usize| {
        let file: &PathBuf = &files[place].1;
        Ok(fs::read(file).map_err(io_error(file, "read"))?)
    };
    let listing = arrange(&names, request, &read)?;
    let (name, split) = (request.name.to_string(), format!("{:?}", request.split));
    Ok(Box::new(Folder { name, split, files, listing }))
}

fn walk(
    folder: &Path,
    prefix: &str,
    depth: usize,
    name: &str,
    files: &mut Vec<(String, PathBuf)>,
) -> Result<()> {
    if depth > DEPTH {
        let message = format!("{}: more than {DEPTH} folders deep", folder.display());
        return Err(Dataset::error(name, message));
    }
    for entry in fs::read_dir(folder).map_err(io_error(folder, "list"))? {
        let entry = entry.map_err(io_error(folder, "list"))?;
        let path = entry.path();
        let relative = format!("{prefix}{}", entry.file_name().to_string_lossy());
        match is_folder(&entry) {
            true => walk(&path, &format!("{relative}/"), depth + 1, name, files)?,
            false => files.push((relative, path)),
        }
    }
    Ok(())
}

impl Source for Folder {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn fingerprint(&self) -> Result<String> {
        let mut stamp = Stamp::default().text("folder").text(&self.split);
        for entry in &self.listing.entries {
            stamp = stamp.file(&self.files[entry.place].1)?.text(&format!("{:?}", entry.label));
        }
        Ok(stamp.text(&self.listing.classes.join("/")).finish())
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
        let item = |(index, entry): (usize, &super::names::Entry)| {
            let (name, path) = &self.files[entry.place];
            let raw = Raw::File(path.clone());
            Ok(Item { index: index as u64, name: name.clone(), label: entry.label, raw })
        };
        Ok(Box::new(self.listing.entries.iter().enumerate().map(item)))
    }
}
