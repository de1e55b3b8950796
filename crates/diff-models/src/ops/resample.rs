//! Up-sampling.

use super::{
    bhwc,
    cpu::{Real, Values, filled_chunks, tensor},
    graph::{Operation, Step, apply},
};
use crate::error::Result;
use candle_core::Tensor;

/// Doubles height and width of `x` `[B, H, W, C]` by repeating pixels.
pub fn upsample_nearest2x(x: &Tensor) -> Result<Tensor> {
    let (batch, height, width, channels) = bhwc("upsample_nearest2x", x)?;
    if x.device().is_cpu() {
        return apply(Upsample, &[x]);
    }
    Ok(x.reshape((batch, height, 1, width, 1, channels))?
        .broadcast_as((batch, height, 2, width, 2, channels))?
        .contiguous()?
        .reshape((batch, 2 * height, 2 * width, channels))?)
}

struct Upsample;

impl Operation for Upsample {
    fn name(&self) -> &'static str {
        "upsample_nearest2x"
    }

    fn forward<T: Real>(&self, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        let (batch, height, width, channels) = inputs[0].dims4()?;
        let x: &[T] = &Values::of(&inputs[0])?;
        let line = width * channels;
        let y = filled_chunks(4 * x.len(), 2 * line, |row, y: &mut [T]| {
            let x = &x[row / 2 * line..][..line];
            for (x, y) in x.chunks_exact(channels).zip(y.chunks_exact_mut(2 * channels)) {
                let (left, right) = y.split_at_mut(channels);
                left.copy_from_slice(x);
                right.copy_from_slice(x);
            }
        });
        tensor(y, (batch, 2 * height, 2 * width, channels), &inputs[0])
    }

    /// Every pixel gets the sum of its four copies' gradients.
    fn backward<T: Real>(&self, step: &Step) -> candle_core::Result<Vec<Option<Tensor>>> {
        let x = &step.inputs[0];
        let (_, _, width, channels) = x.dims4()?;
        let dys: &[T] = &Values::of(step.dy)?;
        let line = 2 * width * channels;
        let dx = filled_chunks(x.elem_count(), width * channels, |row, dx: &mut [T]| {
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
        Ok(vec![Some(tensor(dx, x.shape().clone(), x)?)])
    }
}
