//! The distance of two maps whose pixels are taken for directions.

use super::{
    cpu::{Real, Values, tensor, total},
    graph::{Operation, Step, apply},
    mismatch,
};
use crate::error::{Error, Result};
use candle_core::{D, Tensor};
use pulp::{Simd, WithSimd};
use rayon::prelude::*;
use std::ops::Range;

/// Added to every norm (LPIPS).
const EPS: f64 = 1e-10;

/// The mean over the pixels of sum_c `weight`_c (a_c / |a| - b_c / |b|)^2: of `a` and `b`
/// `[B, H, W, C]` and `weight` `[C]`, `[B]`. Norms are those of a pixel's channels, plus 1e-10; a pixel of
/// zeros has the gradient that it would have without its norm's.
///
/// # Errors
/// When the shapes do not fit together.
pub fn unit_distance(a: &Tensor, b: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let dims = a.dims();
    let (Some(channels), true) = (dims.last().copied(), dims.len() == 4) else {
        return Err(Error::Input(format!("unit_distance: expected [B, H, W, C], got {dims:?}")));
    };
    if b.dims() != dims {
        return Err(mismatch("unit_distance", a, "the other map", b));
    }
    if weight.dims() != [channels] {
        return Err(mismatch("unit_distance", a, "weight", weight));
    }
    if a.device().is_cpu() && a.elem_count() > 0 {
        return apply(UnitDistance { channels, pixels: dims[1] * dims[2] }, &[a, b, weight]);
    }
    expression(a, b, weight)
}

fn expression(a: &Tensor, b: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let unit = |x: &Tensor| -> Result<Tensor> {
        Ok(x.broadcast_div(&(x.sqr()?.sum_keepdim(D::Minus1)?.sqrt()? + EPS)?)?)
    };
    let squares = (unit(a)? - unit(b)?)?.sqr()?;
    Ok(squares.broadcast_mul(weight)?.sum(D::Minus1)?.flatten_from(1)?.mean(1)?)
}

struct UnitDistance {
    channels: usize,
    pixels: usize,
}

impl Operation for UnitDistance {
    fn name(&self) -> &'static str {
        "unit_distance"
    }

    fn parameters(&self) -> Range<usize> {
        2..3
    }

    fn forward<T: Real>(&self, of: &[Tensor]) -> candle_core::Result<Tensor> {
        let (a, b): (&[T], &[T]) = (&Values::of(&of[0])?, &Values::of(&of[1])?);
        let weight: &[T] = &Values::of(&of[2])?;
        let each = self.pixels * self.channels;
        let mut sums = vec![T::zero(); a.len() / each];
        let maps = a.par_chunks(each).zip(b.par_chunks(each));
        sums.par_iter_mut().zip(maps).for_each(|(sum, (a, b))| {
            *sum = T::from_f64(T::run(Forward { a, b, weight }) / self.pixels as f64);
        });
        tensor(sums, of[0].dim(0)?, &of[0])
    }

    fn backward<T: Real>(&self, step: &Step) -> candle_core::Result<Vec<Option<Tensor>>> {
        let of = step.inputs;
        let (a, b): (&[T], &[T]) = (&Values::of(&of[0])?, &Values::of(&of[1])?);
        let weight: &[T] = &Values::of(&of[2])?;
        let dys: &[T] = &Values::of(step.dy)?;
        let (channels, each) = (self.channels, self.pixels * self.channels);
        let mut room = [vec![T::zero(); a.len()], vec![T::zero(); b.len()]];
        let mut dw = vec![T::zero(); dys.len() * channels];
        let [da, db] = &mut room;
        let maps = a.par_chunks(each).zip(b.par_chunks(each)).zip(dys);
        let gradients = da.par_chunks_mut(each).zip(db.par_chunks_mut(each));
        maps.zip(gradients.zip(dw.par_chunks_mut(channels))).for_each(
            |(((a, b), dy), (out, dw))| {
                let dy = *dy / T::from_f64(self.pixels as f64);
                T::run(Backward { a, b, weight, dy, da: out.0, db: out.1, dw });
            },
        );
        let mut sums = vec![0.0; channels];
        for dw in dw.chunks_exact(channels) {
            sums.iter_mut().zip(dw).for_each(|(sum, v)| *sum += candle_core::WithDType::to_f64(*v));
        }
        let dw: Vec<T> = sums.into_iter().map(T::from_f64).collect();
        let [da, db] = room;
        let gradient = |values: Vec<T>, i: usize| tensor(values, of[i].shape().clone(), &of[i]);
        Ok(vec![Some(gradient(da, 0)?), Some(gradient(db, 1)?), Some(gradient(dw, 2)?)])
    }
}

/// One over the norm of a pixel.
#[inline(always)]
fn reciprocal<T: Real, S: Simd>(simd: S, x: &[T]) -> (T, T) {
    let mut squares = T::splat(simd, T::zero());
    for x in x.chunks(T::lanes::<S>()) {
        let x = T::load_some(simd, x);
        squares = T::fused(simd, x, x, squares);
    }
    let norm = total::<T, S>(simd, squares).sqrt();
    (norm, T::one() / (norm + T::from_f64(EPS)))
}

