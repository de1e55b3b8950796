//! Finished cells as one file, so that an experiment can be run in parts that are far apart: what
//! `OUT/cells` holds, without the bulky files that a result can do without.

use super::{
    cell::{Finished, RECORD},
    plan::Cell,
};
use anyhow::{Context, Result, bail};
use diff_core::save::{self, io_error};
use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{BufReader, Cursor, Read, Write},
    path::{Component, Path, PathBuf},
};
use zip::{CompressionMethod, ZipArchive, ZipWriter, write::SimpleFileOptions};

/// Puts the cells of an archive that are not finished in the folder `cells` there, and tells how many;
/// none if there is no archive yet.
///
/// # Errors
/// When the archive is damaged, or holds a file outside the folder of a cell.
pub(super) fn unpack(archive: &Path, cells: &Path) -> Result<usize> {
    let Some(mut zip) = open(archive)? else { return Ok(0) };
    let mut records = Vec::new();
    let mut finished: BTreeSet<String> = BTreeSet::new();
    for i in 0..zip.len() {
        let (cell, path, bytes) = read(&mut zip, i).with_context(|| damaged(archive))?;
        let folder = cells.join(&cell);
        if folder.join(RECORD).exists() {
            continue;
        }
        match path.as_os_str() == RECORD {
            true => records.push((folder.join(path), bytes)),
            false => save::atomic_bytes(&folder.join(path), &bytes)?,
        }
        finished.insert(cell);
    }
    // A cell is finished once its record is there.
    for (path, bytes) in records {
        save::atomic_bytes(&path, &bytes)?;
    }
    Ok(finished.len())
}

/// Writes the archive anew: `finished` cells, and those others that it held before.
///
/// # Errors
/// When a file cannot be read or written, or the archive that is there is damaged.
pub(super) fn pack<'a>(
    archive: &Path,
    finished: impl Iterator<Item = (&'a Cell, &'a Finished)>,
) -> Result<()> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    // Without times, so that equal cells are equal bytes.
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Deflated)
        .last_modified_time(zip::DateTime::default());
    let mut packed = BTreeSet::new();
    for (cell, done) in finished {
        let name = done.folder.file_name().context("a cell's folder has no name")?;
        let name = name.to_string_lossy().into_owned();
        let small = done.record.outputs.keys().map(String::as_str);
        let small = small.filter(|file| !cell.task.bulky().contains(file));
        for file in small.chain([RECORD]) {
            let path = done.folder.join(file);
            zip.start_file(format!("{name}/{file}"), options)?;
            zip.write_all(&fs::read(&path).map_err(io_error(&path, "read"))?)?;
        }
        packed.insert(name);
    }
    if let Some(mut before) = open(archive)? {
        for i in 0..before.len() {
            let (cell, ..) = read(&mut before, i).with_context(|| damaged(archive))?;
            if !packed.contains(&cell) {
                zip.raw_copy_file(before.by_index_raw(i)?)?;
            }
        }
    }
    Ok(save::atomic_bytes(archive, zip.finish()?.get_ref())?)
}

fn open(archive: &Path) -> Result<Option<ZipArchive<BufReader<File>>>> {
    if !archive.exists() {
        return Ok(None);
    }
    let file = File::open(archive).map_err(io_error(archive, "open"))?;
    ZipArchive::new(BufReader::new(file)).with_context(|| damaged(archive)).map(Some)
}

fn damaged(archive: &Path) -> String {
    format!("{}: not a whole archive (zip) of cells", archive.display())
}

/// The cell that a file of the archive belongs to, the file's path in the cell's folder, and its bytes.
fn read(zip: &mut ZipArchive<BufReader<File>>, i: usize) -> Result<(String, PathBuf, Vec<u8>)> {
    let mut entry = zip.by_index(i)?;
    let name = PathBuf::from(entry.name()?.as_ref());
    let plain = name.components().all(|part| matches!(part, Component::Normal(_)));
    let mut parts = name.components();
    let (cell, path) = (parts.next(), parts.as_path());
    let (true, Some(cell), false) = (plain, cell, path.as_os_str().is_empty()) else {
        bail!("{}: expected CELL/FILE", name.display());
    };
    let mut bytes = Vec::new();
    entry.read_to_end(&mut bytes).with_context(|| name.display().to_string())?;
    Ok((cell.as_os_str().to_string_lossy().into_owned(), path.to_path_buf(), bytes))
}
