//! PIL's 8-bit resampling, bit for bit: `ImagingResample` of Pillow's Resample.c.
//!
//! Every peer resizes its training pictures with it. The coefficients are f64 normalised to sum to
//! one, then fixed point with 22 bits; rows first, then columns, rounded to a byte in between.
//! (Libraries in the manner of Pillow-SIMD keep 16-bit coefficients: up to 28 levels away here.)

use super::Pixels;
use std::f64::consts::PI;

/// The filters that PIL calls by these names; all are widened when a picture shrinks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Filter {
    Box,
    Bilinear,
    Bicubic,
    Lanczos,
}

const BITS: u32 = 22;

/// The picture in `height` x `width`, both at least 1.
pub(super) fn resize(picture: &Pixels, height: usize, width: usize, filter: Filter) -> Pixels {
    let mut done = picture.clone();
    // Pillow 13 turned the order round for this case alone; keeping the aspect never meets it.
    let columns_first = height < picture.height && width > picture.width;
    if columns_first {
        done = columns(&done, height, filter);
    }
    if width != done.width {
        done = rows(&done, width, filter);
    }
    if height != done.height {
        done = columns(&done, height, filter);
    }
    done
}

impl Filter {
    fn support(self) -> f64 {
        match self {
            Filter::Box => 0.5,
            Filter::Bilinear => 1.0,
            Filter::Bicubic => 2.0,
            Filter::Lanczos => 3.0,
        }
    }

    fn at(self, x: f64) -> f64 {
        match self {
            Filter::Box => f64::from(u8::from(x > -0.5 && x <= 0.5)),
            Filter::Bilinear => (1.0 - x.abs()).max(0.0),
            Filter::Bicubic => bicubic(x.abs()),
            Filter::Lanczos if (-3.0..3.0).contains(&x) => sinc(x) * sinc(x / 3.0),
            Filter::Lanczos => 0.0,
        }
    }
}

fn bicubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

fn sinc(x: f64) -> f64 {
    if x == 0.0 { 1.0 } else { (x * PI).sin() / (x * PI) }
}

/// What one output pixel takes from the input: from where, and how much of each.
struct Taps {
    first: usize,
    weights: Vec<i32>,
}

fn taps(from: usize, to: usize, filter: Filter) -> Vec<Taps> {
    let scale = from as f64 / to as f64;
    let widening = scale.max(1.0);
    let support = filter.support() * widening;
    let tap = |x: usize| {
        let centre = (x as f64 + 0.5) * scale;
        // PIL truncates towards zero, as these casts do, and then limits to the picture.
        let first = (centre - support + 0.5).max(0.0) as usize;
        let last = ((centre + support + 0.5) as usize).min(from);
        let weights: Vec<f64> = (0..last - first)
            .map(|i| filter.at(((i + first) as f64 - centre + 0.5) * (1.0 / widening)))
            .collect();
        let sum: f64 = weights.iter().sum();
        let fixed = |w: &f64| {
            let w = if sum == 0.0 { *w } else { w / sum } * f64::from(1 << BITS);
            (w + 0.5f64.copysign(w)) as i32
        };
        Taps { first, weights: weights.iter().map(fixed).collect() }
    };
    (0..to).map(tap).collect()
}

fn byte(sum: i32) -> u8 {
    (sum >> BITS).clamp(0, 255) as u8
}

fn rows(picture: &Pixels, width: usize, filter: Filter) -> Pixels {
    match picture.channels {
        1 => rows_of::<1>(picture, width, filter),
        _ => rows_of::<3>(picture, width, filter),
    }
}

fn rows_of<const C: usize>(picture: &Pixels, width: usize, filter: Filter) -> Pixels {
    let taps = taps(picture.width, width, filter);
    let mut bytes = Vec::with_capacity(picture.height * width * C);
    for row in picture.bytes.chunks_exact(picture.width * C) {
        let (pixels, _) = row.as_chunks::<C>();
        for tap in &taps {
            let mut sums = [1 << (BITS - 1); C];
            for (pixel, weight) in pixels[tap.first..].iter().zip(&tap.weights) {
                for (sum, value) in sums.iter_mut().zip(pixel) {
                    *sum += i32::from(*value) * weight;
                }
            }
            bytes.extend(sums.map(byte));
        }
    }
    Pixels { height: picture.height, width, channels: C, bytes }
}

fn columns(picture: &Pixels, height: usize, filter: Filter) -> Pixels {
    let stride = picture.width * picture.channels;
    let mut bytes = Vec::with_capacity(height * stride);
    let mut sums = vec![0i32; stride];
    for tap in taps(picture.height, height, filter) {
        sums.fill(1 << (BITS - 1));
        let from = picture.bytes[tap.first * stride..].chunks_exact(stride);
        for (row, weight) in from.zip(&tap.weights) {
            for (sum, value) in sums.iter_mut().zip(row) {
                *sum += i32::from(*value) * weight;
            }
        }
        bytes.extend(sums.iter().map(|sum| byte(*sum)));
    }
    Pixels { height, bytes, ..*picture }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::golden::Golden;

    #[test]
    fn every_filter_gives_pils_bytes_up_and_down() {
        let golden = Golden::open("prepare");
        let mut cases = 0;
        for (name, filter) in [
            ("box", Filter::Box),
            ("bilinear", Filter::Bilinear),
            ("bicubic", Filter::Bicubic),
            ("lanczos", Filter::Lanczos),
        ] {
            for case in golden.names(&format!("{name}.")) {
                let input = golden.pixels(case.split('.').nth(1).unwrap());
                let wanted = golden.pixels(&case);
                assert!(resize(&input, wanted.height, wanted.width, filter) == wanted, "{case}");
                cases += 1;
            }
        }
        assert_eq!(cases, 20);
    }

    #[test]
    fn one_pixel_fills_any_size_and_any_picture_shrinks_to_one() {
        let dot = Pixels { height: 1, width: 1, channels: 3, bytes: vec![3, 7, 255] };
        for filter in [Filter::Box, Filter::Bilinear, Filter::Bicubic, Filter::Lanczos] {
            assert_eq!(resize(&dot, 5, 9, filter).bytes, [3, 7, 255].repeat(45));
            let large = resize(&dot, 37, 1001, filter);
            assert_eq!(resize(&large, 1, 1, filter).bytes, dot.bytes, "{filter:?}");
        }
    }
}
