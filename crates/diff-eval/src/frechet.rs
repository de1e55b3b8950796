//! The Fréchet distance of two Gaussians.

use crate::{Error, Gaussian, Result};
use faer::{
    Accum, Mat, MatRef, Par,
    diag::Diag,
    dyn_stack::{MemBuffer, MemStack},
    linalg::{cholesky::llt::factor as llt, evd, matmul::matmul, svd},
};

/// A Fréchet distance and what it consists of, in squared units of the features.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Frechet {
    /// |m1 - m2|^2.
    pub mean_term: f64,
    /// tr S1 + tr S2 - 2 tr (S1 S2)^{1/2}; rounding may leave it a little below zero.
    pub trace_term: f64,
}

impl Frechet {
    /// The distance: the sum of its terms.
    pub fn value(&self) -> f64 {
        self.mean_term + self.trace_term
    }
}

/// A Gaussian that others are measured against; the root of its covariance is taken once.
#[derive(Clone, Debug)]
pub struct FrechetReference {
    mean: Vec<f64>,
    trace: f64,
    root: Mat<f64>,
}

impl FrechetReference {
    /// Distances are those to `gaussian`.
    ///
    /// # Errors
    /// When it holds a number that is not finite.
    pub fn new(gaussian: &Gaussian) -> Result<Self> {
        let root = root(gaussian, "reference")?;
        Ok(FrechetReference { mean: gaussian.mean.clone(), trace: trace(gaussian), root })
    }

    /// |m1 - m2|^2 + tr S1 + tr S2 - 2 tr (S1 S2)^{1/2}, Dowson and Landau (1982).
    ///
    /// The last trace is the sum of the singular values of R1' R2 with S = R R'. Those are the
    /// square roots of the eigenvalues of S1^{1/2} S2 S1^{1/2}; taken from the roots and not from
    /// the product, they keep the directions in which features hardly vary, whose squares drown in
    /// the rounding of the greatest. The work is cut in two however many threads there are, so that the
    /// result does not depend on them.
    ///
    /// # Errors
    /// When the widths differ, or `gaussian` holds a number that is not finite.
    pub fn distance(&self, gaussian: &Gaussian) -> Result<Frechet> {
        let (ours, theirs) = (gaussian.mean.len(), self.mean.len());
        if ours != theirs {
            let message = format!("{ours} features against a reference of {theirs}");
            return Err(Error::Mismatch(message));
        }
        let root = root(gaussian, "set to compare")?;
        let d = self.root.nrows();
        let mut product = Mat::zeros(d, d);
        matmul(&mut product, Accum::Replace, root.transpose(), &self.root, 1.0, parts());
        let cross: f64 = singular_values(product.as_ref())?.iter().sum();
        let squares = gaussian.mean.iter().zip(&self.mean).map(|(a, b)| (a - b) * (a - b));
        let trace_term = trace(gaussian) + self.trace - 2.0 * cross;
        Ok(Frechet { mean_term: squares.sum(), trace_term })
    }
}

/// The Fréchet distance of two Gaussians, symmetric.
///
/// # Errors
/// As [`FrechetReference::new`] and [`FrechetReference::distance`].
pub fn frechet(a: &Gaussian, b: &Gaussian) -> Result<f64> {
    Ok(FrechetReference::new(b)?.distance(a)?.value())
}

fn trace(gaussian: &Gaussian) -> f64 {
    gaussian.covariance.iter().step_by(gaussian.mean.len() + 1).sum()
}

/// How work is cut.
fn parts() -> Par {
    Par::rayon(2)
}

/// R with R R' = S: Cholesky's factor of a matrix of full rank, and eigenvectors times the roots of their
/// eigenvalues of any other. An eigenvalue that is negative, or no greater than the rounding of the
/// greatest, counts as 0.
fn root(gaussian: &Gaussian, set: &str) -> Result<Mat<f64>> {
    let d = gaussian.mean.len();
    let finite = |name: &str, values: &[f64]| match values.iter().position(|v| !v.is_finite()) {
        None => Ok(()),
        Some(at) => {
            let value = values[at];
            Err(Error::NotFinite(format!(
                "{name} of the {set}, feature {}: {value}",
                at % d.max(1)
            )))
        }
    };
    finite("mean", &gaussian.mean)?;
    finite("covariance", &gaussian.covariance)?;
    if d == 0 || gaussian.covariance.len() != d * d {
        let found = gaussian.covariance.len();
        return Err(Error::Mismatch(format!("{found} covariances of {d} features in the {set}")));
    }
    let covariance = Mat::from_fn(d, d, |i, j| gaussian.covariance[i * d + j]);
    match factor(covariance.as_ref()) {
        Some(factor) => Ok(factor),
        None => eigen_root(covariance.as_ref()),
    }
}

