//! Euler steps of the probability-flow ODE in time (DDIM, equation 15; Song et al., 2021):
//! x_s / sqrt(abar_s) = x_t / sqrt(abar_t)
//!   + 1/2 ((1 - abar_s) / abar_s - (1 - abar_t) / abar_t) sqrt(abar_t / (1 - abar_t)) eps.
//!
//! The step onto clean data takes half of the predicted noise away only, which shows: it is DDIM's unless
//! asked for.

use super::{Clip, Entry, ODE_CLIPS, Plan, Predict, Sampler, SecondType, transfer};
use crate::Result;
use candle_core::Tensor;

pub(super) const PF_EULER: Entry = Entry {
    name: "pf-euler",
    summary: "Euler steps of the probability-flow ODE in time; the last step is DDIM's",
    source: "DDIM eq. 15",
    order: 1,
    calls_per_step: 1,
    stochastic: false,
    takes_eta: false,
    second: SecondType::None,
    clips: ODE_CLIPS,
    build: |plan, _, clip| Box::new(PfEuler { plan, clip, last: false }),
};

pub(super) const TO_THE_END: Entry = Entry {
    name: "pf-euler-to-end",
    summary: "the same, its last step too: half of the last noise stays",
    build: |plan, _, clip| Box::new(PfEuler { plan, clip, last: true }),
    ..PF_EULER
};

struct PfEuler {
    plan: Plan,
    clip: Clip,
    /// Whether the last step is one of these too.
    last: bool,
}

impl Sampler for PfEuler {
    fn remaining(&self) -> usize {
        self.plan.remaining()
    }

    fn step(&mut self, x: &Tensor, predict: &mut Predict) -> Result<Tensor> {
        let Some((_, step)) = self.plan.advance() else { return Ok(x.clone()) };
        if step.s == step.t {
            return Ok(x.clone());
        }
        let eps = predict.estimate(x, step.t, self.clip)?.eps;
        if step.s == 0 && !self.last {
            return transfer(x, &eps, &step);
        }
        euler(x, &eps, step.alpha_bar_t, step.alpha_bar_s)
    }
}

/// One step between two noise levels, given as alpha_bar; `from` is neither 0 nor 1.
pub(crate) fn euler(x: &Tensor, eps: &Tensor, from: f64, to: f64) -> Result<Tensor> {
    let change = 0.5 * ((1.0 - to) / to - (1.0 - from) / from) * (from / (1.0 - from)).sqrt();
    let x = x.affine((to / from).sqrt(), 0.0)?;
    Ok((x + eps.affine(to.sqrt() * change, 0.0)?)?)
}
