//! The categorical process of DDIM's appendix A: x_t is one of K classes, and with probability
//! 1 - a_t it has been replaced by a uniform draw.

mod spec;

pub use spec::{ProcessKind, ProcessSpec, Stay};

use crate::error::{Error, Result};

/// The forward process q(x_t | x_0) = Cat(a_t x_0 + (1 - a_t)/K), t = 1..=T, a_0 = 1, a_T = 0.
#[derive(Clone, Debug, PartialEq)]
pub struct CategoricalProcess {
    classes: usize,
    /// a_t; entry 0 is 1.
    keep: Vec<f64>,
}

impl CategoricalProcess {
    /// The process with K = `classes` >= 2 and the given a_1..a_T: strictly decreasing, below 1,
    /// 0 at T.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] naming the first value that breaks this.
    pub fn new(classes: usize, keep: &[f64]) -> Result<Self> {
        if classes < 2 {
            return Err(Error::argument("classes", classes, "at least 2"));
        }
        let keep = [&[1.0], keep].concat();
        let last = keep.len() - 1;
        for (t, pair) in keep.windows(2).enumerate() {
            let falls = pair[1] < pair[0] && pair[1] >= 0.0;
            if !falls {
                let expected = format!("a number below a_{t} = {} and at least 0", pair[0]);
                return Err(Error::argument(format!("a_{}", t + 1), pair[1], expected));
            }
        }
        if keep[last] != 0.0 {
            return Err(Error::argument(format!("a_T, T = {last}"), keep[last], "0, T >= 1"));
        }
        Ok(CategoricalProcess { classes, keep })
    }

    /// The process with a_t = 1 - t/T.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] when `classes` < 2 or T = 0.
    pub fn linear(classes: usize, timesteps: usize) -> Result<Self> {
        let count = timesteps as f64;
        let keep: Vec<f64> = (1..=timesteps).map(|t| (timesteps - t) as f64 / count).collect();
        Self::new(classes, &keep)
    }

    /// K.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// T.
    pub fn timesteps(&self) -> usize {
        self.keep.len() - 1
    }

    /// a_t, the probability that x_t still is x_0 (rather than a uniform draw), t in 0..=T.
    ///
    /// # Panics
    ///
    /// When t is above T.
    pub fn keep(&self, t: usize) -> f64 {
        self.keep[t]
    }

    /// q(x_t | x_0) as K probabilities, for `x0` given as K probabilities (one-hot when known).
    ///
    /// # Panics
    ///
    /// When t is above T.
    pub fn marginal(&self, x0: &[f64], t: usize) -> Vec<f64> {
        let uniform = (1.0 - self.keep[t]) / self.classes as f64;
        x0.iter().map(|p| self.keep[t] * p + uniform).collect()
    }

    /// The transition from t down to an earlier time s in which x_s copies x_t with weight `stay`:
    /// DDIM's sigma_t, from 0 (x_s depends on x_0 alone) to [`Self::most_stay`] (nothing is drawn
    /// afresh). The marginals are the same for all of them.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] unless s < t <= T and `stay` is in its range.
    pub fn transition(&self, s: usize, t: usize, stay: f64) -> Result<CategoricalStep> {
        let most = self.most_stay(s, t)?;
        // The bound itself is often recomputed by callers, so rounding is forgiven.
        if !(0.0..=most * (1.0 + 1e-12)).contains(&stay) {
            let expected = format!("0..={most} from t = {t} to s = {s}");
            return Err(Error::argument("stay", stay, expected));
        }
        let (a_s, a_t) = (self.keep[s], self.keep[t]);
        Ok(CategoricalStep {
            stay,
            clean: (a_s - stay * a_t).max(0.0),
            uniform: ((1.0 - a_s) - (1.0 - a_t) * stay).max(0.0) / self.classes as f64,
        })
    }

    /// [`Self::transition`] with the fraction `stay` of the most that it may copy.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] unless s < t <= T.
    pub fn step(&self, s: usize, t: usize, stay: Stay) -> Result<CategoricalStep> {
        self.transition(s, t, stay.rho() * self.most_stay(s, t)?)
    }

