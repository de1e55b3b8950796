//! What training does to whole tensors between two steps, in place and on all threads.
#![allow(unsafe_code)] // threads write disjoint parts of one buffer

use super::cpu::{Lanes, Shared, Values, slice};
use crate::error::Result;
use candle_core::{CpuStorage, DType, InplaceOp1, Layout, Tensor};
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
            f32::run(
                #[inline(always)]
                || {
                    for i in 0..count {
                        let new = f(
                            std::array::from_fn(|target| targets[target][i]),
                            inputs.map(|input| input[i]),
                        );
                        for target in 0..N {
                            targets[target][i] = new[target];
                        }
                    }
                },
            );
        });
    };
    first.inplace_op1(&Open { rest, opened: &[], work: &work })?;
    Ok(true)
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

/// In eight sums, which the compiler can keep in a vector.
fn squares(values: &[f32]) -> f64 {
    f32::run(
        #[inline(always)]
        || {
            let mut sums = [0f64; 8];
            let (eights, rest) = values.as_chunks::<8>();
            for eight in eights {
                for (sum, v) in sums.iter_mut().zip(eight) {
                    *sum += f64::from(*v) * f64::from(*v);
                }
            }
            sums.iter().sum::<f64>() + rest.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>()
        },
    )
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
