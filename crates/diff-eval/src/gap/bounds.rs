use super::{
    CleanPictures, Subject,
    measure::{batches, check_counts, forward_sample},
    noise::{Addressed, Noise},
};
use crate::Result;
use diff_core::{
    Error,
    gap::{TauMode, step_weights, theorem2, total},
};
use serde::Serialize;
use std::ops::Range;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BoundsRequest {
    /// Pictures, at least 1.
    pub num: u64,
    /// Theorem 2 is evaluated for K = 1..=windows; in 1..=T.
    pub windows: usize,
    /// The weights in Theorem 2.
    pub tau: TauMode,
    /// Seed of the noise.
    pub seed: u64,
    /// Pictures at a time, at least 1. All residuals of a batch are held at once: T - 1 times its
    /// pictures in f64.
    pub batch: usize,
}

impl BoundsRequest {
    /// Refuses values out of range.
    ///
    /// # Errors
    /// Names the value and its range.
    pub fn check(&self, timesteps: usize) -> Result<()> {
        if timesteps < 2 {
            let expected = "at least 2 for a gap to add up";
            return Err(Error::argument("timesteps", timesteps, expected).into());
        }
        if !(1..=timesteps).contains(&self.windows) {
            let expected = format!("K in 1..=T = {timesteps}");
            return Err(Error::argument("windows", self.windows, expected).into());
        }
        check_counts(self.num, self.batch)
    }
}

/// The total gap of a denoiser and what Theorem 2 says of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BoundsReport {
    /// Mean over pictures of ||d_theta(x_0)||_2, the norm of the total gap (SA-DPM, Theorem 1).
    pub gap_l2: f64,
    /// L_theta, the mean over pictures of its square.
    pub loss: f64,
    /// Theorem 2 for K = 1, 2, ...
    pub bounds: Vec<WindowBounds>,
}

/// Theorem 2's three quantities for one window, averaged over pictures.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct WindowBounds {
    /// K.
    pub window: usize,
    /// (T-1)/(T+K) L^tau_simple.
    pub upper: f64,
    /// L_sa.
    pub sequence_aware: f64,
    /// ||sum of weight_s r_s||^2 / (T+K)^2: L_theta / (T+K)^2 where the weights are tau.
    pub lower: f64,
    /// Whether upper >= sequence_aware >= lower for every single picture, up to rounding.
    pub hold: bool,
}

/// Measures the total gap d_theta(x_0) = sum of tau_i (f(x_i, i) - eps_i) over i = 2..=T on forward
/// samples x_i = sqrt(abar_i) x_0 + sqrt(1 - abar_i) eps_i with independent eps_i (SA-DPM, Theorem 1),
/// and Theorem 2's quantities. `progress` hears how many pictures are done.
///
/// # Errors
/// Values out of range, pictures that the network does not take, predictions that are not finite.
pub fn bounds(
    subject: &Subject,
    pictures: &CleanPictures,
    request: &BoundsRequest,
    progress: &mut dyn FnMut(f64),
) -> Result<BoundsReport> {
    request.check(subject.schedule.timesteps())?;
    let weights = step_weights(subject.schedule, request.tau);
    let window =
        |window| WindowBounds { window, upper: 0.0, sequence_aware: 0.0, lower: 0.0, hold: true };
    let windows = (1..=request.windows).map(window).collect();
    let mut report = BoundsReport { gap_l2: 0.0, loss: 0.0, bounds: windows };
    let noise = Addressed { seed: request.seed };
    for numbers in batches(request.num, request.batch) {
        let (first, rows) = (numbers.start as f64, (numbers.end - numbers.start) as f64);
        let mut told = |share| progress(first + share * rows);
        for residuals in residuals(subject, pictures, &noise, numbers, &mut told)? {
            let gap = total(subject.schedule, 2, &residuals)?;
            let square: f64 = gap.iter().map(|v| v * v).sum();
            report.gap_l2 += square.sqrt();
            report.loss += square;
            for sum in &mut report.bounds {
                let bounds = theorem2(&weights, &residuals, sum.window)?;
                sum.upper += bounds.upper;
                sum.sequence_aware += bounds.sequence_aware;
                sum.lower += bounds.lower;
                sum.hold &= bounds.hold();
            }
        }
    }
    let num = request.num as f64;
    report.gap_l2 /= num;
    report.loss /= num;
    for sum in &mut report.bounds {
        sum.upper /= num;
        sum.sequence_aware /= num;
        sum.lower /= num;
    }
    Ok(report)
}

/// For every picture its residuals r_2..r_T.
fn residuals(
    subject: &Subject,
    pictures: &CleanPictures,
    noise: &dyn Noise,
    numbers: Range<u64>,
    progress: &mut dyn FnMut(f64),
) -> Result<Vec<Vec<Vec<f64>>>> {
    let last = subject.schedule.timesteps();
    let condition = subject.condition(pictures, numbers.clone())?;
    let x0 = pictures.values(numbers.clone());
    let mut of_picture = vec![Vec::with_capacity(last - 1); x0.len() / pictures.width()];
    for t in 2..=last {
        let (x, noise) = forward_sample(subject.schedule, noise, (numbers.clone(), &x0), t);
        let mut rows = subject.eps(&x, pictures.shape(), t, &condition)?;
        rows.iter_mut().zip(noise).for_each(|(eps, noise)| *eps -= noise);
        for (rows, row) in of_picture.iter_mut().zip(rows.chunks(pictures.width())) {
            rows.push(row.to_vec());
        }
        progress((t - 1) as f64 / (last - 1) as f64);
    }
    Ok(of_picture)
}
