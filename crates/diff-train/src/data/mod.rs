//! Data sets: one file each, one line each in [`open`].

mod crop;
mod decode;
mod digits;
#[cfg(test)]
mod golden;
mod loader;
mod prepare;
mod probe;
mod resample;
mod source;
mod sources;

pub use crop::Crop;
pub use decode::{Decoded, Kind, decode};
pub use loader::{Batch, Loader};
pub use prepare::{Fit, Preparation, Prepared, Resize};
pub use source::{Item, Pixels, Raw, Source};
pub use sources::open_files;

use crate::{Error, Result};
use diff_core::config::nearest;
use serde::{Deserialize, Serialize};

/// Pictures in memory: u8, upright, row-major, with the index they had at their source.
#[derive(Clone, Debug)]
pub struct Dataset {
    name: String,
    shape: [usize; 3],
    classes: usize,
    pixels: Vec<u8>,
    labels: Vec<u32>,
    indices: Vec<u64>,
}

/// Which pictures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Split {
    /// The pictures to train on.
    #[default]
    Train,
    /// The pictures held out.
    Test,
}

/// The data section of a configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DataConfig {
    /// The data set: `digits`.
    pub source: String,
    /// Which part of it.
    pub split: Split,
}

impl Default for DataConfig {
    fn default() -> Self {
        DataConfig { source: "digits".into(), split: Split::Train }
    }
}

/// Opens a data set.
///
/// # Errors
/// When the source is unknown or does not read.
pub fn open(config: &DataConfig) -> Result<Dataset> {
    match config.source.as_str() {
        "digits" => digits::open(config.split),
        other => {
            let hint = nearest(other, ["digits"])
                .map_or_else(String::new, |name| format!("; did you mean `{name}`?"));
            Err(diff_core::Error::argument("data.source", other, format!("digits{hint}")).into())
        }
    }
}

impl Dataset {
    /// The data set's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Number of pictures.
    pub fn len(&self) -> usize {
        self.indices.len()
    }

    /// True when there is no picture.
    pub fn is_empty(&self) -> bool {
        self.indices.is_empty()
    }

    /// C, H, W.
    pub fn shape(&self) -> [usize; 3] {
        self.shape
    }

    /// Number of classes; labels are below it.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Picture `i`: row-major [C, H, W].
    pub fn picture(&self, i: usize) -> &[u8] {
        let n: usize = self.shape.iter().product();
        &self.pixels[i * n..(i + 1) * n]
    }

    /// Label of picture `i`.
    pub fn label(&self, i: usize) -> u32 {
        self.labels[i]
    }

    /// Index that picture `i` had at its source.
    pub fn index(&self, i: usize) -> u64 {
        self.indices[i]
    }

    fn error(name: &str, message: impl Into<String>) -> Error {
        Error::Data { source_name: name.into(), message: message.into() }
    }
}
