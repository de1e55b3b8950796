//! Transposing matrices; candle's strided copy takes ten times as long.

use super::cpu::slice;
use crate::error::Result;
use candle_core::{CpuStorage, CustomOp1, Layout, Shape, Tensor, WithDType};
use rayon::prelude::*;

/// `x` `[m, n]` as contiguous `[n, m]`.
pub(super) fn transpose(x: &Tensor) -> Result<Tensor> {
    if !x.device().is_cpu() {
        return Ok(x.t()?.contiguous()?);
    }
    Ok(x.contiguous()?.apply_op1(Transpose)?)
}

struct Transpose;

impl CustomOp1 for Transpose {
    fn name(&self) -> &'static str {
        "transpose"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let (rows, columns) = layout.shape().dims2()?;
        let storage = match x {
            CpuStorage::F32(_) => CpuStorage::F32(transposed(slice(x, layout)?, rows, columns)),
            _ => CpuStorage::F64(transposed(slice(x, layout)?, rows, columns)),
        };
        Ok((storage, Shape::from((columns, rows))))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, grad: &Tensor) -> candle_core::Result<Option<Tensor>> {
        Ok(Some(grad.contiguous()?.apply_op1(Transpose)?))
    }
}

fn transposed<T: WithDType>(x: &[T], rows: usize, columns: usize) -> Vec<T> {
    // One cache line of every source row serves as many rows of the result.
    const BLOCK: usize = 16;
    let mut out = vec![T::zero(); x.len()];
    out.par_chunks_mut((BLOCK * rows).max(1)).enumerate().for_each(|(block, out)| {
        let first = block * BLOCK;
        let count = BLOCK.min(columns - first);
        for (row, source) in x.chunks_exact(columns.max(1)).enumerate() {
            for (i, value) in source[first..first + count].iter().enumerate() {
                out[i * rows + row] = *value;
            }
        }
    });
    out
}
