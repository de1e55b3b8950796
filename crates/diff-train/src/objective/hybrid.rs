use super::{
    Loss, Objective, Rows, argument,
    bound::{self, Terms},
    condition, predicted, squares, step_times,
};
use crate::{Result, data::Batch, draws::Draws};
use diff_core::Schedule;
use diff_models::Denoiser;
use serde::{Deserialize, Serialize};

/// The options of [`Hybrid`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HybridConfig {
    /// Weight of L_vlb, at least 0.
    pub lambda: f64,
    /// Whether L_vlb is the sum of the T terms (improved DDPM; guided-diffusion's
    /// `rescale_learned_sigmas`) or 1000 times their mean (guided-diffusion without it). At T = 1000
    /// that is the same.
    pub rescaled: bool,
}

impl Default for HybridConfig {
    fn default() -> Self {
        HybridConfig { lambda: 0.001, rescaled: true }
    }
}

/// The terms that stand for all of them where L_vlb is not rescaled.
const TERMS: f64 = 1000.0;

/// L_simple + lambda L_vlb for networks with a learned range (improved DDPM, equation 16). L_vlb
/// teaches the range alone: it sees the predicted noise without its gradient.
///
/// Both are sums over C, H, W, averaged over the batch, with L_vlb in bits: C H W times the loss of
/// guided-diffusion, which averages over them (`MSE` and `RESCALED_MSE`).
pub struct Hybrid {
    config: HybridConfig,
    schedule: Schedule,
}

impl Hybrid {
    /// The objective under a schedule.
    ///
    /// # Errors
    /// When lambda is negative or not finite, T < 2 or alpha_bar_T = 0.
    pub fn new(config: HybridConfig, schedule: Schedule) -> Result<Self> {
        bound::check(&schedule)?;
        match config.lambda.is_finite() && config.lambda >= 0.0 {
            true => Ok(Hybrid { config, schedule }),
            false => {
                Err(argument("objective.lambda", config.lambda, "a finite number, at least 0"))
            }
        }
    }
}

impl Objective for Hybrid {
    type Model = dyn Denoiser;

    fn loss(&mut self, model: &dyn Denoiser, batch: &Batch, draws: &dyn Draws) -> Result<Loss> {
        let (x0, timesteps) = (&batch.x0, self.schedule.timesteps() as f64);
        let step = step_times(draws, x0.dim(0)?, 1, self.schedule.timesteps() as i64)?;
        let times = step[draws.part()].to_vec();
        let eps = draws.noise(x0, 0)?;
        let condition = condition(batch, draws);
        let rows = Rows { x0, eps: &eps, times: &times, condition: &condition };
        let (residual, second) = predicted(model, &self.schedule, rows, &draws.context(1))?;
        let share = 1.0 / step.len() as f64;
        let simple = (squares(&residual)?.sum_all()? * share)?;
        let frozen = residual.detach();
        let terms = Terms { schedule: &self.schedule, x0, residual: &frozen, times: &times };
        let log_variance = terms.within(&bound::learned(second)?)?;
        let vlb = (terms.bits(&log_variance)? * (timesteps * share))?;
        let terms = if self.config.rescaled { 1.0 } else { TERMS / timesteps };
        let dims = (x0.elem_count() / times.len()) as f64;
        let total = (&simple + (&vlb * (self.config.lambda * terms * dims))?)?;
        Ok(Loss { total, parts: vec![("simple", simple), ("vlb", vlb)], times })
    }
}
