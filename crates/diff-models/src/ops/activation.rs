//! SiLU and ReLU.

use super::{
    cpu::{Real, Values, pieces, sigmoid, tensor},
    graph::{Operation, Step, apply},
};
use crate::error::Result;
use candle_core::Tensor;
use pulp::{Simd, WithSimd};

/// x sigmoid(x), element by element.
pub fn silu(x: &Tensor) -> Result<Tensor> {
    match x.device().is_cpu() {
        true => apply(Silu, &[x]),
        false => Ok(x.silu()?),
    }
}

/// ReLU of a number; not a number stays that.
#[inline(always)]
pub(super) fn relu<T: Real>(x: T) -> T {
    if x < T::zero() { T::zero() } else { x }
}

/// The gradient by what a ReLU was applied to: `dy` where its result `y` is positive.
pub(super) fn passed<T: Real>(y: &Tensor, dy: &Tensor) -> candle_core::Result<Tensor> {
    let (ys, dys): (&[T], &[T]) = (&Values::of(y)?, &Values::of(dy)?);
    let dx = pieces(ys.len(), |at, dx| {
        for ((dx, y), dy) in dx.iter_mut().zip(&ys[at.clone()]).zip(&dys[at]) {
            *dx = if *y > T::zero() { *dy } else { T::zero() };
        }
    });
    tensor(dx, y.shape().clone(), y)
}

struct Silu;

impl Operation for Silu {
    fn name(&self) -> &'static str {
        "silu"
    }

    fn forward<T: Real>(&self, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        let x = Values::<T>::of(&inputs[0])?;
        let x: &[T] = &x;
        let y = pieces(x.len(), |at, y| T::run(Forward { x: &x[at], y }));
        tensor(y, inputs[0].shape().clone(), &inputs[0])
    }

    fn backward<T: Real>(&self, step: &Step) -> candle_core::Result<Vec<Option<Tensor>>> {
        let x = &step.inputs[0];
        let (xs, dys): (&[T], &[T]) = (&Values::of(x)?, &Values::of(step.dy)?);
        let dx =
            pieces(xs.len(), |at, dx| T::run(Backward { x: &xs[at.clone()], dy: &dys[at], dx }));
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
        for (y, x) in self.y.chunks_mut(lanes).zip(self.x.chunks(lanes)) {
            let x = T::load_some(simd, x);
            T::store_some(simd, y, T::times(simd, x, sigmoid::<T, S>(simd, x)));
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

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let lanes = T::lanes::<S>();
        let inputs = self.x.chunks(lanes).zip(self.dy.chunks(lanes));
        for (dx, (x, dy)) in self.dx.chunks_mut(lanes).zip(inputs) {
            let slope = silu_slope::<T, S>(simd, T::load_some(simd, x));
            T::store_some(simd, dx, T::times(simd, T::load_some(simd, dy), slope));
        }
    }
}

/// The derivative of x sigmoid(x).
#[inline(always)]
pub(super) fn silu_slope<T: Real, S: Simd>(simd: S, x: T::Vector<S>) -> T::Vector<S> {
    let one = T::splat(simd, T::one());
    let s = sigmoid::<T, S>(simd, x);
    T::times(simd, s, T::fused(simd, x, T::minus(simd, one, s), one))
}
