//! CIFAR-10 and CIFAR-100 in their binary version.

use super::{
    files::{self, exactly, fault, interleaved, numbered, read_fault},
    stamp::Stamp,
};
use crate::{
    Result,
    data::{Item, Pixels, Raw, Source, Split},
};
use std::{
    fs,
    io::{BufReader, Read},
    iter,
    path::{Path, PathBuf},
};

const SIDE: usize = 32;
const PICTURE: usize = 3 * SIDE * SIDE;

/// What tells the two data sets apart.
#[derive(Debug)]
struct Variant {
    name: &'static str,
    train: &'static [&'static str],
    test: &'static [&'static str],
    /// Label bytes before every picture; the last one is the label.
    labels: usize,
    classes: usize,
    class_names: &'static str,
    /// The folder in the archive.
    folder: &'static str,
    archive: &'static str,
    /// Files of the Python version that tell it.
    pickles: &'static [&'static str],
    pickle_folder: &'static str,
}

const VARIANTS: [Variant; 2] = [
    Variant {
        name: "cifar10",
        train: &[
            "data_batch_1.bin",
            "data_batch_2.bin",
            "data_batch_3.bin",
            "data_batch_4.bin",
            "data_batch_5.bin",
        ],
        test: &["test_batch.bin"],
        labels: 1,
        classes: 10,
        class_names: "batches.meta.txt",
        folder: "cifar-10-batches-bin",
        archive: "cifar-10-binary.tar.gz",
        pickles: &["data_batch_1", "test_batch"],
        pickle_folder: "cifar-10-batches-py",
    },
    Variant {
        name: "cifar100",
        train: &["train.bin"],
        test: &["test.bin"],
        // Coarse, then fine.
        labels: 2,
        classes: 100,
        class_names: "fine_label_names.txt",
        folder: "cifar-100-binary",
        archive: "cifar-100-binary.tar.gz",
        pickles: &["train", "meta"],
        pickle_folder: "cifar-100-python",
    },
];

