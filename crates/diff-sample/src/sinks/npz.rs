use super::ImageSink;
use crate::{Error, Result};
use candle_core::{DType, Tensor};
use diff_core::save::{Output, atomic, io_error};
use diff_models::pictures::Pictures;
use std::{
    fs::File,
    io::{self, BufReader, BufWriter, Read, Seek, Write},
    path::{Path, PathBuf},
};
use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

/// NumPy's `.npz`: `arr_0` u8 [N, H, W, C] (guided-diffusion's layout), `provenance` a string,
/// and on request `raw` f32 [N, C, H, W], the values before clamping and rounding.
///
/// Pictures wait in an unnamed file beside the target, so memory does not grow with N.
pub struct NpzSink {
    path: PathBuf,
    provenance: String,
    count: usize,
    written: usize,
    shape: [usize; 3],
    bytes: BufWriter<File>,
    raw: Option<BufWriter<File>>,
}

impl NpzSink {
    /// An archive of exactly `count` pictures at `path`.
    pub fn create(path: &Path, count: usize, provenance: &str, raw: bool) -> Result<Self> {
        Ok(NpzSink {
            path: path.to_path_buf(),
            provenance: provenance.to_string(),
            count,
            written: 0,
            shape: [0; 3],
            bytes: spool(path)?,
            raw: if raw { Some(spool(path)?) } else { None },
        })
    }

    fn pack(&mut self, file: &mut BufWriter<Output>) -> io::Result<()> {
        let [h, w, c] = self.shape;
        let n = self.written;
        let mut zip = ZipWriter::new(file);
        add(&mut zip, "arr_0", "|u1", &[n, h, w, c], rewound(&mut self.bytes)?)?;
        if let Some(raw) = &mut self.raw {
            add(&mut zip, "raw", "<f4", &[n, c, h, w], rewound(raw)?)?;
        }
        let (kind, letters) = npz_text(&self.provenance);
        add(&mut zip, "provenance", &kind, &[], letters.as_slice())?;
        zip.finish()?;
        Ok(())
    }
}

impl ImageSink for NpzSink {
    fn write(&mut self, indices: &[u64], x: &Tensor) -> Result<()> {
        let pictures = Pictures::from_tensor(x)?;
        let [_, h, w, c] = pictures.shape;
        self.shape = [h, w, c];
        let failed = || io_error(&self.path, "write");
        self.bytes.write_all(&pictures.bytes).map_err(failed())?;
        if let Some(raw) = &mut self.raw {
            for value in x.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()? {
                raw.write_all(&value.to_le_bytes()).map_err(failed())?;
            }
        }
        self.written += indices.len();
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        if self.written != self.count {
            let expected = format!("{} pictures", self.count);
            return Err(diff_core::Error::argument("written", self.written, expected).into());
        }
        let path = self.path.clone();
        atomic(&path, |file| {
            self.pack(file).map_err(|e| -> Error { io_error(&path, "write npz")(e).into() })
        })
    }
}

/// An array of an .npz file: its name, NumPy's name of its type, its sides, and its bytes, row-major.
pub type NpzArray<'a> = (&'a str, &'a str, &'a [usize], &'a [u8]);

/// Writes arrays to an .npz file, all or nothing.
///
/// # Errors
/// When the file cannot be written.
pub fn write_npz(path: &Path, arrays: &[NpzArray]) -> Result<()> {
    let pack = |file: &mut BufWriter<Output>| -> io::Result<()> {
        let mut zip = ZipWriter::new(file);
        for (name, kind, shape, bytes) in arrays {
            add(&mut zip, name, kind, shape, *bytes)?;
        }
        zip.finish()?;
        Ok(())
    };
    atomic(path, |file| pack(file).map_err(|e| -> Error { io_error(path, "write npz")(e).into() }))
}

/// Text as NumPy keeps it: the name of its type, and its bytes.
pub fn npz_text(text: &str) -> (String, Vec<u8>) {
    let letters: Vec<u8> = text.chars().flat_map(|c| (c as u32).to_le_bytes()).collect();
    (format!("<U{}", letters.len() / 4), letters)
}

fn spool(path: &Path) -> Result<BufWriter<File>> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    std::fs::create_dir_all(folder).map_err(io_error(folder, "create folder"))?;
    let file = tempfile::tempfile_in(folder).map_err(io_error(folder, "create file in"))?;
    Ok(BufWriter::new(file))
}

fn rewound(spool: &mut BufWriter<File>) -> io::Result<BufReader<&File>> {
    spool.flush()?;
    spool.get_mut().rewind()?;
    Ok(BufReader::new(spool.get_ref()))
}

/// Adds `name.npy`, stored like np.savez does.
fn add(
    zip: &mut ZipWriter<&mut BufWriter<Output>>,
    name: &str,
    kind: &str,
    shape: &[usize],
    mut data: impl Read,
) -> io::Result<()> {
    let options =
        SimpleFileOptions::default().compression_method(CompressionMethod::Stored).large_file(true);
    zip.start_file(format!("{name}.npy"), options)?;
    zip.write_all(&npy_header(kind, shape))?;
    io::copy(&mut data, zip)?;
    Ok(())
}

/// The header of NumPy's format 1.0, padded so that the data starts at a multiple of 64.
fn npy_header(kind: &str, shape: &[usize]) -> Vec<u8> {
    let dims: String = shape.iter().map(|d| format!("{d}, ")).collect();
    let mut dict =
        format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': ({}), }}", dims.trim_end());
    while (10 + dict.len() + 1) % 64 != 0 {
        dict.push(' ');
    }
    dict.push('\n');
    let mut header = b"\x93NUMPY\x01\x00".to_vec();
    header.extend_from_slice(&(dict.len() as u16).to_le_bytes());
    header.extend_from_slice(dict.as_bytes());
    header
}
