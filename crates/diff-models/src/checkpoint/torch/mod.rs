//! Files of `torch.save`, in both of its containers, read as data: nothing that a file names is called.
//!
//! A file is a claim. What it says of sizes is compared with its length before memory is taken, and
//! what reads it does not recurse.

mod archive;
mod choose;
mod legacy;
mod pickle;
mod stream;
mod tensor;
mod value;

use crate::error::{Error, Result};
use candle_core::Tensor;
use choose::Chosen;
use diff_core::save;
use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    io::{BufRead, BufReader},
    path::Path,
};
use tensor::{Storage, Stored};
use value::Pickle;

/// How many times the length of its file the tensors may take, as they may share storages.
const SHARED: u64 = 16;

/// Where a container keeps elements.
trait Storages {
    /// All bytes of a storage.
    fn bytes(&mut self, storage: &Storage) -> Result<Vec<u8>>;
}

/// The state dict of a file: what was saved, or in what was saved the one to sample with (averaged
/// weights before others). A line on stderr says when a training checkpoint has no averages.
///
/// # Errors
/// Names the file, and what in it is damaged, not supported or not to be chosen between.
pub(super) fn read(path: &Path) -> Result<HashMap<String, Tensor>> {
    let file = File::open(path).map_err(save::io_error(path, "read"))?;
    let length = file.metadata().map_err(save::io_error(path, "read"))?.len();
    let mut reader = BufReader::new(file);
    let start = reader.fill_buf().map_err(save::io_error(path, "read"))?;
    let read = match start {
        [b'P', b'K', 3, 4, ..] => archive::open(reader, length)
            .and_then(|(pickle, mut archive)| tensors(&pickle, &mut archive, length)),
        [0x80, ..] => legacy::open(reader, length)
            .and_then(|(pickle, mut legacy)| tensors(&pickle, &mut legacy, length)),
        _ => {
            let message = "neither a zip archive nor a pickle, expected what torch.save writes";
            Err(Error::Input(message.into()))
        }
    };
    let (tensors, note) = read.map_err(|e| Error::file(path, e))?;
    if let Some(note) = note {
        eprintln!("{}: {note}", path.display());
    }
    Ok(tensors)
}

type Read = (HashMap<String, Tensor>, Option<String>);

fn tensors(pickle: &Pickle, storages: &mut dyn Storages, length: u64) -> Result<Read> {
    let Chosen { state, note } = choose::choose(pickle.root())?;
    let mut by_storage: BTreeMap<&str, Vec<(&str, Stored)>> = BTreeMap::new();
    let (mut whole, mut taken) = (0u64, 0u64);
    for (name, node) in &state {
        let stored = Stored::read(*node).map_err(|e| of(name, e))?;
        taken = taken.saturating_add(stored.bytes());
        let users = by_storage.entry(stored.storage.key).or_default();
        if users.is_empty() {
            whole = whole.saturating_add(stored.storage.bytes()?);
        }
        users.push((name, stored));
    }
    if whole > length || taken > length.saturating_mul(SHARED) {
        return Err(Error::Input(format!(
            "tensors of {taken} bytes on storages of {whole} bytes, in a file of {length} bytes"
        )));
    }
    let mut tensors = HashMap::new();
    for users in by_storage.into_values() {
        let Some((first, Stored { storage, .. })) = users.first() else { continue };
        let (key, expected) = (storage.key, storage.bytes()?);
        let fault = |e| of(first, Error::Input(format!("storage {key}: {e}")));
        let bytes = storages.bytes(storage).map_err(fault)?;
        if bytes.len() as u64 != expected {
            let found = bytes.len();
            return Err(fault(Error::Input(format!("expected {expected} bytes, found {found}"))));
        }
        for (name, stored) in &users {
            if stored.storage.bytes()? != expected {
                return Err(of(name, Error::Input(format!("storage {key}: not of one size"))));
            }
            tensors.insert(name.to_string(), stored.tensor(&bytes).map_err(|e| of(name, e))?);
        }
    }
    Ok((tensors, note))
}

/// A fault of one tensor.
fn of(name: &str, error: Error) -> Error {
    Error::Input(format!("{name}: {error}"))
}
