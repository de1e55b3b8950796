//! Up-sampling.

use super::{
    bhwc,
    cpu::{Real, Values, filled_chunks, slice, tensor},
};
use crate::error::Result;
use candle_core::{CpuStorage, CustomOp1, DType, Layout, Shape, Tensor};

/// Doubles height and width of `x` `[B, H, W, C]` by repeating pixels.
pub fn upsample_nearest2x(x: &Tensor) -> Result<Tensor> {
    let (batch, height, width, channels) = bhwc("upsample_nearest2x", x)?;
    if x.device().is_cpu() {
        return Ok(x.contiguous()?.apply_op1(Upsample)?);
    }
    Ok(x.reshape((batch, height, 1, width, 1, channels))?
        .broadcast_as((batch, height, 2, width, 2, channels))?
        .contiguous()?
        .reshape((batch, 2 * height, 2 * width, channels))?)
}

struct Upsample;

impl CustomOp1 for Upsample {
    fn name(&self) -> &'static str {
        "upsample_nearest2x"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let (batch, height, width, channels) = layout.shape().dims4()?;
        let line = width * channels;
        let y = match x {
            CpuStorage::F32(_) => CpuStorage::F32(repeat(slice(x, layout)?, line, channels)),
            _ => CpuStorage::F64(repeat(slice(x, layout)?, line, channels)),
        };
        Ok((y, Shape::from((batch, 2 * height, 2 * width, channels))))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, dy: &Tensor) -> candle_core::Result<Option<Tensor>> {
        match x.dtype() {
            DType::F32 => backward::<f32>(x, dy).map(Some),
            _ => backward::<f64>(x, dy).map(Some),
        }
    }
}

fn repeat<T: Real>(x: &[T], line: usize, channels: usize) -> Vec<T> {
    filled_chunks(4 * x.len(), 2 * line, |row, y| {
        let x = &x[row / 2 * line..][..line];
        for (x, y) in x.chunks_exact(channels).zip(y.chunks_exact_mut(2 * channels)) {
            let (left, right) = y.split_at_mut(channels);
            left.copy_from_slice(x);
            right.copy_from_slice(x);
        }
    })
}

/// Every pixel gets the sum of its four copies' gradients.
fn backward<T: Real>(x: &Tensor, dy: &Tensor) -> candle_core::Result<Tensor> {
    let (_, _, width, channels) = x.dims4()?;
    let dy = dy.contiguous()?;
    let dys: &[T] = &Values::of(&dy)?;
    let line = 2 * width * channels;
    let dx = filled_chunks(x.elem_count(), width * channels, |row, dx| {
        let (upper, lower) = dys[2 * row * line..][..2 * line].split_at(line);
        let pairs = upper.chunks_exact(2 * channels).zip(lower.chunks_exact(2 * channels));
        for (dx, (upper, lower)) in dx.chunks_exact_mut(channels).zip(pairs) {
            let (a, b) = upper.split_at(channels);
            let (c, d) = lower.split_at(channels);
            for ((((dx, a), b), c), d) in dx.iter_mut().zip(a).zip(b).zip(c).zip(d) {
                *dx = (*a + *b) + (*c + *d);
            }
        }
    });
    tensor(dx, x.shape().clone(), x)
}
