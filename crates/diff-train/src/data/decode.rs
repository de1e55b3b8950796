//! From the bytes of a picture file to pixels, as PIL's `Image.open(file).convert("RGB")` (or `"L"`)
//! does it, which is what every peer trains on:
//!
//! | in the file | here |
//! |---|---|
//! | format | by content, never by name: PNG, JPEG, BMP, WebP; of an animation the first picture |
//! | grey | repeated into red, green and blue |
//! | 16 bits a channel | the high byte. PIL does so for colour, but clips 16-bit greys at 255, which turns nearly all of a picture white; no peer can have trained on that |
//! | palette | its colours |
//! | alpha | dropped, nothing is blended |
//! | CMYK (JPEG) | inverted as Adobe writes it, then (255 - ink)(255 - black) / 255 |
//! | EXIF orientation | ignored: the peers ignore it, and a mean over data sets should not depend on it |
//! | colour profile | ignored |
//!
//! Lossless formats agree with PIL bit for bit, the others up to the rounding of their transforms.

use super::{Pixels, probe::Probe};
use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits};
use std::{fmt, io::Cursor};

/// The longest side that is decoded.
const MAX_SIDE: u32 = 16_384;
/// The most memory that decoding one picture may take.
const MAX_MEMORY: u64 = 512 << 20;

/// A decoded picture and what it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// The picture.
    pub pixels: Pixels,
    /// What was special about the file.
    pub kind: Kind,
}

/// What becomes of a file besides decoding when it becomes 8-bit grey or RGB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// 8 bits a channel, in the channels that were asked for.
    Plain,
    /// Grey, 8 bits, where colours were asked for.
    Grey,
    /// 16 bits a channel.
    Sixteen,
    /// Colours out of a table.
    Palette,
    /// Inks.
    Cmyk,
    /// With transparency.
    Alpha,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Plain => "plain",
            Kind::Grey => "grey",
            Kind::Sixteen => "16-bit",
            Kind::Palette => "palette",
            Kind::Cmyk => "CMYK",
            Kind::Alpha => "alpha",
        })
    }
}

/// Decodes a picture to `channels`: 1 grey, 3 RGB, which is also what `None` means.
///
/// # Errors
/// A message that begins with `empty file`, `truncated`, `not a picture`, `too large` or `damaged`;
/// or `channels` when no picture has that many.
pub fn decode(bytes: &[u8], channels: Option<usize>) -> Result<Decoded, String> {
    let channels = channels.unwrap_or(3);
    if bytes.is_empty() {
        return Err("empty file".into());
    }
    let format = match image::guess_format(bytes) {
        Ok(known) if SUPPORTED.contains(&known) => known,
        Ok(other) => return Err(format!("not a picture: {other:?} is not read; {EXPECTED}")),
        Err(_) => return Err(format!("not a picture: {EXPECTED}")),
    };
    let probe = Probe::of(format, bytes);
    // The JPEG decoder fills what is missing with grey and reports success.
    if format == ImageFormat::Jpeg && probe.cut_short {
        return Err("truncated: the JPEG has no end marker".into());
    }
    let (picture, alpha) = pixels(bytes, format, &probe).map_err(|fault| match fault {
        Fault::Limit(message) => format!("too large: {message}"),
        Fault::Decoder(message) if probe.cut_short => format!("truncated: {message}"),
        Fault::Decoder(message) => format!("damaged: {message}"),
    })?;
    let kind = match probe.kind {
        Kind::Plain if alpha => Kind::Alpha,
        Kind::Plain if picture.channels < channels => Kind::Grey,
        special => special,
    };
    Ok(Decoded { pixels: with_channels(picture, channels)?, kind })
}

const SUPPORTED: [ImageFormat; 4] =
    [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::Bmp, ImageFormat::WebP];
const EXPECTED: &str = "expected PNG, JPEG, BMP or WebP";

enum Fault {
    Limit(String),
    Decoder(String),
}

impl From<ImageError> for Fault {
    fn from(error: ImageError) -> Self {
        match error {
            ImageError::Limits(limit) => Fault::Limit(format!("{limit}; {}", limits_in_words())),
            other => Fault::Decoder(other.to_string()),
        }
    }
}

fn limits_in_words() -> String {
    format!("at most {MAX_SIDE} a side and {} MiB of memory are allowed", MAX_MEMORY >> 20)
}

