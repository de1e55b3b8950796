use super::mismatch;
use crate::error::{Error, Result};
use candle_core::{D, Tensor};

/// softmax(q k^T / sqrt(d)) v with `heads` heads of width d = C / heads.
///
/// `q` is `[B, N, C]`, `k` and `v` are `[B, M, C]`; the result is `[B, N, C]`. Head h owns channels
/// h d .. (h + 1) d.
///
/// # Errors
/// When the shapes do not fit or C does not split into `heads`.
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, heads: usize) -> Result<Tensor> {
    let (batch, tokens, channels) = q.dims3()?;
    if k.dims() != v.dims() || k.dims3()?.0 != batch || k.dims3()?.2 != channels {
        return Err(mismatch("attention", q, "keys and values", k));
    }
    if heads == 0 || channels % heads != 0 {
        return Err(Error::Input(format!(
            "attention: {channels} channels do not split into {heads} heads"
        )));
    }
    let width = channels / heads;
    let split = |x: &Tensor| -> Result<Tensor> {
        let x = x.reshape((batch, x.dim(1)?, heads, width))?.transpose(1, 2)?.contiguous()?;
        Ok(x.reshape((batch * heads, x.dim(2)?, width))?)
    };
    let scaled = (split(q)? * (width as f64).powf(-0.5))?;
    let weights = softmax(&scaled.matmul(&split(k)?.t()?)?)?;
    let mixed = weights.matmul(&split(v)?)?.reshape((batch, heads, tokens, width))?;
    Ok(mixed.transpose(1, 2)?.contiguous()?.reshape((batch, tokens, channels))?)
}

/// exp(x) / sum exp(x) over the last dimension.
pub fn softmax(x: &Tensor) -> Result<Tensor> {
    // The maximum only guards against overflow; the result does not depend on it, so neither does
    // the gradient.
    let largest = x.detach().max_keepdim(D::Minus1)?;
    let exp = x.broadcast_sub(&largest)?.exp()?;
    Ok(exp.broadcast_div(&exp.sum_keepdim(D::Minus1)?)?)
}
