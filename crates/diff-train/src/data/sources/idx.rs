//! MNIST and its like: a file of pictures and a file of labels a split, in the IDX format, as they
//! come or compressed by gzip.

use super::{
    files::{self, exactly, fault, numbered, read_fault},
    stamp::Stamp,
};
use crate::{
    Result,
    data::{Item, Pixels, Raw, Source, Split},
};
use flate2::bufread::MultiGzDecoder;
use std::{
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

/// True for a folder that holds IDX files of pictures under MNIST's names.
pub(super) fn recognises(path: &Path) -> bool {
    let names = files::names(path);
    names.iter().any(|name| [Split::Train, Split::Test].iter().any(|s| is(name, *s, "images", 3)))
}

/// Opens one split.
pub(super) fn open(path: &Path, split: Split) -> Result<Box<dyn Source>> {
    let images = the_file(path, split, "images", 3)?;
    let labels = the_file(path, split, "labels", 1)?;
    let (_, [count, height, width]) = array::<3>(&images)?;
    let sides = 1..=files::MAX_SIDE;
    let (height, width) = (height as usize, width as usize);
    if !sides.contains(&height) || !sides.contains(&width) {
        return Err(fault(
            &images,
            format!("pictures of {height}x{width}, expected sides of 1 to {}", files::MAX_SIDE),
        ));
    }
    let (mut reader, [labelled]) = array::<1>(&labels)?;
    if labelled != count {
        let message = format!("{labelled} labels, expected {count} as in {}", images.display());
        return Err(fault(&labels, message));
    }
    let values = exactly(&mut reader, count as usize)
        .map_err(|e| read_fault(&labels, &format!("{count} labels"), &e))?;
    // EMNIST's files hold every picture mirrored at its diagonal.
    let transposed = file_name(&images).to_lowercase().starts_with("emnist");
    Ok(Box::new(Idx { images, labels, height, width, transposed, values }))
}

struct Idx {
    images: PathBuf,
    labels: PathBuf,
    height: usize,
    width: usize,
    transposed: bool,
    values: Vec<u8>,
}

impl Source for Idx {
    fn name(&self) -> String {
        file_name(&self.images)
    }

    fn fingerprint(&self) -> Result<String> {
        Ok(Stamp::default().text("idx").files([&self.images, &self.labels])?.finish())
    }

    fn count(&self) -> Option<u64> {
        Some(self.values.len() as u64)
    }

    fn classes(&self) -> Vec<String> {
        numbered(self.values.iter().max().map_or(0, |max| usize::from(*max) + 1))
    }

    fn items(&self) -> Result<Box<dyn Iterator<Item = Result<Item>> + Send + '_>> {
        let (mut reader, _) = array::<3>(&self.images)?;
        let mut broken = false;
        Ok(Box::new(self.values.iter().enumerate().map_while(move |(index, label)| {
            if broken {
                return None;
            }
            let name = format!("picture {index}");
            let bytes = exactly(&mut reader, self.height * self.width)
                .map_err(|e| read_fault(&self.images, &name, &e));
            broken = bytes.is_err();
            Some(bytes.map(|bytes| Item {
                index: index as u64,
                name,
                label: Some(u32::from(*label)),
                raw: Raw::Pixels(self.upright(bytes)),
            }))
        })))
    }
}

