//! Layer normalisation of rows.

use super::{
    cpu::{Real, Values, filled_chunks, tensor, total},
    graph::{Operation, Step, apply},
    mismatch,
};
use crate::error::Result;
use candle_core::{D, Tensor};
use pulp::{Simd, WithSimd};
use rayon::prelude::*;
use std::ops::Range;

/// Rows that are taken together.
const ROWS: usize = 32;

/// Normalises every row of `x` `[..., C]` to mean 0 and variance 1 (plus `eps`), then scales by `weight`
/// `[C]` and adds `bias` `[C]` (Ba et al., 2016).
///
/// # Errors
/// When the shapes do not fit.
pub fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    let channels = x.dim(D::Minus1)?;
    for (name, parameter) in [("weight", weight), ("bias", bias)] {
        if parameter.dims() != [channels] {
            return Err(mismatch("layer_norm", x, name, parameter));
        }
    }
    if x.device().is_cpu() && x.elem_count() > 0 {
        return apply(LayerNorm { channels, eps }, &[x, weight, bias]);
    }
    expression(x, weight, bias, eps)
}

fn expression(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let deviation = (centred.sqr()?.mean_keepdim(D::Minus1)? + eps)?.sqrt()?;
    let normal = centred.broadcast_div(&deviation)?;
    Ok(normal.broadcast_mul(weight)?.broadcast_add(bias)?)
}

struct LayerNorm {
    channels: usize,
    eps: f64,
}

impl Operation for LayerNorm {
    fn name(&self) -> &'static str {
        "layer_norm"
    }

    fn parameters(&self) -> Range<usize> {
        1..3
    }

    fn forward<T: Real>(&self, of: &[Tensor]) -> candle_core::Result<Tensor> {
        let x: &[T] = &Values::of(&of[0])?;
        let (weight, bias): (&[T], &[T]) = (&Values::of(&of[1])?, &Values::of(&of[2])?);
        let y = filled_chunks(x.len(), self.channels, |row, y| {
            let x = &x[row * self.channels..][..self.channels];
            T::run(Forward { x, y, weight, bias, eps: self.eps });
        });
        tensor(y, of[0].shape().clone(), &of[0])
    }

    fn backward<T: Real>(&self, step: &Step) -> candle_core::Result<Vec<Option<Tensor>>> {
        let [x, weight, bias] = step.inputs else {
            candle_core::bail!("layer_norm: expected rows, weight and bias")
        };
        let (xs, ws): (&[T], &[T]) = (&Values::of(x)?, &Values::of(weight)?);
        let dys: &[T] = &Values::of(step.dy)?;
        let (channels, eps) = (self.channels, self.eps);
        let mut dx = vec![T::zero(); xs.len()];
        // The weight's gradient and the bias's, of some rows each.
        let each = ROWS * channels;
        let mut sums = vec![T::zero(); xs.len().div_ceil(each) * 2 * channels];
        let inputs = xs.par_chunks(each).zip(dys.par_chunks(each));
        let outputs = dx.par_chunks_mut(each).zip(sums.par_chunks_mut(2 * channels));
        inputs.zip(outputs).for_each(|((x, dy), (dx, sums))| {
            T::run(Backward { x, dy, dx, sums, weight: ws, eps });
        });
        let mut totals = vec![0.0; 2 * channels];
        for sums in sums.chunks_exact(2 * channels) {
            for (total, sum) in totals.iter_mut().zip(sums) {
                *total += candle_core::WithDType::to_f64(*sum);
            }
        }
        let mut totals = totals.into_iter().map(T::from_f64);
        let dw: Vec<T> = totals.by_ref().take(channels).collect();
        let db: Vec<T> = totals.collect();
        Ok(vec![
            Some(tensor(dx, x.shape().clone(), x)?),
            Some(tensor(dw, weight.shape().clone(), x)?),
            Some(tensor(db, bias.shape().clone(), x)?),
        ])
    }
}

/// One row.
struct Forward<'a, T> {
    x: &'a [T],
    y: &'a mut [T],
    weight: &'a [T],
    bias: &'a [T],
    eps: f64,
}

impl<T: Real> WithSimd for Forward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let lanes = T::lanes::<S>();
        let (mean, scale) = statistics::<T, S>(simd, self.x, self.eps);
        let (mean, scale) = (T::splat(simd, mean), T::splat(simd, scale));
        let affine = self.weight.chunks(lanes).zip(self.bias.chunks(lanes));
        let pixels = self.y.chunks_mut(lanes).zip(self.x.chunks(lanes));
        for ((y, x), (weight, bias)) in pixels.zip(affine) {
            let normal = T::times(simd, T::minus(simd, T::load_some(simd, x), mean), scale);
            let (weight, bias) = (T::load_some(simd, weight), T::load_some(simd, bias));
            T::store_some(simd, y, T::fused(simd, normal, weight, bias));
        }
    }
}

