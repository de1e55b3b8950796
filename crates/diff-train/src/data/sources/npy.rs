//! The header of NumPy's .npy format, versions 1 to 3, and what pictures and labels make of it.

use super::files::{MAX_SIDE, exactly};
use std::io::Read;

/// The longest header that is read; NumPy itself refuses more than 10,000 bytes.
const MAX_HEADER: usize = 1 << 16;
/// The most labels of a file.
const MAX_LABELS: u64 = 1 << 30;

/// What the header says.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) struct Header {
    /// As NumPy writes it: `|u1`, `<i8`.
    pub(in super::super) dtype: String,
    pub(in super::super) fortran: bool,
    pub(in super::super) shape: Vec<u64>,
    /// Bytes before the data.
    pub(super) length: u64,
}

/// How the values of one picture lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// [H, W, C].
    Interleaved,
    /// [C, H, W].
    Planar,
}

/// Pictures: how many, of what size, and how they lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pictures {
    pub(super) count: u64,
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) channels: usize,
    pub(super) layout: Layout,
}

impl Pictures {
    /// Bytes of one picture.
    pub(super) fn bytes(&self) -> usize {
        self.height * self.width * self.channels
    }
}

impl Header {
    /// Reads the header and leaves `reader` at the data.
    pub(super) fn read(reader: &mut impl Read) -> Result<Self, String> {
        let cut = |_| "the .npy header ends too early".to_string();
        let start = exactly(reader, 8).map_err(cut)?;
        let (magic, version) = start.split_at(6);
        if magic != b"\x93NUMPY" {
            return Err("not an .npy file: expected it to begin with \\x93NUMPY".into());
        }
        let (field, length) = match version {
            [1, _] => (2, exactly(reader, 2).map_err(cut)?),
            [2 | 3, _] => (4, exactly(reader, 4).map_err(cut)?),
            [major, minor] => {
                return Err(format!(".npy version {major}.{minor}, expected 1, 2 or 3"));
            }
            _ => return Err("the .npy header ends too early".into()),
        };
        let text = length.iter().rev().fold(0usize, |value, byte| value << 8 | usize::from(*byte));
        if text > MAX_HEADER {
            return Err(format!(".npy header of {text} bytes, expected at most {MAX_HEADER}"));
        }
        let bytes = exactly(reader, text).map_err(cut)?;
        let line =
            String::from_utf8(bytes).map_err(|_| "the .npy header is not text".to_string())?;
        let (dtype, fortran, shape) = dictionary(&line)
            .ok_or_else(|| format!("the .npy header does not read: {}", line.trim()))?;
        Ok(Header { dtype, fortran, shape, length: (8 + field + text) as u64 })
    }

    /// Bytes of a value of the type, of floats and text.
    pub(in super::super) fn item_size(&self) -> Option<u64> {
        let (letters, digits) = self.dtype.split_at_checked(2)?;
        let size: u64 = digits.parse().ok()?;
        match letters {
            "<f" => Some(size),
            "<U" => size.checked_mul(4),
            _ => None,
        }
    }

    /// Bytes of all values of `size` bytes each.
    pub(in super::super) fn data(&self, size: u64) -> Option<u64> {
        self.shape.iter().try_fold(size, |n, side| n.checked_mul(*side))
    }

    /// Checks that the file has as many bytes as the header asks for.
    fn fits(&self, size: u64, file: u64) -> Result<(), String> {
        let expected = self.data(size).and_then(|n| n.checked_add(self.length));
        if expected == Some(file) {
            return Ok(());
        }
        let expected = expected.map_or("no file can hold that".into(), |n| format!("expected {n}"));
        Err(format!("{file} bytes for shape {:?}, {expected}", self.shape))
    }

    fn in_rows(&self) -> Result<(), String> {
        if self.fortran { Err("fortran_order = True, expected False".into()) } else { Ok(()) }
    }

