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

#[cfg(test)]
mod tests {
    use crate::data::{Bad, DataConfig, Fault, content, open, pass::Pass, sources};
    use std::fs;

    #[test]
    fn a_picture_that_is_deleted_after_it_was_listed_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a.png", "b.png"] {
            image::RgbImage::new(2, 2).save(dir.path().join(name)).unwrap();
        }
        let config = DataConfig {
            source: dir.path().to_string_lossy().into_owned(),
            cache: Some(dir.path().join("cache")),
            ..DataConfig::default()
        };
        let source = sources::open(&config).unwrap();
        fs::remove_file(dir.path().join("a.png")).unwrap();
        let data = content::in_memory(&Pass::new(source.as_ref(), &config)).unwrap();
        assert_eq!((data.len(), data.index(0)), (1, 1));
        assert_eq!(data.report().bad[&Fault::Unreadable], 1);
        let refuse = DataConfig { bad: Bad::Refuse, ..config };
        let error = content::in_memory(&Pass::new(source.as_ref(), &refuse)).unwrap_err();
        assert!(error.to_string().contains("a.png is unreadable"), "{error}");
        assert_eq!(open(&refuse).unwrap().len(), 1, "listed anew");
    }

    #[cfg(unix)]
    #[test]
    fn a_folder_that_contains_itself_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(dir.path(), dir.path().join("again")).unwrap();
        let source = dir.path().to_string_lossy().into_owned();
        let error = open(&DataConfig { source, ..DataConfig::default() }).unwrap_err();
        assert!(error.to_string().contains("folders deep"), "{error}");
    }
}