    /// The largest admissible `stay`, (1 - a_s) / (1 - a_t); 0 at s = 0.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] unless s < t <= T.
    pub fn most_stay(&self, s: usize, t: usize) -> Result<f64> {
        if s >= t || t > self.timesteps() {
            let expected = format!("s < t <= T = {}", self.timesteps());
            return Err(Error::argument("s, t", format!("{s}, {t}"), expected));
        }
        Ok((1.0 - self.keep[s]) / (1.0 - self.keep[t]))
    }
}

/// The weights of q(x_s | x_t, x_0) = Cat(stay x_t + clean x_0 + uniform).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CategoricalStep {
    /// Weight of the one-hot x_t, DDIM's sigma_t.
    pub stay: f64,
    /// Weight of x_0: a_s - stay a_t.
    pub clean: f64,
    /// What every class gets besides: ((1 - a_s) - (1 - a_t) stay) / K.
    pub uniform: f64,
}

impl CategoricalStep {
    /// q(x_s | x_t, x_0) as K probabilities. `x0` is one-hot for the true posterior and the
    /// network's softmax for the reverse process.
    pub fn probabilities(&self, x_t: usize, x0: &[f64]) -> Vec<f64> {
        let own = |class: usize| if class == x_t { self.stay } else { 0.0 };
        x0.iter().enumerate().map(|(i, p)| own(i) + self.clean * p + self.uniform).collect()
    }

    /// KL(q(x_s | x_t, x_0) || q(x_s | x_t, predicted)) in nats, the bound's term.
    pub fn kl(&self, x_t: usize, x0: &[f64], predicted: &[f64]) -> f64 {
        kl(&self.probabilities(x_t, x0), &self.probabilities(x_t, predicted))
    }

    /// `clean` times KL(Cat(x_0) || Cat(predicted)), at least [`Self::kl`] by convexity: for a
    /// one-hot x_0 a weighted cross-entropy (DDIM, appendix A).
    pub fn kl_bound(&self, x0: &[f64], predicted: &[f64]) -> f64 {
        self.clean * kl(x0, predicted)
    }
}

