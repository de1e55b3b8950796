//! Group norm as a plain candle expression: the oracle of the fast paths, which also serves devices
//! that have none.

use super::GroupNormSpec;
use crate::{
    error::Result,
    ops::{bhwc, silu},
};
use candle_core::Tensor;

pub(super) fn group_norm(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    GroupNormSpec { groups, eps }: GroupNormSpec,
    with_silu: bool,
) -> Result<Tensor> {
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
    let y = normal.broadcast_mul(weight)?.broadcast_add(bias)?;
    if with_silu { silu(&y) } else { Ok(y) }
}
