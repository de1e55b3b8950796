//! Data of which all is known: one Gaussian, whose denoiser is exact.

use super::{request, subject};
use crate::{
    gap::CleanPictures,
    likelihood::{Likelihood, LikelihoodRequest, Parts, measure},
};
use candle_core::Tensor;
use diff_core::{LogRange, ReverseVariance, Schedule, ScheduleSpec, kl, trajectory};
use diff_models::{Condition, Context, Denoiser, Error, GaussianMixture, Prediction, Second};
use std::f64::consts::{LN_2, PI};

const MEAN: [f64; 2] = [0.3, -0.2];
const VARIANCE: [f64; 2] = [0.04, 0.01];
/// What the oracle says of its own variance.
const SAID: f64 = 0.3;

/// The exact denoiser, and one value for its variance.
struct Oracle(GaussianMixture);

impl Denoiser for Oracle {
    fn forward(
        &self,
        x: &Tensor,
        t: &[f64],
        condition: &Condition,
        context: &Context,
    ) -> Result<Prediction, Error> {
        let mean = self.0.forward(x, t, condition, context)?.mean;
        Ok(Prediction { mean, second: Second::Range(x.affine(0.0, SAID)?) })
    }
}

fn schedule(timesteps: usize) -> Schedule {
    let beta_end = 20.0 / timesteps as f64;
    let spec = ScheduleSpec { timesteps, beta_end: Some(beta_end), ..ScheduleSpec::default() };
    Schedule::new(&spec).unwrap()
}

fn oracle(schedule: &Schedule) -> Oracle {
    let (mean, variance) = (MEAN.to_vec(), VARIANCE.to_vec());
    Oracle(GaussianMixture::single(mean, variance, [1, 1, 2], schedule.clone()).unwrap())
}

/// Draws of the Gaussian.
fn drawn(oracle: &Oracle, num: usize) -> Vec<f64> {
    oracle.0.sample(num, 11).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

fn measured(oracle: &Oracle, values: Vec<f64>, request: &LikelihoodRequest) -> Likelihood {
    let pictures = CleanPictures::from_values([1, 1, 2], values).unwrap();
    let schedule = oracle.0.schedule();
    measure(&subject(oracle, schedule), &pictures, request, &mut |_| {}).unwrap()
}

/// The mean and its standard error.
fn estimate(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let values: Vec<f64> = values.collect();
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0);
    (mean, (variance / n).sqrt())
}

/// The expected divergence of the step from t to s, in bits per dimension: the exact denoiser's
/// mean squared error of x_0 is the variance of x_0 given x_t.
fn divergence(schedule: &Schedule, (s, t): (usize, usize), variance: ReverseVariance) -> f64 {
    let step = schedule.step(s, t);
    let (abar_s, abar_t) = (schedule.alpha_bar(s), schedule.alpha_bar(t));
    let beta = 1.0 - abar_t / abar_s;
    let posterior = beta * (1.0 - abar_s) / (1.0 - abar_t);
    let reverse = match variance {
        ReverseVariance::Small => posterior,
        ReverseVariance::Large => beta,
        ReverseVariance::Learned => {
            let u = 0.5 * (SAID + 1.0);
            (u * beta.ln() + (1.0 - u) * posterior.ln()).exp()
        }
    };
    let nats = VARIANCE.map(|v| {
        let left = v * (1.0 - abar_t) / (abar_t * v + 1.0 - abar_t);
        let off = step.gamma1() * step.gamma1() * left;
        0.5 * ((posterior + off) / reverse - 1.0 + (reverse / posterior).ln())
    });
    nats.iter().sum::<f64>() / (2.0 * LN_2)
}

/// The decoder's expected part, by summing over x_0 and the noise of x_t on a grid.
fn decoder(schedule: &Schedule, t: usize, std: f64) -> f64 {
    let abar = schedule.alpha_bar(t);
    let grid: Vec<f64> = (0..240).map(|i| -6.0 + 0.05 * (f64::from(i) + 0.5)).collect();
    let density = |z: f64| (-0.5 * z * z).exp() / (2.0 * PI).sqrt() * 0.05;
    let nats = [0, 1].map(|i| {
        let mut sum = 0.0;
        for a in &grid {
            for b in &grid {
                let x0 = MEAN[i] + VARIANCE[i].sqrt() * a;
                let x = abar.sqrt() * x0 + (1.0 - abar).sqrt() * b;
                // Bayes with precisions.
                let (prior, seen) = (1.0 / VARIANCE[i], abar / (1.0 - abar));
                let guess = (prior * MEAN[i] + seen * (x / abar.sqrt())) / (prior + seen);
                sum -= density(*a) * density(*b) * kl::decoder(x0, guess, std);
            }
        }
        sum
    });
    nats.iter().sum::<f64>() / (2.0 * LN_2)
}

