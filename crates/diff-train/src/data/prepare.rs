//! What happens to a picture before it is stored: channels, crop, size, levels.
//!
//! Every rounding is the peers': a resolution that divides nothing gives their bytes all the same.

use super::{
    Crop, Pixels,
    crop::cut,
    decode::with_channels,
    resample::{Filter, resize},
};
use crate::Result as CrateResult;
use diff_core::Error;
use diff_models::categorical::LEVELS;
use serde::{Deserialize, Serialize};

const MAX_RESOLUTION: usize = 4096;
/// The most bytes that a picture may have on its way.
const MAX_BYTES: usize = 512 << 20;

/// The part of the data section that decides what a picture becomes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Preparation {
    /// The part that is kept, before anything else.
    pub crop: Option<Crop>,
    /// Rows and columns of the result; without it pictures keep their size.
    pub resolution: Option<usize>,
    /// How a picture that is not square becomes so.
    pub fit: Fit,
    /// How pixels are computed from others.
    pub resize: Resize,
    /// 1 (grey) or 3 (RGB); without it as the source has them.
    pub channels: Option<usize>,
    /// How many grey levels are left, evenly spread from black to white, 2 to 16; each byte becomes the
    /// nearest. Without it pictures keep their bytes.
    pub levels: Option<usize>,
}

/// How a picture that is not square becomes so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fit {
    /// The short side becomes the resolution, the middle is cut out (torchvision's `Resize`, then
    /// `CenterCrop`).
    #[default]
    Crop,
    /// The long side becomes the resolution, the rest is black (PIL's `ImageOps.pad`).
    Pad,
    /// Both sides become the resolution.
    Stretch,
}

/// How pixels are computed from others. When a picture shrinks, all that a new pixel covers counts,
/// as in PIL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Resize {
    /// Linear.
    #[default]
    Bilinear,
    /// Cubic, a = -0.5.
    Bicubic,
    /// The mean of what is covered.
    Box,
    /// Lanczos with three lobes.
    Lanczos,
    /// Halved by `box` while the short side is at least twice the resolution, then `bicubic`
    /// (guided-diffusion's `center_crop_arr`, by which ImageNet 64x64 is made); with `fit = "crop"`.
    BoxBicubic,
}

/// A picture ready to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepared {
    /// The picture.
    pub pixels: Pixels,
    /// True when it had fewer rows or columns than it was given.
    pub enlarged: bool,
}

impl Preparation {
    /// Checks what the types leave open.
    ///
    /// # Errors
    /// When a value is outside its range, or two do not go together.
    pub fn check(&self) -> CrateResult<()> {
        let bad = |key: &str, value: String, expected: String| -> CrateResult<()> {
            Err(Error::argument(format!("data.{key}"), value, expected).into())
        };
        if let Some(resolution) = self.resolution.filter(|r| !(1..=MAX_RESOLUTION).contains(r)) {
            return bad("resolution", resolution.to_string(), format!("1 to {MAX_RESOLUTION}"));
        }
        if let Some(channels) = self.channels.filter(|c| ![1, 3].contains(c)) {
            return bad("channels", channels.to_string(), "1 (grey) or 3 (RGB)".into());
        }
        if let Some(levels) = self.levels.filter(|levels| !LEVELS.contains(levels)) {
            let expected = format!("{} to {}", LEVELS.start(), LEVELS.end());
            return bad("levels", levels.to_string(), expected);
        }
        if let Some(crop @ Crop::Rectangle { height, width, .. }) = self.crop
            && (height == 0 || width == 0)
        {
            let expected = "[top, left, height, width] with height and width of at least 1";
            return bad("crop", crop.to_string(), expected.into());
        }
        if self.resize == Resize::BoxBicubic && self.fit != Fit::Crop {
            return bad("resize", "box-bicubic".into(), "another filter, or fit = \"crop\"".into());
        }
        Ok(())
    }

