//! Channels of two maps side by side: the skip connections.

use super::{
    bhwc,
    cpu::{Real, Values, filled_chunks, slice, tensor},
    mismatch,
};
use crate::error::Result;
use candle_core::{CpuStorage, CustomOp2, DType, Layout, Shape, Tensor};

/// `a` `[B, H, W, C]` and `b` `[B, H, W, D]` as `[B, H, W, C + D]`.
///
/// # Errors
/// When batch, height or width differ.
pub fn concat(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let (batch, height, width, _) = bhwc("concat", a)?;
    let other = bhwc("concat", b)?;
    if (batch, height, width) != (other.0, other.1, other.2) || a.dtype() != b.dtype() {
        return Err(mismatch("concat", a, "second map", b));
    }
    match a.device().is_cpu() {
        true => Ok(a.contiguous()?.apply_op2(&b.contiguous()?, Concat)?),
        false => Ok(Tensor::cat(&[a, b], 3)?),
    }
}

struct Concat;

impl CustomOp2 for Concat {
    fn name(&self) -> &'static str {
        "concat"
    }

    fn cpu_fwd(
        &self,
        a: &CpuStorage,
        la: &Layout,
        b: &CpuStorage,
        lb: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let (batch, height, width, c) = la.shape().dims4()?;
        let d = lb.shape().dims4()?.3;
        let joined = match a {
            CpuStorage::F32(_) => CpuStorage::F32(join(slice(a, la)?, slice(b, lb)?, c, d)),
            _ => CpuStorage::F64(join(slice(a, la)?, slice(b, lb)?, c, d)),
        };
        Ok((joined, Shape::from((batch, height, width, c + d))))
    }

    fn bwd(
        &self,
        a: &Tensor,
        b: &Tensor,
        _: &Tensor,
        dy: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let dy = dy.contiguous()?;
        let (da, db) = match a.dtype() {
            DType::F32 => (part::<f32>(&dy, a, 0)?, part::<f32>(&dy, b, a.dim(3)?)?),
            _ => (part::<f64>(&dy, a, 0)?, part::<f64>(&dy, b, a.dim(3)?)?),
        };
        Ok((Some(da), Some(db)))
    }
}

fn join<T: Real>(a: &[T], b: &[T], c: usize, d: usize) -> Vec<T> {
    filled_chunks(a.len() + b.len(), c + d, |pixel, y| {
        let (left, right) = y.split_at_mut(c);
        left.copy_from_slice(&a[pixel * c..][..c]);
        right.copy_from_slice(&b[pixel * d..][..d]);
    })
}

/// The channels of `dy` from `first` on that belong to `of`.
fn part<T: Real>(dy: &Tensor, of: &Tensor, first: usize) -> candle_core::Result<Tensor> {
    let (all, count) = (dy.dim(3)?, of.dim(3)?);
    let dys: &[T] = &Values::of(dy)?;
    let values = filled_chunks(of.elem_count(), count, |pixel, out| {
        out.copy_from_slice(&dys[pixel * all + first..][..count]);
    });
    tensor(values, of.shape().clone(), of)
}