/// The picture with 1 or 3 channels of 8 bits, and whether it had alpha.
fn pixels(bytes: &[u8], format: ImageFormat, probe: &Probe) -> Result<(Pixels, bool), Fault> {
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_MEMORY);
    reader.limits(limits);
    let decoder = reader.into_decoder()?;
    let (width, height) = decoder.dimensions();
    // Coefficients are 16-bit, and there are as many as pixels.
    let factor = if probe.progressive { 3 } else { 1 };
    let rgb = u64::from(width) * u64::from(height) * 3;
    if width > MAX_SIDE || height > MAX_SIDE || rgb.max(decoder.total_bytes()) * factor > MAX_MEMORY
    {
        return Err(Fault::Limit(format!("{width}x{height}; {}", limits_in_words())));
    }
    let picture = DynamicImage::from_decoder(decoder)?;
    let alpha = picture.color().has_alpha();
    let (channels, bytes) = match picture {
        DynamicImage::ImageLuma8(p) => (1, p.into_raw()),
        DynamicImage::ImageLumaA8(p) => (1, first_of(&p.into_raw(), 2, 1)),
        DynamicImage::ImageRgb8(p) => (3, p.into_raw()),
        DynamicImage::ImageRgba8(p) => (3, first_of(&p.into_raw(), 4, 3)),
        DynamicImage::ImageLuma16(p) => (1, high_bytes(&p.into_raw(), 1, 1)),
        DynamicImage::ImageLumaA16(p) => (1, high_bytes(&p.into_raw(), 2, 1)),
        DynamicImage::ImageRgb16(p) => (3, high_bytes(&p.into_raw(), 3, 3)),
        DynamicImage::ImageRgba16(p) => (3, high_bytes(&p.into_raw(), 4, 3)),
        other => return Err(Fault::Decoder(format!("pixels of type {:?}", other.color()))),
    };
    Ok((Pixels { height: height as usize, width: width as usize, channels, bytes }, alpha))
}

/// Of every `of` values the first `keep`.
fn first_of(values: &[u8], of: usize, keep: usize) -> Vec<u8> {
    values.chunks_exact(of).flat_map(|pixel| &pixel[..keep]).copied().collect()
}

fn high_bytes(values: &[u16], of: usize, keep: usize) -> Vec<u8> {
    let kept = values.chunks_exact(of).flat_map(|pixel| &pixel[..keep]);
    kept.map(|value| (value >> 8) as u8).collect()
}

/// The picture in grey (1, PIL's ITU-R 601 luma) or RGB (3).
pub(super) fn with_channels(picture: Pixels, channels: usize) -> Result<Pixels, String> {
    let bytes = match (picture.channels, channels) {
        (from, to) if from == to => picture.bytes,
        (1, 3) => picture.bytes.iter().flat_map(|grey| [*grey; 3]).collect(),
        (3, 1) => picture.bytes.chunks_exact(3).map(luma).collect(),
        (from, to) => {
            return Err(format!("channels: {to} of a picture of {from}, expected 1 or 3"));
        }
    };
    Ok(Pixels { channels, bytes, ..picture })
}

