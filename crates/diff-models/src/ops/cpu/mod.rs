//! What the CPU paths share.

mod math;
mod memory;
mod product;
mod simd;

pub(super) use math::sigmoid;
pub(super) use memory::{Aligned, Shared, filled, filled_chunks, pieces, with_scratch};
pub(super) use product::{
    Left, Panels, Piece, ROWS, Right, Rows, TERMS, Target, multiply, panel, widths,
};
pub(super) use simd::{Lanes, MOST, total};

use candle_core::{CpuStorage, Layout, Result, Shape, Storage, Tensor, WithDType};
use std::{
    marker::PhantomData,
    ops::{Deref, Range},
};

/// f32 or f64.
pub(super) trait Real: WithDType + num_traits::Float + Lanes {}

impl Real for f32 {}
impl Real for f64 {}

/// A contiguous tensor's values, row-major, where they are.
pub(super) struct Values<'a, T> {
    storage: Box<dyn Deref<Target = Storage> + 'a>,
    range: Range<usize>,
    number: PhantomData<T>,
}

impl<'a, T: Real> Values<'a, T> {
    pub(super) fn of(x: &'a Tensor) -> Result<Self> {
        let (storage, layout) = x.storage_and_layout();
        let Some((start, end)) = layout.contiguous_offsets() else {
            candle_core::bail!("expected a contiguous tensor, got {layout:?}")
        };
        match &*storage {
            Storage::Cpu(values) => values.as_slice::<T>()?.len(),
            _ => candle_core::bail!("expected a tensor on the CPU"),
        };
        Ok(Values { storage: Box::new(storage), range: start..end, number: PhantomData })
    }
}

impl<T: Real> Deref for Values<'_, T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match &**self.storage {
            // Neither happens: both were looked at in `of`.
            Storage::Cpu(values) => values.as_slice().map_or(&[], |v| &v[self.range.clone()]),
            _ => &[],
        }
    }
}

/// The values of a contiguous tensor.
pub(super) fn slice<'a, T: WithDType>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [T]> {
    let values = storage.as_slice::<T>()?;
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&values[start..end]),
        None => candle_core::bail!("expected a contiguous tensor, got {layout:?}"),
    }
}

/// Pixels summed in the working precision before they join the f64 sum.
const SUMMED: usize = 64;

/// Per channel, the sum over pixels of `f` of the value and the channel's number.
#[inline(always)]
pub(super) fn channel_sums<T: Real>(
    x: &[T],
    channels: usize,
    f: impl Fn(T, usize) -> T,
) -> Vec<f64> {
    let mut sums = vec![0.0; channels];
    let mut block = vec![T::zero(); channels];
    for chunk in x.chunks(SUMMED * channels) {
        block.fill(T::zero());
        for pixel in chunk.chunks_exact(channels) {
            for (c, (sum, value)) in block.iter_mut().zip(pixel).enumerate() {
                *sum += f(*value, c);
            }
        }
        sums.iter_mut().zip(&block).for_each(|(sum, v)| *sum += WithDType::to_f64(*v));
    }
    sums
}

/// A tensor on the device of `like`.
pub(super) fn tensor<T: WithDType>(
    values: Vec<T>,
    shape: impl Into<Shape>,
    like: &Tensor,
) -> Result<Tensor> {
    Tensor::from_vec(values, shape.into(), like.device())
}
