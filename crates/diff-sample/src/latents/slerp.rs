//! Spherical interpolation of latents (DDIM, appendix D.5, equation 67; Shoemake, 1985): mixtures of two
//! normal vectors keep the length that normal vectors have.

use crate::Result;
use candle_core::{DType, Tensor};
use diff_core::Error;

/// sin((1-u) theta) / sin(theta) a + sin(u theta) / sin(theta) b, where theta is the angle of `a` and `b`:
/// `a` at u = 0, `b` at u = 1. Linear where there is no angle, or sin(theta) < 1e-6: vectors that are zero,
/// parallel or opposite. Both are of one length.
pub fn slerp(a: &[f64], b: &[f64], u: f64) -> Vec<f64> {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let cosine = dot(a, b) / (dot(a, a).sqrt() * dot(b, b).sqrt());
    let theta = cosine.clamp(-1.0, 1.0).acos();
    // Of a zero vector the cosine is no number.
    let (of_a, of_b) = match theta.sin() >= 1e-6 {
        true => (((1.0 - u) * theta).sin() / theta.sin(), (u * theta).sin() / theta.sin()),
        false => (1.0 - u, u),
    };
    a.iter().zip(b).map(|(a, b)| of_a * a + of_b * b).collect()
}

/// `count` latents from `a` to `b`, at u = 0, 1 / (count - 1), .., 1: `[count, C, H, W]` of two
/// `[C, H, W]`.
///
/// # Errors
/// Fewer than 2, shapes that differ.
pub fn line(a: &Tensor, b: &Tensor, count: usize) -> Result<Tensor> {
    let steps = shares("line", count)?;
    let (from, to) = (flat(a, a)?, flat(b, a)?);
    stack(steps.iter().map(|u| slerp(&from, &to, *u)), a)
}

/// `count` rows of `count` latents between four corners `[C, H, W]`: top left, bottom left, top right and
/// bottom right. Row u, column v is slerp(left, right, v) with left = slerp(a, b, u) and
/// right = slerp(c, d, u). `[count * count, C, H, W]`, row by row.
///
/// # Errors
/// Fewer than 2, shapes that differ.
pub fn grid(corners: [&Tensor; 4], count: usize) -> Result<Tensor> {
    let steps = shares("grid", count)?;
    let like = corners[0];
    let flat = corners.map(|corner| flat(corner, like));
    let [a, b, c, d] = flat;
    let (a, b, c, d) = (a?, b?, c?, d?);
    let mut cells = Vec::with_capacity(count * count);
    for u in &steps {
        let (left, right) = (slerp(&a, &b, *u), slerp(&c, &d, *u));
        cells.extend(steps.iter().map(|v| slerp(&left, &right, *v)));
    }
    stack(cells.into_iter(), like)
}

fn shares(name: &str, count: usize) -> Result<Vec<f64>> {
    if count < 2 {
        return Err(Error::argument(name, count, "at least 2, both ends").into());
    }
    Ok((0..count).map(|i| i as f64 / (count - 1) as f64).collect())
}

fn flat(x: &Tensor, like: &Tensor) -> Result<Vec<f64>> {
    if x.shape() != like.shape() {
        let (found, expected) = (x.dims(), like.dims());
        let message = format!("a latent of shape {found:?} beside one of {expected:?}");
        return Err(crate::Error::Mismatch(message));
    }
    Ok(x.flatten_all()?.to_dtype(DType::F64)?.to_vec1()?)
}

fn stack(rows: impl Iterator<Item = Vec<f64>>, like: &Tensor) -> Result<Tensor> {
    let values: Vec<f64> = rows.flatten().collect();
    let mut shape = vec![values.len() / like.elem_count().max(1)];
    shape.extend_from_slice(like.dims());
    Ok(Tensor::from_vec(values, shape, like.device())?.to_dtype(like.dtype())?)
}
