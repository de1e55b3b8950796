//! Linear maps of rows.

use super::{
    Prepared, add,
    cpu::{Left, Panels, Real, Rows, Shared, Values, channel_sums, filled, multiply, tensor},
    graph::{self, Operation, Step},
    mismatch,
};
use crate::error::Result;
use candle_core::Tensor;
use rayon::prelude::*;
use std::sync::Arc;

/// x W^T + b over the last dimension.
///
/// `x` is `[..., in]`, `weight` `[out, in]` as checkpoints store it, `bias` `[out]`; the result is
/// `[..., out]`.
///
/// # Errors
/// When the shapes do not fit together.
pub fn linear(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    Affine::new(None).apply(x, weight, bias, None)
}

/// A linear map: all but its numbers.
#[derive(Clone, Debug)]
pub struct Affine {
    prepared: Option<Arc<Prepared>>,
}

impl Affine {
    /// One whose weights are kept in `prepared` as they are read; without it they may change.
    pub fn new(prepared: Option<Arc<Prepared>>) -> Self {
        Affine { prepared }
    }

    /// [`linear`], plus `residual` of the result's shape. Further dimensions of `weight` count as
    /// one.
    ///
    /// # Errors
    /// When the shapes do not fit together.
    pub fn apply(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        residual: Option<&Tensor>,
    ) -> Result<Tensor> {
        let outputs = weight.dim(0)?;
        let inputs = weight.elem_count() / outputs.max(1);
        let mut shape = x.dims().to_vec();
        if shape.pop() != Some(inputs) {
            return Err(mismatch("linear", x, "weight", weight));
        }
        if bias.dims() != [outputs] {
            return Err(mismatch("linear", weight, "bias", bias));
        }
        shape.push(outputs);
        if let Some(residual) = residual
            && residual.dims() != shape
        {
            return Err(mismatch("linear", x, "residual", residual));
        }
        if !x.device().is_cpu() || x.elem_count() == 0 {
            let (rows, weight) = (x.reshape(((), inputs))?, weight.reshape((outputs, inputs))?);
            let y = rows.matmul(&weight.t()?)?.broadcast_add(bias)?.reshape(shape)?;
            return residual.map_or(Ok(y.clone()), |residual| add(&y, residual));
        }
        let op = Op { inputs, outputs, shape, prepared: self.prepared.clone() };
        match residual {
            None => graph::apply(op, &[x, weight, bias]),
            Some(residual) => graph::apply(op, &[x, weight, bias, residual]),
        }
    }
}

/// Inputs: rows, weight, bias, and perhaps a residual.
struct Op {
    inputs: usize,
    outputs: usize,
    shape: Vec<usize>,
    prepared: Option<Arc<Prepared>>,
}

impl Operation for Op {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn multiply_adds(&self, inputs: &[Tensor], wanted: Option<&[bool]>) -> u64 {
        let each = inputs[0].elem_count() * self.outputs;
        each as u64 * wanted.map_or(1, |wanted| u64::from(wanted[0]) + u64::from(wanted[1]))
    }

    fn forward<T: Real>(&self, of: &[Tensor]) -> candle_core::Result<Tensor> {
        let (x, weight): (&[T], &[T]) = (&Values::of(&of[0])?, &Values::of(&of[1])?);
        let bias: &[T] = &Values::of(&of[2])?;
        let residual = of.get(3).map(Values::<T>::of).transpose()?;
        let (inputs, outputs) = (self.inputs, self.outputs);
        let rows = x.len() / inputs;
        let make = || Panels::new(weight, (inputs, outputs), (1, inputs));
        let run = |weights: &Panels<T>| {
            filled(rows * outputs, |out| {
                let left = Left { values: x, row: inputs, term: 1 };
                multiply(out, false, left, weights.right(), (rows, inputs, outputs));
            })
        };
        let mut y = match &self.prepared {
            None => run(&make()),
            Some(prepared) => prepared.with(make, run)?,
        };
        match residual.as_deref() {
            None => y.par_chunks_mut(64 * outputs).for_each(|y| {
                for row in y.chunks_exact_mut(outputs) {
                    row.iter_mut().zip(bias).for_each(|(y, b)| *y += *b);
                }
            }),
            Some(residual) => {
                let pairs = y.par_chunks_mut(64 * outputs).zip(residual.par_chunks(64 * outputs));
                pairs.for_each(|(y, r)| {
                    for (y, r) in y.chunks_exact_mut(outputs).zip(r.chunks_exact(outputs)) {
                        y.iter_mut().zip(bias).zip(r).for_each(|((y, b), r)| *y = *y + *b + *r);
                    }
                });
            }
        }
        tensor(y, self.shape.clone(), &of[0])
    }

    fn backward<T: Real>(&self, step: &Step) -> candle_core::Result<Vec<Option<Tensor>>> {
        let (inputs, outputs) = (self.inputs, self.outputs);
        let [x, weight, bias, ..] = step.inputs else {
            candle_core::bail!("linear: expected rows, weight and bias")
        };
        let (xs, ws): (&[T], &[T]) = (&Values::of(x)?, &Values::of(weight)?);
        let dys: &[T] = &Values::of(step.dy)?;
        let rows = xs.len() / inputs;
        let dx = step.wanted[0].then(|| {
            let left = Left { values: dys, row: outputs, term: 1 };
            let right = Rows::new(ws, (outputs, inputs), inputs);
            filled(rows * inputs, |out| {
                multiply(out, false, left, right.right(), (rows, outputs, inputs));
            })
        });
        let dw = step.wanted[1].then(|| {
            let left = Left { values: dys, row: 1, term: outputs };
            let right = Rows::new(xs, (rows, inputs), inputs);
            filled(outputs * inputs, |out: Shared<T>| {
                multiply(out, false, left, right.right(), (outputs, rows, inputs));
            })
        });
        let db = channel_sums(dys, outputs, |v, _| v).into_iter().map(T::from_f64).collect();
        Ok(vec![
            dx.map(|dx| tensor(dx, x.shape().clone(), x)).transpose()?,
            dw.map(|dw| tensor(dw, weight.shape().clone(), x)).transpose()?,
            Some(tensor::<T>(db, bias.shape().clone(), x)?),
            Some(step.dy.clone()),
        ])
    }
}
