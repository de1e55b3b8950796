//! Pictures in an LMDB, in the two layouts that data sets come in:
//!
//! - CelebA-HQ: values are the bytes of square RGB pictures, keys are decimal numbers, which give
//!   the order;
//! - LSUN: values are encoded pictures, in the order of their keys.

use super::{
    files::{self, MAX_SIDE, exactly, fault, read_fault},
    mmap,
    stamp::Stamp,
};
use crate::{
    Result,
    data::{Item, Pixels, Raw, Source, Split},
};
use heed::{CommitOrAbort, Database, Env, RoTxn, WithoutTls, types::Bytes};
use std::{
    io::{Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

/// What an LMDB begins its two headers with, behind 16 bytes of page header.
const MAGIC: u32 = 0xbeef_c0de;
const VERSION: u32 = 1;

/// True for a folder with a `data.mdb` and for an LMDB file.
pub(super) fn recognises(path: &Path) -> bool {
    path.join("data.mdb").is_file() || (path.is_file() && header(path, 0).is_ok())
}

/// Opens the database, which is one split: `split` must be the one for training.
pub(super) fn open(path: &Path, split: Split) -> Result<Box<dyn Source>> {
    if split == Split::Test {
        let advice = "an LMDB has one split; name the database of the held-out pictures as source";
        return Err(fault(path, format!("{advice}, with split = \"train\"")));
    }
    let file = if path.is_dir() { path.join("data.mdb") } else { path.to_path_buf() };
    check_length(&file)?;
    let env = mmap::database(&file).map_err(|e| broken(&file, &e))?;
    let mut source =
        Lmdb { path: path.to_path_buf(), file, env, count: 0, values: Values::Encoded };
    (source.count, source.values) = source.examine()?;
    Ok(Box::new(source))
}

struct Lmdb {
    path: PathBuf,
    file: PathBuf,
    env: Env<WithoutTls>,
    count: u64,
    values: Values,
}

/// What the values are.
enum Values {
    Encoded,
    /// Bytes of pictures, with the keys in their order.
    Bytes(Vec<Vec<u8>>),
}

impl Source for Lmdb {
    fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    fn fingerprint(&self) -> Result<String> {
        Ok(Stamp::default().text("lmdb").file(&self.file)?.finish())
    }

    fn count(&self) -> Option<u64> {
        Some(self.count)
    }

    fn classes(&self) -> Vec<String> {
        Vec::new()
    }

    fn items(&self) -> Result<Box<dyn Iterator<Item = Result<Item>> + Send + '_>> {
        let reader = self.reader()?;
        let numbered = match &self.values {
            Values::Bytes(keys) => {
                let items = keys.iter().map(move |key| match reader.get(key) {
                    Ok(Some(value)) => Ok(item(key, bytes(value))),
                    Ok(None) => Err(fault(&self.file, format!("key {}: is gone", text(key)))),
                    Err(error) => Err(broken(&self.file, &error)),
                });
                Box::new(items) as Box<dyn Iterator<Item = Result<Item>> + Send>
            }
            Values::Encoded => Box::new(Walk { source: self, reader, last: None, ended: false }),
        };
        Ok(Box::new(
            (0..).zip(numbered).map(|(index, item)| item.map(|item| Item { index, ..item })),
        ))
    }
}

/// The database in one state.
struct Reader<'a> {
    transaction: RoTxn<'a, WithoutTls>,
    database: Database<'a, Bytes, Bytes>,
}

impl<'a> Reader<'a> {
    fn get(&self, key: &[u8]) -> heed::Result<Option<&[u8]>> {
        self.database.get(&self.transaction, key)
    }

    /// The entry behind `key`, or the first one.
    fn after(&self, key: Option<&[u8]>) -> heed::Result<Option<(&[u8], &[u8])>> {
        match key {
            Some(key) => self.database.get_greater_than(&self.transaction, key),
            None => self.database.first(&self.transaction),
        }
    }
}

