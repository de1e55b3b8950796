//! Kernel Inception distance (Binkowski et al., 2018).

use crate::{Error, KeptRows, Result, numpy_random::RandomState};
use diff_core::progress::Progress;
use faer::{Accum, Mat, MatRef, Par, linalg::matmul::matmul};
use rayon::prelude::*;

/// Which subsets the distance is the mean of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KidSettings {
    /// Subsets, at least 1.
    pub subsets: usize,
    /// Pictures of each side in a subset, at least 2.
    pub size: usize,
    /// Seed of NumPy's legacy generator, which draws them.
    pub seed: u32,
}

impl Default for KidSettings {
    /// torch-fidelity's: 100 subsets of 1000, seed 2020.
    fn default() -> Self {
        KidSettings { subsets: 100, size: 1000, seed: 2020 }
    }
}

/// A kernel distance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Kid {
    /// Mean over the subsets. The estimate is unbiased, and may therefore be a little below 0.
    pub mean: f64,
    /// Standard deviation over the subsets (squares divided by their number).
    pub deviation: f64,
}

/// Subsets that are worked on between two reports of progress.
const TOGETHER: usize = 8;

/// The mean, over subsets of both, of the unbiased squared maximum mean discrepancy under the kernel
/// (x.y / width + 1)^3. Subsets are drawn as torch-fidelity draws them: without replacement, first of
/// `samples`, then of `reference`. In f64, so that the difference of nearly equal means keeps its digits.
///
/// # Errors
/// When a side has fewer pictures than a subset, their widths differ, or the settings are out of range.
pub fn kid(samples: &KeptRows, reference: &KeptRows, with: &KidSettings) -> Result<Kid> {
    check(samples, reference, with)?;
    let mut state = RandomState::new(with.seed);
    let mut draw = |side: &KeptRows| state.choice(side.len() as u32, with.size);
    let subsets: Vec<[Vec<u32>; 2]> =
        (0..with.subsets).map(|_| [draw(samples), draw(reference)]).collect();
    let mut progress = Progress::new(with.subsets as u64, "subsets");
    let mut found = Vec::with_capacity(with.subsets);
    for some in subsets.chunks(TOGETHER) {
        let some =
            some.par_iter().map(|[x, y]| discrepancy(&chosen(samples, x), &chosen(reference, y)));
        found.extend(some.collect::<Vec<f64>>());
        progress.update(found.len() as f64, "compared");
    }
    progress.finish();
    let n = found.len() as f64;
    let mean = found.iter().sum::<f64>() / n;
    let variance = found.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / n;
    Ok(Kid { mean, deviation: variance.sqrt() })
}

fn check(samples: &KeptRows, reference: &KeptRows, with: &KidSettings) -> Result<()> {
    let refused = |name: &str, value: usize, expected: String| {
        Err(diff_core::Error::argument(name, value, expected).into())
    };
    let least = samples.len().min(reference.len());
    if with.subsets == 0 {
        return refused("--kid-subsets", 0, "at least 1".into());
    }
    if !(2..=least).contains(&with.size) {
        let expected = format!("2..={least}, the number of pictures of the smaller set");
        return refused("--kid-size", with.size, expected);
    }
    if samples.width() != reference.width() {
        let (ours, theirs) = (samples.width(), reference.width());
        let message = format!("{ours} features against a reference of {theirs}");
        return Err(Error::Mismatch(message));
    }
    Ok(())
}

/// The rows with these indices as columns, `[width, n]`.
fn chosen(rows: &KeptRows, indices: &[u32]) -> Mat<f64> {
    Mat::from_fn(rows.width(), indices.len(), |feature, i| {
        f64::from(rows.row(indices[i] as usize)[feature])
    })
}

/// The unbiased estimate of the squared discrepancy of equally many columns, at least 2.
fn discrepancy(x: &Mat<f64>, y: &Mat<f64>) -> f64 {
    let m = x.ncols() as f64;
    let own = |x: &Mat<f64>| kernel_sum(x.as_ref(), x.as_ref(), true) / (m * (m - 1.0));
    own(x) + own(y) - 2.0 * kernel_sum(x.as_ref(), y.as_ref(), false) / (m * m)
}

