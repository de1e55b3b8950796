//! Sums of maps.

use super::{
    cpu::{Real, Values, pieces, tensor},
    graph::{Operation, Step, apply},
    mismatch,
};
use crate::error::Result;
use candle_core::Tensor;

/// a + b, of one shape.
///
/// # Errors
/// When the shapes differ.
pub fn add(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if a.shape() != b.shape() {
        return Err(mismatch("add", a, "summand", b));
    }
    match a.device().is_cpu() {
        true => apply(Add, &[a, b]),
        false => Ok((a + b)?),
    }
}

/// `factor` x.
///
/// # Errors
/// When a tensor operation fails.
pub fn scale(x: &Tensor, factor: f64) -> Result<Tensor> {
    match x.device().is_cpu() {
        true => apply(Scale(factor), &[x]),
        false => Ok((x * factor)?),
    }
}

struct Add;

impl Operation for Add {
    fn name(&self) -> &'static str {
        "add"
    }

    fn forward<T: Real>(&self, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        let (a, b): (&[T], &[T]) = (&Values::of(&inputs[0])?, &Values::of(&inputs[1])?);
        let sum = pieces(a.len(), |at, y: &mut [T]| {
            for ((y, a), b) in y.iter_mut().zip(&a[at.clone()]).zip(&b[at]) {
                *y = *a + *b;
            }
        });
        tensor(sum, inputs[0].shape().clone(), &inputs[0])
    }

    fn backward<T: Real>(&self, step: &Step) -> candle_core::Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(step.dy.clone()), Some(step.dy.clone())])
    }
}

struct Scale(f64);

impl Scale {
    fn times<T: Real>(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        let values: &[T] = &Values::of(x)?;
        let factor = T::from_f64(self.0);
        let product = pieces(values.len(), |at, y: &mut [T]| {
            y.iter_mut().zip(&values[at]).for_each(|(y, x)| *y = *x * factor);
        });
        tensor(product, x.shape().clone(), x)
    }
}

impl Operation for Scale {
    fn name(&self) -> &'static str {
        "scale"
    }

    fn forward<T: Real>(&self, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        self.times::<T>(&inputs[0])
    }

    fn backward<T: Real>(&self, step: &Step) -> candle_core::Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(self.times::<T>(step.dy)?)])
    }
}
