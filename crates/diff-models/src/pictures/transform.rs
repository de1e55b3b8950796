use crate::Result;
use candle_core::{DType, Tensor};
use serde::{Deserialize, Serialize};

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
    ///
    /// # Errors
    /// When a tensor operation fails.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pictures::Pictures;
    use candle_core::Device;

    #[test]
    fn every_grey_level_survives_each_transform_and_its_inverse() {
        for transform in [Transform::Rescaled, Transform::Logit] {
            let values: Vec<f32> = (0..=255).map(|v| transform.forward(v as f32 / 255.0)).collect();
            assert!(values.windows(2).all(|pair| pair[0] < pair[1]));
            let x = Tensor::from_vec(values, (1, 1, 16, 16), &Device::Cpu).unwrap();
            let back = Pictures::from_tensor(&transform.inverse(&x).unwrap()).unwrap();
            assert_eq!(back.bytes, (0..=255).collect::<Vec<u8>>(), "{transform:?}");
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
}
