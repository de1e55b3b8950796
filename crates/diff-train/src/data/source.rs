use crate::Result;
use std::path::PathBuf;

/// Where pictures come from: one file each. A source only lists and reads; decoding, preparation
/// and storage are the same for all.
pub trait Source: Send {
    /// What the source is called in messages and results.
    fn name(&self) -> String;

    /// What tells this source from a changed one without reading all of it: names, sizes and
    /// modification times of its files, and every option that decides what is listed.
    ///
    /// # Errors
    /// When a file cannot be examined.
    fn fingerprint(&self) -> Result<String>;

    /// Number of pictures, if it is known before reading.
    fn count(&self) -> Option<u64>;

    /// Names of the classes by label, where the source has labels.
    fn classes(&self) -> Vec<String>;

    /// Number of files that are no pictures by their name.
    fn ignored(&self) -> u64 {
        0
    }

    /// Whether decoding it again is cheaper than keeping the pictures on disk.
    fn is_small(&self) -> bool {
        false
    }

    /// The pictures in the source's own order, which is the same every time.
    ///
    /// # Errors
    /// When nothing can be read. One picture that cannot be is an item of its own.
    fn items(&self) -> Result<Box<dyn Iterator<Item = Result<Item>> + Send + '_>>;
}

/// One picture of a source.
#[derive(Clone, Debug)]
pub struct Item {
    /// Its place in the source, before anything is left out; it grows from item to item.
    pub index: u64,
    /// What messages call it: a file name, a row, a key.
    pub name: String,
    /// Its class.
    pub label: Option<u32>,
    /// What there is of it.
    pub raw: Raw,
}

/// A picture as a source hands it over.
#[derive(Clone, Debug)]
pub enum Raw {
    /// A file, to be read where it is decoded.
    File(PathBuf),
    /// The bytes of a file: PNG, JPEG and the like.
    Encoded(Vec<u8>),
    /// Pixels.
    Pixels(Pixels),
    /// Nothing, and the reason.
    Unreadable(String),
}

/// A decoded picture, row-major [height, width, channels], upright.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pixels {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// 1 (grey) or 3 (red, green, blue).
    pub channels: usize,
    /// The bytes.
    pub bytes: Vec<u8>,
}
