use super::{Loss, Objective, Rows, condition, residual, squares, step_times};
use crate::{Result, data::Batch, draws::Draws};
use diff_core::Schedule;
use diff_models::Denoiser;
use serde::{Deserialize, Serialize};

/// [`Simple`] has no options.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SimpleConfig {}

/// L_simple = E ||eps - f(x_t, t)||^2, t uniform over 1..=T, summed over C, H, W and averaged over
/// the batch (DDPM, equation 14; the reduction of ermongroup/ddim and SA-DPM).
pub struct Simple {
    schedule: Schedule,
}

impl Simple {
    /// The objective under a schedule.
    pub fn new(schedule: Schedule) -> Self {
        Simple { schedule }
    }
}

impl Objective for Simple {
    type Model = dyn Denoiser;

    fn loss(&mut self, model: &dyn Denoiser, batch: &Batch, draws: &dyn Draws) -> Result<Loss> {
        let x0 = &batch.x0;
        let step = step_times(draws, x0.dim(0)?, 1, self.schedule.timesteps() as i64)?;
        let times = step[draws.part()].to_vec();
        let eps = draws.noise(x0, 0)?;
        let condition = condition(batch, draws);
        let rows = Rows { x0, eps: &eps, times: &times, condition: &condition };
        let r = residual(model, &self.schedule, rows, &draws.context(1))?;
        let simple = (squares(&r)?.sum_all()? * (1.0 / step.len() as f64))?;
        Ok(Loss { total: simple.clone(), parts: vec![("simple", simple)], times })
    }
}
