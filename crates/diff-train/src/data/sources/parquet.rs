//! Parquet files: one, or a folder of them in one of the Hub's layouts.

mod columns;
mod layout;

use super::{Opened, Request, is_folder, stamp::Stamp};
use crate::{
    Error, Result,
    data::{Item, Raw, Source},
};
use ::parquet::{
    arrow::{
        ProjectionMask,
        arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder},
    },
    errors::ParquetError,
    schema::types::SchemaDescriptor,
};
use columns::Columns;
use diff_core::save::io_error;
use std::{
    collections::VecDeque,
    fmt::Display,
    fs::{self, File},
    path::{Path, PathBuf},
};

/// Rows read at once.
const ROWS: usize = 64;

type Builder = ParquetRecordBatchReaderBuilder<File>;

struct Parquet {
    name: String,
    files: Vec<PathBuf>,
    rows: u64,
    columns: Columns,
}

/// A `.parquet` file, or a folder with one somewhere in it.
pub(super) fn recognises(path: &Path) -> bool {
    match path.is_dir() {
        true => !files(path).is_empty(),
        false => path.is_file() && is_parquet(path),
    }
}

fn is_parquet(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("parquet"))
}

/// The Parquet files of a folder and its sub-folders, sorted.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = VecDeque::from([(folder.to_path_buf(), 0)]);
    while let Some((folder, depth)) = folders.pop_front() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if is_parquet(&path) && path.is_file() {
                found.push(path);
            } else if depth < layout::DEPTH && is_folder(&entry) {
                folders.push_back((path, depth + 1));
            }
        }
    }
    found.sort();
    found
}

pub(super) fn open(path: &Path, request: &Request) -> Opened {
    let files = match path.is_dir() {
        true => layout::choose(path, files(path), request)?,
        false => {
            request.undivided()?;
            vec![path.to_path_buf()]
        }
    };
    let columns = Columns::find(&files, request)?;
    let mut rows = 0;
    for file in &files {
        let metadata = reader(file)?.metadata().file_metadata().num_rows();
        rows += u64::try_from(metadata).map_err(|_| damaged(file, "a negative number of rows"))?;
    }
    Ok(Box::new(Parquet { name: request.name.to_string(), files, rows, columns }))
}

fn reader(path: &Path) -> Result<Builder> {
    let file = File::open(path).map_err(io_error(path, "open"))?;
    Builder::try_new(file).map_err(|e: ParquetError| damaged(path, e))
}

/// The batches of a file with the root columns `wanted` alone, which must exist.
fn batches(path: &Path, wanted: &[&str]) -> Result<ParquetRecordBatchReader> {
    let builder = reader(path)?;
    let mask = mask(builder.parquet_schema(), wanted).map_err(|missing| {
        let listed = columns::listed(builder.parquet_schema());
        damaged(path, format!("no column `{missing}`; found {listed}"))
    })?;
    let built = builder.with_projection(mask).with_batch_size(ROWS).build();
    built.map_err(|e| damaged(path, e))
}

fn mask<'a>(schema: &SchemaDescriptor, wanted: &[&'a str]) -> Result<ProjectionMask, &'a str> {
    let place = |name: &&'a str| {
        let fields = schema.root_schema().get_fields();
        fields.iter().position(|field| field.name() == *name).ok_or(*name)
    };
    let places: Vec<usize> = wanted.iter().map(place).collect::<Result<_, _>>()?;
    Ok(ProjectionMask::roots(schema, places))
}

fn damaged(path: &Path, reason: impl Display) -> Error {
    Error::Input { path: path.to_path_buf(), message: reason.to_string() }
}

impl Source for Parquet {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn fingerprint(&self) -> Result<String> {
        let columns = &self.columns;
        let mut stamp = Stamp::default().text("parquet").text(&columns.picture);
        stamp = stamp.text(columns.label.as_deref().unwrap_or_default());
        for file in &self.files {
            stamp = stamp.file(file)?;
        }
        Ok(stamp.finish())
    }

    fn count(&self) -> Option<u64> {
        Some(self.rows)
    }

    fn classes(&self) -> Vec<String> {
        self.columns.classes.clone()
    }

    fn items(&self) -> Result<Box<dyn Iterator<Item = Result<Item>> + Send + '_>> {
        let files = self.files.clone().into();
        let rows = VecDeque::new();
        Ok(Box::new(Rows { source: self, files, open: None, rows, row: 0, index: 0 }))
    }
}

/// The rows of all files, one batch in memory.
struct Rows<'a> {
    source: &'a Parquet,
    files: VecDeque<PathBuf>,
    open: Option<(PathBuf, ParquetRecordBatchReader)>,
    rows: VecDeque<columns::Row>,
    /// The next row of the file, and of all files.
    row: u64,
    index: u64,
}

impl Rows<'_> {
    /// Fills `rows`; false at the end.
    fn fill(&mut self) -> Result<bool> {
        while self.rows.is_empty() {
            if self.open.is_none() {
                let Some(path) = self.files.pop_front() else { return Ok(false) };
                let reader = batches(&path, &self.source.columns.wanted())?;
                (self.open, self.row) = (Some((path, reader)), 0);
            }
            let Some((path, reader)) = &mut self.open else { return Ok(false) };
            match reader.next() {
                None => self.open = None,
                Some(batch) => {
                    let batch = batch.map_err(|e| damaged(path, e))?;
                    let rows = self.source.columns.rows(&batch);
                    self.rows = rows.map_err(|reason| damaged(path, reason))?;
                }
            }
        }
        Ok(true)
    }
}

impl Iterator for Rows<'_> {
    type Item = Result<Item>;

    fn next(&mut self) -> Option<Result<Item>> {
        match self.fill() {
            Ok(true) => {}
            Ok(false) => return None,
            Err(error) => {
                // A damaged file has no rows that could be told from missing ones.
                (self.open, self.files) = (None, VecDeque::new());
                return Some(Err(error));
            }
        }
        let columns::Row { bytes, label } = self.rows.pop_front()?;
        let file = self.open.as_ref().and_then(|(path, _)| path.file_name()).unwrap_or_default();
        let name = format!("{} row {}", file.to_string_lossy(), self.row);
        let index = self.index;
        (self.row, self.index) = (self.row + 1, self.index + 1);
        let raw = match bytes {
            Some(bytes) => Raw::Encoded(bytes),
            None => Raw::Unreadable("null".into()),
        };
        Some(Ok(Item { index, name, label, raw }))
    }
}
