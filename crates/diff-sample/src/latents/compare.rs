//! How samples differ that were made from the same latents. Differences are those of grey levels in
//! [0, 1], half of those in [-1, 1].

use crate::{Error, Result};
use candle_core::{DType, Tensor};
use serde::Serialize;

/// The mean over pictures and dimensions of ((a - b) / 2)^2, without clipping.
///
/// # Errors
/// When the shapes differ.
pub fn mean_square(a: &Tensor, b: &Tensor) -> Result<f64> {
    let rows = differences(a, b)?;
    let count = rows.iter().map(Vec::len).sum::<usize>();
    Ok(rows.iter().flatten().map(|d| d * d).sum::<f64>() / count.max(1) as f64)
}

/// [`mean_square`] of each set of samples and the last one: how far they are from what most steps make of
/// the same latents (DDIM, section 5.2).
///
/// # Errors
/// When shapes differ.
pub fn distances_to_last(sets: &[Tensor]) -> Result<Vec<f64>> {
    let Some(last) = sets.last() else { return Ok(Vec::new()) };
    sets.iter().map(|set| mean_square(set, last)).collect()
}

/// How pictures change when a number is added to every value of their latents: as they are written, clamped
/// to [-1, 1], since far from its data a network's predictions know no bounds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Shift {
    /// What was added.
    pub by: f64,
    /// Mean change over pictures and dimensions.
    pub mean: f64,
    /// Root of the mean squared change.
    pub rms: f64,
    /// Mean change over pictures of every dimension, in the order C, H, W.
    pub per_dimension: Vec<f64>,
}

/// The change from `before` to `after`, which was made from latents with `by` added.
///
/// # Errors
/// When the shapes differ.
pub fn shift(by: f64, before: &Tensor, after: &Tensor) -> Result<Shift> {
    let (before, after) = (before.clamp(-1.0, 1.0)?, after.clamp(-1.0, 1.0)?);
    let rows = differences(&after, &before)?;
    let mut per_dimension = vec![0.0; rows.first().map_or(0, Vec::len)];
    for row in &rows {
        let share = 1.0 / rows.len() as f64;
        per_dimension.iter_mut().zip(row).for_each(|(sum, d)| *sum += share * d);
    }
    let mean = per_dimension.iter().sum::<f64>() / per_dimension.len().max(1) as f64;
    Ok(Shift { by, mean, rms: mean_square(&after, &before)?.sqrt(), per_dimension })
}

fn differences(a: &Tensor, b: &Tensor) -> Result<Vec<Vec<f64>>> {
    if a.shape() != b.shape() {
        let (a, b) = (a.dims(), b.dims());
        return Err(Error::Mismatch(format!("pictures {a:?} compared with pictures {b:?}")));
    }
    let values = |x: &Tensor| -> Result<_> { Ok(x.flatten_from(1)?.to_dtype(DType::F64)?) };
    Ok((values(a)? - values(b)?)?.affine(0.5, 0.0)?.to_vec2()?)
}
