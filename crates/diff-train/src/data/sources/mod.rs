//! Where pictures come from: one file each, one line each in [`FORMATS`].

pub(super) mod archive;
mod cifar;
mod digits;
pub(super) mod files;
mod folder;
mod hub;
mod idx;
mod lmdb;
mod mmap;
mod names;
pub(super) mod npy;
mod npz;
mod parquet;
mod safetensors;
mod stamp;
mod zip;

use super::{DataConfig, Source, Split};
use crate::{Error, Result};
use diff_core::config::nearest;
use std::{fs::DirEntry, path::Path};

type Opened = Result<Box<dyn Source>>;

/// A kind of file or folder.
struct Format {
    recognises: fn(&Path) -> bool,
    open: fn(&Path, &Request) -> Opened,
}

/// The first that recognises a path opens it; a folder of pictures recognises every folder.
const FORMATS: &[Format] = &[
    Format { recognises: zip::recognises, open: zip::open },
    Format { recognises: idx::recognises, open: |path, wanted| idx::open(path, wanted.split) },
    Format { recognises: cifar::recognises, open: |path, wanted| cifar::open(path, wanted.split) },
    Format { recognises: npz::recognises, open: |path, wanted| npz::open(path, wanted.split) },
    Format { recognises: safetensors::recognises, open: safetensors::open },
    Format { recognises: lmdb::recognises, open: open_lmdb },
    Format { recognises: parquet::recognises, open: parquet::open },
    Format { recognises: folder::recognises, open: folder::open },
];

/// Sources with names instead of paths.
const NAMES: [&str; 3] = ["digits", "cifar10", "hub:"];

/// What is wanted of a source.
struct Request<'a> {
    /// The source as configured: what messages call it.
    name: &'a str,
    /// The part to list.
    split: Split,
    config: &'a DataConfig,
}

/// Opens the source that a configuration names.
pub(super) fn open(config: &DataConfig) -> Opened {
    // Held-out pictures are taken from the training part.
    let split = if config.held_out > 0 { Split::Train } else { config.split };
    let request = Request { name: &config.source, split, config };
    match config.source.as_str() {
        "digits" => Ok(Box::new(digits::Digits::new(split))),
        "cifar10" => hub::open("cifar10", &request),
        name => match name.strip_prefix("hub:") {
            Some(id) => hub::open(id, &request),
            None => open_path(Path::new(name), &request),
        },
    }
}

fn open_path(path: &Path, request: &Request) -> Opened {
    match FORMATS.iter().find(|format| (format.recognises)(path)) {
        Some(format) => (format.open)(path, request),
        None => Err(unknown(path, request.name)),
    }
}

fn open_lmdb(path: &Path, request: &Request) -> Opened {
    request.undivided()?;
    lmdb::open(path, Split::Train)
}

fn unknown(path: &Path, given: &str) -> Error {
    let expected = match path.exists() {
        true => "a folder, or a .zip, .npz, .safetensors, .parquet or LMDB file".to_string(),
        false => {
            let hint = nearest(given, NAMES)
                .map_or_else(String::new, |name| format!("; did you mean `{name}`?"));
            format!("digits, cifar10, hub:[org/]name, or a path that exists{hint}")
        }
    };
    diff_core::Error::argument("data.source", given, expected).into()
}

impl Request<'_> {
    /// For a source without parts: all of it counts as the training part. A range of it is no test
    /// part, as the same configuration with `split = "train"` would train on it.
    ///
    /// # Errors
    /// Says how to get at a test part.
    fn undivided(&self) -> Result<()> {
        if self.split == Split::Train {
            return Ok(());
        }
        let expected = format!(
            "train, as {} has no parts of its own; data.held_out = n makes every n-th picture \
             `test`, and data.range = [first, end] with split = \"train\" names any part by index",
            self.name
        );
        Err(diff_core::Error::argument("data.split", "test", expected).into())
    }
}

/// True for a folder and a link to one; asks the system about links alone, as there may be many
/// files.
fn is_folder(entry: &DirEntry) -> bool {
    match entry.file_type() {
        Ok(kind) if kind.is_symlink() => entry.path().is_dir(),
        kind => kind.is_ok_and(|kind| kind.is_dir()),
    }
}

/// The split that the name of a folder or a file stands for, and its rank among those for the same.
fn split_named(name: &str) -> Option<(Split, usize)> {
    // Where there are several of a kind, the lowest rank is taken.
    Some(match name {
        "train" | "training" => (Split::Train, 0),
        "test" => (Split::Test, 0),
        "validation" => (Split::Test, 1),
        "valid" => (Split::Test, 2),
        "val" => (Split::Test, 3),
        _ => return None,
    })
}