fn prior(schedule: &Schedule, t: usize) -> f64 {
    // Quadratic in x_0: its mean is its value at the root of the mean square.
    let root = |i: usize| (MEAN[i] * MEAN[i] + VARIANCE[i]).sqrt();
    let nats = [0, 1].map(|i| kl::prior(schedule.alpha_bar(t), root(i)));
    nats.iter().sum::<f64>() / (2.0 * LN_2)
}

#[test]
fn the_parts_are_their_analytic_values_over_all_times_and_some() {
    let schedule = schedule(50);
    let oracle = oracle(&schedule);
    let num = 2000;
    for variance in ReverseVariance::ALL {
        for (name, steps) in [("linear", 50), ("linear", 7), ("trailing", 5)] {
            let times = trajectory::resolve(name, steps, &schedule).unwrap();
            let request = LikelihoodRequest { times: times.clone(), variance, ..request(50, num) };
            let found = measured(&oracle, drawn(&oracle, num as usize), &request);
            let first = LogRange::new(&schedule, &schedule.step(0, times[0]));
            let (slope, offset) = first.affine();
            let log = first.fixed(variance, true).unwrap_or(slope * SAID + offset);
            let inner =
                times.windows(2).map(|pair| divergence(&schedule, (pair[0], pair[1]), variance));
            let transitions: f64 = inner.sum();
            let expected = Parts {
                prior: prior(&schedule, 50),
                transitions,
                decoder: decoder(&schedule, times[0], (0.5 * log).exp()),
            };
            let check = |part: &dyn Fn(&Parts) -> f64| {
                let (mean, error) = estimate(found.pictures.iter().map(part));
                let exact = part(&expected);
                let off = (mean - exact).abs();
                assert!(off <= 4.0 * error, "{variance:?} {name} {steps}: {mean} {exact} {error}");
                // The check is sharp.
                assert!(error < 0.03 * exact.abs().max(0.05), "{error} of {exact}");
            };
            check(&|parts| parts.prior);
            check(&|parts| parts.transitions);
            check(&|parts| parts.decoder);
            check(&Parts::total);
            let terms: f64 = found.terms.iter().sum();
            let (sum, _) = estimate(found.pictures.iter().map(|p| p.transitions + p.decoder));
            assert!((terms - sum).abs() < 1e-12 * sum, "{terms} {sum}");
        }
    }
}

/// -log2 of the probability of the grey level that `x` is, by the exact normal distribution.
fn level_bits(x: f64, i: usize) -> f64 {
    let density = |x: f64| (-(x - MEAN[i]).powi(2) / (2.0 * VARIANCE[i])).exp();
    let norm = (2.0 * PI * VARIANCE[i]).sqrt();
    // Simpson's rule over the level.
    let h = 1.0 / 255.0;
    let mass = (density(x - h) + 4.0 * density(x) + density(x + h)) * h / (3.0 * norm);
    -mass.log2()
}

#[test]
fn the_bound_is_above_the_true_likelihood_and_not_far() {
    let schedule = schedule(1000);
    let oracle = oracle(&schedule);
    let level = |x: &f64| ((x.clamp(-1.0, 1.0) + 1.0) * 127.5).round() / 127.5 - 1.0;
    let values: Vec<f64> = drawn(&oracle, 3000).iter().map(level).collect();
    let truth = values.chunks(2).map(|x| (level_bits(x[0], 0) + level_bits(x[1], 1)) / 2.0);
    let truth: Vec<f64> = truth.collect();
    for (variance, far) in [
        (ReverseVariance::Small, 0.9),
        (ReverseVariance::Large, 0.3),
        (ReverseVariance::Learned, 0.2),
    ] {
        let request = LikelihoodRequest { variance, ..request(1000, 3000) };
        let found = measured(&oracle, values.clone(), &request);
        let above = found.pictures.iter().zip(&truth).map(|(parts, truth)| parts.total() - truth);
        let (mean, error) = estimate(above);
        assert!(mean > 2.0 * error && mean < far, "{variance:?}: {mean} +- {error}");
    }
}
