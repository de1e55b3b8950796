//! Pictures in a safetensors file: one tensor of bytes, [N, H, W], [N, H, W, C] or [N, C, H, W], or of f32
//! [N, C, H, W] in [-1, 1], as samplers hand them over.
//!
//! Pictures are read one after the other, so a file may be larger than the memory.

use super::{
    Opened, Request,
    files::{self, MAX_SIDE, exactly, fault, interleaved, read_fault},
    npy::{Layout, sides_of},
    stamp::Stamp,
};
use crate::{
    Result,
    data::{Item, Pixels, Raw, Source},
};
use ::safetensors::{Dtype, tensor::Metadata};
use diff_models::pictures::byte;
use std::{
    io::{BufReader, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

/// What the tensor may be called.
const NAMES: [&str; 5] = ["images", "pictures", "samples", "arr_0", "x"];
/// The longest header that is read; the format allows no more.
const MAX_HEADER: u64 = 100 << 20;

struct Tensor {
    path: PathBuf,
    name: String,
    /// Where its values begin in the file.
    start: u64,
    count: u64,
    /// Height, width, channels.
    shape: [usize; 3],
    layout: Layout,
    floats: bool,
}

pub(super) fn recognises(path: &Path) -> bool {
    let ending = path.extension();
    path.is_file() && ending.is_some_and(|ending| ending.eq_ignore_ascii_case("safetensors"))
}

pub(super) fn open(path: &Path, request: &Request) -> Opened {
    request.undivided()?;
    let (header, start) = header(path)?;
    let whole = files::size(path)?;
    let metadata: Metadata = serde_json::from_slice(&header)
        .map_err(|e| fault(path, format!("damaged or truncated safetensors header: {e}")))?;
    let tensors = metadata.tensors();
    let Some((name, about)) = NAMES.iter().find_map(|name| tensors.get_key_value(*name)) else {
        let mut held: Vec<&str> = tensors.keys().map(String::as_str).collect();
        held.sort_unstable();
        let (held, wanted) = (held.join(", "), NAMES.join(", "));
        return Err(fault(path, format!("no pictures: it holds {held}, expected {wanted}")));
    };
    let wrong = |message: String| fault(path, format!("{name}: {message}"));
    let (sides, floats) = match (about.dtype, &about.shape[..]) {
        (Dtype::U8, [_, sides @ ..]) => (sides_of(sides), false),
        (Dtype::F32, [_, c @ (1 | 3), h, w]) => (Ok((*h, *w, *c, Layout::Planar)), true),
        (dtype, shape) => {
            let expected = "expected bytes (U8) or F32 [N, C, H, W] of 1 or 3 channels";
            return Err(wrong(format!("{dtype:?} {shape:?}: {expected}")));
        }
    };
    let (height, width, channels, layout) =
        sides.map_err(|problem| wrong(format!("shape {:?}: {problem}", about.shape)))?;
    if ![height, width].iter().all(|side| (1..=MAX_SIDE).contains(side)) {
        return Err(wrong(format!("shape {:?}: expected sides of 1 to {MAX_SIDE}", about.shape)));
    }
    let end = start + about.data_offsets.1 as u64;
    if end > whole {
        return Err(fault(path, format!("truncated: {whole} bytes, {name} ends at {end}")));
    }
    Ok(Box::new(Tensor {
        path: path.to_path_buf(),
        name: name.clone(),
        start: start + about.data_offsets.0 as u64,
        count: about.shape[0] as u64,
        shape: [height, width, channels],
        layout,
        floats,
    }))
}

/// The header, and where values begin.
fn header(path: &Path) -> Result<(Vec<u8>, u64)> {
    let mut file = files::open(path)?;
    let cut = |e| read_fault(path, "safetensors header", &e);
    let length = exactly(&mut file, 8).map_err(cut)?;
    let length = length.iter().rev().fold(0u64, |value, byte| value << 8 | u64::from(*byte));
    if length > MAX_HEADER {
        let message = format!("no safetensors file: a header of {length} bytes");
        return Err(fault(path, format!("{message}, expected at most {MAX_HEADER}")));
    }
    Ok((exactly(&mut file, length as usize).map_err(cut)?, 8 + length))
}

impl Tensor {
    fn picture(&self, reader: &mut impl Read, row: u64) -> Result<Item> {
        let [height, width, channels] = self.shape;
        let name = format!("{} row {row}", self.name);
        let length = height * width * channels * if self.floats { 4 } else { 1 };
        let cut = |e| read_fault(&self.path, &name, &e);
        let mut bytes = exactly(reader, length).map_err(cut)?;
        if self.floats {
            let value = |part: &[u8]| f32::from_le_bytes([part[0], part[1], part[2], part[3]]);
            let values: Vec<f32> = bytes.chunks_exact(4).map(value).collect();
            if let Some(value) = values.iter().find(|value| !value.is_finite()) {
                let raw = Raw::Unreadable(format!("a value is {value}"));
                return Ok(Item { index: row, name, label: None, raw });
            }
            bytes = values.into_iter().map(byte).collect();
        }
        if self.layout == Layout::Planar && channels > 1 {
            bytes = interleaved(&bytes, channels);
        }
        let raw = Raw::Pixels(Pixels { height, width, channels, bytes });
        Ok(Item { index: row, name, label: None, raw })
    }
}

impl Source for Tensor {
    fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    fn fingerprint(&self) -> Result<String> {
        Ok(Stamp::default().text("safetensors").file(&self.path)?.finish())
    }

    fn count(&self) -> Option<u64> {
        Some(self.count)
    }

    fn classes(&self) -> Vec<String> {
        Vec::new()
    }

    fn items(&self) -> Result<Box<dyn Iterator<Item = Result<Item>> + Send + '_>> {
        let mut file = files::open(&self.path)?;
        let moved = file.seek(SeekFrom::Start(self.start));
        moved.map_err(|e| read_fault(&self.path, &self.name, &e))?;
        let mut reader = BufReader::with_capacity(1 << 17, file);
        Ok(Box::new((0..self.count).map(move |row| self.picture(&mut reader, row))))
    }
}

#[cfg(test)]
mod tests {
    use crate::data::{DataConfig, Dataset, open};
    use candle_core::{Device, Tensor};
    use std::{fs, path::Path};

    fn config(path: &Path) -> DataConfig {
        DataConfig {
            source: path.to_string_lossy().into_owned(),
            cache: Some(path.parent().unwrap().join("cache")),
            ..DataConfig::default()
        }
    }

    fn written(path: &Path, name: &str, tensor: Tensor) -> crate::Result<Dataset> {
        candle_core::safetensors::save(&[(name, tensor)].into(), path).unwrap();
        open(&config(path))
    }

    #[test]
    fn bytes_and_floats_of_every_layout_are_the_same_pictures() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.safetensors");
        let bytes: Vec<u8> = (0..2 * 4 * 5 * 3).map(|i| (i * 2) as u8).collect();
        let rows = Tensor::from_vec(bytes.clone(), (2, 4, 5, 3), &Device::Cpu).unwrap();
        let planes = rows.permute((0, 3, 1, 2)).unwrap().contiguous().unwrap();
        let floats: Vec<f32> = planes
            .flatten_all()
            .unwrap()
            .to_vec1::<u8>()
            .unwrap()
            .iter()
            .map(|v| f32::from(*v) / 127.5 - 1.0)
            .collect();
        let floats = Tensor::from_vec(floats, (2, 3, 4, 5), &Device::Cpu).unwrap();
        for (name, tensor) in [("images", rows), ("arr_0", planes.clone()), ("samples", floats)] {
            let data = written(&path, name, tensor).unwrap();
            assert_eq!((data.len(), data.shape()), (2, [3, 4, 5]), "{name}");
            assert_eq!(data.pixels(), planes.flatten_all().unwrap().to_vec1::<u8>().unwrap());
        }
    }

    #[test]
    fn what_it_cannot_read_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.safetensors");
        let zeros = |shape: &[usize], dtype| Tensor::zeros(shape, dtype, &Device::Cpu).unwrap();
        let error = |name: &str, tensor| written(&path, name, tensor).unwrap_err().to_string();
        use candle_core::DType::{F32, F64, U8};
        assert!(error("weights", zeros(&[1, 2, 2, 3], U8)).contains("it holds weights"));
        assert!(error("images", zeros(&[1, 2, 2, 3], F64)).contains("F64 [1, 2, 2, 3]"));
        assert!(error("images", zeros(&[1, 2, 2, 3], F32)).contains("F32 [N, C, H, W]"));
        assert!(error("images", zeros(&[1, 3, 2, 3], U8)).contains("both"));
        let nan = Tensor::full(f32::NAN, (1, 3, 2, 2), &Device::Cpu).unwrap();
        assert!(error("images", nan).contains("a value is NaN"));
        written(&path, "images", zeros(&[2, 4, 4, 3], U8)).unwrap();
        let whole = fs::read(&path).unwrap();
        for (cut, part) in [(whole.len() - 1, "truncated"), (20, "too early"), (3, "too early")] {
            fs::write(&path, &whole[..cut]).unwrap();
            let error = open(&config(&path)).unwrap_err().to_string();
            assert!(error.contains(part) && error.contains("a.safetensors"), "{error}");
        }
        fs::write(&path, [255; 64]).unwrap();
        assert!(open(&config(&path)).unwrap_err().to_string().contains("no safetensors file"));
    }
}
