//! The accelerated sampler of the DDPM / conditional study (equation 16, with the bracket where its code
//! has it): DDIM's step with eta in front of the variance where DDIM has it in front of the deviation,
//! v = eta beta~_{s|t}: x_s = sqrt(abar_s / abar_t) x + (sqrt(1 - abar_s - v) - sqrt(abar_s (1 - abar_t) /
//! abar_t)) eps + sqrt(v) z. Its "simple variance" adds noise of variance beta_{t|s} to the step of
//! eta = 1, onto clean data too.

use super::{Clip, Entry, ODE_CLIPS, Plan, Predict, Sampler, SecondType};
use crate::Result;
use candle_core::Tensor;

pub(super) const DDIM: Entry = Entry {
    name: "study-ddim",
    summary: "DDIM's step with eta in front of the variance, eta beta~_{s|t}",
    source: "the study's eq. 16 and code (D11)",
    order: 1,
    calls_per_step: 1,
    stochastic: true,
    takes_eta: true,
    second: SecondType::None,
    clips: ODE_CLIPS,
    build: |plan, eta, clip| Box::new(Study { plan, clip, eta, simple: false }),
};

pub(super) const SIMPLE: Entry = Entry {
    name: "study-simple",
    summary: "the step of eta = 1 with noise of variance beta_{t|s}, in the last step too",
    source: "the study's table 2, last row",
    takes_eta: false,
    build: |plan, _, clip| Box::new(Study { plan, clip, eta: 1.0, simple: true }),
    ..DDIM
};

struct Study {
    plan: Plan,
    clip: Clip,
    eta: f64,
    /// Whether the noise has the simple variance.
    simple: bool,
}

impl Sampler for Study {
    fn remaining(&self) -> usize {
        self.plan.remaining()
    }

    fn step(&mut self, x: &Tensor, predict: &mut Predict) -> Result<Tensor> {
        let Some((number, step)) = self.plan.advance() else { return Ok(x.clone()) };
        let e = predict.estimate(x, step.t, self.clip)?;
        let variance = self.eta * step.beta_tilde();
        let direction = step.ddim_direction(variance.sqrt());
        let mean = (e.x0.affine(step.alpha_bar_s.sqrt(), 0.0)? + e.eps.affine(direction, 0.0)?)?;
        let noise = if self.simple { step.beta() } else { variance };
        match noise == 0.0 {
            true => Ok(mean),
            false => Ok((mean + predict.noise(x, number)?.affine(noise.sqrt(), 0.0)?)?),
        }
    }
}
