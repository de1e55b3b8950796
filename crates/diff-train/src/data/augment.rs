//! What happens to a picture each time it is drawn. In order: flip, [0, 1], uniform
//! dequantisation, Gaussian noise, then the transform to what the network sees.

use crate::Result;
use candle_core::{DType, Tensor};
use diff_core::rng::{Address, Purpose};
use serde::{Deserialize, Serialize};

/// Options of a draw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Augment {
    /// Mirror left to right with probability 1/2.
    pub flip: bool,
    /// (255 x + u) / 256 with u uniform.
    pub dequantise: bool,
    /// x + 0.01 z with z standard normal.
    pub gaussian: bool,
    /// From [0, 1] to what the network sees.
    pub transform: Transform,
}

/// From [0, 1] to what the network sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Transform {
    /// 2x - 1.
    #[default]
    Rescaled,
    /// log(x' / (1 - x')) with x' = lambda + (1 - 2 lambda) x and lambda = 1e-6; x is clamped to
    /// [0, 1] first, as Gaussian noise may leave it.
    Logit,
}

const LAMBDA: f64 = 1e-6;
const GAUSSIAN: f32 = 0.01;
/// Lanes of a draw's address.
const FLIP: u16 = 0;
const DEQUANTISE: u16 = 1;
const NOISE: u16 = 2;

impl Transform {
    /// One value of [0, 1].
    pub fn forward(self, x: f32) -> f32 {
        match self {
            Transform::Rescaled => 2.0 * x - 1.0,
            Transform::Logit => {
                let x = f64::from(x.clamp(0.0, 1.0));
                // Both logarithms from their own end, where they keep all their digits.
                let inner = |x: f64| (LAMBDA + (1.0 - 2.0 * LAMBDA) * x).ln();
                (inner(x) - inner(1.0 - x)) as f32
            }
        }
    }

    /// What the network sees back to [-1, 1], from where pictures become bytes.
    pub fn inverse(self, x: &Tensor) -> Result<Tensor> {
        match self {
            Transform::Rescaled => Ok(x.clone()),
            Transform::Logit => {
                let x = x.to_dtype(DType::F64)?;
                let inner = ((x.neg()?.exp()? + 1.0)?.recip()? - LAMBDA)? / (1.0 - 2.0 * LAMBDA);
                Ok(inner?.clamp(0.0, 1.0)?.affine(2.0, -1.0)?.to_dtype(DType::F32)?)
            }
        }
    }
}

impl Augment {
    /// Whether draw number `position` of a run is mirrored.
    pub fn flips(&self, seed: u64, position: u64) -> bool {
        self.flip && address(seed, position, FLIP).below(2) == 1
    }

    /// Appends a picture [C, H, W] of width `width`, as it is at draw `position`.
    pub(super) fn draw(
        &self,
        picture: &[u8],
        width: usize,
        seed: u64,
        position: u64,
        out: &mut Vec<f32>,
    ) {
        let start = out.len();
        let exact = !(self.dequantise || self.gaussian);
        if self.flips(seed, position) {
            let rows = picture.chunks(width);
            out.extend(rows.flat_map(|row| row.iter().rev()).map(|v| f32::from(*v)));
        } else {
            out.extend(picture.iter().map(|v| f32::from(*v)));
        }
        let values = &mut out[start..];
        if exact && self.transform == Transform::Rescaled {
            values.iter_mut().for_each(|v| *v = *v / 127.5 - 1.0);
            return;
        }
        let mut noise = vec![0.0; values.len()];
        if self.dequantise {
            address(seed, position, DEQUANTISE).fill_uniform(&mut noise);
            values.iter_mut().zip(&noise).for_each(|(v, u)| *v = (*v + u) / 256.0);
        } else {
            values.iter_mut().for_each(|v| *v /= 255.0);
        }
        if self.gaussian {
            address(seed, position, NOISE).fill_normal(&mut noise);
            values.iter_mut().zip(&noise).for_each(|(v, z)| *v += GAUSSIAN * z);
        }
        values.iter_mut().for_each(|v| *v = self.transform.forward(*v));
    }
}

