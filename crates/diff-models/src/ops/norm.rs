use super::{bhwc, silu};
use crate::error::{Error, Result};
use candle_core::Tensor;

/// The settings of a group norm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GroupNormSpec {
    /// How many groups the channels fall into.
    pub groups: usize,
    /// Added to the variance.
    pub eps: f64,
}

/// Normalises every sample of `x` `[B, H, W, C]` to mean 0 and variance 1 within each group of
/// neighbouring channels, then scales by `weight` `[C]` and adds `bias` `[C]` (Wu & He, 2018).
///
/// # Errors
/// When the channels do not fall into equal groups or the shapes do not fit.
pub fn group_norm(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    spec: GroupNormSpec,
) -> Result<Tensor> {
    let (batch, height, width, channels) = bhwc("group_norm", x)?;
    let GroupNormSpec { groups, eps } = spec;
    if groups == 0 || channels % groups != 0 {
        return Err(Error::Input(format!(
            "group_norm: {channels} channels do not fall into {groups} equal groups"
        )));
    }
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
    Ok(normal.broadcast_mul(weight)?.broadcast_add(bias)?)
}

/// [`group_norm`] followed by [`silu`].
pub fn group_norm_silu(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    spec: GroupNormSpec,
) -> Result<Tensor> {
    silu(&group_norm(x, weight, bias, spec)?)
}
