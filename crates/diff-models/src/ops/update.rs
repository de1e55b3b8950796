//! What training does to whole tensors between two steps, in place and on all threads.
#![allow(unsafe_code)] // threads write disjoint parts of one buffer
#![allow(clippy::needless_range_loop)] // vectors in plain loops, see `cpu::product`

use super::{
    cpu::{Lanes, Shared, Values, slice},
    profile::{Pass, noted},
};
use crate::error::Result;
use candle_core::{CpuStorage, DType, InplaceOp1, Layout, Tensor};
use pulp::{Simd, WithSimd};
use rayon::prelude::*;

/// Numbers of a piece of work. Sums are cut here too, so that they do not depend on the threads.
const PIECE: usize = 1 << 14;

/// Replaces the numbers at every place of `targets` by what `f` makes of them and of those at their
/// place in `inputs`. All tensors have one shape, and no two share memory. Says false, and does
/// nothing, where there is no fast path: for other numbers than f32, and for other devices than the
/// CPU.
///
/// # Errors
/// When a tensor is not contiguous.
pub fn update<const N: usize, const M: usize>(
    targets: [&Tensor; N],
    inputs: [&Tensor; M],
    f: impl Fn([f32; N], [f32; M]) -> [f32; N] + Sync,
) -> Result<bool> {
    let Some((first, rest)) = targets.split_first() else { return Ok(true) };
    let fits =
        |x: &&Tensor| x.shape() == first.shape() && x.dtype() == DType::F32 && x.device().is_cpu();
    if !targets.iter().all(fits) || !inputs.iter().all(fits) {
        return Ok(false);
    }
    let values = inputs.map(Values::<f32>::of);
    let mut inputs = [[].as_slice(); M];
    for (input, values) in inputs.iter_mut().zip(&values) {
        *input = values.as_deref().map_err(|error| candle_core::Error::msg(error.to_string()))?;
    }
    let length = first.elem_count();
    let work = |targets: &[Shared<f32>]| {
        (0..length.div_ceil(PIECE)).into_par_iter().for_each(|piece| {
            let at = piece * PIECE..length.min((piece + 1) * PIECE);
            let count = at.len();
            // SAFETY: pieces do not overlap.
            let targets: [_; N] = std::array::from_fn(|i| unsafe { targets[i].part(at.clone()) });
            let inputs = inputs.map(|input| &input[at.clone()]);
            f32::run(Piece { targets, inputs, count, f: &f });
        });
    };
    noted(
        ("update", Pass::Update),
        &targets,
        || 0,
        || first.inplace_op1(&Open { rest, opened: &[], work: &work }),
    )?;
    Ok(true)
}

/// Numbers at a piece of all places.
struct Piece<'a, F, const N: usize, const M: usize> {
    targets: [&'a mut [f32]; N],
    inputs: [&'a [f32]; M],
    count: usize,
    f: &'a F,
}

impl<F, const N: usize, const M: usize> WithSimd for Piece<'_, F, N, M>
where
    F: Fn([f32; N], [f32; M]) -> [f32; N],
{
    type Output = ();

    /// In blocks of a fixed length, which the compiler turns into vectors.
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        const BLOCK: usize = 16;
        let Piece { mut targets, inputs, count, f } = self;
        for first in (0..count).step_by(BLOCK) {
            let length = BLOCK.min(count - first);
            let (mut new, mut given) = ([[0f32; BLOCK]; N], [[0f32; BLOCK]; M]);
            for (block, target) in new.iter_mut().zip(&targets) {
                copy(block, &target[first..first + length]);
            }
            for (block, input) in given.iter_mut().zip(inputs) {
                copy(block, &input[first..first + length]);
            }
            for i in 0..BLOCK {
                let mut old = [0f32; N];
                for target in 0..N {
                    old[target] = new[target][i];
                }
                let mut others = [0f32; M];
                for input in 0..M {
                    others[input] = given[input][i];
                }
                let values = f(old, others);
                for target in 0..N {
                    new[target][i] = values[target];
                }
            }
            for (block, target) in new.iter().zip(&mut targets) {
                target[first..first + length].copy_from_slice(&block[..length]);
            }
        }
    }
}

