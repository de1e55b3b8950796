//! Two-dimensional convolution as one matrix product over gathered windows, so that both
//! directions run on the matrix kernel.

mod cpu;
mod windows;

use super::{bhwc, linear, matmul, mismatch};
use crate::error::{Error, Result};
use candle_core::Tensor;
use windows::Plan;

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
    let plan = Plan { batch, height, width, channels, kernel: (kh, kw), rows, columns, geometry };
    if (kh, kw, geometry) == (1, 1, ConvGeometry::same(1)) {
        linear(x, &weight.reshape((out, inputs))?, bias)
    } else if x.device().is_cpu() {
        Ok(x.contiguous()?.apply_op3(
            &weight.contiguous()?,
            &bias.contiguous()?,
            cpu::Convolution(plan),
        )?)
    } else {
        expression(x, weight, bias, plan)
    }
}

/// The convolution in candle's own operations: what other devices run, and what the CPU's is
/// tested against.
fn expression(x: &Tensor, weight: &Tensor, bias: &Tensor, plan: Plan) -> Result<Tensor> {
    let windows = gather(x, plan)?.reshape((plan.count(), plan.window()))?;
    let matrix = weight.permute((2, 3, 1, 0))?.contiguous()?.reshape((plan.window(), ()))?;
    let y = matmul(&windows, &matrix)?.broadcast_add(bias)?;
    Ok(y.reshape((plan.batch, plan.rows, plan.columns, ()))?)
}

/// All windows: `[B, rows, columns, kh * kw * C]`, taps in row-major order.
fn gather(x: &Tensor, plan: Plan) -> Result<Tensor> {
    let Plan { kernel: (kh, kw), rows, columns, geometry, .. } = plan;
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
        [
            flat(&out),
            flat(grads.get(&vars[0]).unwrap()),
            flat(grads.get(&vars[1]).unwrap()),
            flat(grads.get(&vars[2]).unwrap()),
        ]
    }

    #[test]
    fn the_cpu_path_equals_the_expression() {
        for geometry in [ConvGeometry::same(3), ConvGeometry::half(0), ConvGeometry::half(1)] {
            let inputs = [wave(&[3, 6, 4, 5], 0.7), wave(&[7, 5, 3, 3], 0.3), wave(&[7], 0.9)];
            let (rows, columns) =
                (geometry.outputs(6, 3).unwrap(), geometry.outputs(4, 3).unwrap());
            let plan = Plan {
                batch: 3,
                height: 6,
                width: 4,
                channels: 5,
                kernel: (3, 3),
                rows,
                columns,
                geometry,
            };
            let fast = run(|x, w, b| conv2d(x, w, b, geometry), &inputs);
            let plain = run(|x, w, b| expression(x, w, b, plan), &inputs);
            for (fast, plain) in fast.iter().zip(&plain) {
                assert!(fast.iter().zip(plain).all(|(a, b)| (a - b).abs() < 1e-11), "{geometry:?}");
            }
        }
    }

    #[test]
    fn images_of_other_number_types_are_refused() {
        let zeros = |shape: &[usize], dtype| Tensor::zeros(shape, dtype, &Device::Cpu).unwrap();
        let (x, b) = (zeros(&[1, 4, 4, 1], DType::F32), zeros(&[1], DType::F64));
        let w = zeros(&[1, 1, 3, 3], DType::F64);
        let message = conv2d(&x, &w, &b, ConvGeometry::same(3)).unwrap_err().to_string();
        assert!(message.contains("all f32 or all f64"), "{message}");
    }
}
