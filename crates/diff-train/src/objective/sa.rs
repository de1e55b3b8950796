//! The sequence-aware objective L_simple + lambda L_sa (SA-DPM, section 3.2 and algorithm 3).

use super::{Loss, Objective, Rows, argument, condition, residual, squares, step_times};
use crate::{Result, data::Batch, draws::Draws};
use candle_core::Tensor;
use diff_core::{
    Schedule,
    gap::{TauMode, step_weights},
};
use diff_models::{Condition, Denoiser, Label};
use serde::{Deserialize, Serialize};

/// The options of [`SequenceAware`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SaConfig {
    /// Window length K in 0..=T; 0 and 1 mean L_simple alone.
    pub steps: usize,
    /// Weight of L_sa, at least 0; 0 means L_simple alone.
    pub lambda: f64,
    /// Weight of L_simple, at least 0; 0 trains on L_sa alone.
    pub simple_weight: f64,
    /// Which time steps form a window.
    pub window: Window,
    /// Whether residuals are weighted by tau.
    pub tau: TauMode,
    /// Whether the steps of a window share their noise.
    pub noise: NoiseMode,
}

impl Default for SaConfig {
    fn default() -> Self {
        SaConfig {
            steps: 2,
            lambda: 1.0,
            simple_weight: 1.0,
            window: Window::Code,
            tau: TauMode::Off,
            noise: NoiseMode::Independent,
        }
    }
}

/// Which time steps a window holds. Paper and released code differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Window {
    /// t, t-1, .. t-K+1 with t uniform over 1..=T; steps below 1 are masked (SA-DPM's code, which
    /// made its checkpoints).
    #[default]
    Code,
    /// t, t+1, .. t+K-1 with t uniform over 1-K..=T; steps outside 2..=T are zero (SA-DPM's text).
    /// L_simple is averaged over the rows with t >= 1, over which t is uniform.
    Paper,
}

/// The noise of a window's steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NoiseMode {
    /// Every step has its own.
    #[default]
    Independent,
    /// All steps share the first one's.
    Shared,
}

impl SaConfig {
    /// Network rows per picture: K, or 1 where only L_simple is left.
    pub fn window_steps(&self) -> usize {
        if self.lambda == 0.0 { 1 } else { self.steps.max(1) }
    }

    fn check(&self, timesteps: usize) -> Result<()> {
        let weight = |name: &str, value: f64| match value.is_finite() && value >= 0.0 {
            true => Ok(()),
            false => Err(argument(name, value, "a finite number, at least 0")),
        };
        weight("objective.lambda", self.lambda)?;
        weight("objective.simple_weight", self.simple_weight)?;
        if self.steps > timesteps {
            let expected = format!("a window of at most T = {timesteps} steps");
            return Err(argument("objective.steps", self.steps, expected));
        }
        if self.simple_weight == 0.0 && self.window_steps() == 1 {
            let expected = "more than 0 where lambda = 0 or steps < 2 leave nothing else";
            return Err(argument("objective.simple_weight", 0.0, expected));
        }
        Ok(())
    }
}

/// L_sa = (1/K^2) mean_b sum_chw ( sum_s w_s (eps_s - f(x_s, s)) )^2 over a window of K steps, added
/// to L_simple of the window's first step. The K steps run as one batch of K B rows, with the
/// gradient through all of them.
pub struct SequenceAware {
    config: SaConfig,
    schedule: Schedule,
    weights: Vec<f64>,
}

impl SequenceAware {
    /// The objective under a schedule.
    ///
    /// # Errors
    /// When K > T, a weight is negative or nothing is left to minimise.
    pub fn new(config: SaConfig, schedule: Schedule) -> Result<Self> {
        config.check(schedule.timesteps())?;
        let mut weights = step_weights(&schedule, config.tau);
        if config.window == Window::Paper {
            weights[1] = 0.0;
        }
        Ok(SequenceAware { config, schedule, weights })
    }

    /// Paper time of place `j` of a window that starts at `t`.
    fn time(&self, t: i64, j: usize) -> i64 {
        match self.config.window {
            Window::Code => t - j as i64,
            Window::Paper => t + j as i64,
        }
    }

    fn in_range(&self, t: i64) -> bool {
        (1..=self.schedule.timesteps() as i64).contains(&t)
    }

