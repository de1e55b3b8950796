//! Two-dimensional convolution as one matrix product over gathered windows, so that both
//! directions run on the matrix kernel.

use super::{bhwc, matmul, mismatch};
use crate::error::{Error, Result};
use candle_core::Tensor;

/// Stride and zero padding of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvGeometry {
    /// Step between windows, in both directions.
    pub stride: usize,
    /// Zeros before the first row and column.
    pub before: usize,
    /// Zeros after the last row and column.
    pub after: usize,
}

impl ConvGeometry {
    /// Stride 1 and the padding that keeps height and width for an odd `kernel`.
    pub fn same(kernel: usize) -> Self {
        ConvGeometry { stride: 1, before: kernel / 2, after: kernel / 2 }
    }

    /// Halves height and width with a 3x3 kernel: `padding` 1 pads all sides, 0 only right and
    /// bottom (by one), as DDPM does.
    pub fn half(padding: usize) -> Self {
        ConvGeometry { stride: 2, before: padding, after: padding.max(1) }
    }

    /// Windows along an axis of `size` for a kernel of `kernel` taps; `None` if not even one fits.
    pub fn outputs(self, size: usize, kernel: usize) -> Option<usize> {
        Some((size + self.before + self.after).checked_sub(kernel)? / self.stride + 1)
    }
}

/// Cross-correlation of `x` `[B, H, W, I]` with `weight` `[O, I, kh, kw]` (as checkpoints store it)
/// plus `bias` `[O]`; the result is `[B, H', W', O]`.
///
/// # Errors
/// When the shapes do not fit together or no window fits.
pub fn conv2d(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    geometry: ConvGeometry,
) -> Result<Tensor> {
    let (batch, height, width, channels) = bhwc("conv2d", x)?;
    let (out, inputs, kh, kw) = weight.dims4()?;
    if inputs != channels {
        return Err(mismatch("conv2d", x, "weight", weight));
    }
    let outputs = (geometry.outputs(height, kh), geometry.outputs(width, kw));
    let (Some(rows), Some(columns)) = outputs else {
        return Err(Error::Input(format!(
            "conv2d: an image of {height} x {width} is smaller than the {kh} x {kw} kernel"
        )));
    };
    let windows = if (kh, kw, geometry.stride) == (1, 1, 1) {
        x.clone()
    } else {
        gather(x, (kh, kw), (rows, columns), geometry)?
    };
    let windows = windows.reshape((batch * rows * columns, kh * kw * inputs))?;
    let matrix = weight.permute((2, 3, 1, 0))?.contiguous()?.reshape((kh * kw * inputs, out))?;
    let y = matmul(&windows, &matrix)?.broadcast_add(bias)?;
    Ok(y.reshape((batch, rows, columns, out))?)
}

/// All windows: `[B, rows, columns, kh * kw * C]`, taps in row-major order.
fn gather(
    x: &Tensor,
    (kh, kw): (usize, usize),
    (rows, columns): (usize, usize),
    geometry: ConvGeometry,
) -> Result<Tensor> {
    let stride = geometry.stride;
    let padded =
        pad(&pad(x, 1, kh - 1 + stride * rows, geometry)?, 2, kw - 1 + stride * columns, geometry)?;
    let mut taps = Vec::with_capacity(kh * kw);
    for dy in 0..kh {
        for dx in 0..kw {
            let tap = padded.narrow(1, dy, stride * rows)?.narrow(2, dx, stride * columns)?;
            taps.push(every(&every(&tap, 1, stride)?, 2, stride)?.contiguous()?);
        }
    }
    Ok(Tensor::cat(&taps, 3)?)
}

/// Zeros before and after along `dim`, so that it holds at least `needed`.
fn pad(x: &Tensor, dim: usize, needed: usize, geometry: ConvGeometry) -> Result<Tensor> {
    let size = x.dim(dim)? + geometry.before;
    let after = geometry.after.max(needed.saturating_sub(size));
    Ok(x.pad_with_zeros(dim, geometry.before, after)?)
}

/// Entries 0, stride, 2 stride ... of `dim`, whose length is a multiple of `stride`.
fn every(x: &Tensor, dim: usize, stride: usize) -> Result<Tensor> {
    if stride == 1 {
        return Ok(x.clone());
    }
    let mut dims = x.dims().to_vec();
    dims[dim] /= stride;
    dims.insert(dim + 1, stride);
    Ok(x.reshape(dims)?.narrow(dim + 1, 0, 1)?.squeeze(dim + 1)?)
}
