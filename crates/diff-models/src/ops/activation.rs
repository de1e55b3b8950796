use crate::error::Result;
use candle_core::Tensor;

/// x sigmoid(x), element by element.
pub fn silu(x: &Tensor) -> Result<Tensor> {
    Ok(x.silu()?)
}
