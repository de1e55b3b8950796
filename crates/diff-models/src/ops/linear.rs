//! Linear maps of rows.

use super::{
    Prepared,
    activation::{passed, relu},
    add,
    cpu::{Left, Panels, Real, Rows, Shared, Values, channel_sums, filled, multiply, tensor},
    graph::{self, Operation, Step},
    mismatch,
};
use crate::error::Result;
use candle_core::Tensor;
use rayon::prelude::*;
use std::{ops::Range, sync::Arc};

/// x W^T + b over the last dimension.
///
/// `x` is `[..., in]`, `weight` `[out, in]` as checkpoints store it, `bias` `[out]`; the result is
/// `[..., out]`.
///
/// # Errors
/// When the shapes do not fit together.
pub fn linear(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    Affine::new(None).apply(x, weight, Some(bias), None)
}

/// A linear map: all but its numbers.
#[derive(Clone, Debug)]
pub struct Affine {
    prepared: Option<Arc<Prepared>>,
    turned: bool,
    rectified: bool,
}

impl Affine {
    /// One whose weights are kept in `prepared` as they are read; without it they may change.
    pub fn new(prepared: Option<Arc<Prepared>>) -> Self {
        Affine { prepared, turned: false, rectified: false }
    }

    /// One whose weights are `[in, out]`, and may change.
    pub fn turned() -> Self {
        Affine { turned: true, ..Self::new(None) }
    }

    /// The same; if `rectified`, negative results become zero (ReLU).
    pub fn rectified(self, rectified: bool) -> Self {
        Affine { rectified, ..self }
    }

    /// [`linear`], without a bias if there is none, plus `residual` of the result's shape. Further
    /// dimensions of `weight` count as one.
    ///
    /// # Errors
    /// When the shapes do not fit together.
    pub fn apply(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: Option<&Tensor>,
        residual: Option<&Tensor>,
    ) -> Result<Tensor> {
        let first = weight.dim(0)?;
        let further = weight.elem_count() / first.max(1);
        let (inputs, outputs) = if self.turned { (first, further) } else { (further, first) };
        let mut shape = x.dims().to_vec();
        if shape.pop() != Some(inputs) {
            return Err(mismatch("linear", x, "weight", weight));
        }
        if let Some(bias) = bias
            && bias.dims() != [outputs]
        {
            return Err(mismatch("linear", weight, "bias", bias));
        }
        shape.push(outputs);
        if let Some(residual) = residual
            && residual.dims() != shape
        {
            return Err(mismatch("linear", x, "residual", residual));
        }
        if !x.device().is_cpu() || x.elem_count() == 0 {
            let (rows, weight) = (x.reshape(((), inputs))?, weight.reshape((first, further))?);
            let weight = if self.turned { weight } else { weight.t()? };
            let y = rows.matmul(&weight)?;
            let y = bias.map_or(Ok(y.clone()), |bias| y.broadcast_add(bias))?.reshape(shape)?;
            let y = residual.map_or(Ok(y.clone()), |residual| add(&y, residual))?;
            return if self.rectified { Ok(y.relu()?) } else { Ok(y) };
        }
        let op = Op { affine: self.clone(), inputs, outputs, shape, biased: bias.is_some() };
        let given: Vec<&Tensor> =
            [Some(x), Some(weight), bias, residual].into_iter().flatten().collect();
        graph::apply(op, &given)
    }
}

/// Inputs: rows, weight, and perhaps bias and residual.
struct Op {
    affine: Affine,
    inputs: usize,
    outputs: usize,
    shape: Vec<usize>,
    biased: bool,
}

impl Op {
    /// From one input to the next, and from one output to the next, in the weights.
    fn steps(&self) -> (usize, usize) {
        if self.affine.turned { (self.outputs, 1) } else { (1, self.inputs) }
    }
}

impl Operation for Op {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn keeps_output(&self) -> bool {
        self.affine.rectified
    }

    fn parameters(&self) -> Range<usize> {
        1..2 + usize::from(self.biased)
    }

    fn multiply_adds(&self, inputs: &[Tensor], wanted: Option<&[bool]>) -> u64 {
        let each = inputs[0].elem_count() * self.outputs;
        each as u64 * wanted.map_or(1, |wanted| u64::from(wanted[0]) + u64::from(wanted[1]))
    }

