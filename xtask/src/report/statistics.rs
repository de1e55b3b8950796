//! Means over seeds, and whether a difference is one.

/// A number with an interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Estimate {
    /// The number.
    pub(crate) value: f64,
    /// What it rests on.
    pub(crate) spread: Spread,
}

/// How sure a number is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Spread {
    /// Nothing is known.
    Unknown,
    /// An interval that holds 95 % of what other samples of one training would give.
    Interval(f64, f64),
    /// The standard deviation (n - 1) over so many trainings from different seeds.
    Seeds(f64, usize),
}

impl Estimate {
    /// The mean over seeds; of a single one, its own interval if there is one.
    pub(crate) fn over(values: &[(f64, Option<(f64, f64)>)]) -> Option<Self> {
        match values {
            [] => None,
            [(value, interval)] => {
                let spread =
                    interval.map_or(Spread::Unknown, |(low, high)| Spread::Interval(low, high));
                Some(Estimate { value: *value, spread })
            }
            many => {
                let values: Vec<f64> = many.iter().map(|(value, _)| *value).collect();
                let (value, deviation) = mean_and_deviation(&values);
                Some(Estimate { value, spread: Spread::Seeds(deviation, values.len()) })
            }
        }
    }

    /// The 95 % interval: as it is, or Student's over seeds.
    pub(crate) fn interval(&self) -> Option<(f64, f64)> {
        match self.spread {
            Spread::Unknown => None,
            Spread::Interval(low, high) => Some((low, high)),
            Spread::Seeds(deviation, count) => {
                let half = student(count - 1) * deviation / (count as f64).sqrt();
                Some((self.value - half, self.value + half))
            }
        }
    }
}

/// Spearman's: the correlation of the ranks of pairs, ties having their mean rank. None of fewer than
/// three pairs, or where all of one side are equal.
pub(crate) fn rank_correlation(pairs: &[(f64, f64)]) -> Option<f64> {
    if pairs.len() < 3 {
        return None;
    }
    let ranks = |of: fn(&(f64, f64)) -> f64| -> Vec<f64> {
        let rank = |value: f64| {
            let below = pairs.iter().filter(|pair| of(pair) < value).count() as f64;
            let equal = pairs.iter().filter(|pair| of(pair) == value).count() as f64;
            below + (equal - 1.0) / 2.0
        };
        pairs.iter().map(|pair| rank(of(pair))).collect()
    };
    let (a, b) = (ranks(|pair| pair.0), ranks(|pair| pair.1));
    let middle = (pairs.len() - 1) as f64 / 2.0;
    let sum = |x: &[f64], y: &[f64]| -> f64 {
        x.iter().zip(y).map(|(x, y)| (x - middle) * (y - middle)).sum()
    };
    let spread = (sum(&a, &a) * sum(&b, &b)).sqrt();
    (spread > 0.0).then(|| sum(&a, &b) / spread)
}

/// The difference a - b of two statistics of samples drawn with the same seeds, from replicates
/// that resampled the same indices: the spread of the replicates' differences around their mean.
pub(crate) fn paired(value: f64, a: &[f64], b: &[f64]) -> Option<(f64, f64)> {
    if a.len() != b.len() || a.len() < 2 {
        return None;
    }
    let mut differences: Vec<f64> = a.iter().zip(b).map(|(a, b)| a - b).collect();
    differences.sort_by(f64::total_cmp);
    let mean = differences.iter().sum::<f64>() / differences.len() as f64;
    let at = |part: f64| value + quantile(&differences, part) - mean;
    Some((at(0.025), at(0.975)))
}

/// Linear interpolation between the sorted values.
fn quantile(sorted: &[f64], part: f64) -> f64 {
    let place = part * (sorted.len() - 1) as f64;
    let below = place.floor() as usize;
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + (place - below as f64) * (sorted[above] - sorted[below])
}

/// Mean and standard deviation (n - 1) of two values or more.
fn mean_and_deviation(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|value| (value - mean) * (value - mean)).sum();
    (mean, (squares / (n - 1.0)).sqrt())
}