    /// Reads the header as one of pictures in a file of `file` bytes.
    pub(super) fn pictures(&self, file: u64) -> Result<Pictures, String> {
        if !["|u1", "u1", "<u1", ">u1"].contains(&self.dtype.as_str()) {
            return Err(format!("dtype {}, expected |u1 (bytes of 0 to 255)", self.dtype));
        }
        self.in_rows()?;
        let sides: Vec<usize> =
            self.shape.iter().skip(1).map(|s| usize::try_from(*s).unwrap_or(usize::MAX)).collect();
        let (height, width, channels, layout) =
            sides_of(&sides).map_err(|problem| format!("shape {:?}: {problem}", self.shape))?;
        if ![height, width].iter().all(|side| (1..=MAX_SIDE).contains(side)) {
            return Err(format!("shape {:?}: expected sides of 1 to {MAX_SIDE}", self.shape));
        }
        self.fits(1, file)?;
        let count = self.shape.first().copied().unwrap_or_default();
        Ok(Pictures { count, height, width, channels, layout })
    }

    /// Reads the values behind the header as labels.
    pub(super) fn labels(&self, reader: &mut impl Read, file: u64) -> Result<Vec<i64>, String> {
        let (size, signed) = match self.dtype.as_str() {
            "|u1" | "u1" | "<u1" => (1, false),
            "|i1" | "i1" | "<i1" => (1, true),
            "<u2" => (2, false),
            "<i2" => (2, true),
            "<u4" => (4, false),
            "<i4" => (4, true),
            "<u8" => (8, false),
            "<i8" => (8, true),
            big if big.starts_with('>') => {
                return Err(format!("dtype {big} is big-endian, expected little-endian integers"));
            }
            other => return Err(format!("dtype {other}, expected integers, as <i8")),
        };
        self.in_rows()?;
        let count = match self.shape[..] {
            [count] | [count, 1] if count <= MAX_LABELS => count,
            _ => return Err(format!("shape {:?}, expected [N] with one label each", self.shape)),
        };
        self.fits(size, file)?;
        let bytes = exactly(reader, (count * size) as usize).map_err(|e| e.to_string())?;
        bytes.chunks_exact(size as usize).map(|value| integer(value, signed)).collect()
    }
}

/// Height, width, channels and layout of sizes [H, W], [H, W, C], [C, H, W] or [C * S * S].
pub(super) fn sides_of(sides: &[usize]) -> Result<(usize, usize, usize, Layout), &'static str> {
    let colour = |side: usize| side == 1 || side == 3;
    match *sides {
        [values] => {
            let square = |channels: usize| {
                let side = (values / channels).isqrt();
                (side.checked_mul(side)?.checked_mul(channels)? == values).then_some(side)
            };
            let planar =
                |channels| square(channels).map(|side| (side, side, channels, Layout::Planar));
            planar(3).or_else(|| planar(1)).ok_or("rows are no square of 1 or 3 channels")
        }
        [height, width] => Ok((height, width, 1, Layout::Interleaved)),
        [a, _, c] if colour(a) && colour(c) => {
            Err("both [N, H, W, C] and [N, C, H, W] are possible")
        }
        [height, width, c] if colour(c) => Ok((height, width, c, Layout::Interleaved)),
        [c, height, width] if colour(c) => Ok((height, width, c, Layout::Planar)),
        [_, _, _] => Err("neither the first nor the last side of a picture is 1 or 3 channels"),
        _ => Err("expected [N, H, W], [N, H, W, C] or [N, C, H, W]"),
    }
}

/// A little-endian integer of up to 8 bytes.
fn integer(bytes: &[u8], signed: bool) -> Result<i64, String> {
    let value = bytes.iter().rev().fold(0u64, |value, byte| value << 8 | u64::from(*byte));
    let unused = 64 - 8 * bytes.len() as u32;
    if signed {
        return Ok((value << unused) as i64 >> unused);
    }
    i64::try_from(value).map_err(|_| format!("label {value}"))
}

