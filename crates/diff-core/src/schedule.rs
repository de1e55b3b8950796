//! The discrete forward process q(x_t | x_0) = N(sqrt(alpha_bar_t) x_0, (1 - alpha_bar_t) I) and
//! every coefficient derived from it, in f64 and by paper time t = 1..=T, alpha_bar_0 = 1.

mod spec;

pub(crate) use spec::MOST_TIMESTEPS;
pub use spec::{ScheduleKind, ScheduleSpec};

use crate::{
    error::{Error, Result},
    posterior::Step,
};

/// Stands in for an alpha_bar of exactly 0 where a formula divides by it or takes its logarithm.
pub(crate) const LEAST_ALPHA_BAR: f64 = 1e-12;

/// Stands in for a posterior variance of exactly 0 inside a logarithm.
const LEAST_VARIANCE: f64 = 1e-20;

/// A forward process. Accessors take the paper time t.
///
/// # Panics
///
/// Every accessor panics when its time is outside the range it names, as a slice would.
#[derive(Clone, Debug)]
pub struct Schedule {
    spec: ScheduleSpec,
    /// beta_t; entry 0 is 0.
    betas: Vec<f64>,
    /// alpha_bar_t; entry 0 is 1.
    alpha_bars: Vec<f64>,
    /// 1 - alpha_bar_t, kept apart because the subtraction loses digits at small t.
    noise: Vec<f64>,
    /// beta'_t; entry 0 is 0.
    beta_primes: Vec<f64>,
}

impl Schedule {
    /// Builds the process that `spec` describes.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] for a field that is out of range, missing, or not used by the kind, and
    /// for parameters with which alpha_bar does not fall strictly from 1, or reaches 0 before T.
    pub fn new(spec: &ScheduleSpec) -> Result<Self> {
        spec.check()?;
        let betas = match &spec.betas {
            Some(betas) => Some(betas.clone()),
            None => spec.family_betas(),
        };
        match (betas, &spec.alpha_bars) {
            (Some(betas), _) => Self::accumulate(spec.clone(), &betas),
            (None, alpha_bars) => {
                Self::divide(spec.clone(), alpha_bars.as_deref().unwrap_or_default())
            }
        }
    }

    /// The process with the given beta_1..beta_T, each in (0, 1] and 1 at T only.
    ///
    /// # Errors
    ///
    /// As [`Schedule::new`].
    pub fn from_betas(betas: &[f64]) -> Result<Self> {
        Self::new(&ScheduleSpec {
            kind: ScheduleKind::Custom,
            timesteps: betas.len(),
            betas: Some(betas.to_vec()),
            ..ScheduleSpec::default()
        })
    }

    /// The process with the given alpha_bar_1..alpha_bar_T: strictly decreasing, below 1, above 0
    /// (0 itself at T only).
    ///
    /// # Errors
    ///
    /// As [`Schedule::new`].
    pub fn from_alpha_bars(alpha_bars: &[f64]) -> Result<Self> {
        Self::new(&ScheduleSpec {
            kind: ScheduleKind::Custom,
            timesteps: alpha_bars.len(),
            alpha_bars: Some(alpha_bars.to_vec()),
            ..ScheduleSpec::default()
        })
    }

