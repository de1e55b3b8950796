//! Convolutions that double the resolution.

use super::{
    ConvGeometry, Convolution, Extra,
    cpu::{Real, Values, filled_chunks, tensor},
    graph::{Operation, Step, apply},
    mismatch,
};
use crate::error::{Error, Result};
use candle_core::Tensor;
use std::ops::Range;

/// The side of the kernel.
const KERNEL: usize = 5;
/// The side of the kernel that makes one of the four parts of the result.
const PART: usize = 3;

/// PyTorch's `ConvTranspose2d` with a kernel of 5, stride 2, padding 2 and output padding 1: maps
/// `[B, H, W, I]` to `[B, 2 H, 2 W, O]`. `weight` is `[I, O, 5, 5]`, `bias` `[O]`.
///
/// Pixels of even and odd rows and columns see other numbers of the kernel each, all of them within the
/// 3 x 3 pixels around: one convolution makes all four kinds as channels, which then move to their places.
///
/// # Errors
/// When the shapes do not fit.
pub fn conv_transpose2x(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    convolution: &Convolution,
) -> Result<Tensor> {
    let (_, outputs, rows, columns) = weight.dims4()?;
    if (rows, columns) != (KERNEL, KERNEL) {
        return Err(Error::unsupported(
            "conv_transpose2x: kernel",
            format!("{rows} x {columns}"),
            "5 x 5",
        ));
    }
    if bias.dims() != [outputs] {
        return Err(mismatch("conv_transpose2x", weight, "bias", bias));
    }
    let (parts, offsets) = (parts(weight)?, repeated(bias)?);
    let convolution = Convolution { geometry: ConvGeometry::same(PART), ..convolution.clone() };
    depth_to_space(&convolution.apply(x, &parts, &offsets, Extra::default())?)
}

/// `[I, O, 5, 5]` to `[4 O, I, 3, 3]`: kernels of even rows and columns, even and odd, odd and even, odd.
fn parts(weight: &Tensor) -> Result<Tensor> {
    let (inputs, outputs, ..) = weight.dims4()?;
    if weight.device().is_cpu() {
        return apply(Parts { inputs, outputs }, &[weight]);
    }
    parts_expression(weight)
}

fn parts_expression(weight: &Tensor) -> Result<Tensor> {
    // Rows 4, 2, 0 see the pixel before, at, and after for an even place; none, 3, 1 for an odd one.
    let wide = weight.pad_with_zeros(2, 0, 1)?.pad_with_zeros(3, 0, 1)?;
    let pick =
        |odd: usize| Tensor::new(&[4 + odd as u32, 2 + odd as u32, odd as u32], weight.device());
    let mut kernels = Vec::new();
    for (row, column) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        let part = wide.index_select(&pick(row)?, 2)?.index_select(&pick(column)?, 3)?;
        kernels.push(part.transpose(0, 1)?);
    }
    Ok(Tensor::cat(&kernels, 0)?.contiguous()?)
}

/// `[O]` to `[4 O]`.
fn repeated(bias: &Tensor) -> Result<Tensor> {
    match bias.device().is_cpu() {
        true => apply(Repeated, &[bias]),
        false => Ok(bias.repeat(4)?),
    }
}

/// `[B, H, W, 4 O]` to `[B, 2 H, 2 W, O]`: the quarters of the channels go to even rows and columns, even
/// and odd, odd and even, odd.
fn depth_to_space(x: &Tensor) -> Result<Tensor> {
    let (_, height, width, channels) = x.dims4()?;
    if x.device().is_cpu() && x.elem_count() > 0 {
        return apply(Moved { height, width, channels: channels / 4 }, &[x]);
    }
    depth_to_space_expression(x)
}

fn depth_to_space_expression(x: &Tensor) -> Result<Tensor> {
    let (batch, height, width, channels) = x.dims4()?;
    let x = x
        .reshape(vec![batch, height, width, 2, 2, channels / 4])?
        .permute(vec![0, 1, 3, 2, 4, 5])?;
    Ok(x.reshape((batch, 2 * height, 2 * width, channels / 4))?)
}

struct Parts {
    inputs: usize,
    outputs: usize,
}

impl Parts {
    /// Calls `f` with the places of every number of the kernel in the parts and in the kernel.
    fn each(&self, mut f: impl FnMut(usize, usize)) {
        /// Where a part's row is in the kernel.
        fn row(odd: usize, at: usize) -> Option<usize> {
            Some(KERNEL - 1 + odd - 2 * at).filter(|row| *row < KERNEL)
        }
        for part in 0..4 {
            for (output, input) in
                (0..self.outputs).flat_map(|o| (0..self.inputs).map(move |i| (o, i)))
            {
                let to = ((part * self.outputs + output) * self.inputs + input) * PART * PART;
                let from = (input * self.outputs + output) * KERNEL * KERNEL;
                for (y, x) in (0..PART).flat_map(|y| (0..PART).map(move |x| (y, x))) {
                    if let (Some(row), Some(column)) = (row(part / 2, y), row(part % 2, x)) {
                        f(to + y * PART + x, from + row * KERNEL + column);
                    }
                }
            }
        }
    }
}

