//! Two-dimensional convolution.

mod cpu;
mod expression;

use super::{bhwc, mismatch};
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

/// The dimensions of one convolution.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    batch: usize,
    /// Height, width of the input.
    image: (usize, usize),
    /// Channels going in.
    inputs: usize,
    /// Channels coming out.
    outputs: usize,
    /// kh, kw.
    kernel: (usize, usize),
    /// Height, width of the output.
    out_image: (usize, usize),
}

impl Sizes {
    /// A matrix product over pixels and nothing else.
    fn is_pointwise(&self, geometry: ConvGeometry) -> bool {
        (self.kernel, geometry.stride) == ((1, 1), 1) && geometry.before + geometry.after == 0
    }

    /// Terms of one output value: kh * kw * inputs.
    fn terms(&self) -> usize {
        self.kernel.0 * self.kernel.1 * self.inputs
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
    let (batch, height, width, inputs) = bhwc("conv2d", x)?;
    let (outputs, expected, kh, kw) = weight.dims4()?;
    if inputs != expected {
        return Err(mismatch("conv2d", x, "weight", weight));
    }
    if bias.dims() != [outputs] {
        return Err(mismatch("conv2d", weight, "bias", bias));
    }
    let (Some(rows), Some(columns)) = (geometry.outputs(height, kh), geometry.outputs(width, kw))
    else {
        return Err(Error::Input(format!(
            "conv2d: an image of {height} x {width} is smaller than the {kh} x {kw} kernel"
        )));
    };
    let sizes = Sizes {
        batch,
        image: (height, width),
        inputs,
        outputs,
        kernel: (kh, kw),
        out_image: (rows, columns),
    };
    match x.device().is_cpu() && batch > 0 {
        true => cpu::conv2d(x, weight, bias, geometry, sizes),
        false => expression::conv2d(x, weight, bias, geometry, sizes),
    }
}
