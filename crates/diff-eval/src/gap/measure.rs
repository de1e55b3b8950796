use super::{
    CleanPictures, GapCurves, Subject,
    curves::{GapStep, GapSums},
    descent::Descent,
    noise::{Addressed, Noise},
};
use crate::{Metric, Result};
use diff_core::{Error, Schedule};
use std::ops::Range;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GapRequest {
    /// t0, where trajectories start from a forward sample; in 2..=T.
    pub start: usize,
    /// Trajectories, one a picture; at least 1.
    pub num: u64,
    /// Pictures a network call serves at most; at least 1. Changes nothing but speed and memory.
    pub batch: usize,
    /// Noise of the sampler's steps in [0, 1]: 1 as in the paper (sigma = sqrt(btilde_t)), 0 for
    /// the deterministic sampler.
    pub eta: f64,
    /// Seed of starting noise and step noise.
    pub seed: u64,
}

impl GapRequest {
    /// Refuses values out of range.
    ///
    /// # Errors
    /// Names the value and its range.
    pub fn check(&self, timesteps: usize) -> Result<()> {
        let refuse = |name, value: &dyn ToString, expected: String| {
            Err(Error::argument(name, value.to_string(), expected).into())
        };
        if !(2..=timesteps).contains(&self.start) {
            return refuse("start", &self.start, format!("a time in 2..=T = {timesteps}"));
        }
        if !(0.0..=1.0).contains(&self.eta) {
            return refuse("eta", &self.eta, "a number in 0..=1".into());
        }
        check_counts(self.num, self.batch)
    }
}

pub(crate) fn check_counts(num: u64, batch: usize) -> Result<()> {
    if num == 0 {
        return Err(Error::argument("num", 0, "at least 1 picture").into());
    }
    if batch == 0 {
        return Err(Error::argument("batch", 0, "at least 1 picture").into());
    }
    Ok(())
}

/// Measures the gap along the denoiser's own trajectories (SA-DPM, section 3.1 and figures 4, 5).
///
/// Picture by picture, x_{t0} is a forward sample of x_0. Then for t = t0, ..., 2:
/// the residual r_t = f(x_t, t) - (x_t - sqrt(abar_t) x_0) / sqrt(1 - abar_t), the step's gap
/// d_t = c_t r_t = gamma1_t (x_0 - x0hat), the gap so far dbar_t = d_t + gamma2_t dbar_{t+1} with dbar_{t0+1} = 0, and
/// x_{t-1} by the generalised step without clipping.
///
/// The measure is relative: x_{t0} hides part of x_0, so that an exact denoiser has a gap too, unless
/// the data are a single picture. `progress` hears how many pictures are done,
/// those under way by their share of steps. Memory: a batch of pictures, and t0 - 1 pictures in f64.
///
/// # Errors
/// Values out of range, pictures that the network does not take, predictions that are not finite.
pub fn measure(
    subject: &Subject,
    pictures: &CleanPictures,
    request: &GapRequest,
    progress: &mut dyn FnMut(f64),
) -> Result<GapCurves> {
    walk_all(subject, pictures, request, &Addressed { seed: request.seed }, progress)
}

/// [`measure`] with noise from anywhere.
pub(super) fn walk_all(
    subject: &Subject,
    pictures: &CleanPictures,
    request: &GapRequest,
    noise: &dyn Noise,
    progress: &mut dyn FnMut(f64),
) -> Result<GapCurves> {
    request.check(subject.schedule.timesteps())?;
    let mut sums = GapSums::new(subject.schedule, request.start, pictures.width());
    for numbers in batches(request.num, request.batch) {
        let (first, rows) = (numbers.start as f64, (numbers.end - numbers.start) as f64);
        let walk = Walk { subject, pictures, request, noise };
        walk.down(numbers, &mut sums, &mut |share| progress(first + share * rows))?;
    }
    sums.finish()
}

/// The numbers 0..num in ranges of at most `batch`.
pub(crate) fn batches(num: u64, batch: usize) -> impl Iterator<Item = Range<u64>> {
    (0..num).step_by(batch).map(move |first| first..num.min(first.saturating_add(batch as u64)))
}

/// x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) eps for every picture; also hands out eps.
pub(crate) fn forward_sample(
    schedule: &Schedule,
    noise: &dyn Noise,
    (numbers, x0): (Range<u64>, &[f64]),
    t: usize,
) -> (Vec<f64>, Vec<f64>) {
    let width = x0.len() / (numbers.end - numbers.start) as usize;
    let mut eps = vec![0.0; x0.len()];
    for (row, number) in eps.chunks_mut(width).zip(numbers) {
        noise.forward(number, t, row);
    }
    let (signal, deviation) =
        (schedule.alpha_bar(t).sqrt(), schedule.one_minus_alpha_bar(t).sqrt());
    let x = x0.iter().zip(&eps).map(|(x0, eps)| signal * x0 + deviation * eps).collect();
    (x, eps)
}

struct Walk<'a> {
    subject: &'a Subject<'a>,
    pictures: &'a CleanPictures,
    request: &'a GapRequest,
    noise: &'a dyn Noise,
}

impl Walk<'_> {
    /// Takes the pictures `numbers` from t0 down to 2.
    fn down(
        &self,
        numbers: Range<u64>,
        sums: &mut GapSums,
        progress: &mut dyn FnMut(f64),
    ) -> Result<()> {
        let (schedule, start) = (self.subject.schedule, self.request.start);
        let condition = self.subject.condition(self.pictures, numbers.clone())?;
        let x0 = self.pictures.values(numbers.clone());
        let (mut x, _) = forward_sample(schedule, self.noise, (numbers.clone(), &x0), start);
        let mut gaps = vec![0.0; x.len()];
        for t in (2..=start).rev() {
            let eps = self.subject.eps(&x, self.pictures.shape(), t, &condition)?;
            let residuals = residuals(schedule, t, &x, &x0, &eps);
            let (own, carry) = (schedule.gap_coefficient(t), schedule.gamma2(t));
            for (gap, residual) in gaps.iter_mut().zip(&residuals) {
                *gap = own * residual + carry * *gap;
            }
            let step = GapStep { t, residuals, gaps };
            sums.add(&step)?;
            gaps = step.gaps;
            // Nothing is measured below 2.
            if t > 2 {
                self.step(t, numbers.clone(), &mut x, &eps);
            }
            progress((start + 1 - t) as f64 / (start - 1) as f64);
        }
        Ok(())
    }

    fn step(&self, t: usize, numbers: Range<u64>, x: &mut [f64], eps: &[f64]) {
        let descent = Descent::new(self.subject.schedule, t, self.request.eta);
        let width = self.pictures.width();
        let mut z = vec![0.0; width];
        for ((x, eps), number) in x.chunks_mut(width).zip(eps.chunks(width)).zip(numbers) {
            if descent.is_noisy() {
                self.noise.step(number, t, &mut z);
            }
            for ((x, eps), z) in x.iter_mut().zip(eps).zip(&z) {
                *x = descent.apply(*x, *eps, *z);
            }
        }
    }
}

/// f(x_t, t) minus the noise that x_t holds of x_0.
fn residuals(schedule: &Schedule, t: usize, x: &[f64], x0: &[f64], eps: &[f64]) -> Vec<f64> {
    let (signal, deviation) =
        (schedule.alpha_bar(t).sqrt(), schedule.one_minus_alpha_bar(t).sqrt());
    let target = x.iter().zip(x0).map(|(x, x0)| (x - signal * x0) / deviation);
    eps.iter().zip(target).map(|(eps, target)| eps - target).collect()
}