/// Encoded values in the order of their keys.
struct Walk<'a> {
    source: &'a Lmdb,
    reader: Reader<'a>,
    last: Option<Vec<u8>>,
    ended: bool,
}

impl Iterator for Walk<'_> {
    type Item = Result<Item>;

    fn next(&mut self) -> Option<Result<Item>> {
        if self.ended {
            return None;
        }
        let (key, item) = match self.reader.after(self.last.as_deref()) {
            Ok(Some((key, value))) => (key.to_vec(), item(key, Raw::Encoded(value.to_vec()))),
            Ok(None) => return None,
            Err(error) => {
                self.ended = true;
                return Some(Err(broken(&self.source.file, &error)));
            }
        };
        self.last = Some(key);
        Some(Ok(item))
    }
}

impl Lmdb {
    fn reader(&self) -> Result<Reader<'_>> {
        let open = || -> heed::Result<_> {
            let found = self.env.open_databases_and_commit(
                self.env.read_txn()?,
                |opener, transaction| -> heed::Result<_> {
                    let database = opener.open_database::<Bytes, Bytes>(transaction, None)?;
                    Ok(CommitOrAbort::<_, ()>::Commit(database))
                },
            )?;
            Ok((found.commit().flatten(), self.env.read_txn()?))
        };
        match open().map_err(|e| broken(&self.file, &e))? {
            (Some(database), transaction) => Ok(Reader { transaction, database }),
            (None, _) => Err(fault(&self.file, "holds no database")),
        }
    }

    /// The number of entries and what their values are, by the first two.
    fn examine(&self) -> Result<(u64, Values)> {
        let broken = |e: heed::Error| broken(&self.file, &e);
        let reader = self.reader()?;
        let count = reader.database.len(&reader.transaction).map_err(broken)?;
        let Some((key, value)) = reader.after(None).map_err(broken)? else {
            return Err(fault(&self.file, "holds no entries"));
        };
        let second = reader.after(Some(key)).map_err(broken)?;
        // Bytes may begin like a file by chance, but two files are hardly of one such length.
        let alike = second.is_some_and(|(_, other)| other.len() == value.len());
        let encoded = image::guess_format(value).is_ok();
        if side(value.len()).is_some() && (alike || !encoded) {
            return Ok((count, Values::Bytes(self.sorted_keys(&reader)?)));
        }
        if encoded {
            return Ok((count, Values::Encoded));
        }
        let (key, length) = (text(key), value.len());
        let expected = "an encoded picture, or 3 * side * side bytes of a square RGB picture";
        Err(fault(&self.file, format!("key {key}: a value of {length} bytes, expected {expected}")))
    }

    /// All keys, by their numbers.
    fn sorted_keys(&self, reader: &Reader<'_>) -> Result<Vec<Vec<u8>>> {
        let broken = |e: heed::Error| broken(&self.file, &e);
        let mut keys: Vec<(u64, Vec<u8>)> = Vec::new();
        for entry in reader.database.iter(&reader.transaction).map_err(broken)? {
            let (key, _) = entry.map_err(broken)?;
            let number = std::str::from_utf8(key).ok().and_then(|key| key.parse().ok());
            let Some(number) = number else {
                let message = format!("key {}: expected a decimal number", text(key));
                return Err(fault(&self.file, message));
            };
            keys.push((number, key.to_vec()));
        }
        keys.sort();
        Ok(keys.into_iter().map(|(_, key)| key).collect())
    }
}

fn item(key: &[u8], raw: Raw) -> Item {
    Item { index: 0, name: format!("key {}", text(key)), label: None, raw }
}

fn bytes(value: &[u8]) -> Raw {
    match side(value.len()) {
        Some(side) => {
            Raw::Pixels(Pixels { height: side, width: side, channels: 3, bytes: value.to_vec() })
        }
        None => {
            Raw::Unreadable(format!("damaged: {} bytes, expected 3 * side * side", value.len()))
        }
    }
}

