//! Mean and covariance of rows, the two numbers a Gaussian has.

use crate::{Error, Metric, Result, features::Rows};
use faer::{Accum, Mat, Par, linalg::matmul::matmul};

/// Count, mean and co-moments of rows: mergeable, and as exact far from zero as near it.
///
/// Kept are the sums of products of deviations from the mean, never those of the values
/// themselves; two parts are merged as Chan, Golub and LeVeque (1979) do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Moments {
    count: u64,
    mean: Vec<f64>,
    /// Row-major `[d, d]`.
    co: Vec<f64>,
}

/// The Gaussian with the mean and the covariance of a set of rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Gaussian {
    /// Rows seen, at least 2.
    pub count: u64,
    /// Mean, `[d]`.
    pub mean: Vec<f64>,
    /// Unbiased covariance (divided by count - 1), row-major `[d, d]`, symmetric.
    pub covariance: Vec<f64>,
}

/// Rows that are centred at a time: what they take is small beside what they come to.
const BLOCK: usize = 1024;

impl Moments {
    /// Takes rows in, row i `weights[i]` times over, as a resample does.
    ///
    /// # Errors
    /// When there are not as many weights as rows, the width differs from that of the rows before,
    /// or a value is not finite.
    pub fn add_weighted(&mut self, rows: &Rows, weights: &[u32]) -> Result<()> {
        if weights.len() != rows.len() {
            let message = format!("{} weights for {} rows", weights.len(), rows.len());
            return Err(Error::Mismatch(message));
        }
        rows.check_finite()?;
        let drawn: Vec<(usize, u32)> =
            weights.iter().copied().enumerate().filter(|(_, weight)| *weight > 0).collect();
        drawn.chunks(BLOCK).try_for_each(|part| self.merge(Self::of(rows, part)))
    }

    /// The moments that a Gaussian was made of.
    pub fn of_gaussian(gaussian: &Gaussian) -> Self {
        let over = gaussian.count.saturating_sub(1) as f64;
        let co = gaussian.covariance.iter().map(|c| c * over).collect();
        Moments { count: gaussian.count, mean: gaussian.mean.clone(), co }
    }

    /// The moments of the rows with these indices and weights, at least one.
    fn of(rows: &Rows, drawn: &[(usize, u32)]) -> Self {
        let d = rows.width();
        let count: u64 = drawn.iter().map(|(_, weight)| u64::from(*weight)).sum();
        let mut mean = rows.row(drawn[0].0).to_vec();
        // Once from the first row, once from there: the second pass takes the rounding away.
        for _ in 0..2 {
            let mut sum = vec![0.0; d];
            for (i, weight) in drawn {
                let row = rows.row(*i).iter().zip(&mean);
                sum.iter_mut().zip(row).for_each(|(s, (v, m))| *s += f64::from(*weight) * (v - m));
            }
            mean.iter_mut().zip(sum).for_each(|(m, s)| *m += s / count as f64);
        }
        let centred = Mat::from_fn(d, drawn.len(), |column, row| {
            let (i, weight) = drawn[row];
            f64::from(weight).sqrt() * (rows.row(i)[column] - mean[column])
        });
        let mut product = Mat::zeros(d, d);
        matmul(&mut product, Accum::Replace, &centred, centred.transpose(), 1.0, Par::Seq);
        // The two halves may differ in the last bit, as they were added up in another order.
        let co = (0..d * d).map(|at| product[((at / d).max(at % d), (at / d).min(at % d))]);
        Moments { count, mean, co: co.collect() }
    }
}

impl Metric for Moments {
    type Input = Rows;
    type Output = Gaussian;

    fn add(&mut self, rows: &Rows) -> Result<()> {
        self.add_weighted(rows, &vec![1; rows.len()])
    }

    fn merge(&mut self, other: Self) -> Result<()> {
        if other.count == 0 {
            return Ok(());
        }
        if self.count == 0 {
            *self = other;
            return Ok(());
        }
        let d = self.mean.len();
        if other.mean.len() != d {
            let found = other.mean.len();
            return Err(Error::Mismatch(format!("rows of {found} values among rows of {d}")));
        }
        let count = self.count + other.count;
        let share = other.count as f64 / count as f64;
        let delta: Vec<f64> = other.mean.iter().zip(&self.mean).map(|(b, a)| b - a).collect();
        let scale = self.count as f64 * share;
        for (i, di) in delta.iter().enumerate() {
            let ours = self.co[i * d..][..d].iter_mut().zip(&other.co[i * d..][..d]);
            ours.zip(&delta).for_each(|((a, b), dj)| *a += b + scale * (di * dj));
        }
        self.mean.iter_mut().zip(&delta).for_each(|(mean, delta)| *mean += share * delta);
        self.count = count;
        Ok(())
    }

    fn finish(self) -> Result<Gaussian> {
        if self.count < 2 {
            let count = self.count;
            return Err(Error::Mismatch(format!("{count} rows: a covariance takes at least 2")));
        }
        let over = (self.count - 1) as f64;
        let covariance = self.co.iter().map(|c| c / over).collect();
        Ok(Gaussian { count: self.count, mean: self.mean, covariance })
    }
}

