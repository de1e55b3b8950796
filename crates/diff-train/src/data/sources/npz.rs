//! Pictures in NumPy's .npz: the sample batches of guided-diffusion (`arr_0`, `arr_1`), Keras' MNIST
//! (`x_train`, `y_train`), the downsampled ImageNet (`data`, `labels`).
//!
//! Pictures are read one after the other, so a file may be larger than the memory.

use super::{
    archive::{Checked, Member, members},
    files::{self, exactly, fault, interleaved, numbered, read_fault},
    npy::{Layout, Pictures},
    stamp::Stamp,
};
use crate::{
    Result,
    data::{Item, Pixels, Raw, Source, Split},
};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// True for an .npz file and for a folder of them.
pub(super) fn recognises(path: &Path) -> bool {
    let is_npz = |name: &str| name.to_lowercase().ends_with(".npz");
    (path.is_file() && is_npz(&path.to_string_lossy()))
        || files::names(path).iter().any(|name| is_npz(name))
}

/// Opens one split: of a file the arrays under its names, of a folder the files whose names begin
/// with `train`, or with `val` or `test`.
pub(super) fn open(path: &Path, split: Split) -> Result<Box<dyn Source>> {
    let parts = if path.is_dir() {
        let parts = of_folder(path, split)?;
        parts.iter().map(|file| Part::open(file, Split::Train)).collect::<Result<Vec<_>>>()?
    } else {
        vec![Part::open(path, split)?]
    };
    if let Some(other) = parts.iter().find(|p| p.labels.is_some() != parts[0].labels.is_some()) {
        return Err(fault(&other.path, "has labels where other files have none, or has none"));
    }
    Ok(Box::new(Npz { path: path.to_path_buf(), parts }))
}

struct Npz {
    path: PathBuf,
    parts: Vec<Part>,
}

/// The pictures of one file.
struct Part {
    path: PathBuf,
    member: Member,
    pictures: Pictures,
    labels: Option<Vec<u32>>,
}

impl Source for Npz {
    fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    fn fingerprint(&self) -> Result<String> {
        let files = self.parts.iter().map(|part| &part.path);
        Ok(Stamp::default().text("npz").files(files)?.finish())
    }

    fn count(&self) -> Option<u64> {
        self.parts.iter().try_fold(0u64, |sum, part| sum.checked_add(part.pictures.count))
    }

    fn classes(&self) -> Vec<String> {
        let labels = self.parts.iter().filter_map(|part| part.labels.as_deref()).flatten();
        numbered(labels.max().map_or(0, |max| *max as usize + 1))
    }

    fn items(&self) -> Result<Box<dyn Iterator<Item = Result<Item>> + Send + '_>> {
        let mut readers = Vec::new();
        for part in &self.parts {
            readers.push((part, part.data()?));
        }
        let items = readers.into_iter().flat_map(|(part, reader)| Rows { part, reader, row: 0 });
        Ok(Box::new((0..).zip(items).map(|(index, item)| item.map(|item| Item { index, ..item }))))
    }
}

/// Reads a part's pictures; behind the last one it compares the checksum.
struct Rows<'a> {
    part: &'a Part,
    reader: Checked,
    row: u64,
}

impl Iterator for Rows<'_> {
    type Item = Result<Item>;

    fn next(&mut self) -> Option<Result<Item>> {
        let (part, row) = (self.part, self.row);
        let count = part.pictures.count;
        if row > count {
            return None;
        }
        self.row += 1;
        if row == count {
            let got = self.reader.crc().sum();
            return (got != part.member.checksum)
                .then(|| Err(part.fault("damaged: the checksum is another")));
        }
        let item = part.picture(&mut self.reader, row);
        if item.is_err() {
            self.row = u64::MAX;
        }
        Some(item)
    }
}

