//! Arrays of numbers in NumPy's .npz files, whole.

use super::sources::{archive::members, files};
use crate::{Error, Result};
use std::{io::Read, path::Path};

/// An array of an .npz file.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Its sides.
    pub shape: Vec<u64>,
    /// What it holds.
    pub values: Values,
}

/// What an array holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// Numbers, row-major: f8, and f4 made so.
    Numbers(Vec<f64>),
    /// Text.
    Text(String),
}

/// The most bytes of one array.
const MAX_BYTES: u64 = 8 << 30;

/// The array `name` of an .npz file; none where there is no such array. It may be stored or deflated.
///
/// # Errors
/// When the file is missing or damaged, or the array is neither of f4, of f8 nor text, row-major.
pub fn read_array(path: &Path, name: &str) -> Result<Option<Array>> {
    let Some(member) = members(path)?.remove(name) else { return Ok(None) };
    let (mut reader, header) = member.open(path)?;
    let wrong = |message: String| -> Error { member.fault(path, message) };
    let (size, of) = (header.item_size().unwrap_or(0), &header.dtype);
    let known = ["<f8", "<f4"].contains(&of.as_str()) || of.starts_with("<U");
    let bytes = header.data(size).filter(|bytes| known && *bytes <= MAX_BYTES && !header.fortran);
    let Some(bytes) = bytes else {
        let expected = "expected row-major <f8 or <f4";
        return Err(wrong(format!("{of} {:?}: {expected}", header.shape)));
    };
    let data = files::exactly(&mut reader, bytes as usize)
        .map_err(|e| files::read_fault(path, &member.name, &e))?;
    let mut rest = Vec::new();
    reader.read_to_end(&mut rest).map_err(|e| files::read_fault(path, &member.name, &e))?;
    if !rest.is_empty() || reader.crc().sum() != member.checksum {
        return Err(wrong("damaged: the checksum is another".into()));
    }
    let values = match of.as_str() {
        "<f8" => {
            Values::Numbers(data.chunks_exact(8).map(|b| f64::from_le_bytes(eight(b))).collect())
        }
        "<f4" => Values::Numbers(
            data.chunks_exact(4).map(|b| f64::from(f32::from_bits(four(b)))).collect(),
        ),
        _ => Values::Text(
            data.chunks_exact(4)
                .filter_map(|b| char::from_u32(four(b)))
                .filter(|c| *c != '\0')
                .collect(),
        ),
    };
    Ok(Some(Array { shape: header.shape, values }))
}

/// Names of the arrays of an .npz file, sorted.
///
/// # Errors
/// When the file is missing or damaged.
pub fn array_names(path: &Path) -> Result<Vec<String>> {
    Ok(members(path)?.into_keys().collect())
}

fn four(bytes: &[u8]) -> u32 {
    bytes.iter().rev().fold(0, |value, byte| value << 8 | u32::from(*byte))
}

fn eight(bytes: &[u8]) -> [u8; 8] {
    let mut all = [0; 8];
    all.copy_from_slice(bytes);
    all
}