    fn forward<T: Real>(&self, of: &[Tensor]) -> candle_core::Result<Tensor> {
        let (x, weight): (&[T], &[T]) = (&Values::of(&of[0])?, &Values::of(&of[1])?);
        let mut summands = of[2..].iter().map(Values::<T>::of);
        let bias = self.biased.then(|| summands.next()).flatten().transpose()?;
        let residual = summands.next().transpose()?;
        let (inputs, outputs) = (self.inputs, self.outputs);
        let rows = x.len() / inputs;
        let make = || Panels::new(weight, (inputs, outputs), self.steps());
        let run = |weights: &Panels<T>| {
            filled(rows * outputs, |out| {
                let left = Left { values: x, row: inputs, term: 1 };
                multiply(out, false, left, weights.right(), (rows, inputs, outputs));
            })
        };
        let mut y = match &self.affine.prepared {
            None => run(&make()),
            Some(prepared) => prepared.with(make, run)?,
        };
        // Negative zero leaves every number as it is.
        let none = vec![-T::zero(); if self.biased { 0 } else { outputs }];
        let (bias, residual) = (bias.as_deref().unwrap_or(&none), residual.as_deref());
        match self.affine.rectified {
            true => complete(&mut y, bias, residual, relu),
            false if self.biased || residual.is_some() => complete(&mut y, bias, residual, |v| v),
            false => {}
        }
        tensor(y, self.shape.clone(), &of[0])
    }

    fn backward<T: Real>(&self, step: &Step) -> candle_core::Result<Vec<Option<Tensor>>> {
        let (inputs, outputs) = (self.inputs, self.outputs);
        let [x, weight, summands @ ..] = step.inputs else {
            candle_core::bail!("linear: expected rows and weight")
        };
        let (xs, ws): (&[T], &[T]) = (&Values::of(x)?, &Values::of(weight)?);
        let dy = match self.affine.rectified {
            true => &passed::<T>(step.output()?, step.dy)?,
            false => step.dy,
        };
        let dys: &[T] = &Values::of(dy)?;
        let rows = xs.len() / inputs;
        let dx = step.wanted[0].then(|| {
            let left = Left { values: dys, row: outputs, term: 1 };
            let run = |right| {
                filled(rows * inputs, |out| {
                    multiply(out, false, left, right, (rows, outputs, inputs));
                })
            };
            match self.affine.turned {
                true => run(Panels::new(ws, (outputs, inputs), (1, outputs)).right()),
                false => run(Rows::new(ws, (outputs, inputs), inputs).right()),
            }
        });
        let dw = step.wanted[1].then(|| {
            let of_x = (Left { values: xs, row: 1, term: inputs }, xs, inputs);
            let of_dy = (Left { values: dys, row: 1, term: outputs }, dys, outputs);
            let ((left, _, first), (_, right, second)) =
                if self.affine.turned { (of_x, of_dy) } else { (of_dy, of_x) };
            let right = Rows::new(right, (rows, second), second);
            filled(inputs * outputs, |out: Shared<T>| {
                multiply(out, false, left, right.right(), (first, rows, second));
            })
        });
        let mut gradients = vec![
            dx.map(|dx| tensor(dx, x.shape().clone(), x)).transpose()?,
            dw.map(|dw| tensor(dw, weight.shape().clone(), x)).transpose()?,
        ];
        if self.biased {
            let db = channel_sums(dys, outputs, |v, _| v).into_iter().map(T::from_f64).collect();
            gradients.push(Some(tensor::<T>(db, summands[0].shape().clone(), x)?));
        }
        gradients.push(Some(dy.clone()));
        Ok(gradients)
    }
}

/// Adds bias and residual to rows, and applies `f`.
fn complete<T: Real>(
    y: &mut [T],
    bias: &[T],
    residual: Option<&[T]>,
    f: impl Fn(T) -> T + Copy + Sync,
) {
    let (outputs, each) = (bias.len(), 64 * bias.len());
    match residual {
        None => y.par_chunks_mut(each).for_each(|y| {
            for row in y.chunks_exact_mut(outputs) {
                row.iter_mut().zip(bias).for_each(|(y, b)| *y = f(*y + *b));
            }
        }),
        Some(residual) => {
            y.par_chunks_mut(each).zip(residual.par_chunks(each)).for_each(|(y, r)| {
                for (y, r) in y.chunks_exact_mut(outputs).zip(r.chunks_exact(outputs)) {
                    y.iter_mut().zip(bias).zip(r).for_each(|((y, b), r)| *y = f(*y + *b + *r));
                }
            })
        }
    }
}
