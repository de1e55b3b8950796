//! The container before the zip archive: pickles one after the other, then the storages.

use super::{
    Storages, pickle,
    tensor::Storage,
    value::{Node, Pickle, Value},
};
use crate::error::{Error, Result};
use std::{
    collections::HashMap,
    fs::File,
    io::{BufReader, Read, Seek, SeekFrom},
};

/// 0x1950a86a20f9469cfc6c, lowest byte first.
const MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
const PROTOCOL: i64 = 1001;

/// A file, and where in it the elements of each storage begin.
pub(super) struct Legacy {
    reader: BufReader<File>,
    places: HashMap<String, u64>,
}

fn fault<T>(message: impl Into<String>) -> Result<T> {
    Err(Error::Input(message.into()))
}

/// Reads what was pickled, and finds the storages.
pub(super) fn open(mut reader: BufReader<File>, length: u64) -> Result<(Pickle, Legacy)> {
    let mut next =
        |what: &str| pickle::read(&mut reader).map_err(|e| Error::Input(format!("{what}: {e}")));
    match next("the magic number")?.root().value() {
        Value::Long(bytes) if *bytes == MAGIC => {}
        _ => return fault("a pickle that does not begin with torch.save's magic number"),
    }
    let protocol = next("the protocol")?;
    if protocol.root().int() != Some(PROTOCOL) {
        return fault(format!("not of protocol {PROTOCOL}, the only one of torch.save"));
    }
    let system = next("the system's description")?;
    if let Some(Value::Bool(false)) = system.root().entry("little_endian").map(Node::value) {
        return fault("written by a machine with the highest byte first; supported: lowest first");
    }
    let object = next("the object")?;
    let keys = next("the list of storages")?;
    let places = places(&object, &keys, &mut reader, length)?;
    Ok((object, Legacy { reader, places }))
}

/// Goes from storage to storage.
fn places(
    object: &Pickle,
    keys: &Pickle,
    reader: &mut BufReader<File>,
    length: u64,
) -> Result<HashMap<String, u64>> {
    let mut known: HashMap<&str, Storage> = HashMap::new();
    // Others are no storages: the source code of a pickled module, say.
    for node in object.nodes().filter_map(Node::persistent) {
        if node.item(0).and_then(Node::text) == Some("storage") {
            let storage = Storage::read(node)?;
            known.insert(storage.key, storage);
        }
    }
    let Some(keys) = keys.root().items() else { return fault("expected a list of storages") };
    let mut places = HashMap::new();
    let mut place = position(reader.stream_position())?;
    for key in keys {
        let Some(storage) = key.text().and_then(|key| known.get(key)) else {
            return fault("a list of storages with one that no tensor has");
        };
        let (key, bytes) = (storage.key, storage.bytes()?);
        let left = length.saturating_sub(place);
        if left < 8 || left - 8 < bytes {
            return fault(format!(
                "truncated: storage {key} takes {bytes} bytes and 8 for their number, left are {left}"
            ));
        }
        let mut count = [0; 8];
        position(reader.read_exact(&mut count))?;
        let count = u64::from_le_bytes(count);
        if count != storage.elements {
            let expected = storage.elements;
            return fault(format!("storage {key} has {count} elements, expected {expected}"));
        }
        places.insert(key.to_string(), place + 8);
        place += 8 + bytes;
        position(reader.seek(SeekFrom::Start(place)))?;
    }
    Ok(places)
}

fn position<T>(result: std::io::Result<T>) -> Result<T> {
    result.map_err(|e| Error::Input(format!("cannot read it: {e}")))
}

impl Storages for Legacy {
    fn bytes(&mut self, storage: &Storage) -> Result<Vec<u8>> {
        let Some(&place) = self.places.get(storage.key) else { return fault("not in the file") };
        position(self.reader.seek(SeekFrom::Start(place)))?;
        let mut bytes = Vec::new();
        position(self.reader.by_ref().take(storage.bytes()?).read_to_end(&mut bytes))?;
        Ok(bytes)
    }
}
