//! Group norm as a plain candle expression: the oracle of the fast paths, which also serves devices
//! that have none.

use super::GroupNormSpec;
use crate::{
    error::{Error, Result},
    ops::{bhwc, silu},
};
use candle_core::Tensor;

pub(super) fn group_norm(
    inputs: &[&Tensor],
    GroupNormSpec { groups, eps }: GroupNormSpec,
    with_silu: bool,
) -> Result<Tensor> {
    let [x, weight, bias, ..] = *inputs else {
        return Err(Error::Input("group_norm: expected maps, weight and bias".into()));
    };
    let (batch, height, width, channels) = bhwc("group_norm", x)?;
    let (pixels, each) = (height * width, channels / groups);
    // Groups first: statistics then run over the last dimension, which candle does fast.
    let grouped = x
        .reshape((batch, pixels, groups, each))?
        .transpose(1, 2)?
        .contiguous()?
        .reshape((batch, groups, pixels * each))?;
    let centred = grouped.broadcast_sub(&grouped.mean_keepdim(2)?)?;
    let variance = centred.sqr()?.mean_keepdim(2)?;
    let normal = centred.broadcast_mul(&(variance + eps)?.sqrt()?.recip()?)?;
    let normal = normal
        .reshape((batch, groups, pixels, each))?
        .transpose(1, 2)?
        .contiguous()?
        .reshape((batch, height, width, channels))?;
    let mut y = normal.broadcast_mul(weight)?.broadcast_add(bias)?;
    if let Some(scale_shift) = inputs.get(3) {
        let part = |first| scale_shift.narrow(1, first, channels)?.reshape((batch, 1, 1, channels));
        y = y.broadcast_mul(&(part(0)? + 1.0)?)?.broadcast_add(&part(channels)?)?;
    }
    if with_silu { silu(&y) } else { Ok(y) }
}
