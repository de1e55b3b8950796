//! Lookahead (LA-DPM, Zhang et al., 2023): the clean image of a step is extrapolated from the step
//! before, x_0 + lambda (x_0 - x_0'), lambda = 0.1 as in its code; the noise stays what was predicted. What it adds does not vanish with the
//! length of steps: it is for few steps and networks that err, and has no order.

use super::{Clip, Entry, Plan, Predict, Sampler, SecondType};
use crate::Result;
use candle_core::Tensor;

pub(super) const LA_DDIM: Entry = Entry {
    name: "la-ddim",
    summary: "ddim with x0 + 0.1 (x0 - x0 of the step before); eta = 1 is LA-DDPM",
    source: "LA-DPM eq. 12 to 15 and its code",
    order: 0,
    calls_per_step: 1,
    stochastic: true,
    takes_eta: true,
    second: SecondType::None,
    clips: &[Clip::None, Clip::KeepEps, Clip::RecomputeEps],
    build: |plan, eta, clip| Box::new(LookAhead { plan, eta, clip, last: None }),
};

/// lambda.
const STRENGTH: f64 = 0.1;

struct LookAhead {
    plan: Plan,
    eta: f64,
    clip: Clip,
    /// The clean image that the step before predicted.
    last: Option<Tensor>,
}

impl Sampler for LookAhead {
    fn remaining(&self) -> usize {
        self.plan.remaining()
    }

    fn step(&mut self, x: &Tensor, predict: &mut Predict) -> Result<Tensor> {
        let Some((number, step)) = self.plan.advance() else { return Ok(x.clone()) };
        if step.s == step.t {
            return Ok(x.clone());
        }
        let e = predict.estimate(x, step.t, self.clip)?;
        let x0 = match self.last.replace(e.x0.clone()) {
            None => e.x0,
            Some(last) => (e.x0.affine(1.0 + STRENGTH, 0.0)? - last.affine(STRENGTH, 0.0)?)?,
        };
        let c1 = step.ddim_sigma(self.eta);
        let c2 = step.ddim_direction(c1);
        let mean = (x0.affine(step.alpha_bar_s.sqrt(), 0.0)? + e.eps.affine(c2, 0.0)?)?;
        match c1 == 0.0 {
            true => Ok(mean),
            false => Ok((mean + predict.noise(x, number)?.affine(c1, 0.0)?)?),
        }
    }
}
