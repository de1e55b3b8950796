//! Where pictures come from: one file each, one line each in [`FORMATS`].

mod digits;
mod folder;
mod hub;
mod names;
mod parquet;
mod stamp;
mod zip;

use super::{DataConfig, Source, Split};
use crate::{Error, Result};
use diff_core::config::nearest;
use std::path::Path;

type Opened = Result<Box<dyn Source>>;

/// A kind of file or folder.
struct Format {
    recognises: fn(&Path) -> bool,
    open: fn(&Path, &Request) -> Opened,
}

/// The first that recognises a path opens it; a folder of pictures recognises every folder.
const FORMATS: &[Format] = &[
    Format { recognises: zip::recognises, open: zip::open },
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

fn unknown(path: &Path, given: &str) -> Error {
    let expected = match path.exists() {
        true => "a folder, or a .zip or .parquet file".to_string(),
        false => {
            let hint = nearest(given, NAMES)
                .map_or_else(String::new, |name| format!("; did you mean `{name}`?"));
            format!("digits, cifar10, hub:[org/]name, or a path that exists{hint}")
        }
    };
    diff_core::Error::argument("data.source", given, expected).into()
}

impl Request<'_> {
    /// For a source without parts: all of it counts as the training part, and a range of it as any.
    ///
    /// # Errors
    /// Says how to get at a test part.
    fn undivided(&self) -> Result<()> {
        if self.split == Split::Train || self.config.range.is_some() {
            return Ok(());
        }
        let expected = format!(
            "train, as {} has no parts of its own; data.held_out = n makes every n-th picture \
             `test`, data.range = [first, end] a part by index",
            self.name
        );
        Err(diff_core::Error::argument("data.split", "test", expected).into())
    }
}

/// The name of the split that a folder or a file name stands for.
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
