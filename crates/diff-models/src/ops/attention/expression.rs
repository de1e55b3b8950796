//! Attention as a plain candle expression: the oracle of the fast paths, which also serves devices
//! that have none.

use super::{QkvOrder, rows};
use crate::error::Result;
use candle_core::{D, Tensor};

pub(super) fn attention(q: &Tensor, k: &Tensor, v: &Tensor, heads: usize) -> Result<Tensor> {
    let (batch, tokens, channels) = rows(q)?;
    let width = channels / heads;
    let split = |x: &Tensor| -> Result<Tensor> {
        let x = x.reshape((batch, rows(x)?.1, heads, width))?.transpose(1, 2)?.contiguous()?;
        Ok(x.reshape((batch * heads, x.dim(2)?, width))?)
    };
    let scaled = (split(q)? * (width as f64).powf(-0.5))?;
    let weights = softmax(&scaled.matmul(&split(k)?.t()?)?)?;
    let mixed = weights.matmul(&split(v)?)?.reshape((batch, heads, tokens, width))?;
    Ok(mixed.transpose(1, 2)?.contiguous()?.reshape(q.shape())?)
}

pub(super) fn self_attention(qkv: &Tensor, heads: usize, order: QkvOrder) -> Result<Tensor> {
    let (batch, tokens, channels) = rows(qkv)?;
    let width = channels / (3 * heads);
    let (shape, kind) = match order {
        QkvOrder::ByHead => ((batch, tokens, heads, 3, width), 3),
        QkvOrder::ByKind => ((batch, tokens, 3, heads, width), 2),
    };
    let parts = qkv.reshape(shape)?;
    let part = |i: usize| parts.narrow(kind, i, 1)?.contiguous()?.reshape((batch, tokens, ()));
    let mut out = qkv.dims().to_vec();
    out.iter_mut().last().into_iter().for_each(|last| *last = channels / 3);
    Ok(attention(&part(0)?, &part(1)?, &part(2)?, heads)?.reshape(out)?)
}

/// exp(x) / sum exp(x) over the last dimension.
pub fn softmax(x: &Tensor) -> Result<Tensor> {
    // The maximum only guards against overflow; the result does not depend on it, so neither does
    // the gradient.
    let largest = x.detach().max_keepdim(D::Minus1)?;
    let exp = x.broadcast_sub(&largest)?.exp()?;
    Ok(exp.broadcast_div(&exp.sum_keepdim(D::Minus1)?)?)
}
