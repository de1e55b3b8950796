//! Group normalisation, alone or with the SiLU that follows it.

mod cpu;
mod expression;

use super::{bhwc, mismatch};
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
    apply(x, weight, bias, spec, false)
}

/// [`group_norm`] followed by SiLU, in one pass.
///
/// # Errors
/// As [`group_norm`].
pub fn group_norm_silu(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    spec: GroupNormSpec,
) -> Result<Tensor> {
    apply(x, weight, bias, spec, true)
}

fn apply(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    spec: GroupNormSpec,
    silu: bool,
) -> Result<Tensor> {
    let (_, _, _, channels) = bhwc("group_norm", x)?;
    if spec.groups == 0 || channels % spec.groups != 0 {
        return Err(Error::Input(format!(
            "group_norm: {channels} channels do not fall into {} equal groups",
            spec.groups
        )));
    }
    for (name, parameter) in [("weight", weight), ("bias", bias)] {
        if parameter.dims() != [channels] {
            return Err(mismatch("group_norm", x, name, parameter));
        }
    }
    match x.device().is_cpu() && x.elem_count() > 0 {
        true => cpu::group_norm(x, weight, bias, spec, silu),
        false => expression::group_norm(x, weight, bias, spec, silu),
    }
}
