//! Where pictures to be judged come from.

use crate::{Error, Result};
use candle_core::{DType, npy::NpzTensors};
use diff_sample::source_and_split;
use diff_train::data::{DataConfig, Dataset, open};
use sha2::{Digest, Sha256};
use std::path::Path;

/// Pictures as bytes, row-major `[n, h, w, c]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pictures {
    /// Height, width, channels.
    pub shape: [usize; 3],
    /// The bytes of all pictures.
    pub bytes: Vec<u8>,
}

impl Pictures {
    /// How many.
    pub fn len(&self) -> usize {
        self.bytes.len() / self.shape.iter().product::<usize>().max(1)
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The pictures with these indices, each below [`Pictures::len`], in this order.
    pub fn select(&self, indices: &[usize]) -> Self {
        let size: usize = self.shape.iter().product();
        let picture = |i: &usize| &self.bytes[i * size..(i + 1) * size];
        Pictures { shape: self.shape, bytes: indices.iter().flat_map(picture).copied().collect() }
    }

    /// SHA-256 of the bytes, in lower-case hexadecimal.
    pub fn sha256(&self) -> String {
        Sha256::digest(&self.bytes).iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Pictures, and where they come from.
#[derive(Clone, Debug)]
pub struct Named {
    /// The source, as [`read`] takes it.
    pub source: String,
    /// What was there.
    pub pictures: Pictures,
    /// A class for every picture, where the source has one.
    pub labels: Option<Vec<u32>>,
}

impl Named {
    /// Reads a source as [`read`] does, with its labels if it is a data set.
    ///
    /// # Errors
    /// As [`read`].
    pub fn read(source: &str) -> Result<Self> {
        let (pictures, labels) = match source.ends_with(".npz") {
            true => (read_npz(Path::new(source))?, None),
            false => {
                let data = open_data(source)?;
                (upright(&data), (0..data.len()).map(|i| data.label(i)).collect())
            }
        };
        Ok(Named { source: source.into(), pictures, labels })
    }
}

/// Reads `SOURCE`, `SOURCE:train` or `SOURCE:test` of a data set, or `arr_0` (u8, NHWC) of an `.npz`
/// file. A data set is named as in [`DataConfig::spelled`]: `cifar10?resolution=16&resize=box:test`.
///
/// # Errors
/// Names the file, key, type or shape at fault, or the split that was meant.
pub fn read(source: &str) -> Result<Pictures> {
    Ok(Named::read(source)?.pictures)
}

fn read_npz(path: &Path) -> Result<Pictures> {
    let wrong = |message: String| Error::File { path: path.to_path_buf(), message };
    let arrays = NpzTensors::new(path).map_err(|e| wrong(e.to_string()))?;
    let array = arrays.get("arr_0").map_err(|e| wrong(e.to_string()))?.ok_or_else(|| {
        let mut names: Vec<&String> = arrays.names();
        names.sort_unstable();
        wrong(format!("no array `arr_0`; found {names:?}"))
    })?;
    if array.dtype() != DType::U8 || array.rank() != 4 {
        let (dtype, dims) = (array.dtype(), array.dims());
        return Err(wrong(format!("arr_0 is {dtype:?} {dims:?}, expected u8 [N, H, W, C]")));
    }
    let dims = array.dims();
    let shape = [dims[1], dims[2], dims[3]];
    let bytes = array.flatten_all().and_then(|a| a.to_vec1::<u8>());
    Ok(Pictures { shape, bytes: bytes.map_err(|e| wrong(e.to_string()))? })
}

fn open_data(source: &str) -> Result<Dataset> {
    let (line, split) = source_and_split(source)?;
    Ok(open(&DataConfig { split, ..DataConfig::spelled(line)? })?)
}

/// The pictures of a data set, `[n, h, w, c]`.
fn upright(data: &Dataset) -> Pictures {
    let [c, h, w] = data.shape();
    let mut bytes = Vec::with_capacity(data.len() * c * h * w);
    for i in 0..data.len() {
        let picture = data.picture(i); // [c, h, w]
        bytes.extend((0..h * w).flat_map(|p| (0..c).map(move |c| picture[c * h * w + p])));
    }
    Pictures { shape: [h, w, c], bytes }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_read_with_its_split_and_labels() {
        assert_eq!(read("digits:test").unwrap().len(), 360);
        assert_eq!(Named::read("digits:test").unwrap().labels.map(|l| l.len()), Some(360));
        let small = read("digits?resolution=4&resize=box:test").unwrap();
        assert_eq!((small.shape, small.len()), ([4, 4, 1], 360));
        assert!(read("digits:tset").unwrap_err().to_string().contains("did you mean"));
    }
}