impl Part {
    fn open(path: &Path, split: Split) -> Result<Self> {
        let mut members = members(path)?;
        let (of_pictures, of_labels): (&[&str], &[&str]) = match split {
            Split::Train => {
                (&["arr_0", "images", "x", "x_train", "data"], &["arr_1", "labels", "y", "y_train"])
            }
            Split::Test => (&["x_test"], &["y_test"]),
        };
        let held: Vec<String> = members.keys().cloned().collect();
        let Some(member) = the_one(&mut members, of_pictures, path)? else {
            let (wanted, held) = (of_pictures.join(", "), held.join(", "));
            return Err(fault(path, format!("no pictures: it holds {held}, expected {wanted}")));
        };
        let labels = the_one(&mut members, of_labels, path)?;
        let (_, header) = member.open(path)?;
        let pictures = header.pictures(member.length).map_err(|m| member.fault(path, m))?;
        // The downsampled ImageNet, alone in writing pictures as rows, counts its classes from 1.
        let first = i64::from(header.shape.len() == 2);
        let labels = labels.map(|member| member.labels(path, pictures.count, first)).transpose()?;
        Ok(Part { path: path.to_path_buf(), member, pictures, labels })
    }

    fn data(&self) -> Result<Checked> {
        Ok(self.member.open(&self.path)?.0)
    }

    fn fault(&self, message: &str) -> crate::Error {
        self.member.fault(&self.path, message)
    }

    fn picture(&self, reader: &mut Checked, row: u64) -> Result<Item> {
        let Pictures { height, width, channels, layout, .. } = self.pictures;
        let name = format!("{} row {row}", self.member.name);
        let mut bytes = exactly(reader, self.pictures.bytes())
            .map_err(|e| read_fault(&self.path, &name, &e))?;
        if layout == Layout::Planar && channels > 1 {
            bytes = interleaved(&bytes, channels);
        }
        let label = self.labels.as_ref().and_then(|l| l.get(usize::try_from(row).ok()?).copied());
        let raw = Raw::Pixels(Pixels { height, width, channels, bytes });
        Ok(Item { index: row, name, label, raw })
    }
}

impl Member {
    /// The labels, one a picture, the first class being `first` in the file.
    fn labels(&self, path: &Path, pictures: u64, first: i64) -> Result<Vec<u32>> {
        let (mut reader, header) = self.open(path)?;
        let values =
            header.labels(&mut reader, self.length).map_err(|message| self.fault(path, message))?;
        if reader.crc().sum() != self.checksum {
            return Err(self.fault(path, "damaged: the checksum is another"));
        }
        if values.len() as u64 != pictures {
            let message =
                format!("{} labels, expected {pictures} as there are pictures", values.len());
            return Err(self.fault(path, message));
        }
        let label = |value: i64| {
            let label = value.checked_sub(first).and_then(|v| u16::try_from(v).ok());
            label.map(u32::from).ok_or_else(|| {
                let last = first + i64::from(u16::MAX);
                self.fault(path, format!("label {value}, expected {first} to {last}"))
            })
        };
        values.into_iter().map(label).collect()
    }
}

fn of_folder(folder: &Path, split: Split) -> Result<Vec<PathBuf>> {
    let mut names = files::names(folder);
    names.retain(|name| name.to_lowercase().ends_with(".npz"));
    let is_test = |name: &String| name.starts_with("val") || name.starts_with("test");
    match split {
        Split::Train => names.retain(|name| !is_test(name)),
        Split::Test => names.retain(is_test),
    }
    if names.is_empty() {
        let wanted = if split == Split::Train { "train*.npz" } else { "val*.npz or test*.npz" };
        return Err(fault(folder, format!("no file {wanted}")));
    }
    // Parts are numbered without leading zeros.
    names.sort_by_key(|name| (name.len(), name.clone()));
    Ok(names.into_iter().map(|name| folder.join(name)).collect())
}

