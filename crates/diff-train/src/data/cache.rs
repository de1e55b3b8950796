//! Prepared pictures on disk, under the hash of their content.
//!
//! ```text
//! <root>/sources/<key>.json    which content a source with given options has
//! <root>/data/<sha256>/        pixels.bin, labels.bin, indices.bin, meta.json
//! ```
//!
//! A folder of `data` appears complete or not at all. Nothing in it is ever written to again.

use super::{
    Dataset, Report,
    content::{Content, hex},
    dataset::Storage,
    mmap::Mapped,
    pass::{Outcome, Pass},
};
use crate::{Error, Result};
use diff_core::save::{atomic, atomic_bytes, create_folder, io_error, remove, rename, sync_folder};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};
use std::{
    fs::{self, File},
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// Raised when the same source would be decoded or stored differently.
const FORMAT: u32 = 1;

const PIXELS: &str = "pixels.bin";
const LABELS: &str = "labels.bin";
const INDICES: &str = "indices.bin";
const META: &str = "meta.json";
const SCRATCH: &str = ".scratch-";

/// What a source turned out to hold.
#[derive(Serialize, Deserialize)]
struct Memo {
    format: u32,
    source: String,
    sha256: String,
    classes: Vec<String>,
    report: Report,
}

/// What the files of a content folder hold.
#[derive(Serialize, Deserialize)]
struct Meta {
    format: u32,
    shape: [usize; 3],
    count: usize,
    sha256: String,
}

/// Opens what is stored of a pass, and stores it first where it is not.
///
/// # Errors
/// Those of the pass, and when the cache cannot be read or written.
pub(super) fn open(pass: &Pass, root: &Path) -> Result<Dataset> {
    let key = key(pass)?;
    let memo = root.join("sources").join(format!("{key}.json"));
    let data = match stored(pass, root, &memo) {
        Ok(Some(data)) => data,
        _ => {
            let _lock = lock(root, &key);
            // Another process may have stored it while this one waited.
            match stored(pass, root, &memo) {
                Ok(Some(data)) => data,
                Ok(None) => build(pass, root, &key, &memo)?,
                Err(error) => {
                    eprintln!("{error}; preparing the pictures again");
                    build(pass, root, &key, &memo)?
                }
            }
        }
    };
    pass.accept(data.report())?;
    Ok(data)
}

/// What decides the content: the source as it is now, and all that is done to it.
fn key(pass: &Pass) -> Result<String> {
    let config = pass.config();
    let options = serde_json::json!({
        "format": FORMAT,
        "source": pass.source().fingerprint()?,
        "preparation": config.preparation().describe(),
        "split": config.split,
        "held_out": config.held_out,
        "range": config.range,
    });
    Ok(hex(Sha256::new().chain_update(options.to_string())))
}

/// What is stored, if anything is.
///
/// # Errors
/// When it is damaged.
fn stored(pass: &Pass, root: &Path, memo: &Path) -> Result<Option<Dataset>> {
    if !memo.exists() {
        return Ok(None);
    }
    let found: Memo = json(memo)?;
    match found.format {
        FORMAT => read(pass.name(), root, found).map(Some),
        other => Err(damaged(memo, format!("format {other}, expected {FORMAT}"))),
    }
}

fn read(name: &str, root: &Path, memo: Memo) -> Result<Dataset> {
    let folder = root.join("data").join(&memo.sha256);
    let meta = read_meta(&folder)?;
    if meta.sha256 != memo.sha256 {
        return Err(damaged(&folder, format!("{META} names {}", meta.sha256)));
    }
    let load = |file: &str| {
        let path = folder.join(file);
        fs::read(&path).map_err(io_error(&path, "read"))
    };
    let words = |bytes: &[u8]| u32::from_le_bytes(std::array::from_fn(|i| bytes[i]));
    let longs = |bytes: &[u8]| u64::from_le_bytes(std::array::from_fn(|i| bytes[i]));
    Ok(Dataset {
        name: name.to_string(),
        shape: meta.shape,
        classes: memo.classes,
        pixels: Storage::Mapped(Arc::new(Mapped::open(&folder.join(PIXELS))?)),
        labels: load(LABELS)?.chunks_exact(4).map(words).collect(),
        indices: load(INDICES)?.chunks_exact(8).map(longs).collect(),
        sha256: memo.sha256,
        report: memo.report,
        folder: Some(folder),
    })
}

/// The meta file of a content folder whose files have the sizes it calls for.
fn read_meta(folder: &Path) -> Result<Meta> {
    let meta: Meta = json(&folder.join(META))?;
    let picture = meta.shape.iter().try_fold(1usize, |size, length| size.checked_mul(*length));
    for (file, each) in [(PIXELS, picture), (LABELS, Some(4)), (INDICES, Some(8))] {
        let path = folder.join(file);
        let found = fs::metadata(&path).map_err(io_error(&path, "examine"))?.len();
        let expected = each.and_then(|each| each.checked_mul(meta.count));
        if meta.count == 0 || expected.map(|size| size as u64) != Some(found) {
            let expected = format!("{} pictures of {:?}", meta.count, meta.shape);
            return Err(damaged(&path, format!("{found} bytes do not fit {expected}")));
        }
    }
    Ok(meta)
}

fn build(pass: &Pass, root: &Path, key: &str, memo: &Path) -> Result<Dataset> {
    let data = root.join("data");
    create_folder(&data)?;
    let scratch = Scratch::new(&data, key)?;
    let (mut content, Outcome { shape, classes, report }) = write_pixels(pass, &scratch.0)?;
    let sha256 = content.finish();
    let labels: Vec<u8> = content.labels.iter().flat_map(|label| label.to_le_bytes()).collect();
    let indices: Vec<u8> = content.indices.iter().flat_map(|index| index.to_le_bytes()).collect();
    atomic_bytes(&scratch.0.join(LABELS), &labels)?;
    atomic_bytes(&scratch.0.join(INDICES), &indices)?;
    let meta = Meta { format: FORMAT, shape, count: content.indices.len(), sha256: sha256.clone() };
    write_json(&scratch.0.join(META), &meta)?;
    place(scratch, &data.join(&sha256))?;
    let found = Memo { format: FORMAT, source: pass.name().into(), sha256, classes, report };
    write_json(memo, &found)?;
    read(pass.name(), root, found)
}

fn write_pixels(pass: &Pass, folder: &Path) -> Result<(Content, Outcome)> {
    let path = folder.join(PIXELS);
    let (mut content, mut outcome, mut size) = (Content::default(), None, 0);
    let written = atomic(&path, |file| {
        outcome = Some(pass.run(&mut |kept| {
            size = kept.bytes.len() as u64;
            content.add(&kept);
            Ok(file.write_all(&kept.bytes).map_err(io_error(&path, "write"))?)
        })?);
        Ok(())
    });
    written
        .map_err(|error| explain_full(error, folder, pass.source().count().map(|n| n * size)))?;
    let outcome = outcome.ok_or_else(|| Dataset::error(pass.name(), "no pictures"))?;
    Ok((content, outcome))
}

/// Says how much room is needed where there was none left.
fn explain_full(error: Error, folder: &Path, needed: Option<u64>) -> Error {
    let full = matches!(&error, Error::Core(diff_core::Error::Io { source, .. })
        if matches!(source.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded));
    if !full {
        return error;
    }
    let root = folder.parent().unwrap_or(folder);
    let needed = needed.map_or_else(String::new, |n| format!(" (the pictures take {n} bytes)"));
    let message = format!("no space left{needed}; free some, or name another folder as data.cache");
    Error::Input { path: root.to_path_buf(), message }
}

/// Gives a complete scratch folder its name.
fn place(scratch: Scratch, folder: &Path) -> Result<()> {
    if rename(&scratch.0, folder).is_err() {
        // The same content is there already, from another source or process, or it is damaged.
        if read_meta(folder).is_ok() {
            return Ok(());
        }
        remove(folder)?;
        match rename(&scratch.0, folder) {
            Err(_) if read_meta(folder).is_ok() => return Ok(()),
            renamed => renamed.map_err(io_error(folder, "rename into place"))?,
        }
    }
    Ok(sync_folder(folder.parent().unwrap_or(folder))?)
}

/// A folder that goes away unless it is renamed.
struct Scratch(PathBuf);

impl Scratch {
    fn new(data: &Path, key: &str) -> Result<Self> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("{SCRATCH}{key}-{}-{number}", std::process::id());
        let folder = data.join(name);
        create_folder(&folder)?;
        Ok(Scratch(folder))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // After the rename there is nothing; a folder that stays is swept by the next build.
        let _ = remove(&self.0);
    }
}

