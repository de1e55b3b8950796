use super::{Report, mmap::Mapped};
use crate::Error;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// Prepared pictures: u8, upright, row-major, with the index they had at their source. A clone
/// shares them.
#[derive(Clone, Debug)]
pub struct Dataset {
    pub(super) name: String,
    pub(super) shape: [usize; 3],
    pub(super) classes: Vec<String>,
    pub(super) pixels: Storage,
    pub(super) labels: Arc<[u32]>,
    pub(super) indices: Arc<[u64]>,
    pub(super) sha256: String,
    pub(super) report: Report,
    pub(super) folder: Option<PathBuf>,
}

/// Where the bytes of the pictures are.
#[derive(Clone, Debug)]
pub(super) enum Storage {
    /// In memory.
    Memory(Arc<[u8]>),
    /// In a file of the cache.
    Mapped(Arc<Mapped>),
}

/// The stored label of a picture that has none.
pub(super) const NO_LABEL: u32 = u32::MAX;

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

    /// Number of classes; labels are below it. 0 for a set without labels.
    pub fn classes(&self) -> usize {
        self.classes.len()
    }

    /// Names of the classes by label.
    pub fn class_names(&self) -> &[String] {
        &self.classes
    }

    /// Picture `i`: row-major [C, H, W].
    pub fn picture(&self, i: usize) -> &[u8] {
        let n: usize = self.shape.iter().product();
        &self.pixels()[i * n..(i + 1) * n]
    }

    /// All pictures one after the other.
    pub fn pixels(&self) -> &[u8] {
        match &self.pixels {
            Storage::Memory(bytes) => bytes,
            Storage::Mapped(map) => map,
        }
    }

    /// Label of picture `i`.
    pub fn label(&self, i: usize) -> Option<u32> {
        Some(self.labels[i]).filter(|label| *label != NO_LABEL)
    }

    /// The first picture without a label.
    pub fn unlabelled(&self) -> Option<usize> {
        self.labels.iter().position(|label| *label == NO_LABEL)
    }

    /// Index that picture `i` had at its source.
    pub fn index(&self, i: usize) -> u64 {
        self.indices[i]
    }

    /// SHA-256 over shape, pixels, labels and indices: what training sees.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// What was found at the source besides the pictures.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// The folder of the cache that holds the pictures; none for pictures in memory.
    pub fn folder(&self) -> Option<&Path> {
        self.folder.as_deref()
    }

    pub(super) fn error(name: &str, message: impl Into<String>) -> Error {
        Error::Data { source_name: name.into(), message: message.into() }
    }
}
