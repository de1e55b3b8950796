//! Data sets: from a source of pictures, through one pass of decoding and preparation, into a
//! store that training reads, and from there into batches.

mod arrays;
mod augment;
mod cache;
mod config;
mod content;
mod crop;
mod dataset;
mod decode;
mod fault;
#[cfg(test)]
mod golden;
mod loader;
mod mmap;
mod pass;
mod prepare;
mod probe;
mod report;
mod resample;
mod source;
mod sources;
mod statistics;
mod stream;

pub use arrays::{Array, Values, array_names, read_array};
pub use augment::Augment;
pub use config::{Bad, DataConfig};
pub use crop::Crop;
pub use dataset::Dataset;
pub use decode::{Decoded, Kind, decode};
pub use fault::Fault;
pub use loader::{Batch, Loader};
pub use prepare::{Fit, Preparation, Prepared, Resize};
pub use report::{Example, Report};
pub use source::{Item, Pixels, Raw, Source};
pub use statistics::Statistics;
pub use stream::{Stream, Streamed};

use crate::Result;
use pass::Pass;
use serde::{Deserialize, Serialize};

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

/// Opens a data set. The first time, its pictures are decoded, prepared and stored; later, and as
/// long as the source does not change, they are read from there.
///
/// # Errors
/// When the source is unknown or does not read, holds no pictures or pictures of several shapes,
/// or the cache cannot be written.
pub fn open(config: &DataConfig) -> Result<Dataset> {
    config.check()?;
    let source = sources::open(config)?;
    let pass = Pass::new(source.as_ref(), config);
    let data = match source.is_small() {
        true => content::in_memory(&pass)?,
        false => cache::open(&pass, &config.cache_root()?)?,
    };
    if let Some(warning) = data.report().warning() {
        eprintln!("data {}: {warning}", data.name());
    }
    Ok(data)
}