/// The side of a square RGB picture of `length` bytes.
fn side(length: usize) -> Option<usize> {
    let side = (length / 3).isqrt();
    ((1..=MAX_SIDE).contains(&side) && side * side * 3 == length).then_some(side)
}

fn text(key: &[u8]) -> String {
    key.escape_ascii().to_string()
}

fn broken(file: &Path, error: &heed::Error) -> crate::Error {
    match error {
        heed::Error::EnvAlreadyOpened => fault(file, "is open already, by another source"),
        other => fault(file, format!("not a whole LMDB: {other}")),
    }
}

/// What one of the two headers says: the page size, the last page in use, which change it was.
struct Header {
    page: u64,
    last: u64,
    change: u64,
}

fn header(file: &Path, at: u64) -> Result<Header> {
    let mut reader = files::open(file)?;
    let bytes = reader
        .seek(SeekFrom::Start(at))
        .and_then(|_| exactly(&mut reader.by_ref(), 152))
        .map_err(|e| read_fault(file, "LMDB header", &e))?;
    let number = |from: usize, length: usize| -> u64 {
        let field = bytes.iter().skip(from).take(length);
        field.rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
    };
    let (magic, version, page) = (number(16, 4), number(20, 4), number(40, 4));
    if magic != u64::from(MAGIC) {
        return Err(fault(file, "not an LMDB: expected it to begin with a header page"));
    }
    if version != u64::from(VERSION) || !page.is_power_of_two() || !(512..=65_536).contains(&page) {
        let message = format!("an LMDB of version {version} with pages of {page} bytes");
        return Err(fault(file, format!("{message}, expected version {VERSION} and 512 to 65536")));
    }
    Ok(Header { page, last: number(136, 8), change: number(144, 8) })
}