    /// Prepares one picture.
    ///
    /// # Errors
    /// When the picture is not of the size that `crop` needs, or would become too large on its way;
    /// and when [`check`](Self::check) fails.
    pub fn apply(&self, picture: Pixels) -> Result<Prepared, String> {
        self.check().map_err(|e| e.to_string())?;
        let Pixels { height, width, channels, .. } = picture;
        let length = height.checked_mul(width).and_then(|n| n.checked_mul(channels));
        if length != Some(picture.bytes.len()) || picture.bytes.is_empty() {
            let bytes = picture.bytes.len();
            return Err(format!("damaged: {bytes} bytes for {height}x{width}x{channels}"));
        }
        let mut picture = match self.crop {
            Some(crop) => crop.apply(&picture)?,
            None => picture,
        };
        if let Some(channels) = self.channels {
            picture = with_channels(picture, channels)?;
        }
        let mut prepared = match self.resolution {
            Some(resolution) => self.fitted(picture, resolution)?,
            None => Prepared { pixels: picture, enlarged: false },
        };
        if let Some(levels) = self.levels {
            let bytes = &mut prepared.pixels.bytes;
            bytes.iter_mut().for_each(|byte| *byte = nearest_level(*byte, levels));
        }
        Ok(prepared)
    }

    /// One line that is the same for the same preparation, and another for any other.
    pub fn describe(&self) -> String {
        let or_dash = |value: Option<String>| value.unwrap_or_else(|| "-".into());
        // Without levels as it was before there were any, so that what is in a cache stays known.
        let levels = self.levels.map_or_else(String::new, |levels| format!(" levels={levels}"));
        format!(
            "crop={} resolution={} fit={:?} resize={:?} channels={}{levels}",
            or_dash(self.crop.map(|crop| crop.to_string())),
            or_dash(self.resolution.map(|r| r.to_string())),
            self.fit,
            self.resize,
            or_dash(self.channels.map(|c| c.to_string())),
        )
    }

    fn fitted(&self, mut picture: Pixels, resolution: usize) -> Result<Prepared, String> {
        if self.resize == Resize::BoxBicubic {
            while picture.height.min(picture.width) / 2 >= resolution {
                let (height, width) = (picture.height / 2, picture.width / 2);
                picture = resize(&picture, height, width, Filter::Box);
            }
        }
        let (height, width) = self.inner_size(&picture, resolution);
        let bytes = height.checked_mul(width).and_then(|n| n.checked_mul(picture.channels));
        if bytes.is_none_or(|bytes| bytes > MAX_BYTES) {
            return Err(format!(
                "too large: {}x{} becomes {height}x{width} at resolution {resolution}",
                picture.height, picture.width
            ));
        }
        let enlarged = height > picture.height || width > picture.width;
        let inner = resize(&picture, height, width, self.filter());
        let pixels = match self.fit {
            Fit::Crop => {
                let offset = |side: usize| match self.resize {
                    Resize::BoxBicubic => (side - resolution) / 2,
                    _ => half_to_even(side - resolution),
                };
                let (top, left) = (offset(height), offset(width));
                cut(&inner, [top, left, resolution, resolution])
            }
            Fit::Pad => padded(&inner, resolution),
            Fit::Stretch => inner,
        };
        Ok(Prepared { pixels, enlarged })
    }

    fn filter(&self) -> Filter {
        match self.resize {
            Resize::Bilinear => Filter::Bilinear,
            Resize::Bicubic | Resize::BoxBicubic => Filter::Bicubic,
            Resize::Box => Filter::Box,
            Resize::Lanczos => Filter::Lanczos,
        }
    }

    /// Rows and columns of the resized picture, before it is cut or padded.
    fn inner_size(&self, picture: &Pixels, resolution: usize) -> (usize, usize) {
        let (height, width) = (picture.height, picture.width);
        let (h, w, r) = (height as f64, width as f64, resolution as f64);
        match self.fit {
            Fit::Stretch => (resolution, resolution),
            Fit::Crop if self.resize == Resize::BoxBicubic => {
                let scale = r / h.min(w);
                let side = |x: f64| (x * scale).round_ties_even() as usize;
                (side(h), side(w))
            }
            Fit::Crop => {
                let short = height.min(width);
                (resolution * height / short, resolution * width / short)
            }
            // PIL divides first; at some sizes that decides the last row.
            Fit::Pad if width > height => (at_least_one(h / w * r), resolution),
            Fit::Pad => (resolution, at_least_one(w / h * r)),
        }
    }
}

fn at_least_one(side: f64) -> usize {
    (side.round_ties_even() as usize).max(1)
}

/// The byte of the nearest of `levels` levels from 0 to 255; between two, that of the upper one.
fn nearest_level(byte: u8, levels: usize) -> u8 {
    let steps = levels - 1;
    let level = (2 * usize::from(byte) * steps + 255) / 510;
    ((2 * 255 * level + steps) / (2 * steps)) as u8
}

/// Half of `border`, a half rounded to the even side as Python rounds.
fn half_to_even(border: usize) -> usize {
    border / 2 + usize::from(border % 4 == 3)
}