/// Cholesky's factor; none of a matrix that is not of full rank, or so nearly not that rounding decides.
fn factor(covariance: MatRef<f64>) -> Option<Mat<f64>> {
    let d = covariance.nrows();
    let mut factor = covariance.to_owned();
    let mut memory =
        MemBuffer::new(llt::cholesky_in_place_scratch::<f64>(d, parts(), Default::default()));
    let stack = MemStack::new(&mut memory);
    let no_help = Default::default();
    llt::cholesky_in_place(factor.as_mut(), no_help, parts(), stack, Default::default()).ok()?;
    let most = (0..d).map(|i| covariance[(i, i)]).fold(0.0, f64::max);
    let pivots = (0..d).map(|i| factor[(i, i)] * factor[(i, i)]);
    let sure = pivots.fold(f64::INFINITY, f64::min) > d as f64 * f64::EPSILON * most;
    sure.then(|| Mat::from_fn(d, d, |i, j| if i >= j { factor[(i, j)] } else { 0.0 }))
}

fn eigen_root(covariance: MatRef<f64>) -> Result<Mat<f64>> {
    let d = covariance.nrows();
    let (mut vectors, mut values) = (Mat::zeros(d, d), Diag::zeros(d));
    let wanted = evd::ComputeEigenvectors::Yes;
    let mut memory = MemBuffer::new(evd::self_adjoint_evd_scratch::<f64>(
        d,
        wanted,
        parts(),
        Default::default(),
    ));
    evd::self_adjoint_evd(
        covariance,
        values.as_mut(),
        Some(vectors.as_mut()),
        parts(),
        MemStack::new(&mut memory),
        Default::default(),
    )
    .map_err(|e| failed("eigenvalues", &e))?;
    let values: Vec<f64> = values.column_vector().iter().copied().collect();
    let least = d as f64 * f64::EPSILON * values.iter().copied().fold(0.0, f64::max);
    let scale: Vec<f64> = values.iter().map(|v| if *v > least { v.sqrt() } else { 0.0 }).collect();
    Ok(Mat::from_fn(d, d, |i, j| vectors[(i, j)] * scale[j]))
}

fn singular_values(matrix: MatRef<f64>) -> Result<Vec<f64>> {
    let d = matrix.nrows();
    let mut values = Diag::zeros(d);
    let none = svd::ComputeSvdVectors::No;
    let scratch = svd::svd_scratch::<f64>(d, d, none, none, parts(), Default::default());
    let mut memory = MemBuffer::new(scratch);
    let stack = MemStack::new(&mut memory);
    svd::svd(matrix, values.as_mut(), None, None, parts(), stack, Default::default())
        .map_err(|e| failed("singular values", &e))?;
    Ok(values.column_vector().iter().copied().collect())
}

