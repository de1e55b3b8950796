//! Linear maps of rows.

use super::{
    Prepared, add,
    cpu::{
        Forward, Left, Panels, Real, Rows, Shared, Values, channel_sums, filled, multiply, tensor,
    },
    mismatch,
};
use crate::error::{Error, Result};
use candle_core::{CpuStorage, CustomOp3, DType, Layout, Shape, Tensor};
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

    /// [`linear`], plus `residual` of the result's shape.
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
        let (outputs, inputs) = weight.dims2()?;
        let mut shape = x.dims().to_vec();
        if shape.pop() != Some(inputs) {
            return Err(mismatch("linear", x, "weight", weight));
        }
        if bias.dims() != [outputs] {
            return Err(mismatch("linear", weight, "bias", bias));
        }
        if [weight.dtype(), bias.dtype()] != [x.dtype(); 2] {
            return Err(Error::Input(format!(
                "linear: rows {:?}, weight {:?}, bias {:?}: expected one number type",
                x.dtype(),
                weight.dtype(),
                bias.dtype()
            )));
        }
        shape.push(outputs);
        if let Some(residual) = residual {
            if residual.dims() != shape {
                return Err(mismatch("linear", x, "residual", residual));
            }
            // One operation may have three inputs that gradients flow to, not four.
            let tracked = [x, weight, bias, residual].iter().any(|t| t.track_op());
            if tracked || !x.device().is_cpu() || x.elem_count() == 0 {
                return add(&self.apply(x, weight, bias, None)?, residual);
            }
        }
        if !x.device().is_cpu() || x.elem_count() == 0 {
            let rows = x.reshape(((), inputs))?;
            return Ok(rows.matmul(&weight.t()?)?.broadcast_add(bias)?.reshape(shape)?);
        }
        let residual = residual.map(Tensor::contiguous).transpose()?;
        let (x, weight, bias) = (x.contiguous()?, weight.contiguous()?, bias.contiguous()?);
        let op = Op { inputs, outputs, shape, prepared: self.prepared.clone(), residual };
        Ok(x.apply_op3(&weight, &bias, op)?)
    }
}

struct Op {
    inputs: usize,
    outputs: usize,
    shape: Vec<usize>,
    prepared: Option<Arc<Prepared>>,
    residual: Option<Tensor>,
}

impl CustomOp3 for Op {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        weight: &CpuStorage,
        lw: &Layout,
        bias: &CpuStorage,
        lb: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let y = self.on_storage((x, lx), (weight, lw), (bias, lb))?;
        Ok((y, Shape::from(self.shape.clone())))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        match x.dtype() {
            DType::F32 => self.backward::<f32>(x, weight, bias, dy),
            _ => self.backward::<f64>(x, weight, bias, dy),
        }
    }
}

impl Forward for Op {
    fn forward<T: Real>(&self, x: &[T], weight: &[T], bias: &[T]) -> candle_core::Result<Vec<T>> {
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
        match &self.residual {
            None => y.par_chunks_mut(64 * outputs).for_each(|y| {
                for row in y.chunks_exact_mut(outputs) {
                    row.iter_mut().zip(bias).for_each(|(y, b)| *y += *b);
                }
            }),
            Some(residual) => {
                let residual: &[T] = &Values::of(residual)?;
                let pairs = y.par_chunks_mut(64 * outputs).zip(residual.par_chunks(64 * outputs));
                pairs.for_each(|(y, r)| {
                    for (y, r) in y.chunks_exact_mut(outputs).zip(r.chunks_exact(outputs)) {
                        y.iter_mut().zip(bias).zip(r).for_each(|((y, b), r)| *y = *y + *b + *r);
                    }
                });
            }
        }
        Ok(y)
    }
}

impl Op {
    #[allow(clippy::type_complexity)] // the signature of candle's trait
    fn backward<T: Real>(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        dy: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (inputs, outputs) = (self.inputs, self.outputs);
        let dy = dy.contiguous()?;
        let (xs, ws): (&[T], &[T]) = (&Values::of(x)?, &Values::of(weight)?);
        let dys: &[T] = &Values::of(&dy)?;
        let rows = xs.len() / inputs;
        let dx = x.track_op().then(|| {
            let left = Left { values: dys, row: outputs, term: 1 };
            let right = Rows::new(ws, (outputs, inputs), inputs);
            filled(rows * inputs, |out| {
                multiply(out, false, left, right.right(), (rows, outputs, inputs));
            })
        });
        let left = Left { values: dys, row: 1, term: outputs };
        let right = Rows::new(xs, (rows, inputs), inputs);
        let dw = filled(outputs * inputs, |out: Shared<T>| {
            multiply(out, false, left, right.right(), (outputs, rows, inputs));
        });
        let db = channel_sums(dys, outputs, |v, _| v).into_iter().map(T::from_f64).collect();
        Ok((
            dx.map(|dx| tensor(dx, x.shape().clone(), x)).transpose()?,
            Some(tensor(dw, weight.shape().clone(), x)?),
            Some(tensor::<T>(db, bias.shape().clone(), x)?),
        ))
    }
}
