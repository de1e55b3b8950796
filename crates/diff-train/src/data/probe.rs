//! What the header of a picture file says that a decoder no longer tells.

use super::decode::Kind;
use image::ImageFormat;

/// The kind of picture, and whether the file ends before it should.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Probe {
    pub(super) kind: Kind,
    pub(super) cut_short: bool,
    /// The decoder keeps all coefficients of the picture next to its pixels.
    pub(super) progressive: bool,
}

impl Probe {
    pub(super) fn of(format: ImageFormat, bytes: &[u8]) -> Self {
        match format {
            ImageFormat::Png => png(bytes),
            ImageFormat::Jpeg => jpeg(bytes),
            ImageFormat::Bmp => bmp(bytes),
            ImageFormat::WebP => webp(bytes),
            _ => Probe { kind: Kind::Plain, cut_short: false, progressive: false },
        }
    }
}

fn png(bytes: &[u8]) -> Probe {
    // Signature (8), length and name of IHDR (8), width, height (8), bit depth, colour type.
    let kind = match (bytes.get(24), bytes.get(25)) {
        (_, Some(3)) => Kind::Palette,
        (Some(16), _) => Kind::Sixteen,
        (_, Some(4 | 6)) => Kind::Alpha,
        _ => Kind::Plain,
    };
    let cut_short = !bytes.windows(4).rev().any(|name| name == b"IEND");
    Probe { kind, cut_short, progressive: false }
}

fn bmp(bytes: &[u8]) -> Probe {
    let kind = match little_endian(bytes, 28, 2) {
        Some(1..=8) => Kind::Palette,
        _ => Kind::Plain,
    };
    let cut_short = little_endian(bytes, 2, 4).is_none_or(|size| size > bytes.len() as u64);
    Probe { kind, cut_short, progressive: false }
}

fn webp(bytes: &[u8]) -> Probe {
    let cut_short = little_endian(bytes, 4, 4).is_none_or(|size| size + 8 > bytes.len() as u64);
    Probe { kind: Kind::Plain, cut_short, progressive: false }
}

/// Walks the segments up to the first scan; behind it an end marker must follow.
fn jpeg(bytes: &[u8]) -> Probe {
    let mut probe = Probe { kind: Kind::Plain, cut_short: true, progressive: false };
    let mut rest = bytes.get(2..).unwrap_or(&[]);
    loop {
        let marker = rest.iter().position(|b| *b != 0xff).filter(|padding| *padding > 0);
        let Some((&marker, after)) = marker.and_then(|at| rest[at..].split_first()) else {
            // Not a marker: the decoder will say what is wrong.
            probe.cut_short = rest.len() < 2;
            return probe;
        };
        match marker {
            0x01 | 0xd0..=0xd8 => rest = after,
            0xda => {
                probe.cut_short = !after.windows(2).rev().any(|pair| pair == [0xff, 0xd9]);
                return probe;
            }
            _ => {
                let Some(&[high, low]) = after.first_chunk() else { return probe };
                let length = usize::from(u16::from_be_bytes([high, low]));
                let Some(segment) = after.get(..length) else { return probe };
                // Start of frame: length (2), precision, height, width (4), components.
                if matches!(marker, 0xc0..=0xcf) && !matches!(marker, 0xc4 | 0xc8 | 0xcc) {
                    probe.progressive = marker & 3 == 2;
                    if segment.get(7) == Some(&4) {
                        probe.kind = Kind::Cmyk;
                    }
                }
                rest = &after[length.max(2).min(after.len())..];
            }
        }
    }
}

fn little_endian(bytes: &[u8], at: usize, length: usize) -> Option<u64> {
    let field = bytes.get(at..at + length)?;
    Some(field.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
}
