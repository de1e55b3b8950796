//! Addressed noise as tensors.

use crate::Error;
use candle_core::{DType, Device, Tensor};
use diff_core::rng::Address;

/// Standard normal noise `[rows.len(), ..shape]`, row i drawn at `rows[i]`. The numbers are drawn
/// in f32 whatever the dtype.
pub fn normals(
    rows: &[Address],
    shape: &[usize],
    dtype: DType,
    device: &Device,
) -> Result<Tensor, Error> {
    filled(rows, shape, dtype, device, Address::fill_normal)
}

/// Uniform numbers in (0, 1), otherwise as [`normals`].
pub fn uniforms(
    rows: &[Address],
    shape: &[usize],
    dtype: DType,
    device: &Device,
) -> Result<Tensor, Error> {
    filled(rows, shape, dtype, device, Address::fill_uniform)
}

fn filled(
    rows: &[Address],
    shape: &[usize],
    dtype: DType,
    device: &Device,
    fill: fn(Address, &mut [f32]),
) -> Result<Tensor, Error> {
    let row: usize = shape.iter().product();
    let mut values = vec![0f32; rows.len() * row];
    for (address, out) in rows.iter().zip(values.chunks_mut(row.max(1))) {
        fill(*address, out);
    }
    let mut full = vec![rows.len()];
    full.extend_from_slice(shape);
    Ok(Tensor::from_vec(values, full, device)?.to_dtype(dtype)?)
}
