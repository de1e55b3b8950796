//! Pictures as bytes: from [-1, 1], into PNG, and many on one sheet.

mod grid;
mod png;
mod transform;

pub use grid::Grid;
pub use png::encode;
pub use transform::Transform;

use crate::Result;
use candle_core::{DType, Tensor};

/// Pictures as bytes, row-major [n, h, w, c].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pictures {
    /// Count, height, width, channels.
    pub shape: [usize; 4],
    /// The bytes.
    pub bytes: Vec<u8>,
}

impl Pictures {
    /// From a tensor `[B, C, H, W]` in [-1, 1]: floor(255 u + 0.5) with u = (x+1)/2 clamped to [0, 1],
    /// as torchvision's save_image does. (DDDM truncates (x+1) 127.5, diffusers rounds half to even;
    /// the choice shows in the third digit of an FID.)
    pub fn from_tensor(x: &Tensor) -> Result<Self> {
        let (b, c, h, w) = x.dims4()?;
        let values = x.permute((0, 2, 3, 1))?.to_dtype(DType::F32)?.flatten_all()?;
        let bytes = values.to_vec1::<f32>()?.into_iter().map(byte).collect();
        Ok(Pictures { shape: [b, h, w, c], bytes })
    }

    /// Picture `i`, row-major [h, w, c].
    pub fn picture(&self, i: usize) -> &[u8] {
        let [_, h, w, c] = self.shape;
        &self.bytes[i * h * w * c..(i + 1) * h * w * c]
    }
}

/// floor(255 u + 0.5) of one value in [-1, 1].
pub fn byte(x: f32) -> u8 {
    let unit = (x * 0.5 + 0.5).clamp(0.0, 1.0);
    (unit * 255.0 + 0.5) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn bytes_round_to_nearest_and_clamp() {
        assert_eq!([-1.0, 1.0, -3.0, 3.0, 0.0].map(byte), [0, 255, 0, 255, 128]);
        // Every byte survives the way out and back.
        assert!((0..=255u8).all(|v| byte(v as f32 / 127.5 - 1.0) == v));
    }

    #[test]
    fn pictures_come_out_upright() {
        // [1, 2, 2, 3]: channel 0 holds 0..6 row by row, channel 1 is black.
        let values: Vec<f32> = (0..6).map(|v| v as f32 / 127.5 - 1.0).chain([-1.0; 6]).collect();
        let x = Tensor::from_vec(values, (1, 2, 2, 3), &Device::Cpu).unwrap();
        let pictures = Pictures::from_tensor(&x).unwrap();
        assert_eq!(pictures.shape, [1, 2, 3, 2]);
        assert_eq!(pictures.bytes, [0, 0, 1, 0, 2, 0, 3, 0, 4, 0, 5, 0]);
    }
}
