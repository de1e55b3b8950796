//! The matrix product every other operation rests on.

use crate::error::Result;
use candle_core::Tensor;

/// `a` `[m, k]` times `b` `[k, n]`, `b` row-major.
///
/// A single row or column takes another code path in the matrix kernel, with other rounding; it
/// is padded to two, so that a row's result does not depend on how many rows there are.
pub fn matmul(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let (m, n) = (a.dim(0)?, b.dim(1)?);
    let a = if m == 1 { a.pad_with_zeros(0, 0, 1)? } else { a.clone() };
    let b = if n == 1 { b.pad_with_zeros(1, 0, 1)? } else { b.clone() };
    let out = a.matmul(&b)?;
    let out = if m == 1 { out.narrow(0, 0, 1)? } else { out };
    let out = if n == 1 { out.narrow(1, 0, 1)?.contiguous()? } else { out };
    Ok(out)
}