/// Refuses a file that is shorter than its header says: reading what is not there would end the
/// program.
fn check_length(file: &Path) -> Result<()> {
    let first = header(file, 0)?;
    let second = header(file, first.page)?;
    let newest = if second.change > first.change { second } else { first };
    let expected = newest.last.checked_add(1).and_then(|pages| pages.checked_mul(newest.page));
    let length = files::size(file)?;
    match expected {
        Some(expected) if expected <= length => Ok(()),
        _ => {
            let pages = format!("pages up to {} of {} bytes", newest.last, newest.page);
            Err(fault(file, format!("truncated: {length} bytes, expected {pages}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    type Entry = (Vec<u8>, Vec<u8>);

    fn error(path: &Path) -> String {
        open(path, Split::Train).map(|source| source.name()).unwrap_err().to_string()
    }

    fn all(source: &dyn Source) -> Vec<Item> {
        source.items().unwrap().map(|item| item.unwrap()).collect()
    }

    #[test]
    fn pythons_celeba_hq_comes_in_the_order_of_its_numbers() {
        // Written by tests/golden/pictures.py: pictures 0 to 11 of 4x4, all values their number.
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/celeba-hq.mdb");
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data.mdb");
        fs::copy(fixture, &path).unwrap();
        for path in [dir.path(), &path] {
            assert!(recognises(path));
            let source = open(path, Split::Train).unwrap();
            assert_eq!(source.count(), Some(12));
            for (i, item) in all(&*source).into_iter().enumerate() {
                assert_eq!((item.index, item.name), (i as u64, format!("key {i}")));
                let Raw::Pixels(pixels) = item.raw else { panic!("pixels") };
                let (height, width, channels) = (4, 4, 3);
                assert_eq!(pixels, Pixels { height, width, channels, bytes: vec![i as u8; 48] });
            }
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no lock file may stay");
        let error = open(dir.path(), Split::Test).map(|s| s.name()).unwrap_err().to_string();
        assert!(error.contains("one split"), "{error}");
    }

    #[test]
    fn lsun_hands_over_encoded_values_in_the_order_of_their_keys() {
        let dir = tempfile::tempdir().unwrap();
        let jpeg = |n: usize| [b"\xff\xd8\xff\xe0", vec![n as u8; n].as_slice()].concat();
        // One value is long enough for pages of its own.
        let entries: Vec<(Vec<u8>, Vec<u8>)> = [
            (b"f00".to_vec(), jpeg(40)),
            (b"a\xff".to_vec(), jpeg(9000)),
            (b"b".to_vec(), jpeg(3)),
        ]
        .into();
        mmap::write(dir.path(), &entries);
        fs::remove_file(dir.path().join("lock.mdb")).unwrap();
        let source = open(dir.path(), Split::Train).unwrap();
        let got: Vec<(u64, String, usize)> = all(&*source)
            .into_iter()
            .map(|item| match item.raw {
                Raw::Encoded(bytes) => (item.index, item.name, bytes.len()),
                other => panic!("{other:?}"),
            })
            .collect();
        let expected = [(0, "key a\\xff", 9004), (1, "key b", 7), (2, "key f00", 44)];
        assert_eq!(got, expected.map(|(i, name, length)| (i, name.to_string(), length)));
        assert_eq!(source.count(), Some(3));
        assert!(!dir.path().join("lock.mdb").exists());
    }

    #[test]
    fn one_value_of_another_length_is_one_unreadable_picture() {
        let dir = tempfile::tempdir().unwrap();
        let entry = |key: &str, length| (key.as_bytes().to_vec(), vec![1u8; length]);
        mmap::write(dir.path(), &[entry("0", 12), entry("1", 12), entry("2", 13)]);
        let items = all(&*open(dir.path(), Split::Train).unwrap());
        assert!(matches!(&items[2].raw, Raw::Unreadable(why) if why.contains("13 bytes")));
        assert!(matches!(&items[1].raw, Raw::Pixels(_)));
    }

    #[test]
    fn a_database_is_open_once_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        mmap::write(dir.path(), &[(b"0".to_vec(), vec![1; 12])]);
        let first = open(dir.path(), Split::Train).unwrap();
        assert!(error(dir.path()).contains("open already"));
        drop(first);
        assert_eq!(all(&*open(dir.path(), Split::Train).unwrap()).len(), 1);
    }

    #[test]
    fn what_is_no_data_set_is_named() {
        let entry = |key: &str, length| (key.as_bytes().to_vec(), vec![1u8; length]);
        let cases: [(Vec<Entry>, &str); 3] = [
            (vec![], "holds no entries"),
            (vec![entry("a", 13)], "key a: a value of 13 bytes, expected an encoded picture"),
            (vec![entry("0", 12), entry("length", 12)], "key length: expected a decimal number"),
        ];
        for (entries, words) in cases {
            let dir = tempfile::tempdir().unwrap();
            mmap::write(dir.path(), &entries);
            let error = error(dir.path());
            assert!(error.contains(words) && error.contains("data.mdb"), "{error}");
        }
    }

    #[test]
    fn a_file_that_is_cut_or_foreign_is_refused_before_it_is_mapped() {
        let dir = tempfile::tempdir().unwrap();
        let entries: Vec<_> =
            (0..50u8).map(|i| (vec![b'0' + i / 10, b'0' + i % 10], vec![i; 300])).collect();
        mmap::write(dir.path(), &entries);
        let path = dir.path().join("data.mdb");
        let whole = fs::read(&path).unwrap();
        for (length, words) in
            [(whole.len() - 4096, "truncated"), (4200, "ends too early"), (10, "ends too early")]
        {
            fs::write(&path, &whole[..length]).unwrap();
            let error = error(dir.path());
            assert!(error.contains(words) && error.contains("data.mdb"), "{length}: {error}");
        }
        fs::write(&path, vec![0; 20_000]).unwrap();
        assert!(error(dir.path()).contains("not an LMDB"));
        assert!(recognises(dir.path()) && !recognises(&path));
        fs::remove_file(&path).unwrap();
        assert!(!recognises(dir.path()) && error(dir.path()).contains("cannot open"));
    }
}