/// The picture in the middle of a black square.
fn padded(inner: &Pixels, side: usize) -> Pixels {
    let c = inner.channels;
    let (top, left) = (half_to_even(side - inner.height), half_to_even(side - inner.width));
    let mut bytes = vec![0; side * side * c];
    let rows = bytes.chunks_exact_mut(side * c).skip(top);
    for (row, from) in rows.zip(inner.bytes.chunks_exact(inner.width * c)) {
        row[left * c..(left + inner.width) * c].copy_from_slice(from);
    }
    Pixels { height: side, width: side, channels: c, bytes }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::golden::Golden;

    fn to(resolution: usize, fit: Fit, resize: Resize) -> Preparation {
        Preparation { resolution: Some(resolution), fit, resize, ..Preparation::default() }
    }

    /// Compares every case `prefix.INPUT.R` of the fixture; says how many there were.
    fn compare(prefix: &str, fit: Fit, resize: Resize) -> usize {
        let golden = Golden::open("prepare");
        let cases = golden.names(&format!("{prefix}."));
        for case in &cases {
            let [input, size] = case[prefix.len() + 1..].split('.').collect::<Vec<_>>()[..] else {
                panic!("{case}");
            };
            let mut input = golden.pixels(input);
            let wanted = golden.pixels(case);
            if wanted.channels == 1 {
                input = with_channels(input, 1).unwrap();
            }
            let size: usize = size.parse().unwrap();
            let enlarged = match fit {
                Fit::Pad => input.height.max(input.width) < size,
                _ => input.height.min(input.width) < size,
            };
            let got = to(size, fit, resize).apply(input).unwrap();
            assert!(got.pixels == wanted, "{case}");
            assert_eq!(got.enlarged, enlarged, "{case}");
        }
        cases.len()
    }

    #[test]
    fn crop_is_torchvisions_resize_and_center_crop() {
        assert_eq!(compare("crop.bilinear", Fit::Crop, Resize::Bilinear), 10);
        assert_eq!(compare("crop.bicubic", Fit::Crop, Resize::Bicubic), 1);
        assert_eq!(compare("crop.box", Fit::Crop, Resize::Box), 1);
        assert_eq!(compare("crop.lanczos", Fit::Crop, Resize::Lanczos), 1);
    }

    #[test]
    fn box_bicubic_is_guided_diffusions_center_crop() {
        assert_eq!(compare("guided", Fit::Crop, Resize::BoxBicubic), 10);
    }

    #[test]
    fn pad_and_stretch_are_pils() {
        assert_eq!(compare("pad", Fit::Pad, Resize::Bilinear), 8);
        assert_eq!(compare("stretch", Fit::Stretch, Resize::Bilinear), 1);
    }

    #[test]
    fn a_celeba_face_is_cropped_and_resized_as_the_peers_do() {
        let rule =
            |i: usize| ((3 * (i % 178) + 5 * (i / 178) + (i % 178) * (i / 178) / 64) % 256) as u8;
        let bytes = (0..218 * 178).map(rule).collect();
        let picture = Pixels { height: 218, width: 178, channels: 1, bytes };
        let preparation =
            Preparation { crop: Some(Crop::Celeba), ..to(64, Fit::Crop, Resize::Bilinear) };
        let got = preparation.apply(picture).unwrap();
        assert!(got.pixels == Golden::open("prepare").pixels("celeba.64"));
    }

    #[test]
    fn channels_change_before_the_size_does() {
        let golden = Golden::open("prepare");
        let grey = Preparation { channels: Some(1), ..Preparation::default() };
        assert!(grey.apply(golden.pixels("rgb")).unwrap().pixels == golden.pixels("luma"));
        let rgb = Preparation { channels: Some(3), ..Preparation::default() };
        let got = rgb.apply(golden.pixels("grey")).unwrap().pixels;
        assert_eq!(
            got.bytes[..6],
            [got.bytes[0], got.bytes[0], got.bytes[0], got.bytes[3], got.bytes[3], got.bytes[3]]
        );
        assert_eq!((got.channels, got.bytes.len()), (3, 47 * 61 * 3));
    }

    #[test]
    fn values_out_of_range_are_named() {
        let check = |preparation: Preparation, key: &str| {
            let error = preparation.check().unwrap_err().to_string();
            assert!(error.starts_with(&format!("data.{key} = ")), "{error}");
        };
        check(to(0, Fit::Crop, Resize::Box), "resolution");
        check(to(4097, Fit::Crop, Resize::Box), "resolution");
        check(to(64, Fit::Pad, Resize::BoxBicubic), "resize");
        check(Preparation { channels: Some(4), ..Preparation::default() }, "channels");
        check(Preparation { levels: Some(1), ..Preparation::default() }, "levels");
        check(Preparation { levels: Some(17), ..Preparation::default() }, "levels");
        let empty = Crop::Rectangle { top: 0, left: 0, height: 0, width: 4 };
        check(Preparation { crop: Some(empty), ..Preparation::default() }, "crop");
        to(4096, Fit::Crop, Resize::BoxBicubic).check().unwrap();
        Preparation::default().check().unwrap();
    }

    #[test]
    fn levels_are_the_nearest_evenly_spread_and_stay_where_they_are() {
        let all: Vec<u8> = (0..=255).collect();
        let of = |bytes: &[u8], levels: usize| -> Vec<u8> {
            let picture = Pixels { height: 1, width: 256, channels: 1, bytes: bytes.to_vec() };
            let preparation = Preparation { levels: Some(levels), ..Preparation::default() };
            preparation.apply(picture).unwrap().pixels.bytes
        };
        // Half of the maximum, 127.5, and more is white.
        let binary: Vec<u8> = all.iter().map(|v| if *v >= 128 { 255 } else { 0 }).collect();
        assert_eq!(of(&all, 2), binary);
        for levels in LEVELS {
            let got = of(&all, levels);
            let spread = |level: usize| (255.0 * level as f64 / (levels - 1) as f64).round();
            let spread: Vec<f64> = (0..levels).map(spread).collect();
            for (byte, got) in all.iter().zip(&got) {
                let off = |level: &f64| (level - f64::from(*byte)).abs();
                let nearest = spread.iter().map(off).fold(f64::INFINITY, f64::min);
                assert!(spread.contains(&f64::from(*got)), "{byte} to {got} of {levels}");
                // The levels themselves are rounded to bytes.
                assert!(off(&f64::from(*got)) <= nearest + 1.0, "{byte} to {got} of {levels}");
            }
            assert_eq!(of(&got, levels), got, "{levels}");
        }
    }

    #[test]
    fn a_sliver_that_would_fill_the_memory_is_refused() {
        let sliver = Pixels { height: 1, width: 16_384, channels: 1, bytes: vec![9; 16_384] };
        let error = to(4096, Fit::Crop, Resize::Bilinear).apply(sliver.clone()).unwrap_err();
        assert!(error.starts_with("too large"), "{error}");
        let flat = to(64, Fit::Pad, Resize::Bilinear).apply(sliver.clone()).unwrap().pixels;
        assert_eq!(flat.bytes.iter().filter(|value| **value == 9).count(), 64);
        let short = Pixels { height: 2, ..sliver };
        assert!(to(8, Fit::Pad, Resize::Box).apply(short).unwrap_err().starts_with("damaged"));
    }

    #[test]
    fn the_description_tells_every_option_apart() {
        let base = to(64, Fit::Crop, Resize::Bilinear);
        let crop = Crop::Rectangle { top: 1, left: 2, height: 3, width: 4 };
        let mut lines = vec![
            base.describe(),
            Preparation { crop: Some(Crop::Celeba), ..base.clone() }.describe(),
            Preparation { crop: Some(crop), ..base.clone() }.describe(),
            Preparation { resolution: None, ..base.clone() }.describe(),
            Preparation { fit: Fit::Pad, ..base.clone() }.describe(),
            Preparation { resize: Resize::BoxBicubic, ..base.clone() }.describe(),
            Preparation { channels: Some(1), ..base.clone() }.describe(),
            Preparation { levels: Some(2), ..base.clone() }.describe(),
            Preparation { levels: Some(3), ..base }.describe(),
        ];
        assert_eq!(lines[0], "crop=- resolution=64 fit=Crop resize=Bilinear channels=-");
        lines.sort();
        lines.dedup();
        assert_eq!(lines.len(), 9);
    }

    #[test]
    fn a_configuration_is_read_by_its_words() {
        let text =
            r#"{"crop": "celeba", "resolution": 64, "fit": "stretch", "resize": "box-bicubic"}"#;
        let got: Preparation = serde_json::from_str(text).unwrap();
        let expected =
            Preparation { crop: Some(Crop::Celeba), ..to(64, Fit::Stretch, Resize::BoxBicubic) };
        assert_eq!(got, expected);
        assert!(serde_json::from_str::<Preparation>(r#"{"size": 3}"#).is_err());
    }
}
