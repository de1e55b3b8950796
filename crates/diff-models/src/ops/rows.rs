//! Weights of a linear map as the rows it makes.

use super::{
    cpu::{Real, Values, tensor},
    graph::{Operation, Step, apply},
    mismatch,
};
use crate::error::{Error, Result};
use candle_core::Tensor;

/// The rows that a linear map of `weight` `[out, in]` (further dimensions count as one) and `bias`
/// `[out]` is made of, `[1 + in, out]`: what it makes of (1, x) is (1, x) times them.
///
/// # Errors
/// When the shapes do not fit.
pub fn affine_rows(weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let outputs = weight.dim(0)?;
    if bias.dims() != [outputs] {
        return Err(mismatch("affine_rows", weight, "bias", bias));
    }
    if weight.device().is_cpu() && weight.elem_count() > 0 {
        let inputs = weight.elem_count() / outputs;
        return apply(AffineRows { inputs, outputs }, &[weight, bias]);
    }
    affine_rows_expression(weight, bias)
}

fn affine_rows_expression(weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let weight = weight.reshape((weight.dim(0)?, ()))?.t()?;
    Ok(Tensor::cat(&[&bias.unsqueeze(0)?, &weight], 0)?)
}

/// Every row of `x` `[R, C]` once for each of `heads` heads, which share out its channels: in row
/// h R + i of the result `[heads R, C]` are those of row i that are head h's, and zeros.
///
/// # Errors
/// When the channels do not split.
pub fn spread_heads(x: &Tensor, heads: usize) -> Result<Tensor> {
    let (rows, channels) = x.dims2()?;
    if heads == 0 || channels % heads != 0 {
        return Err(Error::Input(format!(
            "spread_heads: {channels} channels do not split into {heads} heads"
        )));
    }
    if x.device().is_cpu() && x.elem_count() > 0 {
        return apply(SpreadHeads { heads, rows, channels }, &[x]);
    }
    spread_heads_expression(x, heads)
}

fn spread_heads_expression(x: &Tensor, heads: usize) -> Result<Tensor> {
    let (rows, channels) = x.dims2()?;
    let owner =
        |at: usize| if at / channels == at % channels / (channels / heads) { 1f32 } else { 0.0 };
    let owned: Vec<f32> = (0..heads * channels).map(owner).collect();
    let owned = Tensor::from_vec(owned, (heads, 1, channels), x.device())?.to_dtype(x.dtype())?;
    Ok(x.unsqueeze(0)?.broadcast_mul(&owned)?.reshape((heads * rows, channels))?)
}

struct AffineRows {
    inputs: usize,
    outputs: usize,
}

impl Operation for AffineRows {
    fn name(&self) -> &'static str {
        "affine_rows"
    }

    fn forward<T: Real>(&self, of: &[Tensor]) -> candle_core::Result<Tensor> {
        let (weight, bias): (&[T], &[T]) = (&Values::of(&of[0])?, &Values::of(&of[1])?);
        let mut rows = bias.to_vec();
        for input in 0..self.inputs {
            rows.extend((0..self.outputs).map(|output| weight[output * self.inputs + input]));
        }
        tensor(rows, (1 + self.inputs, self.outputs), &of[0])
    }

    fn backward<T: Real>(&self, step: &Step) -> candle_core::Result<Vec<Option<Tensor>>> {
        let dy: &[T] = &Values::of(step.dy)?;
        let (bias, rows) = dy.split_at(self.outputs);
        let dw = (0..self.outputs)
            .flat_map(|output| rows.chunks_exact(self.outputs).map(move |row| row[output]))
            .collect::<Vec<T>>();
        let [of_weight, of_bias] = step.inputs else {
            candle_core::bail!("affine_rows: expected weight and bias")
        };
        Ok(vec![
            Some(tensor(dw, of_weight.shape().clone(), of_weight)?),
            Some(tensor(bias.to_vec(), of_bias.shape().clone(), of_bias)?),
        ])
    }
}

struct SpreadHeads {
    heads: usize,
    rows: usize,
    channels: usize,
}

impl SpreadHeads {
    /// Where every number of a row of the result is that comes from the argument: in the result, and in
    /// the argument.
    fn places(
        &self,
    ) -> impl Iterator<Item = (std::ops::Range<usize>, std::ops::Range<usize>)> + '_ {
        let width = self.channels / self.heads;
        let pairs = (0..self.heads).flat_map(|head| (0..self.rows).map(move |row| (head, row)));
        pairs.map(move |(head, row)| {
            let to = (head * self.rows + row) * self.channels + head * width;
            let from = row * self.channels + head * width;
            (to..to + width, from..from + width)
        })
    }
}

impl Operation for SpreadHeads {
    fn name(&self) -> &'static str {
        "spread_heads"
    }

    fn forward<T: Real>(&self, of: &[Tensor]) -> candle_core::Result<Tensor> {
        let x: &[T] = &Values::of(&of[0])?;
        let mut y = vec![T::zero(); self.heads * x.len()];
        self.places().for_each(|(to, from)| y[to].copy_from_slice(&x[from]));
        tensor(y, (self.heads * self.rows, self.channels), &of[0])
    }

    fn backward<T: Real>(&self, step: &Step) -> candle_core::Result<Vec<Option<Tensor>>> {
        let dy: &[T] = &Values::of(step.dy)?;
        let mut dx = vec![T::zero(); self.rows * self.channels];
        self.places().for_each(|(to, from)| dx[from].copy_from_slice(&dy[to]));
        Ok(vec![Some(tensor(dx, (self.rows, self.channels), &step.inputs[0])?)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::graph::compare::{same, wave};

    #[test]
    fn the_cpu_paths_equal_the_expressions() {
        let map = [wave(&[6, 3, 1, 1], 0.7), wave(&[6], 0.3)];
        same(&map, |x| affine_rows(&x[0], &x[1]), |x| affine_rows_expression(&x[0], &x[1]));
        let rows = [wave(&[4, 12], 0.7)];
        same(&rows, |x| spread_heads(&x[0], 3), |x| spread_heads_expression(&x[0], 3));
    }
}