/// Reads `{'descr': '|u1', 'fortran_order': False, 'shape': (2, 3), }`.
fn dictionary(text: &str) -> Option<(String, bool, Vec<u64>)> {
    let mut rest = text.trim().strip_prefix('{')?.strip_suffix('}')?.trim();
    let (mut dtype, mut fortran, mut shape) = (None, None, None);
    while !rest.is_empty() {
        let (key, after) = quoted(rest)?;
        let value = after.trim_start().strip_prefix(':')?.trim_start();
        rest = match key {
            "descr" => {
                let (word, after) = quoted(value)?;
                dtype = Some(word.to_string());
                after
            }
            "fortran_order" => {
                let (flag, after) = match value.strip_prefix("False") {
                    Some(after) => (false, after),
                    None => (true, value.strip_prefix("True")?),
                };
                fortran = Some(flag);
                after
            }
            "shape" => {
                let (inside, after) = value.strip_prefix('(')?.split_once(')')?;
                shape = Some(tuple(inside)?);
                after
            }
            _ => return None,
        };
        rest = match rest.trim_start().strip_prefix(',') {
            Some(after) => after.trim_start(),
            None if rest.trim().is_empty() => "",
            None => return None,
        };
    }
    Some((dtype?, fortran?, shape?))
}

fn quoted(text: &str) -> Option<(&str, &str)> {
    let quote = text.chars().next().filter(|c| ['\'', '"'].contains(c))?;
    text[1..].split_once(quote)
}