fn the_one(
    members: &mut BTreeMap<String, Member>,
    names: &[&str],
    path: &Path,
) -> Result<Option<Member>> {
    let mut found = names.iter().filter_map(|name| members.remove(*name));
    let first = found.next();
    match (&first, found.next()) {
        (Some(first), Some(second)) => Err(fault(
            path,
            format!("both {} and {} are there, expected one", first.name, second.name),
        )),
        _ => Ok(first),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::npy::tests::npy, *};
    use std::{
        fs::{self, File},
        io::Write,
    };
    use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

    type Arrays<'a> = &'a [(&'a str, Vec<u8>)];

    fn write(path: &Path, method: CompressionMethod, arrays: Arrays<'_>) {
        let mut writer = ZipWriter::new(File::create(path).unwrap());
        for (name, bytes) in arrays {
            let options = SimpleFileOptions::default().compression_method(method);
            writer.start_file(format!("{name}.npy"), options).unwrap();
            writer.write_all(bytes).unwrap();
        }
        writer.finish().unwrap();
    }

    fn counted(n: usize) -> Vec<u8> {
        (0..n).map(|i| (i * 7 % 251) as u8).collect()
    }

    fn int64(values: &[i64]) -> Vec<u8> {
        values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    fn all(source: &dyn Source) -> Vec<(u64, Option<u32>, Pixels)> {
        let items = source.items().unwrap().map(|item| item.unwrap());
        let read = items.map(|item| match item.raw {
            Raw::Pixels(pixels) => (item.index, item.label, pixels),
            other => panic!("{other:?}"),
        });
        read.collect()
    }

    fn error(path: &Path, split: Split) -> String {
        match open(path, split) {
            Err(error) => error.to_string(),
            Ok(source) => match source.items() {
                Err(error) => error.to_string(),
                Ok(mut items) => items.find_map(|item| item.err()).unwrap().to_string(),
            },
        }
    }

    #[test]
    fn a_sample_batch_of_guided_diffusion_reads_stored_and_deflated() {
        let dir = tempfile::tempdir().unwrap();
        let data = counted(3 * 4 * 5 * 3);
        for method in [CompressionMethod::Stored, CompressionMethod::Deflated] {
            let path = dir.path().join("samples.npz");
            let arrays = [
                ("arr_0", npy("|u1", "(3, 4, 5, 3)", &data)),
                ("arr_1", npy("<i8", "(3,)", &int64(&[2, 0, 999]))),
            ];
            write(&path, method, &arrays);
            assert!(recognises(&path) && recognises(dir.path()));
            let source = open(&path, Split::Train).unwrap();
            assert_eq!((source.count(), source.classes().len()), (Some(3), 1000));
            for (i, (index, label, pixels)) in all(&*source).into_iter().enumerate() {
                assert_eq!((index, label), (i as u64, Some([2, 0, 999][i])));
                assert_eq!((pixels.height, pixels.width, pixels.channels), (4, 5, 3));
                assert_eq!(pixels.bytes, data[i * 60..(i + 1) * 60]);
            }
            let error = error(&path, Split::Test);
            assert!(error.contains("holds arr_0, arr_1, expected x_test"), "{error}");
        }
    }

    #[test]
    fn planes_are_interleaved_and_labels_may_be_absent() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.npz");
        write(
            &path,
            CompressionMethod::Stored,
            &[("images", npy("|u1", "(1, 3, 2, 2)", &counted(12)))],
        );
        let (_, label, pixels) = all(&*open(&path, Split::Train).unwrap()).remove(0);
        let data = counted(12);
        let expected: Vec<u8> = (0..4).flat_map(|i| [data[i], data[4 + i], data[8 + i]]).collect();
        assert_eq!((label, pixels.bytes), (None, expected));
    }

    #[test]
    fn keras_mnist_has_both_splits_in_one_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mnist.npz");
        let arrays = [
            ("x_train", npy("|u1", "(2, 2, 3)", &counted(12))),
            ("y_train", npy("|u1", "(2,)", &[5, 6])),
            ("x_test", npy("|u1", "(1, 2, 3)", &[9; 6])),
            ("y_test", npy("|u1", "(1,)", &[3])),
        ];
        write(&path, CompressionMethod::Deflated, &arrays);
        let train = all(&*open(&path, Split::Train).unwrap());
        assert_eq!(train.iter().map(|(_, label, _)| label.unwrap()).collect::<Vec<_>>(), [5, 6]);
        let (_, label, pixels) = all(&*open(&path, Split::Test).unwrap()).remove(0);
        assert_eq!((label, pixels.channels, pixels.bytes), (Some(3), 1, vec![9; 6]));
    }

    #[test]
    fn downsampled_imagenet_is_a_folder_of_rows_with_labels_from_one() {
        let dir = tempfile::tempdir().unwrap();
        for (name, label) in
            [("train_data_batch_10", 1000), ("train_data_batch_2", 1), ("val_data", 7)]
        {
            let arrays = [
                ("data", npy("|u1", "(1, 12)", &counted(12))),
                ("labels", npy("<i8", "(1,)", &int64(&[label]))),
                ("mean", npy("<f8", "(1,)", &[0; 8])),
            ];
            write(&dir.path().join(format!("{name}.npz")), CompressionMethod::Stored, &arrays);
        }
        let labels = |split| -> Vec<u32> {
            all(&*open(dir.path(), split).unwrap()).iter().map(|(_, l, _)| l.unwrap()).collect()
        };
        assert_eq!((labels(Split::Train), labels(Split::Test)), (vec![0, 999], vec![6]));
        let first = all(&*open(dir.path(), Split::Train).unwrap()).remove(0).2;
        assert_eq!((first.height, first.channels, first.bytes[1]), (2, 3, counted(12)[4]));
    }

    #[test]
    fn wrong_arrays_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.npz");
        let good = || npy("|u1", "(2, 4, 4, 3)", &counted(96));
        let cases: [(Arrays<'_>, &str); 6] = [
            (&[("arr_0", npy("<f4", "(2, 2, 2, 3)", &[0; 96]))], "arr_0: dtype <f4, expected |u1"),
            (&[("arr_0", good()), ("images", good())], "both arr_0 and images"),
            (
                &[("arr_0", good()), ("arr_1", npy(">i8", "(2,)", &[0; 16]))],
                "arr_1: dtype >i8 is big",
            ),
            (&[("arr_0", good()), ("y", npy("<i8", "(1,)", &[0; 8]))], "y: 1 labels, expected 2"),
            (&[("arr_0", good()), ("y", npy("|i1", "(2,)", &[3, 255]))], "y: label -1, expected 0"),
            (&[("arr_0", npy("|u1", "(2, 4, 4, 3)", &[0; 95]))], "arr_0: 171 bytes for shape"),
        ];
        for (arrays, words) in cases {
            write(&path, CompressionMethod::Stored, arrays);
            let error = error(&path, Split::Train);
            assert!(error.contains(words) && error.contains("a.npz"), "{words}: {error}");
        }
        fs::write(&path, b"PK but no more").unwrap();
        assert!(error(&path, Split::Train).contains("not a whole .npz"));
    }

    #[test]
    fn changed_and_missing_bytes_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.npz");
        for method in [CompressionMethod::Stored, CompressionMethod::Deflated] {
            write(&path, method, &[("arr_0", npy("|u1", "(2, 20, 20, 3)", &counted(2400)))]);
            let whole = fs::read(&path).unwrap();
            let mut changed = whole.clone();
            changed[200] ^= 1;
            fs::write(&path, &changed).unwrap();
            assert!(error(&path, Split::Train).contains("arr_0"));
            fs::write(&path, &whole[..whole.len() / 2]).unwrap();
            assert!(error(&path, Split::Train).contains("not a whole .npz"));
        }
    }

    proptest::proptest! {
        #[test]
        fn changed_archives_never_panic(
            changes in proptest::collection::vec((0.0f64..1.0, proptest::num::u8::ANY), 1..5),
        ) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("a.npz");
            let arrays = [("arr_0", npy("|u1", "(2, 2, 2)", &counted(8))), ("y", npy("|u1", "(2,)", &[0, 1]))];
            write(&path, CompressionMethod::Deflated, &arrays);
            let mut bytes = fs::read(&path).unwrap();
            for (place, value) in changes {
                let at = (place * bytes.len() as f64) as usize;
                bytes[at] = value;
            }
            fs::write(&path, bytes).unwrap();
            if let Ok(source) = open(&path, Split::Train) {
                let _ = source.items().map(|items| items.take(10).count());
            }
        }
    }
}
