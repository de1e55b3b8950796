//! Sums of maps.

use super::cpu::{Real, pieces, slice};
use super::mismatch;
use crate::error::Result;
use candle_core::{CpuStorage, CustomOp2, Layout, Shape, Tensor};

/// a + b, of one shape.
///
/// # Errors
/// When the shapes differ.
pub fn add(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if a.shape() != b.shape() || a.dtype() != b.dtype() {
        return Err(mismatch("add", a, "summand", b));
    }
    match a.device().is_cpu() {
        true => Ok(a.contiguous()?.apply_op2(&b.contiguous()?, Add)?),
        false => Ok((a + b)?),
    }
}

struct Add;

impl CustomOp2 for Add {
    fn name(&self) -> &'static str {
        "add"
    }

    fn cpu_fwd(
        &self,
        a: &CpuStorage,
        la: &Layout,
        b: &CpuStorage,
        lb: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let sum = match a {
            CpuStorage::F32(_) => CpuStorage::F32(sum(slice(a, la)?, slice(b, lb)?)),
            _ => CpuStorage::F64(sum(slice(a, la)?, slice(b, lb)?)),
        };
        Ok((sum, la.shape().clone()))
    }

    fn bwd(
        &self,
        _: &Tensor,
        _: &Tensor,
        _: &Tensor,
        dy: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        Ok((Some(dy.clone()), Some(dy.clone())))
    }
}

fn sum<T: Real>(a: &[T], b: &[T]) -> Vec<T> {
    pieces(a.len(), |at, y| {
        for ((y, a), b) in y.iter_mut().zip(&a[at.clone()]).zip(&b[at]) {
            *y = *a + *b;
        }
    })
}