fn luma(rgb: &[u8]) -> u8 {
    let weights = [19_595u32, 38_470, 7_471];
    let sum: u32 = rgb.iter().zip(weights).map(|(value, weight)| u32::from(*value) * weight).sum();
    ((sum + 0x8000) >> 16) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::golden::Golden;

    /// The cases of the fixture whose names begin so, with their files.
    fn cases(golden: &Golden, prefix: &str) -> Vec<(String, Vec<u8>)> {
        let names = golden.names(prefix);
        let names = names.iter().filter_map(|name| name.strip_suffix(".file"));
        names.map(|name| (name.to_string(), golden.bytes(&format!("{name}.file")))).collect()
    }

    fn fault(bytes: &[u8]) -> String {
        decode(bytes, None).map(|decoded| decoded.kind).unwrap_err()
    }

    /// The greatest and the mean distance in levels.
    fn distance(a: &Pixels, b: &Pixels) -> (u8, f64) {
        assert_eq!((a.height, a.width, a.channels), (b.height, b.width, b.channels));
        let apart: Vec<u8> = a.bytes.iter().zip(&b.bytes).map(|(a, b)| a.abs_diff(*b)).collect();
        let sum: u64 = apart.iter().map(|d| u64::from(*d)).sum();
        (apart.iter().copied().max().unwrap(), sum as f64 / apart.len() as f64)
    }

    #[test]
    fn lossless_files_give_pils_bytes() {
        let golden = Golden::open("decode");
        let mut kinds = Vec::new();
        for prefix in ["png_", "bmp_", "webp_"] {
            for (name, file) in cases(&golden, prefix) {
                let got = decode(&file, None).unwrap();
                kinds.push((name.clone(), got.kind.to_string()));
                if name != "png_grey16" {
                    let wanted = golden.pixels(&format!("{name}.rgb"));
                    assert_eq!(distance(&got.pixels, &wanted), (0, 0.0), "{name}");
                }
            }
        }
        let special: Vec<String> = kinds
            .iter()
            .filter(|(_, kind)| kind != "plain")
            .map(|(name, kind)| format!("{name} {kind}"))
            .collect();
        let expected = "png_1bit grey, png_grey grey, png_grey16 16-bit, png_la alpha, \
            png_palette palette, png_palette_alpha palette, png_rgb16 16-bit, png_rgba alpha, \
            bmp_palette palette, webp_rgba alpha";
        assert_eq!((special.join(", ").as_str(), kinds.len()), (expected, 14));
    }

    #[test]
    fn of_16_bit_greys_the_high_byte_is_kept() {
        let got = decode(&Golden::open("decode").bytes("png_grey16.file"), Some(1)).unwrap();
        let values = (0..20 * 27).map(|i| ((i * 3 * 40) as u16 >> 8) as u8);
        assert_eq!(got.pixels.bytes, values.collect::<Vec<_>>());
    }

    #[test]
    fn jpegs_are_pils_up_to_the_rounding_of_their_transforms() {
        let golden = Golden::open("decode");
        let cases = cases(&golden, "jpeg_");
        assert_eq!(cases.len(), 7);
        for (name, file) in cases {
            let got = decode(&file, None).unwrap();
            let upright = if name == "jpeg_turned" { "jpeg_420" } else { &name };
            let (max, mean) = distance(&got.pixels, &golden.pixels(&format!("{upright}.rgb")));
            assert!(max <= 3 && mean <= 0.5, "{name}: {max} {mean}");
            assert_eq!(got.kind == Kind::Cmyk, name == "jpeg_cmyk", "{name}");
        }
    }

    #[test]
    fn grey_is_pils_luma() {
        let golden = Golden::open("decode");
        for name in ["png_rgb", "png_grey", "png_palette"] {
            let got = decode(&golden.bytes(&format!("{name}.file")), Some(1)).unwrap();
            assert!(got.pixels == golden.pixels(&format!("{name}.grey")), "{name}");
        }
        assert!(
            decode(&golden.bytes("png_rgb.file"), Some(4)).unwrap_err().contains("channels: 4")
        );
    }

    #[test]
    fn every_file_cut_in_the_middle_is_called_truncated() {
        let golden = Golden::open("decode");
        for (name, file) in cases(&golden, "") {
            for percent in [30, 60, 97] {
                let error = fault(&file[..file.len() * percent / 100]);
                assert!(error.starts_with("truncated"), "{name} at {percent} %: {error}");
            }
        }
    }

    #[test]
    fn what_is_no_picture_or_not_a_whole_one_is_said() {
        let golden = Golden::open("decode");
        let begins = |bytes: &[u8], words: &str| {
            let error = fault(bytes);
            assert!(error.starts_with(words), "{words}: {error}");
        };
        begins(b"", "empty file");
        begins(b"once upon a time", "not a picture: expected PNG");
        begins(b"GIF89a and so on", "not a picture: Gif");
        let mut png = golden.bytes("png_rgb.file");
        let middle = png.len() / 2;
        png[middle] ^= 0xff;
        begins(&png, "damaged");
        let mut jpeg = golden.bytes("jpeg_444.file");
        let codes = jpeg.windows(2).position(|pair| pair == [0xff, 0xc4]).unwrap();
        jpeg[codes + 5..codes + 21].fill(0xff);
        begins(&jpeg, "damaged");
    }

    /// A PNG header alone, with a right checksum.
    fn png_header(width: u32, height: u32) -> Vec<u8> {
        let header = [&width.to_be_bytes()[..], &height.to_be_bytes(), &[8, 2, 0, 0, 0]].concat();
        let mut check = flate2::Crc::new();
        check.update(&[b"IHDR", &header[..]].concat());
        [
            b"\x89PNG\r\n\x1a\n",
            &13u32.to_be_bytes()[..],
            b"IHDR",
            &header,
            &check.sum().to_be_bytes(),
        ]
        .concat()
    }

    #[test]
    fn a_header_that_claims_too_much_is_refused_before_memory_is_taken() {
        for (width, height) in [(100_000, 100_000), (16_385, 1), (16_384, 16_384)] {
            let file =
                [png_header(width, height), b"\0\0\0\0IDAT\x35\xaf\x06\x1e".to_vec()].concat();
            let error = fault(&file);
            assert!(error.starts_with("too large"), "{width}x{height}: {error}");
        }
        let mut jpeg = Golden::open("decode").bytes("jpeg_progressive.file");
        let frame = jpeg.windows(2).position(|pair| pair == [0xff, 0xc2]).unwrap();
        jpeg[frame + 5..frame + 9].copy_from_slice(&[0x2e, 0xe0, 0x2e, 0xe0]);
        let error = fault(&jpeg);
        assert!(error.starts_with("too large: 12000x12000"), "{error}");
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(
            start in 0usize..5,
            tail in proptest::collection::vec(proptest::num::u8::ANY, 0..200),
        ) {
            let starts: [&[u8]; 5] =
                [b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM", b"RIFF\x40\0\0\0WEBPVP8", b""];
            let _ = decode(&[starts[start], &tail].concat(), None);
        }

        #[test]
        fn changed_bytes_never_panic(
            case in 0usize..21,
            changes in proptest::collection::vec((0.0f64..1.0, proptest::num::u8::ANY), 1..6),
        ) {
            let golden = Golden::open("decode");
            let (_, mut file) = cases(&golden, "").swap_remove(case);
            for (place, value) in changes {
                let at = (place * file.len() as f64) as usize;
                file[at] = value;
            }
            if let Ok(Decoded { pixels, .. }) = decode(&file, None) {
                assert_eq!(pixels.bytes.len(), pixels.height * pixels.width * 3);
            }
        }
    }
}
