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

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    fn pictures(values: &[f32]) -> Tensor {
        Tensor::from_slice(values, (values.len() / 2, 1, 1, 2), &Device::Cpu).unwrap()
    }

    #[test]
    fn distances_are_of_grey_levels_and_not_clipped() {
        let (a, b) = (pictures(&[0.0, 1.0, -1.0, 3.0]), pictures(&[1.0, 1.0, 1.0, -1.0]));
        // Differences 1, 0, 2, 4, halved and squared.
        assert_eq!(mean_square(&a, &b).unwrap(), (0.25 + 0.0 + 1.0 + 4.0) / 4.0);
        assert_eq!(distances_to_last(&[a.clone(), b.clone()]).unwrap(), [5.25 / 4.0, 0.0]);
        assert!(distances_to_last(&[]).unwrap().is_empty());
        let message = mean_square(&a, &pictures(&[0.0, 0.0])).unwrap_err().to_string();
        assert!(message.contains("[2, 1, 1, 2]") && message.contains("[1, 1, 1, 2]"), "{message}");
    }

    #[test]
    fn a_shift_is_told_of_pictures_as_they_are_written() {
        let (before, after) = (pictures(&[0.0, 0.5, -4.0, 1.0]), pictures(&[1.0, 0.5, -2.0, -1.0]));
        // Clamped: 1, 0, 0, -2, halved.
        let found = shift(0.25, &before, &after).unwrap();
        assert_eq!((found.by, found.mean), (0.25, -0.125));
        assert_eq!(found.per_dimension, [0.25, -0.5]);
        assert_eq!(found.rms, (1.25f64 / 4.0).sqrt());
    }
}