fn tuple(text: &str) -> Option<Vec<u64>> {
    let text = text.trim().strip_suffix(',').unwrap_or(text).trim();
    if text.is_empty() {
        return Some(Vec::new());
    }
    text.split(',').map(|number| number.trim().parse().ok()).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// An .npy file as NumPy writes it.
    pub(in super::super) fn npy(dtype: &str, shape: &str, data: &[u8]) -> Vec<u8> {
        let text = format!("{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}\n");
        [b"\x93NUMPY\x01\x00", &(text.len() as u16).to_le_bytes()[..], text.as_bytes(), data]
            .concat()
    }

    fn header(dtype: &str, shape: &str) -> Header {
        Header::read(&mut &npy(dtype, shape, &[])[..]).unwrap()
    }

    #[test]
    fn headers_of_numpy_are_read() {
        let got = header("|u1", "(2, 3)");
        assert_eq!((got.dtype.as_str(), got.fortran, &got.shape[..]), ("|u1", false, &[2, 3][..]));
        assert_eq!(got.length, npy("|u1", "(2, 3)", &[]).len() as u64);
        assert_eq!(header("<i8", "(5,)").shape, [5]);
        assert!(header("<i8", "()").shape.is_empty());
        let text = b"{'shape':(1,),'fortran_order':True,'descr':\"<f4\"}";
        let long = [b"\x93NUMPY\x02\x00", &(text.len() as u32).to_le_bytes()[..], text].concat();
        let got = Header::read(&mut &long[..]).unwrap();
        assert_eq!(
            (got.dtype.as_str(), got.fortran, got.length),
            ("<f4", true, 12 + text.len() as u64)
        );
    }

    #[test]
    fn headers_that_are_none_are_refused_with_the_reason() {
        let error = |bytes: &[u8]| Header::read(&mut &bytes[..]).unwrap_err();
        assert!(error(b"PK\x03\x04 and so on").contains("NUMPY"));
        assert!(error(b"\x93NUMPY\x04\x00").contains("version 4.0"));
        assert!(error(b"\x93NUMPY\x01\x00\x40\x00{").contains("too early"));
        assert!(error(b"\x93NUMPY\x02\x00\xff\xff\xff\xff").contains("expected at most"));
        for (dtype, shape) in [("|u1", "(2, -3)"), ("|u1", "[2]"), ("|u1'", "(2,)"), ("|u1", "(2")]
        {
            let bytes = npy(dtype, shape, &[]);
            assert!(error(&bytes).contains("does not read"), "{dtype} {shape}");
        }
    }

    #[test]
    fn the_layout_follows_from_where_the_channels_are() {
        let of = |shape: &str, bytes: u64| {
            let header = header("|u1", shape);
            let file = header.length + bytes;
            header.pictures(file).map(|p| (p.height, p.width, p.channels, p.layout))
        };
        assert_eq!(of("(2, 4, 5, 3)", 120), Ok((4, 5, 3, Layout::Interleaved)));
        assert_eq!(of("(2, 3, 4, 5)", 120), Ok((4, 5, 3, Layout::Planar)));
        assert_eq!(of("(2, 4, 5)", 40), Ok((4, 5, 1, Layout::Interleaved)));
        assert_eq!(of("(2, 48)", 96), Ok((4, 4, 3, Layout::Planar)));
        assert_eq!(of("(2, 16)", 32), Ok((4, 4, 1, Layout::Planar)));
        for (shape, words) in [
            ("(2, 3, 9, 1)", "both [N, H, W, C] and [N, C, H, W]"),
            ("(2, 4, 5, 4)", "neither"),
            ("(2, 17)", "no square"),
            ("(2,)", "expected [N, H, W]"),
            ("(2, 0, 5, 3)", "expected sides of 1"),
            ("(2, 18446744073709551615, 5, 3)", "expected sides of 1"),
            ("(18446744073709551615, 8, 5, 3)", "no file can hold that"),
            ("(2, 8, 5, 3)", "bytes for shape [2, 8, 5, 3], expected"),
        ] {
            let error = of(shape, 1).unwrap_err();
            assert!(error.contains(words), "{shape}: {error}");
        }
    }

    #[test]
    fn labels_of_every_integer_type_are_read_and_others_named() {
        let read = |dtype: &str, shape: &str, data: &[u8]| {
            let file = npy(dtype, shape, data);
            let mut reader = &file[..];
            Header::read(&mut reader).unwrap().labels(&mut reader, file.len() as u64)
        };
        assert_eq!(read("|u1", "(2,)", &[7, 255]), Ok(vec![7, 255]));
        assert_eq!(read("|i1", "(2,)", &[7, 255]), Ok(vec![7, -1]));
        assert_eq!(read("<i2", "(1, 1)", &[1, 2]), Ok(vec![513]));
        assert_eq!(read("<i4", "(1,)", &(-5i32).to_le_bytes()), Ok(vec![-5]));
        assert_eq!(read("<i8", "(1,)", &(-6i64).to_le_bytes()), Ok(vec![-6]));
        assert_eq!(read("<u4", "(1,)", &[255; 4]), Ok(vec![u32::MAX.into()]));
        assert!(read("<u8", "(1,)", &[255; 8]).unwrap_err().contains("18446744073709551615"));
        assert!(read(">i8", "(1,)", &[0; 8]).unwrap_err().contains(">i8 is big-endian"));
        assert!(read("<f4", "(1,)", &[0; 4]).unwrap_err().contains("<f4, expected integers"));
        assert!(read("<i8", "(2, 10)", &[0; 160]).unwrap_err().contains("one label each"));
        assert!(read("<i8", "(2,)", &[0; 8]).unwrap_err().contains("expected"));
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(
            bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..80),
            text in "[{}()',: 0-9a-zA-Z<|]{0,60}",
            kind in 0u8..3,
        ) {
            let start: &[u8] = if kind == 0 { b"" } else { b"\x93NUMPY\x01\x00\x30\x00" };
            let tail = if kind == 2 { text.as_bytes() } else { &bytes };
            let file = [start, tail].concat();
            let mut reader = &file[..];
            if let Ok(header) = Header::read(&mut reader) {
                let _ = header.pictures(file.len() as u64);
                let _ = header.labels(&mut reader, file.len() as u64);
            }
        }

        #[test]
        fn arbitrary_shapes_and_types_never_panic(
            shape in proptest::collection::vec(proptest::num::u64::ANY, 0..5),
            dtype in "[<>|]?[uif][1248]",
            file in proptest::num::u64::ANY,
        ) {
            let header = Header { dtype, fortran: false, shape, length: 80 };
            let _ = header.pictures(file);
            let _ = header.labels(&mut &[0u8; 64][..], file);
        }
    }
}
