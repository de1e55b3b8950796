//! Small pictures and the files that hold them.

use ::parquet::{
    arrow::ArrowWriter,
    file::{metadata::KeyValue, properties::WriterProperties},
};
use arrow_array::{ArrayRef, BinaryArray, Int64Array, RecordBatch, StringArray, StructArray};
use diff_train::data::{DataConfig, Dataset, open};
use std::{
    fs,
    io::{Cursor, Write},
    path::Path,
    sync::Arc,
};
use tempfile::TempDir;

/// A scene: a folder for sources and one for the cache.
pub(crate) struct Scene {
    pub(crate) dir: TempDir,
}

impl Scene {
    pub(crate) fn new() -> Self {
        Scene { dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// The configuration of a source in this scene.
    pub(crate) fn config(&self, source: &str) -> DataConfig {
        DataConfig {
            source: self.path(source).to_string_lossy().into_owned(),
            cache: Some(self.path("cache")),
            ..DataConfig::default()
        }
    }

    pub(crate) fn open(&self, source: &str) -> Dataset {
        open(&self.config(source)).unwrap()
    }

    pub(crate) fn error(&self, source: &str) -> String {
        error(&self.config(source))
    }

    /// Names below a folder of the cache.
    pub(crate) fn cached(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path("cache").join(folder)).into_iter().flatten();
        let names = entries.map(|e| e.unwrap().file_name().to_string_lossy().into_owned());
        let mut names: Vec<String> = names.filter(|name| !name.ends_with(".lock")).collect();
        names.sort();
        names
    }
}

/// Why a configuration does not open.
pub(crate) fn error(config: &DataConfig) -> String {
    match open(config) {
        Ok(data) => panic!("{} opened with {} pictures", data.name(), data.len()),
        Err(error) => {
            let error = anyhow::Error::from(error);
            error.chain().map(ToString::to_string).collect::<Vec<_>>().join(": ")
        }
    }
}

/// Row-major [h, w, 3], different at every place and for every seed.
pub(crate) fn pixels(seed: u8, h: usize, w: usize) -> Vec<u8> {
    let places = (0..h).flat_map(|y| (0..w).map(move |x| (y, x)));
    places.flat_map(|(y, x)| [seed, (7 * y) as u8, (11 * x) as u8]).collect()
}

/// The same as [3, h, w], which is how it is stored.
pub(crate) fn planes(seed: u8, h: usize, w: usize) -> Vec<u8> {
    let bytes = pixels(seed, h, w);
    (0..3).flat_map(|c| bytes[c..].iter().step_by(3).copied().collect::<Vec<_>>()).collect()
}

/// [`pixels`] as a PNG file.
pub(crate) fn png(seed: u8, h: usize, w: usize) -> Vec<u8> {
    let buffer = image::RgbImage::from_raw(w as u32, h as u32, pixels(seed, h, w)).unwrap();
    let mut file = Cursor::new(Vec::new());
    buffer.write_to(&mut file, image::ImageFormat::Png).unwrap();
    file.into_inner()
}

/// A zip archive of these entries.
pub(crate) fn zip(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in entries {
        writer.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// Pictures as the Hub stores them: a column of {bytes, path}.
pub(crate) fn hub_pictures(files: &[Option<Vec<u8>>]) -> ArrayRef {
    let bytes: BinaryArray = files.iter().map(Option::as_deref).collect();
    let paths: StringArray = (0..files.len()).map(|i| Some(format!("{i}.png"))).collect();
    let parts: Vec<(&str, ArrayRef)> = vec![("bytes", Arc::new(bytes)), ("path", Arc::new(paths))];
    Arc::new(StructArray::try_from(parts).unwrap())
}

pub(crate) fn labels(labels: &[Option<i64>]) -> ArrayRef {
    Arc::new(Int64Array::from(labels.to_vec()))
}

/// A Parquet file of these columns, two rows in a row group.
pub(crate) fn parquet(path: &Path, columns: Vec<(&str, ArrayRef)>, metadata: Option<&str>) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let entry = metadata.map(|text| KeyValue::new("huggingface".into(), text.to_string()));
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(2))
        .set_key_value_metadata(entry.map(|entry| vec![entry]))
        .build();
    let file = fs::File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

/// Index, label and first byte of every picture; the first byte is what [`pixels`] was seeded with.
pub(crate) fn listing(data: &Dataset) -> Vec<(u64, Option<u32>, u8)> {
    (0..data.len()).map(|i| (data.index(i), data.label(i), data.picture(i)[0])).collect()
}
