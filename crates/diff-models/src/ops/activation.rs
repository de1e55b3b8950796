//! SiLU.

use super::cpu::{Real, Values, each_chunk, sigmoid, slice, tensor};
use crate::error::Result;
use candle_core::{CpuStorage, CustomOp1, DType, Layout, Shape, Tensor};

/// x sigmoid(x), element by element.
pub fn silu(x: &Tensor) -> Result<Tensor> {
    match x.device().is_cpu() {
        true => Ok(x.contiguous()?.apply_op1(Silu)?),
        false => Ok(x.silu()?),
    }
}

struct Silu;

impl CustomOp1 for Silu {
    fn name(&self) -> &'static str {
        "silu"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let y = match x {
            CpuStorage::F32(_) => CpuStorage::F32(forward(slice(x, layout)?)),
            _ => CpuStorage::F64(forward(slice(x, layout)?)),
        };
        Ok((y, layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, dy: &Tensor) -> candle_core::Result<Option<Tensor>> {
        match x.dtype() {
            DType::F32 => backward::<f32>(x, dy).map(Some),
            _ => backward::<f64>(x, dy).map(Some),
        }
    }
}

fn forward<T: Real>(x: &[T]) -> Vec<T> {
    each_chunk(x.len(), |at, y| {
        y.iter_mut().zip(&x[at]).for_each(|(y, x)| *y = *x * sigmoid(*x));
    })
}

fn backward<T: Real>(x: &Tensor, dy: &Tensor) -> candle_core::Result<Tensor> {
    let dy = dy.contiguous()?;
    let (xs, dys): (&[T], &[T]) = (&Values::of(x)?, &Values::of(&dy)?);
    let dx = each_chunk(xs.len(), |at, dx| {
        for ((dx, x), dy) in dx.iter_mut().zip(&xs[at.clone()]).zip(&dys[at]) {
            let s = sigmoid(*x);
            *dx = *dy * s * (T::one() + *x * (T::one() - s));
        }
    });
    tensor(dx, x.shape().clone(), x)
}