/// Takes what there is; a whole block mostly, whose length the compiler then knows.
#[inline(always)]
fn copy<const L: usize>(block: &mut [f32; L], from: &[f32]) {
    match from.first_chunk::<L>() {
        Some(whole) => *block = *whole,
        None => block[..from.len()].copy_from_slice(from),
    }
}

/// Opens one tensor's memory after the other, then works on all of them.
struct Open<'a> {
    rest: &'a [&'a Tensor],
    opened: &'a [Shared<'a, f32>],
    work: &'a dyn Fn(&[Shared<f32>]),
}

impl InplaceOp1 for Open<'_> {
    fn name(&self) -> &'static str {
        "update"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
        let (CpuStorage::F32(values), Some((start, end))) = (storage, layout.contiguous_offsets())
        else {
            candle_core::bail!("update: expected contiguous f32, got {layout:?}")
        };
        let mut opened = self.opened.to_vec();
        opened.push(Shared::new(&mut values[start..end]));
        match self.rest.split_first() {
            Some((next, rest)) => {
                next.inplace_op1(&Open { rest, opened: &opened, work: self.work })
            }
            None => {
                (self.work)(&opened);
                Ok(())
            }
        }
    }
}

/// The sum of the squares of all numbers, in f64.
///
/// # Errors
/// When a tensor operation fails.
pub fn sum_of_squares(x: &Tensor) -> Result<f64> {
    if !x.device().is_cpu() || x.dtype() != DType::F32 {
        let values = x.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
        return Ok(values.iter().map(|v| v * v).sum());
    }
    let x = x.contiguous()?;
    let (storage, layout) = x.storage_and_layout();
    let candle_core::Storage::Cpu(storage) = &*storage else { return Ok(0.0) };
    let values = slice::<f32>(storage, layout)?;
    let sums: Vec<f64> = values.par_chunks(PIECE).map(squares).collect();
    Ok(sums.into_iter().sum())
}

fn squares(values: &[f32]) -> f64 {
    f32::run(Squares { values })
}

struct Squares<'a> {
    values: &'a [f32],
}

impl WithSimd for Squares<'_> {
    type Output = f64;

    /// In as many sums as the compiler keeps in vectors.
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> f64 {
        let mut sums = [0f64; 16];
        let (blocks, rest) = self.values.as_chunks::<16>();
        for block in blocks {
            for i in 0..16 {
                sums[i] += f64::from(block[i]) * f64::from(block[i]);
            }
        }
        let mut sum = sums.iter().sum::<f64>();
        for value in rest {
            sum += f64::from(*value) * f64::from(*value);
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn an_update_changes_the_tensor_itself() {
        let n = 2 * PIECE + 5;
        let old: Vec<f32> = (0..n).map(|i| i as f32).collect();
        let target = Tensor::from_slice(&old, n, &Device::Cpu).unwrap();
        let input = Tensor::full(0.5f32, n, &Device::Cpu).unwrap();
        assert!(update([&target], [&input], |[old], [a]| [2.0 * old + a]).unwrap());
        let new = target.to_vec1::<f32>().unwrap();
        assert!(new.iter().zip(&old).all(|(new, old)| *new == 2.0 * old + 0.5));
        let double = target.to_dtype(DType::F64).unwrap();
        assert!(!update([&double], [&double], |[old], _| [old + 1.0]).unwrap());
    }

    #[test]
    fn squares_are_summed_in_f64() {
        let x = Tensor::full(1e-4f32, 3 * PIECE + 11, &Device::Cpu).unwrap();
        let expected = (3 * PIECE + 11) as f64 * f64::from(1e-4f32).powi(2);
        let single = sum_of_squares(&x).unwrap();
        let double = sum_of_squares(&x.to_dtype(DType::F64).unwrap()).unwrap();
        assert!((single - expected).abs() < 1e-13 * expected, "{single}");
        assert!((double - expected).abs() < 1e-13 * expected, "{double}");
    }
}
