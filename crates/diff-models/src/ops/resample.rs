use super::bhwc;
use crate::error::Result;
use candle_core::Tensor;

/// Doubles height and width of `x` `[B, H, W, C]` by repeating pixels.
pub fn upsample_nearest2x(x: &Tensor) -> Result<Tensor> {
    let (batch, height, width, channels) = bhwc("upsample_nearest2x", x)?;
    Ok(x.reshape((batch, height, 1, width, 1, channels))?
        .broadcast_as((batch, height, 2, width, 2, channels))?
        .contiguous()?
        .reshape((batch, 2 * height, 2 * width, channels))?)
}
