//! What happens to a picture each time it is drawn. In order: flip, [0, 1], uniform
//! dequantisation, Gaussian noise, then the transform to what the network sees.

use diff_core::rng::{Address, Purpose};
use diff_models::pictures::Transform;
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

const GAUSSIAN: f32 = 0.01;
/// Lanes of a draw's address.
const FLIP: u16 = 0;
const DEQUANTISE: u16 = 1;
const NOISE: u16 = 2;

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
    use candle_core::{Device, Tensor};
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
    fn every_grey_level_survives_being_drawn() {
        let all: Vec<u8> = (0..=255).collect();
        for transform in [Transform::Rescaled, Transform::Logit] {
            let augment = Augment { transform, ..Augment::default() };
            let values = drawn(augment, &all, 0);
            assert!(values.windows(2).all(|pair| pair[0] < pair[1]));
            assert_eq!(bytes(augment, values), all, "{transform:?}");
        }
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