/// The 97.5 % quantile of Student's t distribution.
fn student(freedom: usize) -> f64 {
    const TABLE: [f64; 10] =
        [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228];
    match freedom {
        0 => f64::INFINITY,
        // Beyond the table the normal's, widened by its first correction.
        n => TABLE.get(n - 1).copied().unwrap_or(1.96 + 2.4 / n as f64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_of_pairs_agree_as_far_as_their_orders_do() {
        let of = |b: [f64; 4]| {
            let a = [10.0, 20.0, 30.0, 40.0];
            rank_correlation(&a.into_iter().zip(b).collect::<Vec<_>>())
        };
        assert_eq!(of([1.0, 5.0, 6.0, 1e9]), Some(1.0));
        assert_eq!(of([4.0, 3.0, 2.0, -1.0]), Some(-1.0));
        // Ranks 0, 1, 2, 3 against 1, 0, 2, 3: 1 - 6 (1 + 1) / (4 (16 - 1)).
        assert!((of([2.0, 1.0, 3.0, 4.0]).unwrap() - 0.8).abs() < 1e-12);
        // scipy.stats.spearmanr([10, 20, 30, 40], [1, 1, 2, 3])
        assert!((of([1.0, 1.0, 2.0, 3.0]).unwrap() - 0.9486832980505139).abs() < 1e-12);
        assert_eq!(of([1.0; 4]), None);
        assert_eq!(rank_correlation(&[(1.0, 2.0), (2.0, 3.0)]), None);
    }

    #[test]
    fn one_seed_keeps_its_interval_and_more_have_a_deviation() {
        assert_eq!(Estimate::over(&[]), None);
        let one = Estimate::over(&[(3.0, Some((2.0, 5.0)))]).unwrap();
        assert_eq!(one.interval(), Some((2.0, 5.0)));
        assert_eq!(Estimate::over(&[(3.0, None)]).unwrap().interval(), None);
        let three = Estimate::over(&[(1.0, None), (2.0, Some((0.0, 9.0))), (3.0, None)]).unwrap();
        assert_eq!(three, Estimate { value: 2.0, spread: Spread::Seeds(1.0, 3) });
        let (low, high) = three.interval().unwrap();
        // 4.303 / sqrt(3)
        assert!((high - 2.0 - 2.484_338).abs() < 1e-5 && (low + high - 4.0).abs() < 1e-12);
    }

    #[test]
    fn a_paired_difference_is_surer_than_its_parts() {
        let noise: Vec<f64> = (0..101).map(|i| f64::from(i) - 50.0).collect();
        let a: Vec<f64> = noise.iter().map(|n| 10.0 + n).collect();
        let b: Vec<f64> = noise.iter().enumerate().map(|(i, n)| 8.0 + n + (i % 2) as f64).collect();
        let (low, high) = paired(2.0, &a, &b).unwrap();
        assert!(low > 1.0 && high < 3.0 && low < 2.0 && high > 2.0, "{low} {high}");
        assert_eq!(paired(2.0, &a, &b[1..]), None);
        assert_eq!(paired(2.0, &[], &[]), None);
    }

    #[test]
    fn quantiles_interpolate() {
        let sorted: Vec<f64> = (0..=40).map(f64::from).collect();
        assert_eq!((quantile(&sorted, 0.025), quantile(&sorted, 0.975)), (1.0, 39.0));
        assert!((quantile(&[1.0, 2.0], 0.25) - 1.25).abs() < 1e-12);
    }

    #[test]
    fn student_falls_towards_the_normal() {
        let values: Vec<f64> = (1..60).map(student).collect();
        assert!(values.windows(2).all(|w| w[1] <= w[0]), "{values:?}");
        // Tables: 2.201 at 11, 2.009 at 50.
        assert!((student(11) - 2.201).abs() < 0.03 && (student(50) - 2.009).abs() < 0.01);
    }
}
