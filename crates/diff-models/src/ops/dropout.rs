//! Dropout from addressed randomness.
#![allow(clippy::needless_range_loop)] // vectors in plain loops, see `cpu::product`

use super::{
    cpu::{Lanes, Real, Values, pieces, tensor},
    graph::{Operation, Step, apply},
};
use crate::{Context, error::Result};
use candle_core::Tensor;
use diff_core::rng::{Address, unit};
use pulp::{Simd, WithSimd};
use rayon::prelude::*;

/// Zeroes each element of `x` `[B, ...]` with probability `p` while training and scales the rest by
/// 1 / (1 - p); in [`Context::Eval`] `x` itself.
///
/// Row i draws its mask at `dropout.index + i` and at lane `dropout.lane + layer`, so a mask
/// depends on the sample and the layer, not on the batch.
pub fn dropout(x: &Tensor, p: f64, context: &Context, layer: u16) -> Result<Tensor> {
    let Context::Train { dropout } = context else { return Ok(x.clone()) };
    if p == 0.0 {
        return Ok(x.clone());
    }
    let address = dropout.lane(dropout.lane.wrapping_add(layer));
    let mask = mask(x.dims(), p, address);
    if x.device().is_cpu() {
        return apply(Dropout { p, mask }, &[x]);
    }
    let mask = Tensor::from_vec(mask, x.shape(), x.device())?.to_dtype(x.dtype())?;
    Ok((x * (mask * (1.0 / (1.0 - p)))?)?)
}

/// For every element of `[B, ...]`, 1 where it is kept and 0 where it is not.
fn mask(shape: &[usize], p: f64, address: Address) -> Vec<u8> {
    // Elements of a piece of work.
    const PIECE: usize = 8192;
    // An element is kept if its number is at least p: from which upper 24 bits on?
    let least = (0..24).rev().fold(0, |low, bit| {
        let next = low | (1 << bit);
        if f64::from(unit((next - 1) << 8)) < p { next } else { low }
    });
    let each = shape.iter().skip(1).product::<usize>();
    let mut mask = vec![0u8; shape.iter().product()];
    let rows = mask.par_chunks_mut(each.max(1)).enumerate();
    rows.for_each(|(row, mask)| {
        let address = address.index(address.index + row as u64);
        mask.par_chunks_mut(PIECE).enumerate().for_each(|(piece, mask)| {
            f32::run(Draw { address, first: piece * (PIECE / 4), least, mask });
        });
    });
    mask
}

/// A piece of a mask.
struct Draw<'a> {
    address: Address,
    /// The block of four words that it starts with.
    first: usize,
    least: u32,
    mask: &'a mut [u8],
}

impl WithSimd for Draw<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        const BLOCKS: usize = 16;
        for (group, mask) in self.mask.chunks_mut(4 * BLOCKS).enumerate() {
            let words = self.address.blocks::<BLOCKS>((self.first + group * BLOCKS) as u32);
            let mut kept = [0u8; 4 * BLOCKS];
            for i in 0..4 {
                for n in 0..BLOCKS {
                    kept[4 * n + i] = u8::from(words[i][n] >> 8 >= self.least);
                }
            }
            mask.copy_from_slice(&kept[..mask.len()]);
        }
    }
}

struct Dropout {
    p: f64,
    mask: Vec<u8>,
}

impl Dropout {
    fn of<T: Real>(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        let values: &[T] = &Values::of(x)?;
        let scale = T::from_f64(1.0 / (1.0 - self.p));
        let kept = pieces(values.len(), |at, y: &mut [T]| {
            let (values, mask) = (&values[at.clone()], &self.mask[at]);
            for ((y, x), kept) in y.iter_mut().zip(values).zip(mask) {
                *y = if *kept == 0 { T::zero() } else { *x * scale };
            }
        });
        tensor(kept, x.shape().clone(), x)
    }
}

impl Operation for Dropout {
    fn name(&self) -> &'static str {
        "dropout"
    }

    fn forward<T: Real>(&self, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        self.of::<T>(&inputs[0])
    }

    fn backward<T: Real>(&self, step: &Step) -> candle_core::Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(self.of::<T>(step.dy)?)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};
    use diff_core::rng::{Address, Purpose};

    fn mask(rows: usize, first: u64, layer: u16) -> Vec<Vec<f32>> {
        let x = Tensor::ones((rows, 5000), DType::F32, &Device::Cpu).unwrap();
        let dropout_at = Address::new(3, Purpose::Dropout).index(first).step(9);
        let context = Context::Train { dropout: dropout_at };
        dropout(&x, 0.25, &context, layer).unwrap().to_vec2().unwrap()
    }

    #[test]
    fn a_mask_follows_its_sample_and_layer_not_its_batch() {
        let all = mask(3, 10, 1);
        assert_eq!(all[2], mask(1, 12, 1)[0]);
        assert_ne!(all[0], all[1]);
        assert_ne!(all[0], mask(1, 10, 2)[0]);
    }

    #[test]
    fn an_element_is_kept_if_its_number_is_at_least_p() {
        let address = Address::new(3, Purpose::Dropout).index(1 << 33).step(9);
        for p in [1e-9, 0.1, 0.5, 1.0 - 1e-9] {
            // More than a piece of work, and no whole group.
            let mask = super::mask(&[2, 3001, 3], p, address);
            for (row, mask) in mask.chunks(9003).enumerate() {
                let mut numbers = vec![0f32; 9003];
                address.index(address.index + row as u64).fill_uniform(&mut numbers);
                let kept = numbers.iter().map(|u| u8::from(f64::from(*u) >= p));
                assert!(kept.eq(mask.iter().copied()), "{p}");
            }
        }
    }

    #[test]
    fn a_quarter_is_dropped_and_the_rest_is_scaled() {
        let row = &mask(1, 0, 0)[0];
        let dropped = row.iter().filter(|v| **v == 0.0).count() as f64;
        assert!((dropped - 1250.0).abs() < 4.0 * (5000.0f64 * 0.25 * 0.75).sqrt(), "{dropped}");
        assert!(row.iter().all(|v| *v == 0.0 || *v == 4.0 / 3.0));
    }

    #[test]
    fn inference_keeps_everything() {
        let x = Tensor::ones((1, 50), DType::F32, &Device::Cpu).unwrap();
        let kept = dropout(&x, 0.9, &Context::Eval, 0).unwrap().to_vec2::<f32>().unwrap();
        assert!(kept[0].iter().all(|v| *v == 1.0));
    }
}
