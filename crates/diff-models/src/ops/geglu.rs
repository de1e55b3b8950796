//! GEGLU: one half of the channels, times the GELU of the other (Shazeer, 2020).

use super::{
    cpu::{Real, Values, filled_chunks, tensor},
    graph::{Operation, Step, apply},
};
use crate::error::{Error, Result};
use candle_core::{D, Tensor};
use pulp::{Simd, WithSimd};

/// a gelu(b) of rows `[..., 2 C]` that hold a `[..., C]` before b, where gelu(b) is b (1 + erf(b/sqrt 2)) / 2.
///
/// # Errors
/// When the channels are odd in number.
pub fn geglu(x: &Tensor) -> Result<Tensor> {
    let channels = x.dim(D::Minus1)?;
    if channels % 2 != 0 {
        return Err(Error::Input(format!("geglu: {channels} channels have no halves")));
    }
    if x.device().is_cpu() && x.elem_count() > 0 {
        return apply(Geglu { channels: channels / 2 }, &[x]);
    }
    expression(x, channels)
}

fn expression(x: &Tensor, channels: usize) -> Result<Tensor> {
    let half = |first| x.narrow(D::Minus1, first, channels / 2);
    let (a, b) = (half(0)?, half(channels / 2)?);
    // candle's own gelu_erf has a gradient of a few digits.
    let below = ((&b * std::f64::consts::FRAC_1_SQRT_2)?.erf()? + 1.0)?;
    let gate = ((b * below)? * 0.5)?;
    Ok((a * gate)?)
}

struct Geglu {
    /// Of the result.
    channels: usize,
}

impl Operation for Geglu {
    fn name(&self) -> &'static str {
        "geglu"
    }

    fn forward<T: Real>(&self, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        let x: &[T] = &Values::of(&inputs[0])?;
        let channels = self.channels;
        let y = filled_chunks(x.len() / 2, channels, |row, y| {
            T::run(Forward { x: &x[2 * row * channels..][..2 * channels], y });
        });
        let mut shape = inputs[0].dims().to_vec();
        shape.iter_mut().last().into_iter().for_each(|last| *last = channels);
        tensor(y, shape, &inputs[0])
    }

    fn backward<T: Real>(&self, step: &Step) -> candle_core::Result<Vec<Option<Tensor>>> {
        let x = &step.inputs[0];
        let (xs, dys): (&[T], &[T]) = (&Values::of(x)?, &Values::of(step.dy)?);
        let channels = self.channels;
        let dx = filled_chunks(xs.len(), 2 * channels, |row, dx| {
            let x = &xs[2 * row * channels..][..2 * channels];
            T::run(Backward { x, dy: &dys[row * channels..][..channels], dx });
        });
        Ok(vec![Some(tensor(dx, x.shape().clone(), x)?)])
    }
}

struct Forward<'a, T> {
    x: &'a [T],
    y: &'a mut [T],
}

impl<T: Real> WithSimd for Forward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let lanes = T::lanes::<S>();
        let (a, b) = self.x.split_at(self.y.len());
        for ((y, a), b) in self.y.chunks_mut(lanes).zip(a.chunks(lanes)).zip(b.chunks(lanes)) {
            let (a, b) = (T::load_some(simd, a), T::load_some(simd, b));
            let gate = T::times(simd, b, below::<T, S>(simd, b));
            T::store_some(simd, y, T::times(simd, a, gate));
        }
    }
}

struct Backward<'a, T> {
    x: &'a [T],
    dy: &'a [T],
    dx: &'a mut [T],
}

impl<T: Real> WithSimd for Backward<'_, T> {
    type Output = ();

    /// With P the normal distribution and p its density: da = dy b P(b), db = dy a (P(b) + b p(b)).
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let lanes = T::lanes::<S>();
        let (a, b) = self.x.split_at(self.dy.len());
        let (da, db) = self.dx.split_at_mut(self.dy.len());
        let density =
            T::splat(simd, T::from_f64(0.5 * std::f64::consts::FRAC_2_SQRT_PI / 2f64.sqrt()));
        let minus_half = T::splat(simd, T::from_f64(-0.5));
        let inputs = a.chunks(lanes).zip(b.chunks(lanes)).zip(self.dy.chunks(lanes));
        let outputs = da.chunks_mut(lanes).zip(db.chunks_mut(lanes));
        for ((da, db), ((a, b), dy)) in outputs.zip(inputs) {
            let (a, b) = (T::load_some(simd, a), T::load_some(simd, b));
            let dy = T::load_some(simd, dy);
            let below = below::<T, S>(simd, b);
            let power = T::times(simd, T::times(simd, b, b), minus_half);
            let density = T::times(simd, density, T::exponential(simd, power));
            let slope = T::fused(simd, b, density, below);
            T::store_some(simd, da, T::times(simd, dy, T::times(simd, b, below)));
            T::store_some(simd, db, T::times(simd, dy, T::times(simd, a, slope)));
        }
    }
}

/// (1 + erf(x / sqrt 2)) / 2: the normal distribution.
#[inline(always)]
fn below<T: Real, S: Simd>(simd: S, x: T::Vector<S>) -> T::Vector<S> {
    let half = T::splat(simd, T::from_f64(0.5));
    let scaled = T::times(simd, x, T::splat(simd, T::from_f64(std::f64::consts::FRAC_1_SQRT_2)));
    T::fused(simd, T::error_function(simd, scaled), half, half)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::graph::compare::{same, wave};

    #[test]
    fn the_cpu_path_equals_the_expression() {
        same(&[wave(&[2, 5, 38], 1.3)], |x| geglu(&x[0]), |x| expression(&x[0], 38));
    }
}