fn address(seed: u64, position: u64, lane: u16) -> Address {
    Address::new(seed, Purpose::Augment).index(position).lane(lane)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;
    use diff_models::pictures::Pictures;

    fn drawn(augment: Augment, picture: &[u8], position: u64) -> Vec<f32> {
        let mut out = Vec::new();
        augment.draw(picture, 4, 7, position, &mut out);
        out
    }

    fn bytes(augment: Augment, values: Vec<f32>) -> Vec<u8> {
        let n = values.len() / 4;
        let x = Tensor::from_vec(values, (1, 1, n, 4), &Device::Cpu).unwrap();
        Pictures::from_tensor(&augment.transform.inverse(&x).unwrap()).unwrap().bytes
    }

    #[test]
    fn every_grey_level_survives_each_transform_and_its_inverse() {
        let all: Vec<u8> = (0..=255).collect();
        for transform in [Transform::Rescaled, Transform::Logit] {
            let augment = Augment { transform, ..Augment::default() };
            let values = drawn(augment, &all, 0);
            assert!(values.windows(2).all(|pair| pair[0] < pair[1]));
            assert_eq!(bytes(augment, values), all, "{transform:?}");
        }
    }

    #[test]
    fn the_logit_is_the_published_one() {
        // log(l + (1-2l) x) - log(1 - l - (1-2l) x), l = 1e-6, in double precision.
        for (x, expected) in [(0.0, -13.815509557963774), (0.5, 0.0), (0.25, -1.0986096220024984)] {
            let value = Transform::Logit.forward(x);
            assert!((f64::from(value) - expected).abs() < 1e-6, "{x}: {value}");
            let mirrored = Transform::Logit.forward(1.0 - x);
            assert!((value + mirrored).abs() < 1e-6, "{x}: {value} {mirrored}");
        }
        assert_eq!(Transform::Logit.forward(-0.1), Transform::Logit.forward(0.0));
    }

    #[test]
    fn half_of_the_draws_are_mirrored_row_by_row_and_it_depends_on_the_position() {
        let augment = Augment { flip: true, ..Augment::default() };
        let picture = [0, 1, 2, 3, 10, 11, 12, 13];
        let mirror = [3, 2, 1, 0, 13, 12, 11, 10];
        let mut mirrored = 0;
        for position in 0..1000 {
            let got = bytes(augment, drawn(augment, &picture, position));
            match augment.flips(7, position) {
                true => assert_eq!(got, mirror),
                false => assert_eq!(got, picture),
            }
            mirrored += u32::from(got == mirror);
        }
        assert!((420..580).contains(&mirrored), "{mirrored}");
        assert!(!(0..1000).any(|position| Augment::default().flips(7, position)));
    }

    #[test]
    fn dequantised_levels_fill_their_own_width() {
        let augment = Augment { dequantise: true, ..Augment::default() };
        for level in [0u8, 100, 255] {
            let values: Vec<f32> = (0..250)
                .flat_map(|position| drawn(augment, &[level; 4], position))
                .map(|v| (v + 1.0) * 128.0 - f32::from(level))
                .collect();
            assert!(values.iter().all(|u| (-1e-4..=1.0001).contains(u)));
            let mean = values.iter().sum::<f32>() / 1000.0;
            assert!((mean - 0.5).abs() < 4.0 / (12.0f32 * 1000.0).sqrt(), "{level}: {mean}");
        }
    }

    #[test]
    fn gaussian_noise_has_a_hundredth_of_the_range_and_the_logit_stays_finite() {
        let augment = Augment { gaussian: true, ..Augment::default() };
        let values: Vec<f32> =
            (0..1000).flat_map(|position| drawn(augment, &[51; 4], position)).collect();
        let noise: Vec<f32> = values.iter().map(|v| (v + 1.0) / 2.0 - 0.2).collect();
        let variance = noise.iter().map(|v| v * v).sum::<f32>() / 4000.0;
        assert!((variance / 1e-4 - 1.0).abs() < 0.1, "{variance}");
        let logit = Augment { transform: Transform::Logit, ..augment };
        let ends: Vec<f32> =
            (0..1000).flat_map(|position| drawn(logit, &[0, 255, 0, 255], position)).collect();
        assert!(ends.iter().all(|v| v.is_finite()));
    }
}