impl Idx {
    fn upright(&self, bytes: Vec<u8>) -> Pixels {
        let (height, width) = (self.height, self.width);
        if !self.transposed {
            return Pixels { height, width, channels: 1, bytes };
        }
        let columns = (0..width).flat_map(|x| (0..height).map(move |y| (x, y)));
        let turned = columns.map(|(x, y)| bytes[y * width + x]).collect();
        Pixels { height: width, width: height, channels: 1, bytes: turned }
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// True for `train-images-idx3-ubyte` and its variants: a dot for the dash, `.gz`, a prefix.
fn is(name: &str, split: Split, what: &str, dimensions: u8) -> bool {
    let stem = name.strip_suffix(".gz").unwrap_or(name);
    let parts: &[&str] = match split {
        Split::Train => &["train"],
        Split::Test => &["t10k", "test"],
    };
    parts.iter().any(|part| {
        ['-', '.'].iter().any(|dot| {
            let wanted = format!("{part}-{what}{dot}idx{dimensions}-ubyte");
            let before = stem.strip_suffix(&wanted);
            before.is_some_and(|before| before.is_empty() || before.ends_with('-'))
        })
    })
}

/// The one file of a kind; a compressed copy next to the plain file does not count.
fn the_file(folder: &Path, split: Split, what: &str, dimensions: u8) -> Result<PathBuf> {
    let mut names = files::names(folder);
    names.retain(|name| is(name, split, what, dimensions));
    let plain = names.clone();
    names.retain(|name| !name.strip_suffix(".gz").is_some_and(|p| plain.iter().any(|n| n == p)));
    match &names[..] {
        [name] => Ok(folder.join(name)),
        [] => {
            let part = if split == Split::Train { "train" } else { "t10k" };
            let wanted = format!("{part}-{what}-idx{dimensions}-ubyte");
            Err(fault(folder, format!("no file {wanted} or {wanted}.gz")))
        }
        several => Err(fault(
            folder,
            format!(
                "several files of {what}: {}; expected one data set a folder",
                several.join(", ")
            ),
        )),
    }
}

/// A reader behind the header of an IDX file of bytes, and the sizes of its `N` dimensions.
fn array<const N: usize>(path: &Path) -> Result<(Box<dyn Read + Send>, [u32; N])> {
    let mut file = BufReader::with_capacity(1 << 17, files::open(path)?);
    let start = file.fill_buf().map_err(|e| read_fault(path, "header", &e))?;
    let compressed = start.starts_with(&[0x1f, 0x8b]);
    let mut reader: Box<dyn Read + Send> =
        if compressed { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) };
    let header = exactly(&mut reader, 4 + 4 * N).map_err(|e| read_fault(path, "IDX header", &e))?;
    let sizes = sizes::<N>(&header).map_err(|message| fault(path, message))?;
    if !compressed {
        let data = sizes.iter().try_fold(1u64, |n, size| n.checked_mul(u64::from(*size)));
        let expected = data.and_then(|n| n.checked_add(header.len() as u64));
        let length = files::size(path)?;
        if expected != Some(length) {
            let expected =
                expected.map_or("no file can hold that".into(), |n| format!("expected {n}"));
            return Err(fault(path, format!("{length} bytes for sizes {sizes:?}, {expected}")));
        }
    }
    Ok((reader, sizes))
}

/// Reads `0 0 8 N` (bytes, N dimensions), then N big-endian sizes.
fn sizes<const N: usize>(header: &[u8]) -> Result<[u32; N], String> {
    let wanted = [0, 0, 8, N as u8];
    let (magic, numbers) = header.split_at_checked(4).ok_or("shorter than an IDX header")?;
    if magic != wanted {
        return Err(format!(
            "begins with {magic:02x?}, expected {wanted:02x?} (IDX, bytes, {N} dimensions)"
        ));
    }
    let (numbers, _) = numbers.as_chunks::<4>();
    let sizes: Vec<u32> = numbers.iter().map(|number| u32::from_be_bytes(*number)).collect();
    sizes.try_into().map_err(|_| "shorter than an IDX header".to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, io::Write};

    fn file(dimensions: &[u32], data: &[u8]) -> Vec<u8> {
        let sizes = dimensions.iter().flat_map(|size| size.to_be_bytes());
        [0, 0, 8, dimensions.len() as u8]
            .into_iter()
            .chain(sizes)
            .chain(data.iter().copied())
            .collect()
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Default::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// A folder of 3 training and 2 test pictures of 2x3.
    fn folder() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: Vec<u8>| fs::write(dir.path().join(name), bytes).unwrap();
        write("train-images-idx3-ubyte", file(&[3, 2, 3], &(0..18).collect::<Vec<_>>()));
        write("train-labels-idx1-ubyte", file(&[3], &[7, 0, 9]));
        write("t10k-images-idx3-ubyte", file(&[2, 2, 3], &(100..112).collect::<Vec<_>>()));
        write("t10k-labels-idx1-ubyte", file(&[2], &[4, 1]));
        dir
    }

    fn all(source: &dyn Source) -> Vec<(u32, Pixels)> {
        let items = source.items().unwrap().map(|item| item.unwrap());
        let read = items.map(|item| match item.raw {
            Raw::Pixels(pixels) => (item.label.unwrap(), pixels),
            other => panic!("{other:?}"),
        });
        read.collect()
    }

    fn error(path: &Path, split: Split) -> String {
        match open(path, split) {
            Err(error) => error.to_string(),
            Ok(source) => {
                let mut items = source.items().unwrap();
                items.find_map(|item| item.err()).unwrap().to_string()
            }
        }
    }

    #[test]
    fn both_splits_agree_with_candles_reader() {
        let dir = folder();
        assert!(recognises(dir.path()));
        let peer = candle_datasets::vision::mnist::load_dir(dir.path()).unwrap();
        for (split, images, labels) in [
            (Split::Train, peer.train_images, peer.train_labels),
            (Split::Test, peer.test_images, peer.test_labels),
        ] {
            let source = open(dir.path(), split).unwrap();
            let got = all(&*source);
            assert_eq!(source.count(), Some(got.len() as u64));
            assert_eq!((got[0].1.height, got[0].1.width, got[0].1.channels), (2, 3, 1));
            let rows: Vec<Vec<f32>> = images.to_vec2().unwrap();
            let ours: Vec<Vec<f32>> = got
                .iter()
                .map(|(_, p)| p.bytes.iter().map(|value| f32::from(*value) / 255.0).collect())
                .collect();
            for (a, b) in ours.iter().flatten().zip(rows.iter().flatten()) {
                assert!((a - b).abs() < 1e-6);
            }
            assert_eq!(ours.len(), rows.len());
            let labels: Vec<u32> =
                labels.to_vec1::<u8>().unwrap().iter().map(|label| u32::from(*label)).collect();
            assert_eq!(got.iter().map(|(label, _)| *label).collect::<Vec<_>>(), labels);
        }
        assert_eq!(open(dir.path(), Split::Train).unwrap().classes().len(), 10);
    }

    #[test]
    fn compressed_files_and_names_with_dots_read_the_same() {
        let plain = folder();
        let dir = tempfile::tempdir().unwrap();
        for (from, to) in [
            ("train-images-idx3-ubyte", "train-images.idx3-ubyte.gz"),
            ("train-labels-idx1-ubyte", "train-labels.idx1-ubyte.gz"),
        ] {
            fs::write(dir.path().join(to), gzip(&fs::read(plain.path().join(from)).unwrap()))
                .unwrap();
        }
        let read = |dir: &Path| all(&*open(dir, Split::Train).unwrap());
        assert_eq!(read(dir.path()), read(plain.path()));
        let missing = error(dir.path(), Split::Test);
        assert!(missing.contains("no file t10k-images-idx3-ubyte"), "{missing}");
    }

    #[test]
    fn emnist_is_turned_upright() {
        let (plain, dir) = (folder(), tempfile::tempdir().unwrap());
        for name in ["train-images-idx3-ubyte", "train-labels-idx1-ubyte"] {
            let to = dir.path().join(format!("emnist-letters-{name}"));
            fs::copy(plain.path().join(name), to).unwrap();
        }
        let got = all(&*open(dir.path(), Split::Train).unwrap());
        assert_eq!((got[0].1.height, got[0].1.width), (3, 2));
        assert_eq!(got[0].1.bytes, [0, 3, 1, 4, 2, 5]);
        fs::write(dir.path().join("emnist-digits-train-images-idx3-ubyte"), b"").unwrap();
        let several = error(dir.path(), Split::Train);
        assert!(
            several.contains("emnist-digits-train") && several.contains("several"),
            "{several}"
        );
    }

    #[test]
    fn wrong_files_are_named_with_what_was_expected() {
        let dir = folder();
        let (images, labels) = (
            dir.path().join("train-images-idx3-ubyte"),
            dir.path().join("train-labels-idx1-ubyte"),
        );
        let cases: [(&Path, Vec<u8>, &str); 8] = [
            (&labels, file(&[2], &[1, 2]), "2 labels, expected 3"),
            (&labels, file(&[3], &[1, 2]), "10 bytes for sizes [3], expected 11"),
            (&labels, gzip(&file(&[3], &[1, 2])), "ends too early"),
            (&images, file(&[18], &[0; 18]), "begins with [00, 00, 08, 01]"),
            (&images, file(&[3, 0, 3], &[]), "pictures of 0x3"),
            (&images, file(&[u32::MAX; 3], &[]), "no file can hold that"),
            (&images, gzip(&file(&[3, 2, 3], &[0; 17])), "picture 2: the file ends too early"),
            (&images, vec![0, 0], "IDX header: the file ends too early"),
        ];
        for (path, bytes, words) in cases {
            let before = fs::read(path).unwrap();
            fs::write(path, bytes).unwrap();
            let error = error(dir.path(), Split::Train);
            let name = path.file_name().unwrap().to_str().unwrap();
            assert!(error.contains(words) && error.contains(name), "{words}: {error}");
            fs::write(path, before).unwrap();
        }
    }

    #[test]
    fn a_changed_file_changes_the_fingerprint() {
        let dir = folder();
        let source = open(dir.path(), Split::Train).unwrap();
        let before = source.fingerprint().unwrap();
        assert_eq!(before, source.fingerprint().unwrap());
        let images = fs::File::open(dir.path().join("train-images-idx3-ubyte")).unwrap();
        images.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        assert_ne!(before, source.fingerprint().unwrap());
    }

    #[test]
    fn two_data_sets_with_the_same_names_sizes_and_times_are_two() {
        // MNIST and Fashion-MNIST are alike in all of these, unpacked by a tool that sets the times.
        let fingerprint = |dir: &Path| {
            for name in ["train-images-idx3-ubyte", "train-labels-idx1-ubyte"] {
                let file = fs::File::open(dir.join(name)).unwrap();
                file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
            }
            open(dir, Split::Train).unwrap().fingerprint().unwrap()
        };
        assert_ne!(fingerprint(folder().path()), fingerprint(folder().path()));
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_headers_never_panic(
            bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..40),
            magic in proptest::bool::ANY,
        ) {
            let bytes = if magic { [&[0, 0, 8, 3], &bytes[..]].concat() } else { bytes };
            let _ = sizes::<1>(&bytes);
            let sizes = sizes::<3>(&bytes);
            proptest::prop_assert_eq!(sizes.is_ok(), bytes.starts_with(&[0, 0, 8, 3]) && (16..20).contains(&bytes.len()));
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join("train-images-idx3-ubyte"), &bytes).unwrap();
            fs::write(dir.path().join("train-labels-idx1-ubyte"), &bytes).unwrap();
            assert!(open(dir.path(), Split::Train).is_err());
        }
    }
}