fn failed(what: &str, error: &dyn std::fmt::Debug) -> Error {
    Error::NotFinite(format!("{what} of a covariance: {error:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::Rows;
    use diff_core::rng::{Address, Purpose};

    fn gaussian(mean: &[f64], covariance: &[f64]) -> Gaussian {
        Gaussian { count: 10, mean: mean.to_vec(), covariance: covariance.to_vec() }
    }

    fn noise(n: usize, d: usize, index: u64) -> Rows {
        let mut z = vec![0f32; n * d];
        Address::new(5, Purpose::Measure).index(index).fill_normal(&mut z);
        // Feature j varies 2^-j as much as the first, as features of a network do.
        let scaled = z.iter().enumerate().map(|(i, v)| f64::from(*v) * 0.5f64.powi((i % d) as i32));
        Rows::new(d, scaled.collect()).unwrap()
    }

    fn near(a: f64, b: f64) {
        assert!((a - b).abs() <= 1e-13 * b.abs().max(1.0), "{a} {b}");
    }

    #[test]
    fn diagonal_gaussians_have_a_closed_form() {
        let a = gaussian(&[1.0, 2.0], &[4.0, 0.0, 0.0, 9.0]);
        let b = gaussian(&[0.0, 4.0], &[1.0, 0.0, 0.0, 25.0]);
        // |m|^2 = 1 + 4; deviations 2 and 1, 3 and 5: 1 + 4.
        let parts = FrechetReference::new(&b).unwrap().distance(&a).unwrap();
        near(parts.mean_term, 5.0);
        near(parts.trace_term, 5.0);
        near(frechet(&a, &b).unwrap(), 10.0);
    }

    #[test]
    fn a_scaled_covariance_has_a_closed_form() {
        let s = [2.0, 0.5, 0.3, 0.5, 1.0, -0.2, 0.3, -0.2, 3.0];
        let scaled = s.map(|v| 2.25 * v);
        let (a, b) = (gaussian(&[0.0; 3], &s), gaussian(&[0.0; 3], &scaled));
        // tr S (1 - sqrt c)^2 with tr S = 6 and c = 9/4.
        near(frechet(&a, &b).unwrap(), 6.0 * 0.25);
    }

    #[test]
    fn commuting_and_other_pairs_by_hand() {
        // Both rotated by 45 degrees: deviations 3 and 1 against 2 and 5.
        let turned = |p: f64, q: f64| [(p + q) / 2.0, (p - q) / 2.0, (p - q) / 2.0, (p + q) / 2.0];
        let (a, b) =
            (gaussian(&[0.0; 2], &turned(9.0, 1.0)), gaussian(&[0.0; 2], &turned(4.0, 25.0)));
        near(frechet(&a, &b).unwrap(), 1.0 + 16.0);
        // For 2 x 2, tr sqrt M = sqrt(tr M + 2 sqrt det M): S1 S2 = [[2, 1], [4, 8]], det 12.
        let a = gaussian(&[0.0; 2], &[1.0, 0.0, 0.0, 4.0]);
        let b = gaussian(&[0.0; 2], &[2.0, 1.0, 1.0, 2.0]);
        near(frechet(&a, &b).unwrap(), 9.0 - 2.0 * (10.0 + 2.0 * 12f64.sqrt()).sqrt());
    }

    #[test]
    fn a_distance_is_symmetric_and_that_to_itself_nothing() {
        let (a, b) =
            (Gaussian::of(&noise(300, 40, 0)).unwrap(), Gaussian::of(&noise(200, 40, 1)).unwrap());
        let (ab, ba) = (frechet(&a, &b).unwrap(), frechet(&b, &a).unwrap());
        assert!(ab > 1e-3 && (ab - ba).abs() < 1e-12, "{ab} {ba}");
        for n in [10, 39, 40, 41, 300] {
            let same = Gaussian::of(&noise(n, 40, 2)).unwrap();
            let own = frechet(&same, &same).unwrap();
            assert!(own.abs() < 1e-9, "{n}: {own}");
        }
    }

    #[test]
    fn a_collapsed_set_is_at_the_right_distance() {
        let b = Gaussian::of(&noise(500, 8, 0)).unwrap();
        let point = Gaussian::of(&Rows::new(8, [0.25; 24].to_vec()).unwrap()).unwrap();
        // A point has no spread: |m|^2 + tr S2.
        let squares: f64 = b.mean.iter().map(|m| (0.25 - m) * (0.25 - m)).sum();
        near(frechet(&point, &b).unwrap(), squares + trace(&b));
        near(frechet(&point, &point).unwrap(), 0.0);
    }

    #[test]
    fn fewer_pictures_than_features_are_measured_in_their_plane() {
        // Rows on the first axis only, against unit covariance: (s - 1)^2 + (d - 1).
        let values = [[3.0, 0.0, 0.0, 0.0], [-3.0, 0.0, 0.0, 0.0]].concat();
        let line = Gaussian::of(&Rows::new(4, values).unwrap()).unwrap();
        let unit: Vec<f64> = (0..16).map(|at| f64::from(u8::from(at % 5 == 0))).collect();
        let deviation = 18f64.sqrt();
        near(
            frechet(&line, &gaussian(&[0.0; 4], &unit)).unwrap(),
            (deviation - 1.0) * (deviation - 1.0) + 3.0,
        );
    }

    #[test]
    fn what_cannot_be_compared_is_named() {
        let good = gaussian(&[0.0; 2], &[1.0, 0.0, 0.0, 1.0]);
        let error = |a: &Gaussian, b: &Gaussian| frechet(a, b).unwrap_err().to_string();
        let bad = gaussian(&[0.0, f64::NAN], &[1.0, 0.0, 0.0, 1.0]);
        assert!(error(&bad, &good).contains("mean of the set to compare, feature 1: NaN"));
        let bad = gaussian(&[0.0; 2], &[1.0, 0.0, 0.0, f64::INFINITY]);
        assert!(error(&good, &bad).contains("covariance of the reference, feature 1: inf"));
        let narrow = gaussian(&[0.0], &[1.0]);
        assert!(error(&narrow, &good).contains("1 features against a reference of 2"));
        assert!(error(&gaussian(&[0.0; 2], &[1.0]), &good).contains("1 covariances"));
    }
}
