//! Channels of two maps side by side: the skip connections.

use super::{
    bhwc,
    cpu::{Real, Values, filled_chunks, tensor},
    graph::{Operation, Step, apply},
    mismatch,
};
use crate::error::Result;
use candle_core::Tensor;

/// `a` `[B, H, W, C]` and `b` `[B, H, W, D]` as `[B, H, W, C + D]`.
///
/// # Errors
/// When batch, height or width differ.
pub fn concat(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let (batch, height, width, _) = bhwc("concat", a)?;
    let other = bhwc("concat", b)?;
    if (batch, height, width) != (other.0, other.1, other.2) {
        return Err(mismatch("concat", a, "second map", b));
    }
    match a.device().is_cpu() {
        true => apply(Concat, &[a, b]),
        false => Ok(Tensor::cat(&[a, b], 3)?),
    }
}

struct Concat;

impl Operation for Concat {
    fn name(&self) -> &'static str {
        "concat"
    }

    fn forward<T: Real>(&self, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        let (batch, height, width, c) = inputs[0].dims4()?;
        let d = inputs[1].dim(3)?;
        let (a, b): (&[T], &[T]) = (&Values::of(&inputs[0])?, &Values::of(&inputs[1])?);
        let joined = filled_chunks(a.len() + b.len(), c + d, |pixel, y: &mut [T]| {
            let (left, right) = y.split_at_mut(c);
            left.copy_from_slice(&a[pixel * c..][..c]);
            right.copy_from_slice(&b[pixel * d..][..d]);
        });
        tensor(joined, (batch, height, width, c + d), &inputs[0])
    }

    fn backward<T: Real>(&self, step: &Step) -> candle_core::Result<Vec<Option<Tensor>>> {
        let [a, b] = step.inputs else { candle_core::bail!("concat: expected two maps") };
        Ok(vec![Some(part::<T>(step.dy, a, 0)?), Some(part::<T>(step.dy, b, a.dim(3)?)?)])
    }
}

/// The channels of `dy` from `first` on that belong to `of`.
fn part<T: Real>(dy: &Tensor, of: &Tensor, first: usize) -> candle_core::Result<Tensor> {
    let (all, count) = (dy.dim(3)?, of.dim(3)?);
    let dys: &[T] = &Values::of(dy)?;
    let values = filled_chunks(of.elem_count(), count, |pixel, out| {
        out.copy_from_slice(&dys[pixel * all + first..][..count]);
    });
    tensor(values, of.shape().clone(), of)
}