/// The sum over the pixels of one pair of maps.
struct Forward<'a, T> {
    a: &'a [T],
    b: &'a [T],
    weight: &'a [T],
}

impl<T: Real> WithSimd for Forward<'_, T> {
    type Output = f64;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f64 {
        let (lanes, channels) = (T::lanes::<S>(), self.weight.len());
        let mut sum = 0.0;
        for (a, b) in self.a.chunks_exact(channels).zip(self.b.chunks_exact(channels)) {
            let of_a = T::splat(simd, reciprocal::<T, S>(simd, a).1);
            let of_b = T::splat(simd, reciprocal::<T, S>(simd, b).1);
            let mut squares = T::splat(simd, T::zero());
            for ((a, b), w) in a.chunks(lanes).zip(b.chunks(lanes)).zip(self.weight.chunks(lanes)) {
                let (a, b) = (T::load_some(simd, a), T::load_some(simd, b));
                let d = T::minus(simd, T::times(simd, a, of_a), T::times(simd, b, of_b));
                squares = T::fused(simd, T::times(simd, d, d), T::load_some(simd, w), squares);
            }
            sum += candle_core::WithDType::to_f64(total::<T, S>(simd, squares));
        }
        sum
    }
}

/// One pair of maps.
struct Backward<'a, T> {
    a: &'a [T],
    b: &'a [T],
    weight: &'a [T],
    /// The gradient of a pixel's summand.
    dy: T,
    da: &'a mut [T],
    db: &'a mut [T],
    dw: &'a mut [T],
}

impl<T: Real> WithSimd for Backward<'_, T> {
    type Output = ();

    /// With u = a r, r = 1 / (|a| + eps) and g = 2 w (u - v) dy: da = r (g - u (g . u) / (r |a|)).
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (lanes, channels) = (T::lanes::<S>(), self.weight.len());
        let twice = T::splat(simd, self.dy + self.dy);
        let dy = T::splat(simd, self.dy);
        for pixel in 0..self.a.len() / channels {
            let at = pixel * channels..(pixel + 1) * channels;
            let (a, b) = (&self.a[at.clone()], &self.b[at.clone()]);
            let (norm_a, of_a) = reciprocal::<T, S>(simd, a);
            let (norm_b, of_b) = reciprocal::<T, S>(simd, b);
            let (scale_a, scale_b) = (T::splat(simd, of_a), T::splat(simd, of_b));
            let mut along = [T::splat(simd, T::zero()); 2];
            for first in (0..channels).step_by(lanes) {
                let at = first..channels.min(first + lanes);
                let u = T::times(simd, T::load_some(simd, &a[at.clone()]), scale_a);
                let v = T::times(simd, T::load_some(simd, &b[at.clone()]), scale_b);
                let w = T::load_some(simd, &self.weight[at.clone()]);
                let d = T::minus(simd, u, v);
                let g = T::times(simd, T::times(simd, d, w), twice);
                along[0] = T::fused(simd, g, u, along[0]);
                along[1] = T::fused(simd, g, v, along[1]);
                let sum = T::load_some(simd, &self.dw[at.clone()]);
                let sum = T::fused(simd, T::times(simd, d, d), dy, sum);
                T::store_some(simd, &mut self.dw[at], sum);
            }
            let back = |sum: T::Vector<S>, norm: T, scale: T| {
                let sum = total::<T, S>(simd, sum);
                let back = if norm > T::zero() { sum / (scale * norm) } else { T::zero() };
                T::splat(simd, back)
            };
            let (back_a, back_b) = (back(along[0], norm_a, of_a), back(along[1], norm_b, of_b));
            let (da, db) = (&mut self.da[at.clone()], &mut self.db[at]);
            for first in (0..channels).step_by(lanes) {
                let at = first..channels.min(first + lanes);
                let u = T::times(simd, T::load_some(simd, &a[at.clone()]), scale_a);
                let v = T::times(simd, T::load_some(simd, &b[at.clone()]), scale_b);
                let w = T::load_some(simd, &self.weight[at.clone()]);
                let g = T::times(simd, T::times(simd, T::minus(simd, u, v), w), twice);
                let to_a = T::minus(simd, g, T::times(simd, u, back_a));
                let to_b = T::minus(simd, T::times(simd, v, back_b), g);
                T::store_some(simd, &mut da[at.clone()], T::times(simd, to_a, scale_a));
                T::store_some(simd, &mut db[at], T::times(simd, to_b, scale_b));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::graph::compare::{same, wave};

    #[test]
    fn the_cpu_path_equals_the_expression() {
        for shape in [[2, 3, 4, 5], [1, 1, 1, 16], [3, 2, 1, 37]] {
            let inputs = [wave(&shape, 0.7), wave(&shape, 0.31), wave(&shape[3..], 0.9)];
            same(
                &inputs,
                |x| unit_distance(&x[0], &x[1], &x[2]),
                |x| expression(&x[0], &x[1], &x[2]),
            );
        }
    }
}