enum Found {
    Binary(PathBuf, &'static Variant),
    Pickles(&'static Variant),
    Archive(&'static Variant),
}

/// True for a folder of the binary version, or around one; and for what [`open`] refuses with
/// advice: the Python version and the archives.
pub(super) fn recognises(path: &Path) -> bool {
    find(path).is_some()
}

/// Opens one split.
pub(super) fn open(path: &Path, split: Split) -> Result<Box<dyn Source>> {
    let (folder, variant) = match find(path) {
        Some(Found::Binary(folder, variant)) => (folder, variant),
        Some(Found::Pickles(variant)) => {
            return Err(fault(
                path,
                format!(
                    "the Python version of {0} is not read: its pickle files can run code; download \
                     the binary version {1}, or use source = \"{0}\" from the Hub",
                    variant.name, variant.archive
                ),
            ));
        }
        Some(Found::Archive(variant)) => {
            return Err(fault(
                path,
                format!("unpack {} and name the folder {}", variant.archive, variant.folder),
            ));
        }
        None => return Err(fault(path, "no binary files of CIFAR-10 or CIFAR-100")),
    };
    let names = if split == Split::Train { variant.train } else { variant.test };
    let mut files = Vec::new();
    for name in names {
        let path = folder.join(name);
        let (length, record) = (files::size(&path)?, (variant.labels + PICTURE) as u64);
        if length == 0 || length % record != 0 {
            return Err(fault(
                &path,
                format!("{length} bytes, expected a multiple of {record} (one record)"),
            ));
        }
        files.push((path, length / record));
    }
    let classes = class_names(&folder.join(variant.class_names), variant.classes);
    Ok(Box::new(Cifar { variant, files, classes }))
}

struct Cifar {
    variant: &'static Variant,
    /// Files and their records.
    files: Vec<(PathBuf, u64)>,
    classes: Vec<String>,
}

impl Source for Cifar {
    fn name(&self) -> String {
        self.variant.name.into()
    }

    fn fingerprint(&self) -> Result<String> {
        let files = self.files.iter().map(|(path, _)| path);
        Ok(Stamp::default().text(self.variant.name).files(files)?.finish())
    }

    fn count(&self) -> Option<u64> {
        Some(self.files.iter().map(|(_, count)| count).sum())
    }

    fn classes(&self) -> Vec<String> {
        self.classes.clone()
    }

    fn items(&self) -> Result<Box<dyn Iterator<Item = Result<Item>> + Send + '_>> {
        let records = self.files.iter().flat_map(
            move |(path, count)| -> Box<dyn Iterator<Item = _> + Send> {
                match files::open(path) {
                    Ok(file) => {
                        let mut reader = BufReader::with_capacity(1 << 17, file);
                        Box::new(
                            (0..*count).map(move |record| self.record(path, record, &mut reader)),
                        )
                    }
                    Err(error) => Box::new(iter::once(Err(error))),
                }
            },
        );
        let numbered = (0..).zip(records);
        Ok(Box::new(numbered.map(|(index, item)| item.map(|item| Item { index, ..item }))))
    }
}

impl Cifar {
    fn record(&self, path: &Path, record: u64, reader: &mut impl Read) -> Result<Item> {
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        let name = format!("{file} record {record}");
        let bytes = exactly(reader, self.variant.labels + PICTURE)
            .map_err(|e| read_fault(path, &format!("record {record}"), &e))?;
        let (labels, planes) = bytes.split_at(self.variant.labels);
        let label = labels.last().copied().unwrap_or_default();
        if usize::from(label) >= self.variant.classes {
            let message = format!(
                "record {record}: label {label}, expected 0 to {}",
                self.variant.classes - 1
            );
            return Err(fault(path, message));
        }
        let pixels =
            Pixels { height: SIDE, width: SIDE, channels: 3, bytes: interleaved(planes, 3) };
        Ok(Item { index: record, name, label: Some(u32::from(label)), raw: Raw::Pixels(pixels) })
    }
}

fn find(path: &Path) -> Option<Found> {
    let has = |folder: &Path, name: &str| folder.join(name).is_file();
    for variant in &VARIANTS {
        for folder in [path.to_path_buf(), path.join(variant.folder)] {
            let mut files = variant.train.iter().chain(variant.test);
            if files.any(|name| has(&folder, name)) {
                return Some(Found::Binary(folder, variant));
            }
        }
        for folder in [path.to_path_buf(), path.join(variant.pickle_folder)] {
            if variant.pickles.iter().all(|name| has(&folder, name)) {
                return Some(Found::Pickles(variant));
            }
        }
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        let python = variant.archive.replace("binary", "python");
        if file == variant.archive {
            return Some(Found::Archive(variant));
        }
        if file == python {
            return Some(Found::Pickles(variant));
        }
    }
    None
}

/// The names in the file, or numbers where it is absent or of another length.
fn class_names(path: &Path, classes: usize) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let names: Vec<String> = lines.map(String::from).collect();
    if names.len() == classes { names } else { numbered(classes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A record: label bytes, then planes that count up from `start`, `start` + 1, `start` + 2.
    fn record(labels: &[u8], start: u8) -> Vec<u8> {
        let plane = |c: u8| (0..SIDE * SIDE).map(move |i| (i % 61) as u8 + start + c);
        labels.iter().copied().chain((0..3).flat_map(plane)).collect()
    }

    fn write(folder: &Path, name: &str, records: &[Vec<u8>]) {
        fs::create_dir_all(folder).unwrap();
        fs::write(folder.join(name), records.concat()).unwrap();
    }

    fn ten() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for batch in 1..=5u8 {
            let records = [record(&[batch], batch), record(&[9 - batch], 10 + batch)];
            write(dir.path(), &format!("data_batch_{batch}.bin"), &records);
        }
        write(dir.path(), "test_batch.bin", &[record(&[3], 77)]);
        let names = "airplane\nautomobile\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck\n\n";
        fs::write(dir.path().join("batches.meta.txt"), names).unwrap();
        dir
    }

    fn error(path: &Path, split: Split) -> String {
        match open(path, split) {
            Err(error) => error.to_string(),
            Ok(source) => source.items().unwrap().find_map(|i| i.err()).unwrap().to_string(),
        }
    }

    #[test]
    fn records_come_in_the_order_of_the_files_with_pixels_interleaved() {
        let dir = ten();
        assert!(recognises(dir.path()));
        let source = open(dir.path(), Split::Train).unwrap();
        assert_eq!((source.name().as_str(), source.count()), ("cifar10", Some(10)));
        assert_eq!(source.classes()[9], "truck");
        let items: Vec<Item> = source.items().unwrap().map(|item| item.unwrap()).collect();
        let labels: Vec<u32> = items.iter().map(|item| item.label.unwrap()).collect();
        assert_eq!(labels, [1, 8, 2, 7, 3, 6, 4, 5, 5, 4]);
        assert!(items.iter().enumerate().all(|(i, item)| item.index == i as u64));
        assert_eq!(items[3].name, "data_batch_2.bin record 1");
        let Raw::Pixels(pixels) = &items[3].raw else { panic!("pixels") };
        assert_eq!((pixels.height, pixels.width, pixels.channels), (32, 32, 3));
        let expected: Vec<u8> =
            (0..1024).flat_map(|i| (0..3).map(move |c| (i % 61) as u8 + 12 + c)).collect();
        assert_eq!(pixels.bytes, expected);
        let test = open(dir.path(), Split::Test).unwrap();
        assert_eq!(test.items().unwrap().next().unwrap().unwrap().label, Some(3));
        assert_ne!(test.fingerprint().unwrap(), source.fingerprint().unwrap());
    }

    #[test]
    fn of_cifar100_the_fine_label_counts_and_the_folder_around_it_will_do() {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("cifar-100-binary");
        write(&inner, "train.bin", &[record(&[19, 99], 0)]);
        write(&inner, "test.bin", &[record(&[99, 100], 0)]);
        assert!(recognises(dir.path()));
        let source = open(dir.path(), Split::Train).unwrap();
        assert_eq!((source.name().as_str(), source.classes().len()), ("cifar100", 100));
        assert_eq!(source.items().unwrap().next().unwrap().unwrap().label, Some(99));
        let error = error(dir.path(), Split::Test);
        assert!(
            error.contains("test.bin") && error.contains("label 100, expected 0 to 99"),
            "{error}"
        );
    }

    #[test]
    fn wrong_sizes_labels_and_missing_files_are_named() {
        let dir = ten();
        let path = dir.path().join("data_batch_4.bin");
        fs::write(&path, [0; 3074]).unwrap();
        let size = error(dir.path(), Split::Train);
        assert!(
            size.contains("data_batch_4.bin: 3074 bytes, expected a multiple of 3073"),
            "{size}"
        );
        fs::write(&path, record(&[10], 0)).unwrap();
        let label = error(dir.path(), Split::Train);
        assert!(label.contains("record 0: label 10, expected 0 to 9"), "{label}");
        fs::remove_file(&path).unwrap();
        assert!(error(dir.path(), Split::Train).contains("data_batch_4.bin: cannot examine"));
    }

    #[test]
    fn pickles_and_archives_are_refused_with_advice() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!recognises(dir.path()));
        let inner = dir.path().join("cifar-10-batches-py");
        write(&inner, "data_batch_1", &[]);
        write(&inner, "test_batch", &[]);
        for path in [dir.path(), &inner] {
            assert!(recognises(path));
            let error = error(path, Split::Train);
            assert!(
                error.contains("can run code") && error.contains("cifar-10-binary.tar.gz"),
                "{error}"
            );
            assert!(error.contains("source = \"cifar10\""), "{error}");
        }
        let archive = dir.path().join("cifar-100-binary.tar.gz");
        assert!(error(&archive, Split::Train).contains("unpack cifar-100-binary.tar.gz"));
        let python = dir.path().join("cifar-100-python.tar.gz");
        assert!(error(&python, Split::Train).contains("can run code"));
    }
}