/// Some rows.
struct Backward<'a, T> {
    x: &'a [T],
    dy: &'a [T],
    dx: &'a mut [T],
    /// Sums over the rows: of dy n, then of dy.
    sums: &'a mut [T],
    weight: &'a [T],
    eps: f64,
}

impl<T: Real> WithSimd for Backward<'_, T> {
    type Output = ();

    /// With n the normalised row and g = w dy: dx = (g - mean(g) - n mean(g n)) / deviation.
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let lanes = T::lanes::<S>();
        let channels = self.weight.len();
        let (dw, db) = self.sums.split_at_mut(channels);
        for row in 0..self.x.len() / channels {
            let at = row * channels..(row + 1) * channels;
            let (x, dy) = (&self.x[at.clone()], &self.dy[at.clone()]);
            let dx = &mut self.dx[at];
            let (mean, deviation) = statistics::<T, S>(simd, x, self.eps);
            let (mean, scale) = (T::splat(simd, mean), T::splat(simd, deviation));
            let mut of_g = T::splat(simd, T::zero());
            let mut of_gn = of_g;
            for first in (0..channels).step_by(lanes) {
                let at = first..channels.min(first + lanes);
                let centred = T::minus(simd, T::load_some(simd, &x[at.clone()]), mean);
                let n = T::times(simd, centred, scale);
                let dy = T::load_some(simd, &dy[at.clone()]);
                let g = T::times(simd, dy, T::load_some(simd, &self.weight[at.clone()]));
                // Beyond the end dy is zero, hence g, whatever n is.
                of_g = T::plus(simd, of_g, g);
                of_gn = T::fused(simd, g, n, of_gn);
                let sum = T::fused(simd, dy, n, T::load_some(simd, &dw[at.clone()]));
                T::store_some(simd, &mut dw[at.clone()], sum);
                let sum = T::plus(simd, dy, T::load_some(simd, &db[at.clone()]));
                T::store_some(simd, &mut db[at], sum);
            }
            let count = T::from_f64(channels as f64);
            let of_g = T::splat(simd, total::<T, S>(simd, of_g) / count);
            let of_gn = T::splat(simd, total::<T, S>(simd, of_gn) / count);
            for first in (0..channels).step_by(lanes) {
                let at = first..channels.min(first + lanes);
                let centred = T::minus(simd, T::load_some(simd, &x[at.clone()]), mean);
                let n = T::times(simd, centred, scale);
                let dy = T::load_some(simd, &dy[at.clone()]);
                let g = T::times(simd, dy, T::load_some(simd, &self.weight[at.clone()]));
                let g = T::minus(simd, T::minus(simd, g, of_g), T::times(simd, n, of_gn));
                T::store_some(simd, &mut dx[at], T::times(simd, g, scale));
            }
        }
    }
}

/// Mean and reciprocal deviation of a row.
#[inline(always)]
fn statistics<T: Real, S: Simd>(simd: S, x: &[T], eps: f64) -> (T, T) {
    let lanes = T::lanes::<S>();
    let count = T::from_f64(x.len() as f64);
    let (whole, rest) = x.split_at(x.len() / lanes * lanes);
    let mut sum = T::splat(simd, T::zero());
    for x in whole.chunks_exact(lanes) {
        sum = T::plus(simd, sum, T::load(simd, x));
    }
    let sum = rest.iter().fold(total::<T, S>(simd, sum), |sum, x| sum + *x);
    let mean = sum / count;
    let centre = T::splat(simd, mean);
    let mut squares = T::splat(simd, T::zero());
    for x in whole.chunks_exact(lanes) {
        let centred = T::minus(simd, T::load(simd, x), centre);
        squares = T::fused(simd, centred, centred, squares);
    }
    let squares = total::<T, S>(simd, squares);
    let squares = rest.iter().fold(squares, |sum, x| sum + (*x - mean) * (*x - mean));
    (mean, T::one() / (squares / count + T::from_f64(eps)).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::graph::compare::{same, wave};

    #[test]
    fn the_cpu_path_equals_the_expression() {
        for channels in [3, 16, 37] {
            let inputs =
                [wave(&[2, 5, channels], 0.7), wave(&[channels], 0.3), wave(&[channels], 0.9)];
            same(
                &inputs,
                |x| layer_norm(&x[0], &x[1], &x[2], 1e-3),
                |x| expression(&x[0], &x[1], &x[2], 1e-3),
            );
        }
    }
}
