//! Convolution as a plain candle expression: one matrix product over gathered windows, so that both
//! directions run on the matrix kernel. It is the oracle of the fast paths, and serves devices that
//! have none.

use super::{ConvGeometry, Extra, Sizes};
use crate::error::Result;
use candle_core::Tensor;

pub(super) fn conv2d(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    extra: Extra,
    sizes: Sizes,
) -> Result<Tensor> {
    let Sizes { batch, inputs, outputs, kernel, geometry, out_image: (rows, columns), .. } = sizes;
    let windows = match sizes.is_pointwise() {
        true => x.clone(),
        false => gather(x, kernel, (rows, columns), geometry)?,
    };
    let k = kernel.0 * kernel.1 * inputs;
    let windows = windows.reshape((batch * rows * columns, k))?;
    let matrix = weight.permute((2, 3, 1, 0))?.contiguous()?.reshape((k, outputs))?;
    let y = windows.matmul(&matrix)?.reshape((batch, rows * columns, outputs))?;
    let y = match extra.shift {
        None => y.broadcast_add(bias)?,
        Some(shift) => y.broadcast_add(&shift.broadcast_add(bias)?.unsqueeze(1)?)?,
    };
    let y = y.reshape((batch, rows, columns, outputs))?;
    Ok(match extra.residual {
        None => y,
        Some(residual) => (y + residual)?,
    })
}

/// All windows: `[B, rows, columns, kh * kw * C]`, taps in row-major order.
fn gather(
    x: &Tensor,
    (kh, kw): (usize, usize),
    (rows, columns): (usize, usize),
    geometry: ConvGeometry,
) -> Result<Tensor> {
    let ConvGeometry { stride, before, after } = geometry;
    let padded = pad(x, 1, kh - 1 + stride * rows, (before.0, after.0))?;
    let padded = pad(&padded, 2, kw - 1 + stride * columns, (before.1, after.1))?;
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
fn pad(x: &Tensor, dim: usize, needed: usize, (before, after): (usize, usize)) -> Result<Tensor> {
    let after = after.max(needed.saturating_sub(x.dim(dim)? + before));
    Ok(x.pad_with_zeros(dim, before, after)?)
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
