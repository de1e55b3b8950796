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
    if [weight.dtype(), bias.dtype()] != [x.dtype(); 2] {
        return Err(Error::Input(format!(
            "conv2d: image {:?}, weight {:?}, bias {:?}: expected one number type",
            x.dtype(),
            weight.dtype(),
            bias.dtype()
        )));
    }
    match x.device().is_cpu() && batch > 0 {
        true => cpu::conv2d(x, weight, bias, geometry, sizes),
        false => expression::conv2d(x, weight, bias, geometry, sizes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device, Var};

    fn wave(shape: &[usize], step: f64) -> Tensor {
        let count: usize = shape.iter().product();
        let values: Vec<f64> = (0..count).map(|i| (step * i as f64 + 0.2).sin()).collect();
        Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
    }

    /// Output and gradients of sum(out^2).
    fn run(
        op: impl Fn(&Tensor, &Tensor, &Tensor) -> Result<Tensor>,
        inputs: &[Tensor; 3],
    ) -> [Vec<f64>; 4] {
        let vars = inputs.each_ref().map(|x| Var::from_tensor(x).unwrap());
        let out = op(&vars[0], &vars[1], &vars[2]).unwrap();
        let grads = out.sqr().unwrap().sum_all().unwrap().backward().unwrap();
        let flat = |x: &Tensor| x.flatten_all().unwrap().to_vec1::<f64>().unwrap();
        let grad = |i: usize| flat(grads.get(&vars[i]).unwrap());
        [flat(&out), grad(0), grad(1), grad(2)]
    }

    #[test]
    fn the_cpu_path_equals_the_expression() {
        let one = ConvGeometry { stride: 2, before: 0, after: 0 };
        let cases = [
            (3, ConvGeometry::same(3)),
            (3, ConvGeometry::half(0)),
            (3, ConvGeometry::half(1)),
            (1, ConvGeometry::same(1)),
            (1, one),
            (5, ConvGeometry::same(5)),
        ];
        // 37 images: more than one of them in every part of the weight's gradient.
        for (batch, (height, width)) in [(1, (6, 4)), (3, (5, 33)), (37, (4, 4))] {
            for (kernel, geometry) in cases {
                let image = (height, width);
                let out_image = (
                    geometry.outputs(height, kernel).unwrap(),
                    geometry.outputs(width, kernel).unwrap(),
                );
                let kernel = (kernel, kernel);
                let sizes = Sizes { batch, image, inputs: 5, outputs: 7, kernel, out_image };
                let inputs = [
                    wave(&[batch, height, width, 5], 0.7),
                    wave(&[7, 5, kernel.0, kernel.1], 0.3),
                    wave(&[7], 0.9),
                ];
                let fast = run(|x, w, b| conv2d(x, w, b, geometry), &inputs);
                let plain = run(|x, w, b| expression::conv2d(x, w, b, geometry, sizes), &inputs);
                for (fast, plain) in fast.iter().zip(&plain) {
                    let close = |(a, b): (&f64, &f64)| (a - b).abs() < 1e-10 * (1.0 + b.abs());
                    assert!(fast.iter().zip(plain).all(close), "{batch} {geometry:?}");
                }
            }
        }
    }

    #[test]
    fn mixed_number_types_are_refused() {
        let zeros = |shape: &[usize], dtype| Tensor::zeros(shape, dtype, &Device::Cpu).unwrap();
        let (x, b) = (zeros(&[1, 4, 4, 1], DType::F32), zeros(&[1], DType::F64));
        let w = zeros(&[1, 1, 3, 3], DType::F64);
        let message = conv2d(&x, &w, &b, ConvGeometry::same(3)).unwrap_err().to_string();
        assert!(message.contains("one number type"), "{message}");
    }
}
