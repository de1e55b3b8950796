use super::{matmul, mismatch, transpose::transpose};
use crate::error::Result;
use candle_core::Tensor;

/// x W^T + b over the last dimension.
///
/// `x` is `[..., in]`, `weight` `[out, in]` as checkpoints store it, `bias` `[out]`; the result is
/// `[..., out]`.
///
/// # Errors
/// When the shapes do not fit together.
pub fn linear(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let (out, width) = weight.dims2()?;
    let mut dims = x.dims().to_vec();
    if dims.pop() != Some(width) {
        return Err(mismatch("linear", x, "weight", weight));
    }
    let rows = x.reshape(((), width))?;
    dims.push(out);
    let y = matmul(&rows, &transpose(weight)?)?;
    Ok(y.broadcast_add(bias)?.reshape(dims)?)
}