impl Gaussian {
    /// The Gaussian of all rows.
    ///
    /// # Errors
    /// When there are fewer than 2, or a value is not finite.
    pub fn of(rows: &Rows) -> Result<Self> {
        let mut moments = Moments::default();
        moments.add(rows)?;
        moments.finish()
    }

    /// The Gaussian of rows of which row i counts `weights[i]` times.
    ///
    /// # Errors
    /// As [`Moments::add_weighted`]; when the weights add up to less than 2.
    pub fn weighted(rows: &Rows, weights: &[u32]) -> Result<Self> {
        let mut moments = Moments::default();
        moments.add_weighted(rows, weights)?;
        moments.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use diff_core::rng::{Address, Purpose};

    fn noise(n: usize, d: usize, offset: f64) -> Rows {
        let mut z = vec![0f32; n * d];
        Address::new(3, Purpose::Measure).fill_normal(&mut z);
        Rows::new(d, z.into_iter().map(|v| offset + f64::from(v)).collect()).unwrap()
    }

    fn part(rows: &Rows, range: std::ops::Range<usize>) -> Moments {
        let mut moments = Moments::default();
        moments.add(&rows.select(&range.collect::<Vec<_>>())).unwrap();
        moments
    }

    /// Greatest difference, relative to the greatest value.
    fn apart(a: &[f64], b: &[f64]) -> f64 {
        let scale = b.iter().fold(0f64, |m, v| m.max(v.abs()));
        a.iter().zip(b).fold(0f64, |m, (a, b)| m.max((a - b).abs())) / scale
    }

    #[test]
    fn three_points_by_hand() {
        let rows = Rows::new(2, vec![1.0, 2.0, 3.0, 6.0, 5.0, 1.0]).unwrap();
        let gaussian = Gaussian::of(&rows).unwrap();
        assert_eq!((gaussian.count, &gaussian.mean[..]), (3, &[3.0, 3.0][..]));
        assert!(apart(&gaussian.covariance, &[4.0, -1.0, -1.0, 7.0]) < 1e-15);
    }

    #[test]
    fn any_split_merges_to_one_pass() {
        let rows = noise(2100, 5, 3.0);
        let whole = part(&rows, 0..2100).finish().unwrap();
        for cuts in
            [vec![0, 1, 2100], vec![0, 7, 1024, 2099, 2100], (0..=210).map(|i| i * 10).collect()]
        {
            let mut parts: Vec<_> = cuts.windows(2).map(|c| part(&rows, c[0]..c[1])).collect();
            parts.reverse();
            let mut merged = Moments::default();
            parts.into_iter().for_each(|p| merged.merge(p).unwrap());
            merged.merge(Moments::default()).unwrap();
            let merged = merged.finish().unwrap();
            assert_eq!(merged.count, 2100);
            assert!(apart(&merged.mean, &whole.mean) < 1e-12);
            assert!(apart(&merged.covariance, &whole.covariance) < 1e-12);
        }
    }

    #[test]
    fn far_from_zero_the_covariance_keeps_its_digits() {
        // Quarters are exact at 1e8 too, so both sets have the very same covariance; means there
        // are rounded to 1.5e-8, and a sum of squares would keep no digit at all.
        let quarters = |offset: f64| {
            let z = noise(3000, 3, 0.0);
            let values = z.iter().flatten().map(|v| (v * 4.0).round() / 4.0 + offset);
            Gaussian::of(&Rows::new(3, values.collect()).unwrap()).unwrap()
        };
        let (near, far) = (quarters(0.0), quarters(1e8));
        assert!(apart(&far.covariance, &near.covariance) < 1e-9);
        let moved: Vec<f64> = near.mean.iter().map(|m| m + 1e8).collect();
        assert!(apart(&far.mean, &moved) < 1e-15);
    }

    #[test]
    fn a_weight_is_a_row_that_comes_again() {
        let rows = noise(4, 3, 1.0);
        let weighted = Gaussian::weighted(&rows, &[0, 3, 1, 2]).unwrap();
        let repeated = Gaussian::of(&rows.select(&[1, 1, 1, 2, 3, 3])).unwrap();
        assert_eq!(weighted.count, 6);
        assert!(apart(&weighted.mean, &repeated.mean) < 1e-14);
        assert!(apart(&weighted.covariance, &repeated.covariance) < 1e-14);
    }

    #[test]
    fn too_few_and_other_rows_are_refused() {
        let one = Gaussian::of(&noise(1, 3, 0.0)).unwrap_err().to_string();
        assert!(one.contains("1 rows") && one.contains("at least 2"), "{one}");
        assert!(Moments::default().finish().is_err());
        let mut moments = part(&noise(2, 3, 0.0), 0..2);
        let width = moments.add(&noise(2, 4, 0.0)).unwrap_err().to_string();
        assert!(width.contains("rows of 4 values among rows of 3"), "{width}");
        assert!(moments.add_weighted(&noise(2, 3, 0.0), &[1]).is_err());
        let infinite = Rows::new(1, vec![0.0, f64::INFINITY]).unwrap();
        assert!(Gaussian::of(&infinite).unwrap_err().to_string().contains("row 1, column 0: inf"));
    }
}