/// The sum of the kernel over all pairs of columns, or over those of two different ones.
fn kernel_sum(x: MatRef<f64>, y: MatRef<f64>, different: bool) -> f64 {
    let width = x.nrows() as f64;
    let mut products = Mat::zeros(x.ncols(), y.ncols());
    matmul(&mut products, Accum::Replace, x.transpose(), y, 1.0, Par::Seq);
    let kernel = |product: f64| (product / width + 1.0).powi(3);
    let column = |j: usize| -> f64 {
        let sum: f64 = products.col(j).iter().map(|product| kernel(*product)).sum();
        if different { sum - kernel(products[(j, j)]) } else { sum }
    };
    (0..y.ncols()).map(column).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rows;
    use diff_core::rng::{Address, Purpose};

    /// Rows of independent normals around `mean`.
    fn rows(n: usize, width: usize, mean: f64, index: u64) -> KeptRows {
        let mut z = vec![0f32; n * width];
        Address::new(17, Purpose::Measure).index(index).fill_normal(&mut z);
        let values = z.iter().map(|v| f64::from(*v) + mean).collect();
        let mut kept = KeptRows::default();
        let places: Vec<u64> = (0..n as u64).collect();
        kept.add_at(&places, &Rows::new(width, values).unwrap()).unwrap();
        kept
    }

    #[test]
    fn two_pairs_by_hand() {
        let side = |values: [f64; 2]| {
            let mut kept = KeptRows::default();
            kept.add_at(&[0, 1], &Rows::new(1, values.to_vec()).unwrap()).unwrap();
            kept
        };
        // k(1,2) = 27, k(0,3) = 1; k(1,0) = k(2,0) = 1, k(1,3) = 64, k(2,3) = 343.
        let with = KidSettings { subsets: 3, size: 2, seed: 0 };
        let found = kid(&side([1.0, 2.0]), &side([0.0, 3.0]), &with).unwrap();
        assert_eq!(found.mean, 27.0 + 1.0 - 2.0 * 409.0 / 4.0);
        assert_eq!(found.deviation, 0.0, "every subset is the whole set");
    }

    #[test]
    fn one_distribution_is_at_no_distance_on_average_and_another_is() {
        let with = KidSettings { subsets: 40, size: 100, seed: 1 };
        let (a, b, far) = (rows(800, 8, 0.0, 0), rows(800, 8, 0.0, 1), rows(800, 8, 0.5, 2));
        let same = kid(&a, &b, &with).unwrap();
        let error = 4.0 * same.deviation / 8f64.sqrt(); // eight disjoint subsets of 100
        assert!(same.mean.abs() < error, "{same:?}");
        let other = kid(&a, &far, &with).unwrap();
        // For normals of unit spread, width d and means 0 and m in every feature, with s = x.y / d:
        // E (s + 1)^3 = 1 + 3 E s + 3 E s^2 + E s^3.
        let moments = |p: f64, q: f64| {
            let (d, mean) = (8.0, p * q);
            let variance = (1.0 + p * p + q * q) / d;
            // The third central moment of a product of independent normals is 6 p q.
            let third = 6.0 * p * q / (d * d);
            let (s2, s3) = (variance + mean * mean, third + 3.0 * mean * variance + mean.powi(3));
            1.0 + 3.0 * mean + 3.0 * s2 + s3
        };
        let exact = moments(0.0, 0.0) + moments(0.5, 0.5) - 2.0 * moments(0.0, 0.5);
        assert!((other.mean / exact - 1.0).abs() < 0.1, "{other:?} {exact}");
    }

    #[test]
    fn impossible_subsets_are_refused() {
        let (a, b) = (rows(5, 2, 0.0, 0), rows(4, 2, 0.0, 1));
        let error = |subsets, size| {
            kid(&a, &b, &KidSettings { subsets, size, seed: 0 }).unwrap_err().to_string()
        };
        assert!(error(1, 5).contains("--kid-size = 5") && error(1, 5).contains("2..=4"));
        assert!(error(1, 1).contains("2..=4") && error(0, 2).contains("--kid-subsets"));
        let wide = rows(5, 3, 0.0, 0);
        let with = KidSettings { subsets: 1, size: 2, seed: 0 };
        assert!(kid(&wide, &b, &with).unwrap_err().to_string().contains("3 features"));
    }
}
