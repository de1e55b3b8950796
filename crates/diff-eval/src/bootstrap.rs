//! How far a statistic would move if it were taken of other pictures.

use crate::Result;
use diff_core::rng::{Address, Purpose};
use serde::Serialize;

/// Where a statistic of as many other pictures would fall, 95 times of 100.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// Draws apart from those of subsets, which use lane 0.
const LANE: u16 = 1;

/// How often each of `n` rows, at least one, comes among `draws` draws with replacement. It depends
/// on both, the seed and the number of the replicate alone: statistics of two sets of equal size
/// are resampled alike, so that their differences can be taken replicate by replicate.
pub fn resample(n: usize, draws: usize, seed: u64, replicate: u64) -> Vec<u32> {
    let mut weights = vec![0; n];
    let address = Address::new(seed, Purpose::Measure).index(replicate).lane(LANE);
    for draw in 0..draws {
        weights[address.step(draw as u32).below(n as u64) as usize] += 1;
    }
    weights
}

/// The statistic of `count` resamples of `n` rows, in order. `statistic` is given how often each
/// row counts.
///
/// # Errors
/// The statistic's.
pub fn replicates(
    n: usize,
    count: usize,
    seed: u64,
    mut statistic: impl FnMut(&[u32]) -> Result<f64>,
) -> Result<Vec<f64>> {
    (0..count as u64).map(|i| statistic(&resample(n, n, seed, i))).collect()
}

/// [value + q(2.5 %) - mean, value + q(97.5 %) - mean] with quantiles and mean of the replicates;
/// none without replicates.
///
/// A distance such as FD grows when pictures come twice: a resample is about as far above the
/// sample as the sample is above the distance of infinitely many pictures. So the replicates say
/// how wide the statistic spreads and not where it is, and only their deviations from their own
/// mean are used. The interval is where the same statistic of another N pictures would fall, with
/// the bias that N pictures have; it is no interval for the distance of infinitely many. It is too
/// wide, by up to about 1.7, where the distance is next to nothing but that bias, as of pictures
/// that come from the reference's own distribution.
pub fn interval(value: f64, replicates: &[f64]) -> Option<Interval> {
    if replicates.is_empty() {
        return None;
    }
    let mut sorted = replicates.to_vec();
    sorted.sort_by(f64::total_cmp);
    let mean = sorted.iter().sum::<f64>() / sorted.len() as f64;
    let end = |share: f64| value + quantile(&sorted, share) - mean;
    Some(Interval { low: end(0.025), high: end(0.975) })
}

/// The quantile of sorted values, interpolated linearly between two of them.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let at = share * (sorted.len() - 1) as f64;
    let (below, above) = (at.floor() as usize, at.ceil() as usize);
    sorted[below] + (at - at.floor()) * (sorted[above] - sorted[below])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FrechetReference, Gaussian, features::Rows};

    /// Rows of independent normals with this mean.
    fn rows(n: usize, d: usize, mean: f64, index: u64) -> Rows {
        let mut z = vec![0f32; n * d];
        Address::new(11, Purpose::Measure).index(index).fill_normal(&mut z);
        Rows::new(d, z.iter().map(|v| f64::from(*v) + mean).collect()).unwrap()
    }

    /// Mean width over twice the spread that the statistic has, and how often an interval holds
    /// the mean statistic, over independent sets of rows whose features have this mean.
    fn tried(mean: f64) -> (f64, f64) {
        let (n, d) = (100, 6);
        let unit = |at| f64::from(u8::from(at % (d + 1) == 0));
        let truth =
            Gaussian { count: 2, mean: vec![0.0; d], covariance: (0..d * d).map(unit).collect() };
        let reference = FrechetReference::new(&truth).unwrap();
        let once = |set: u64| {
            let rows = rows(n, d, mean, set);
            let fd = |weights: &[u32]| {
                Ok(reference.distance(&Gaussian::weighted(&rows, weights)?)?.value())
            };
            let value = fd(&vec![1; n]).unwrap();
            (value, interval(value, &replicates(n, 200, set, fd).unwrap()).unwrap())
        };
        let sets: Vec<(f64, Interval)> = (0..200).map(once).collect();
        let count = sets.len() as f64;
        let centre = sets.iter().map(|(value, _)| value).sum::<f64>() / count;
        let squares = sets.iter().map(|(value, _)| (value - centre) * (value - centre));
        let deviation = (squares.sum::<f64>() / count).sqrt();
        let width = sets.iter().map(|(_, i)| i.high - i.low).sum::<f64>() / count;
        let covered = sets.iter().filter(|(_, i)| i.low <= centre && centre <= i.high).count();
        (width / (2.0 * 1.96 * deviation), covered as f64 / count)
    }

    #[test]
    fn intervals_are_as_wide_as_other_sets_are_apart() {
        let (width, covered) = tried(0.5);
        assert!((1.0 / 1.3..1.3).contains(&width), "{width}");
        assert!((0.85..=0.99).contains(&covered), "{covered}");
    }

    #[test]
    fn at_no_distance_intervals_err_on_the_wide_side() {
        let (width, covered) = tried(0.0);
        assert!((1.0..1.8).contains(&width) && covered >= 0.95, "{width} {covered}");
    }

    #[test]
    fn a_resample_depends_on_size_seed_and_number_alone() {
        let weights = resample(50, 50, 3, 7);
        assert_eq!(weights.iter().sum::<u32>(), 50);
        assert_eq!(weights, resample(50, 50, 3, 7));
        assert!(weights != resample(50, 50, 3, 8) && weights != resample(50, 50, 4, 7));
        assert_eq!(resample(50, 9, 3, 7).iter().sum::<u32>(), 9);
        let mut seen = vec![0u64; 50];
        (0..400).for_each(|i| {
            seen.iter_mut().zip(resample(50, 50, 3, i)).for_each(|(s, w)| *s += u64::from(w))
        });
        // Each row comes 400 times of 20,000; five standard deviations are 99.
        assert!(seen.iter().all(|s| s.abs_diff(400) < 99), "{seen:?}");
    }

    #[test]
    fn the_interval_is_the_spread_around_the_value() {
        let replicates: Vec<f64> = (0..=40).map(f64::from).collect();
        let Interval { low, high } = interval(5.0, &replicates).unwrap();
        assert_eq!((low, high), (5.0 - 19.0, 5.0 + 19.0));
        assert_eq!(interval(5.0, &[7.0]), Some(Interval { low: 5.0, high: 5.0 }));
        assert_eq!(interval(5.0, &[]), None);
        let failing = super::replicates(3, 2, 0, |_| Err(crate::Error::Mismatch("no".into())));
        assert!(failing.is_err());
    }
}
