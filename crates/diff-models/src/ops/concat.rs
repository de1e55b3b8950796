//! Channels of maps side by side: skip connections, and branches that join.

use super::{
    bhwc,
    cpu::{Real, Values, filled_chunks, tensor},
    graph::{Operation, Step, apply},
    mismatch,
};
use crate::error::{Error, Result};
use candle_core::Tensor;

/// Maps `[B, H, W, C]`, `[B, H, W, D]` .. as one, `[B, H, W, C + D + ..]`.
///
/// # Errors
/// When there is none, or batch, height or width differ.
pub fn concat(maps: &[&Tensor]) -> Result<Tensor> {
    let [first, others @ ..] = maps else {
        return Err(Error::Input("concat: expected at least one map".into()));
    };
    let (batch, height, width, _) = bhwc("concat", first)?;
    for map in others {
        let other = bhwc("concat", map)?;
        if (batch, height, width) != (other.0, other.1, other.2) {
            return Err(mismatch("concat", first, "another map", map));
        }
    }
    match first.device().is_cpu() {
        true => apply(Concat, maps),
        false => Ok(Tensor::cat(maps, 3)?),
    }
}

struct Concat;

impl Operation for Concat {
    fn name(&self) -> &'static str {
        "concat"
    }

    fn forward<T: Real>(&self, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        let (batch, height, width, _) = inputs[0].dims4()?;
        let maps = inputs.iter().map(Values::<T>::of).collect::<candle_core::Result<Vec<_>>>()?;
        let maps: Vec<(&[T], usize)> = maps
            .iter()
            .zip(inputs)
            .map(|(values, x)| Ok((&values[..], x.dim(3)?)))
            .collect::<candle_core::Result<_>>()?;
        let channels = maps.iter().map(|(_, channels)| channels).sum();
        let joined = filled_chunks(batch * height * width * channels, channels, |pixel, y| {
            let mut rest = y;
            for (values, channels) in &maps {
                let (part, after) = rest.split_at_mut(*channels);
                part.copy_from_slice(&values[pixel * channels..][..*channels]);
                rest = after;
            }
        });
        tensor(joined, (batch, height, width, channels), &inputs[0])
    }

    fn backward<T: Real>(&self, step: &Step) -> candle_core::Result<Vec<Option<Tensor>>> {
        let mut first = 0;
        let parts = step.inputs.iter().map(|x| {
            let part = part::<T>(step.dy, x, first)?;
            first += x.dim(3)?;
            Ok(Some(part))
        });
        parts.collect()
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