/// KL(Cat(p) || Cat(q)) in nats; infinite where p has a class that q excludes.
pub fn kl(p: &[f64], q: &[f64]) -> f64 {
    let term = |(p, q): (&f64, &f64)| if *p == 0.0 { 0.0 } else { p * (p / q).ln() };
    p.iter().zip(q).map(term).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one_hot(class: usize, classes: usize) -> Vec<f64> {
        (0..classes).map(|i| if i == class { 1.0 } else { 0.0 }).collect()
    }

    fn process() -> CategoricalProcess {
        CategoricalProcess::new(5, &[0.95, 0.8, 0.5, 0.1, 0.0]).unwrap()
    }

    #[test]
    fn every_admissible_stay_preserves_the_marginals() {
        let process = process();
        for x0 in 0..5 {
            let x0 = one_hot(x0, 5);
            for t in 1..=5 {
                for s in 0..t {
                    for part in [0.0, 0.3, 0.5, 1.0] {
                        let stay = part * process.most_stay(s, t).unwrap();
                        let step = process.transition(s, t, stay).unwrap();
                        let mut sum = [0.0; 5];
                        for (x_t, weight) in process.marginal(&x0, t).iter().enumerate() {
                            let row = step.probabilities(x_t, &x0);
                            assert!((row.iter().sum::<f64>() - 1.0).abs() < 1e-15);
                            assert!(row.iter().all(|p| *p >= 0.0));
                            for (sum, p) in sum.iter_mut().zip(row) {
                                *sum += weight * p;
                            }
                        }
                        for (sum, p) in sum.iter().zip(process.marginal(&x0, s)) {
                            assert!((sum - p).abs() < 1e-15, "s {s} t {t} stay {stay}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn the_steps_of_any_sub_sequence_lead_from_noise_to_the_data() {
        let process = CategoricalProcess::linear(3, 12).unwrap();
        let x0 = one_hot(1, 3);
        for times in [vec![12], vec![1, 12], vec![3, 4, 9, 12], (1..=12).collect()] {
            for rho in [0.0, 0.25, 0.5, 1.0] {
                let stay = Stay::new(rho).unwrap();
                let mut law = vec![1.0 / 3.0; 3];
                for (i, t) in times.iter().enumerate().rev() {
                    let s = if i == 0 { 0 } else { times[i - 1] };
                    let step = process.step(s, *t, stay).unwrap();
                    let mut next = vec![0.0; 3];
                    for (x_t, weight) in law.iter().enumerate() {
                        let row = step.probabilities(x_t, &x0);
                        next.iter_mut().zip(row).for_each(|(sum, p)| *sum += weight * p);
                    }
                    law = next;
                    for (p, q) in law.iter().zip(process.marginal(&x0, s)) {
                        assert!((p - q).abs() < 1e-14, "{times:?} rho {rho} s {s}: {p} {q}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_ends_of_the_range_mean_what_they_say() {
        let process = process();
        let x0 = one_hot(2, 5);
        let free = process.transition(2, 4, 0.0).unwrap();
        assert_eq!(free.probabilities(0, &x0), free.probabilities(4, &x0));
        assert_eq!(free.probabilities(0, &x0), process.marginal(&x0, 2));
        let most = process.most_stay(2, 4).unwrap();
        assert!(process.transition(2, 4, most).unwrap().uniform < 1e-16);
        let last = process.transition(0, 1, 0.0).unwrap();
        assert_eq!(last.probabilities(0, &[0.1, 0.2, 0.3, 0.2, 0.2]), [0.1, 0.2, 0.3, 0.2, 0.2]);
        assert_eq!(process.most_stay(0, 3).unwrap(), 0.0);
    }

    #[test]
    fn the_cross_entropy_bounds_the_divergence() {
        let process = process();
        let predicted: [f64; 5] = [0.1, 0.15, 0.5, 0.05, 0.2];
        let x0 = one_hot(2, 5);
        for t in 1..=5 {
            for s in 0..t {
                for part in [0.0, 0.4, 1.0] {
                    let stay = part * process.most_stay(s, t).unwrap();
                    let step = process.transition(s, t, stay).unwrap();
                    let bound = step.kl_bound(&x0, &predicted);
                    let entropy = -predicted[2].ln();
                    assert!((bound - step.clean * entropy).abs() < 1e-15);
                    for x_t in 0..5 {
                        let exact = step.kl(x_t, &x0, &predicted);
                        assert!((-1e-15..=bound + 1e-15).contains(&exact), "{exact} {bound}");
                        assert_eq!(step.kl(x_t, &x0, &x0), 0.0);
                    }
                    if s == 0 {
                        assert!((step.kl(1, &x0, &predicted) - bound).abs() < 1e-15);
                    }
                }
            }
        }
        assert_eq!(kl(&[1.0, 0.0], &[0.0, 1.0]), f64::INFINITY);
    }

    #[test]
    fn a_process_that_does_not_end_uniform_is_refused() {
        for (classes, keep) in [
            (1, vec![0.0]),
            (3, vec![]),
            (3, vec![0.5, 0.1]),
            (3, vec![0.5, 0.5, 0.0]),
            (3, vec![1.0, 0.0]),
            (3, vec![0.5, f64::NAN, 0.0]),
            (3, vec![0.5, -0.1]),
        ] {
            assert!(CategoricalProcess::new(classes, &keep).is_err(), "{classes} {keep:?}");
        }
        let process = CategoricalProcess::linear(3, 4).unwrap();
        assert_eq!((process.keep(1), process.keep(4), process.classes()), (0.75, 0.0, 3));
        assert!(CategoricalProcess::linear(3, 0).is_err());
        assert!(process.transition(2, 3, 1.0).is_err());
        assert!(process.transition(2, 3, -0.1).is_err());
        assert!(process.transition(2, 3, f64::NAN).is_err());
        assert!(process.transition(3, 3, 0.0).is_err());
        assert!(process.transition(0, 5, 0.0).is_err());
    }
}
