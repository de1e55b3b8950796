use super::{
    Loss, Objective, Rows,
    bound::{self, Terms},
    condition, predicted, step_times,
};
use crate::{Result, data::Batch, draws::Draws};
use diff_core::{ReverseVariance, Schedule};
use diff_models::Denoiser;
use serde::{Deserialize, Serialize};

/// The options of [`Vlb`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct VlbConfig {
    /// The variance of the reverse process; `learned` for networks with a learned range, and only
    /// for them.
    pub variance: ReverseVariance,
    /// Whether the loss is the sum of the terms, T times their mean (guided-diffusion's
    /// `RESCALED_KL`), or their mean (`KL`).
    pub rescaled: bool,
}

impl Default for VlbConfig {
    fn default() -> Self {
        VlbConfig { variance: ReverseVariance::Small, rescaled: true }
    }
}

/// L_vlb = E T L_{t-1}, t uniform over 1..=T, in bits per dimension and averaged over the batch: the
/// variational bound without its prior term, which no network changes (DDPM, equation 5; improved
/// DDPM, equation 4). With a fixed variance this is E w_t ||eps - f(x_t, t)||^2 for t > 1, with the
/// weights of DDPM's equation 12 and a decoder at t = 1.
pub struct Vlb {
    config: VlbConfig,
    schedule: Schedule,
}

impl Vlb {
    /// The objective under a schedule.
    ///
    /// # Errors
    /// When T < 2 or alpha_bar_T = 0.
    pub fn new(config: VlbConfig, schedule: Schedule) -> Result<Self> {
        bound::check(&schedule)?;
        Ok(Vlb { config, schedule })
    }
}

impl Objective for Vlb {
    type Model = dyn Denoiser;

    fn loss(&mut self, model: &dyn Denoiser, batch: &Batch, draws: &dyn Draws) -> Result<Loss> {
        let (x0, timesteps) = (&batch.x0, self.schedule.timesteps());
        let step = step_times(draws, x0.dim(0)?, 1, timesteps as i64)?;
        let times = step[draws.part()].to_vec();
        let eps = draws.noise(x0, 0)?;
        let condition = condition(batch, draws);
        let rows = Rows { x0, eps: &eps, times: &times, condition: &condition };
        let (residual, second) = predicted(model, &self.schedule, rows, &draws.context(1))?;
        let terms = Terms { schedule: &self.schedule, x0, residual: &residual, times: &times };
        let log_variance = match self.config.variance {
            ReverseVariance::Learned => terms.within(&bound::learned(second)?)?,
            fixed => terms.fixed(fixed)?,
        };
        let mean = (terms.bits(&log_variance)? * (1.0 / step.len() as f64))?;
        let vlb = (&mean * timesteps as f64)?;
        let total = if self.config.rescaled { vlb.clone() } else { mean };
        Ok(Loss { total, parts: vec![("vlb", vlb)], times })
    }
}