    fn weight(&self, t: i64) -> f64 {
        if self.in_range(t) { self.weights[t as usize] } else { 0.0 }
    }

    fn draw_times(&self, rows: usize, draws: &dyn Draws) -> Result<Vec<i64>> {
        let low = match self.config.window {
            Window::Code => 1,
            Window::Paper => 1 - self.config.window_steps() as i64,
        };
        step_times(draws, rows, low, self.schedule.timesteps() as i64)
    }

    /// Residuals `[B, K, C, H, W]` of all window places, and their times, picture by picture.
    fn residuals(
        &self,
        model: &dyn Denoiser,
        batch: &Batch,
        starts: &[i64],
        draws: &dyn Draws,
    ) -> Result<(Tensor, Vec<i64>)> {
        let k = self.config.window_steps();
        let noise = (0..k)
            .map(|j| match self.config.noise {
                NoiseMode::Independent => draws.noise(&batch.x0, j),
                NoiseMode::Shared => draws.noise(&batch.x0, 0),
            })
            .collect::<Result<Vec<_>>>()?;
        let times: Vec<i64> =
            starts.iter().flat_map(|t| (0..k).map(|j| self.time(*t, j))).collect();
        // A time beyond T has weight 0; it is brought back only so that the schedule has an entry.
        let top = self.schedule.timesteps() as i64;
        let usable: Vec<i64> = times.iter().map(|t| (*t).min(top)).collect();
        let eps = Tensor::stack(&noise, 1)?;
        let x0 = batch.x0.unsqueeze(1)?.broadcast_as(eps.shape())?.flatten(0, 1)?;
        let told = condition(batch, draws);
        let class = told.class.map(|labels| repeat_each(&labels, k));
        let condition = Condition { class, ..told };
        let rows =
            Rows { x0: &x0, eps: &eps.flatten(0, 1)?, times: &usable, condition: &condition };
        let r = residual(model, &self.schedule, rows, &draws.context(k))?;
        Ok((r.reshape(eps.shape())?, times))
    }

    /// mean over the step's rows with t in 1..=T of their squared residuals.
    fn simple(&self, first: &Tensor, starts: &[i64], step: &[i64]) -> Result<Tensor> {
        let kept: Vec<f32> = starts.iter().map(|t| self.in_range(*t) as u8 as f32).collect();
        let count = step.iter().filter(|t| self.in_range(**t)).count().max(1) as f64;
        let mask = Tensor::new(kept, first.device())?.to_dtype(first.dtype())?;
        Ok(((squares(first)? * mask)?.sum_all()? * (1.0 / count))?)
    }

    /// (1/K^2) mean over the step's rows of the squared, weighted sum over the window.
    fn sequence(&self, r: &Tensor, times: &[i64], step_rows: usize) -> Result<Tensor> {
        let (rows, k) = (r.dim(0)?, r.dim(1)?);
        let weights: Vec<f64> = times.iter().map(|t| self.weight(*t)).collect();
        let weights = Tensor::from_vec(weights, (rows, k, 1), r.device())?.to_dtype(r.dtype())?;
        let sum = r.flatten_from(2)?.broadcast_mul(&weights)?.sum(1)?;
        Ok((squares(&sum)?.sum_all()? * (1.0 / (k * k * step_rows) as f64))?)
    }
}

fn repeat_each(labels: &[Label], k: usize) -> Vec<Label> {
    labels.iter().flat_map(|label| std::iter::repeat_n(*label, k)).collect()
}

impl Objective for SequenceAware {
    type Model = dyn Denoiser;

    fn loss(&mut self, model: &dyn Denoiser, batch: &Batch, draws: &dyn Draws) -> Result<Loss> {
        let step = self.draw_times(batch.x0.dim(0)?, draws)?;
        let starts = step[draws.part()].to_vec();
        let (r, times) = self.residuals(model, batch, &starts, draws)?;
        let simple = self.simple(&r.narrow(1, 0, 1)?, &starts, &step)?;
        let mut total = (&simple * self.config.simple_weight)?;
        let mut parts = vec![("simple", simple)];
        if self.config.window_steps() > 1 {
            let sa = self.sequence(&r, &times, step.len())?;
            total = (total + (&sa * self.config.lambda)?)?;
            parts.push(("sa", sa));
        }
        Ok(Loss { total, parts, times: starts })
    }
}