impl Operation for Parts {
    fn name(&self) -> &'static str {
        "conv_transpose2x.parts"
    }

    fn parameters(&self) -> Range<usize> {
        0..1
    }

    fn forward<T: Real>(&self, of: &[Tensor]) -> candle_core::Result<Tensor> {
        let weight: &[T] = &Values::of(&of[0])?;
        let mut parts = vec![T::zero(); 4 * self.inputs * self.outputs * PART * PART];
        self.each(|to, from| parts[to] = weight[from]);
        tensor(parts, (4 * self.outputs, self.inputs, PART, PART), &of[0])
    }

    fn backward<T: Real>(&self, step: &Step) -> candle_core::Result<Vec<Option<Tensor>>> {
        let dy: &[T] = &Values::of(step.dy)?;
        let weight = &step.inputs[0];
        let mut dw = vec![T::zero(); weight.elem_count()];
        self.each(|to, from| dw[from] = dy[to]);
        Ok(vec![Some(tensor(dw, weight.shape().clone(), weight)?)])
    }
}

struct Repeated;

impl Operation for Repeated {
    fn name(&self) -> &'static str {
        "conv_transpose2x.bias"
    }

    fn parameters(&self) -> Range<usize> {
        0..1
    }

    fn forward<T: Real>(&self, of: &[Tensor]) -> candle_core::Result<Tensor> {
        let bias: &[T] = &Values::of(&of[0])?;
        tensor(bias.repeat(4), 4 * bias.len(), &of[0])
    }

    fn backward<T: Real>(&self, step: &Step) -> candle_core::Result<Vec<Option<Tensor>>> {
        let dy: &[T] = &Values::of(step.dy)?;
        let count = dy.len() / 4;
        let sum = |i: usize| (dy[i] + dy[i + count]) + (dy[i + 2 * count] + dy[i + 3 * count]);
        let db: Vec<T> = (0..count).map(sum).collect();
        Ok(vec![Some(tensor(db, count, &step.inputs[0])?)])
    }
}

struct Moved {
    height: usize,
    width: usize,
    /// Of the result.
    channels: usize,
}

impl Operation for Moved {
    fn name(&self) -> &'static str {
        "depth_to_space"
    }

    fn forward<T: Real>(&self, of: &[Tensor]) -> candle_core::Result<Tensor> {
        let x: &[T] = &Values::of(&of[0])?;
        let (line, pair) = (self.width * self.channels * 4, 2 * self.channels);
        // Half a pixel's channels lie side by side in a row of the result.
        let y = filled_chunks(x.len(), line / 2, |row, y: &mut [T]| {
            let x = &x[row / 2 * line..][..line];
            for (x, y) in x.chunks_exact(2 * pair).zip(y.chunks_exact_mut(pair)) {
                y.copy_from_slice(&x[row % 2 * pair..][..pair]);
            }
        });
        let batch = x.len() / (self.height * line);
        tensor(y, (batch, 2 * self.height, 2 * self.width, self.channels), &of[0])
    }

    fn backward<T: Real>(&self, step: &Step) -> candle_core::Result<Vec<Option<Tensor>>> {
        let dy: &[T] = &Values::of(step.dy)?;
        let (line, pair) = (self.width * self.channels * 4, 2 * self.channels);
        let dx = filled_chunks(dy.len(), line, |row, dx: &mut [T]| {
            let (even, odd) = dy[row * line..][..line].split_at(line / 2);
            let rows = even.chunks_exact(pair).zip(odd.chunks_exact(pair));
            for (dx, (even, odd)) in dx.chunks_exact_mut(2 * pair).zip(rows) {
                let (upper, lower) = dx.split_at_mut(pair);
                upper.copy_from_slice(even);
                lower.copy_from_slice(odd);
            }
        });
        let x = &step.inputs[0];
        Ok(vec![Some(tensor(dx, x.shape().clone(), x)?)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::graph::compare::{same, wave};

    #[test]
    fn the_cpu_paths_equal_the_expressions() {
        same(&[wave(&[3, 2, 5, 5], 0.7)], |x| parts(&x[0]), |x| parts_expression(&x[0]));
        same(&[wave(&[3], 0.7)], |x| repeated(&x[0]), |x| Ok(x[0].repeat(4)?));
        let maps = [wave(&[2, 3, 5, 8], 0.7)];
        same(&maps, |x| depth_to_space(&x[0]), |x| depth_to_space_expression(&x[0]));
    }
}
