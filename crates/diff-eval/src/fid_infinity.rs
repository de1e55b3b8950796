//! A Fréchet distance of infinitely many samples (Chong and Forsyth, 2020).

use crate::{FrechetReference, KeptRows, Result};
use diff_core::{
    Error,
    rng::{Address, Purpose},
};
use rayon::prelude::*;

/// Numbers of samples that a distance is taken at, evenly spaced up to all of them.
pub const POINTS: usize = 15;

/// A distance, extrapolated.
#[derive(Clone, Debug, PartialEq)]
pub struct Infinity {
    /// Where the line through the points meets 1 / N = 0.
    pub value: f64,
    /// How many samples, and their distance.
    pub points: Vec<(usize, f64)>,
}

/// Least samples of a point: a tenth of all, as 5000 of 50,000 in the paper; of few, enough for a
/// covariance that is not flat, twice the width of the features or else half of all.
fn least(samples: usize, width: usize) -> usize {
    (samples / 10).max((2 * width).min(samples / 2))
}

/// The distance of random subsets of `samples` to `reference`, as a straight line in 1 / N, at infinitely
/// many. `seed` draws the subsets, each of its own.
///
/// # Errors
/// With fewer than 4 samples; when their width is not that of the reference.
pub fn fid_infinity(
    samples: &KeptRows,
    reference: &FrechetReference,
    seed: u64,
) -> Result<Infinity> {
    let all = samples.len();
    if all < 4 {
        return Err(Error::argument("samples", all, "at least 4, to take subsets of").into());
    }
    let least = least(all, samples.width());
    let one = |point: usize| {
        let size = least + (all - least) * point / (POINTS - 1);
        let mut weights = vec![0; all];
        let order = Address::new(seed, Purpose::Measure).index(point as u64).permutation(all);
        order[..size].iter().for_each(|i| weights[*i] = 1);
        Ok((size, reference.distance(&samples.gaussian(&weights)?)?.value()))
    };
    let points = (0..POINTS).into_par_iter().map(one).collect::<Result<Vec<_>>>()?;
    Ok(Infinity { value: intercept(&points), points })
}

/// Least squares of distance over 1 / N, at 0.
fn intercept(points: &[(usize, f64)]) -> f64 {
    let n = points.len() as f64;
    let x = |size: usize| 1.0 / size as f64;
    let mean_x = points.iter().map(|(size, _)| x(*size)).sum::<f64>() / n;
    let mean_y = points.iter().map(|(_, y)| y).sum::<f64>() / n;
    let over = |value: fn(f64, f64) -> f64| -> f64 {
        points.iter().map(|(size, y)| value(x(*size) - mean_x, y - mean_y)).sum()
    };
    mean_y - mean_x * over(|x, y| x * y) / over(|x, _| x * x)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Gaussian, Rows};

    #[test]
    fn a_straight_line_is_met_where_it_ends() {
        let points: Vec<(usize, f64)> =
            (1..=POINTS).map(|i| (100 * i, 3.0 + 50.0 / (100 * i) as f64)).collect();
        assert!((intercept(&points) - 3.0).abs() < 1e-12);
        assert_eq!((least(50_000, 2048), least(360, 16)), (5000, 36));
        assert_eq!((least(10_000, 2048), least(3000, 2048), least(4, 9)), (4096, 1500, 2));
    }

    #[test]
    fn what_few_pictures_add_is_taken_away() {
        // Normals against their own distribution: the distance is 0, that of N of them about d^2 / 4N
        // and more.
        let (n, d) = (3000, 12);
        let unit: Vec<f64> = (0..d * d).map(|at| f64::from(u8::from(at % (d + 1) == 0))).collect();
        let truth = Gaussian { count: 2, mean: vec![0.0; d], covariance: unit };
        let reference = FrechetReference::new(&truth).unwrap();
        let mut z = vec![0f32; n * d];
        Address::new(31, Purpose::Measure).fill_normal(&mut z);
        let rows = Rows::new(d, z.into_iter().map(f64::from).collect()).unwrap();
        let mut kept = KeptRows::default();
        kept.add_at(&(0..n as u64).collect::<Vec<_>>(), &rows).unwrap();
        let found = fid_infinity(&kept, &reference, 5).unwrap();
        let (sizes, whole) = (found.points.iter().map(|(size, _)| *size), found.points[POINTS - 1]);
        assert_eq!((sizes.clone().min(), sizes.max()), (Some(300), Some(3000)));
        assert!(whole.1 > 0.01 && found.points[0].1 > 5.0 * whole.1, "{found:?}");
        assert!(found.value.abs() < 0.3 * whole.1, "{found:?}");
        assert_eq!(fid_infinity(&kept, &reference, 5).unwrap(), found);
        assert!(fid_infinity(&kept, &reference, 6).unwrap() != found);
        let few = fid_infinity(&kept.select(&[0, 1, 2]), &reference, 5).unwrap_err().to_string();
        assert!(few.contains("samples = 3") && few.contains("at least 4"), "{few}");
    }
}