/// Waits for other processes that prepare the same pictures, and sweeps up after killed ones. Where
/// the file system has no locks, both prepare them, and the second finds the first's result.
fn lock(root: &Path, key: &str) -> Option<File> {
    let folder = root.join("sources");
    create_folder(&folder).ok()?;
    let open = |key: &str| File::create(folder.join(format!("{key}.lock"))).ok();
    let lock = open(key)?;
    if lock.try_lock().is_err() {
        eprintln!("waiting for another process that prepares the same pictures");
        lock.lock().ok()?;
    }
    for entry in fs::read_dir(root.join("data")).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name.strip_prefix(SCRATCH).and_then(|rest| rest.split('-').next());
        // Whoever builds holds the lock of its key as long as its scratch folder exists.
        let held = owner.filter(|owner| *owner != key).map(open);
        let abandoned = held
            .as_ref()
            .is_none_or(|file| file.as_ref().is_some_and(|file| file.try_lock().is_ok()));
        if owner.is_some() && abandoned {
            let _ = remove(&entry.path());
        }
    }
    Some(lock)
}

fn json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = fs::read(path).map_err(io_error(path, "read"))?;
    serde_json::from_slice(&text).map_err(|e| damaged(path, e.to_string()))
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value).map_err(|e| damaged(path, e.to_string()))?;
    Ok(atomic_bytes(path, text.as_bytes())?)
}