    /// The process that visits only `times` of this one, strictly increasing members of 1..=T:
    /// betas are recomputed from the retained alpha_bars (guided-diffusion).
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] when `times` is empty, not strictly increasing, or leaves 1..=T.
    pub fn respaced(&self, times: &[usize]) -> Result<Self> {
        crate::trajectory::check_increasing(times, self.timesteps())?;
        let alpha_bars: Vec<f64> = times.iter().map(|&t| self.alpha_bar(t)).collect();
        Self::from_alpha_bars(&alpha_bars)
    }

    fn accumulate(spec: ScheduleSpec, betas: &[f64]) -> Result<Self> {
        let (mut alpha_bars, mut noise) = (vec![1.0], vec![0.0]);
        let (mut alpha_bar, mut rest) = (1.0, 0.0);
        for (i, &beta) in betas.iter().enumerate() {
            if !(beta > 0.0 && beta <= 1.0) {
                let name = format!("beta at t = {}", i + 1);
                return Err(Error::argument(name, beta, "a number above 0 and at most 1"));
            }
            // 1 - alpha_bar_t = alpha_t (1 - alpha_bar_{t-1}) + beta_t: no cancellation.
            rest = (1.0 - beta) * rest + beta;
            alpha_bar *= 1.0 - beta;
            alpha_bars.push(alpha_bar);
            noise.push(rest);
        }
        Self::finish(spec, [&[0.0], betas].concat(), alpha_bars, noise)
    }

    fn divide(spec: ScheduleSpec, alpha_bars: &[f64]) -> Result<Self> {
        let alpha_bars = [&[1.0], alpha_bars].concat();
        let ratios = alpha_bars.windows(2).map(|pair| (pair[0] - pair[1]) / pair[0]);
        let betas = std::iter::once(0.0).chain(ratios).collect();
        let noise = alpha_bars.iter().map(|a| 1.0 - a).collect();
        Self::finish(spec, betas, alpha_bars, noise)
    }

    fn finish(
        spec: ScheduleSpec,
        betas: Vec<f64>,
        alpha_bars: Vec<f64>,
        noise: Vec<f64>,
    ) -> Result<Self> {
        let last = alpha_bars.len() - 1;
        for (t, pair) in alpha_bars.windows(2).enumerate() {
            let (t, [before, now]) = (t + 1, [pair[0], pair[1]]);
            let falls = now < before && (now > 0.0 || (now == 0.0 && t == last));
            if !falls {
                let expected = format!(
                    "a number below alpha_bar({}) = {before} and above 0 (0 only at T = {last})",
                    t - 1
                );
                return Err(Error::argument(format!("alpha_bar({t})"), now, expected));
            }
        }
        let mut schedule =
            Schedule { spec, betas, alpha_bars, noise, beta_primes: vec![0.0; last + 1] };
        let mut next = 0.0;
        for t in (1..=last).rev() {
            next = schedule.gamma2(t).powi(2) * next + schedule.beta_tilde(t);
            schedule.beta_primes[t] = next;
        }
        Ok(schedule)
    }

    /// What this schedule was built from; [`Schedule::new`] rebuilds it exactly.
    pub fn spec(&self) -> &ScheduleSpec {
        &self.spec
    }

    /// T.
    pub fn timesteps(&self) -> usize {
        self.betas.len() - 1
    }

    /// beta_t, t in 0..=T; beta_0 = 0.
    pub fn beta(&self, t: usize) -> f64 {
        self.betas[t]
    }

    /// alpha_t = 1 - beta_t, t in 0..=T.
    pub fn alpha(&self, t: usize) -> f64 {
        1.0 - self.betas[t]
    }

    /// alpha_bar_t, the product of alpha_1..alpha_t, t in 0..=T.
    pub fn alpha_bar(&self, t: usize) -> f64 {
        self.alpha_bars[t]
    }

    /// 1 - alpha_bar_t, t in 0..=T, without the digits that the subtraction would lose.
    pub fn one_minus_alpha_bar(&self, t: usize) -> f64 {
        self.noise[t]
    }

    /// alpha_bar at a real time in [0, T] (others are clamped): exact at whole times, between them
    /// linear in ln(alpha_bar), the interpolation of the discrete VP process in DPM-Solver. An
    /// alpha_bar_T of 0 counts as 1e-12 inside the logarithm. NaN gives NaN.
    pub fn alpha_bar_at(&self, t: f64) -> f64 {
        let t = t.clamp(0.0, self.timesteps() as f64);
        let below = t.floor();
        let fraction = t - below;
        let below = below as usize;
        if fraction == 0.0 {
            return self.alpha_bars[below];
        }
        let log = |t: usize| match self.alpha_bars[t] {
            0.0 => LEAST_ALPHA_BAR.min(self.alpha_bars[t - 1]).ln(),
            positive => positive.ln(),
        };
        let above = (below + 1).min(self.timesteps());
        ((1.0 - fraction) * log(below) + fraction * log(above)).exp()
    }

    /// Weight of x_0 in the posterior mean, sqrt(alpha_bar_{t-1}) beta_t / (1 - alpha_bar_t),
    /// t in 1..=T; 1 at t = 1 (DDPM, equation 7).
    pub fn gamma1(&self, t: usize) -> f64 {
        self.alpha_bars[t - 1].sqrt() * self.betas[t] / self.noise[t]
    }

    /// Weight of x_t in the posterior mean, sqrt(alpha_t) (1 - alpha_bar_{t-1}) / (1 - alpha_bar_t),
    /// t in 1..=T; 0 at t = 1 (DDPM, equation 7).
    pub fn gamma2(&self, t: usize) -> f64 {
        self.alpha(t).sqrt() * self.noise[t - 1] / self.noise[t]
    }

    /// Variance of the posterior, beta_t (1 - alpha_bar_{t-1}) / (1 - alpha_bar_t), t in 1..=T;
    /// 0 at t = 1.
    pub fn beta_tilde(&self, t: usize) -> f64 {
        self.betas[t] * self.noise[t - 1] / self.noise[t]
    }

    /// ln of [`beta_tilde`](Self::beta_tilde), t in 1..=T, with the value of t = 2 at t = 1
    /// (guided-diffusion); where T = 1 there is none and ln 1e-20 stands in.
    pub fn log_beta_tilde(&self, t: usize) -> f64 {
        assert!(t >= 1, "log_beta_tilde is defined for t in 1..=T");
        let t = t.max(2.min(self.timesteps()));
        self.beta_tilde(t).max(LEAST_VARIANCE).ln()
    }

    /// ln(alpha_bar_t / (1 - alpha_bar_t)), t in 0..=T; infinite where alpha_bar_t is 1 or 0.
    pub fn log_snr(&self, t: usize) -> f64 {
        self.alpha_bars[t].ln() - self.noise[t].ln()
    }

    /// alpha_bar_t / (1 - alpha_bar_t), t in 0..=T; infinite at 0.
    pub fn snr(&self, t: usize) -> f64 {
        self.alpha_bars[t] / self.noise[t]
    }

    /// sqrt((1 - alpha_bar_t) / alpha_bar_t), t in 0..=T: the noise level of the equivalent
    /// variance-exploding process (DDIM, section 4.3); infinite where alpha_bar_t = 0.
    pub fn ve_sigma(&self, t: usize) -> f64 {
        (self.noise[t] / self.alpha_bars[t]).sqrt()
    }

    /// c_t = beta_t / (sqrt(alpha_t) sqrt(1 - alpha_bar_t)), t in 1..=T: how much an error of the
    /// noise prediction moves the posterior mean (SA-DPM, section 3.1). An alpha_bar_T of 0 counts
    /// as 1e-12, so that weights stay finite.
    pub fn gap_coefficient(&self, t: usize) -> f64 {
        let alpha = match self.alpha(t) {
            0.0 => LEAST_ALPHA_BAR.min(self.alpha_bars[t - 1]) / self.alpha_bars[t - 1],
            positive => positive,
        };
        self.betas[t] / (alpha.sqrt() * self.noise[t].sqrt())
    }

    /// tau_t, the weight of the error at t in the total gap (SA-DPM, Theorem 1, in the form its
    /// proof gives): c_t sqrt(alpha_bar_{t-1}) (1 - alpha_bar_1) / (sqrt(alpha_1)
    /// (1 - alpha_bar_{t-1})) for t in 2..=T, and 0 for t < 2.
    pub fn tau(&self, t: usize) -> f64 {
        if t < 2 {
            return 0.0;
        }
        // The ratio of 1 - alpha_bar is 1 at t = 2, exactly.
        self.gap_coefficient(t)
            * (self.alpha_bars[t - 1] / self.alpha_bars[1]).sqrt()
            * (self.noise[1] / self.noise[t - 1])
    }

    /// r_t = sqrt(alpha_bar_T) (1 - alpha_bar_{t-1}) / sqrt(alpha_bar_{t-1} (1 - alpha_bar_T)),
    /// t in 1..=T: weight of the noise of x_T in the mean of q(x_{t-1} | x_T, x_0) (SA-DPM,
    /// appendix B); 0 at t = 1.
    pub fn reverse_gap(&self, t: usize) -> f64 {
        let last = self.timesteps();
        let (before, top) = (self.alpha_bars[t - 1], self.alpha_bars[last]);
        (top / before).sqrt() * (self.noise[t - 1] / self.noise[last].sqrt())
    }

    /// beta'_t, the variance of q(x_{t-1} | x_T, x_0), t in 1..=T: beta'_T = beta_tilde_T,
    /// beta'_t = gamma2_t^2 beta'_{t+1} + beta_tilde_t (SA-DPM, appendix B).
    pub fn beta_prime(&self, t: usize) -> f64 {
        assert!(t >= 1, "beta_prime is defined for t in 1..=T");
        self.beta_primes[t]
    }

    /// The transition from time t down to time s, s <= t in 0..=T.
    pub fn step(&self, s: usize, t: usize) -> Step {
        assert!(s <= t, "a step goes down: s = {s} is above t = {t}");
        Step { s, t, alpha_bar_s: self.alpha_bars[s], alpha_bar_t: self.alpha_bars[t] }
    }
}