fn damaged(path: &Path, message: String) -> Error {
    Error::Input { path: path.to_path_buf(), message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_explained_with_the_bytes_needed() {
        let io = |kind: ErrorKind| io_error(Path::new("c/data/s/pixels.bin"), "write")(kind.into());
        let told = explain_full(io(ErrorKind::StorageFull).into(), Path::new("c/data/s"), Some(42));
        let text = told.to_string();
        assert!(text.starts_with("c/data: no space left") && text.contains("42 bytes"), "{text}");
        let other = explain_full(io(ErrorKind::NotFound).into(), Path::new("c"), None);
        assert!(other.to_string().contains("cannot write"), "{other}");
    }

    #[test]
    fn scratch_folders_of_killed_builds_are_swept() {
        let root = tempfile::tempdir().unwrap();
        let data = root.path().join("data");
        fs::create_dir_all(data.join(".scratch-abc-1-0/deep")).unwrap();
        fs::create_dir_all(data.join(".scratch-killed-1-0")).unwrap();
        fs::create_dir_all(data.join(".scratch-running-1-0")).unwrap();
        fs::create_dir_all(data.join("complete")).unwrap();
        let left = || {
            let names = fs::read_dir(&data).unwrap().map(|e| e.unwrap().file_name());
            let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
            names.sort();
            names
        };
        let running = lock(root.path(), "running").unwrap();
        assert_eq!(left(), ["complete"], "all were abandoned");
        fs::create_dir_all(data.join(".scratch-running-2-0")).unwrap();
        let other = lock(root.path(), "abc").unwrap();
        assert_eq!(left(), [".scratch-running-2-0", "complete"]);
        drop((running, other));
        assert!(lock(root.path(), "abc").is_some());
        assert_eq!(left(), ["complete"]);
    }
}
