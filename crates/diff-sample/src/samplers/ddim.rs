//! Generalised DDIM (DDIM, equation 12 and appendix D.3; ermongroup/ddim `generalized`):
//! x_s = sqrt(abar_s) x_0 + c2 eps + c1 z, c1 = eta sqrt((1 - abar_t/abar_s)(1-abar_s)/(1-abar_t)),
//! c2 = sqrt(1 - abar_s - c1^2). eta = 0 is DDIM, eta = 1 is DDPM with the posterior variance.

use super::{Clip, Entry, Plan, Predict, Sampler, SecondType};
use crate::Result;
use candle_core::Tensor;

pub(super) const DDIM: Entry = Entry {
    name: "ddim",
    summary: "x_s = sqrt(abar_s) x0 + c2 eps + c1 z; eta = 0 deterministic, eta = 1 DDPM",
    source: "DDIM eq. 12; SA-DPM's own tables (D33)",
    order: 1,
    calls_per_step: 1,
    stochastic: true,
    takes_eta: true,
    second: SecondType::None,
    clips: &[Clip::None, Clip::KeepEps, Clip::RecomputeEps],
    build: |plan, eta, clip| Box::new(Ddim { plan, eta, clip }),
};

struct Ddim {
    plan: Plan,
    eta: f64,
    clip: Clip,
}

impl Sampler for Ddim {
    fn remaining(&self) -> usize {
        self.plan.remaining()
    }

    fn step(&mut self, x: &Tensor, predict: &mut Predict) -> Result<Tensor> {
        let Some((number, step)) = self.plan.advance() else { return Ok(x.clone()) };
        let e = predict.estimate(x, step.t, self.clip)?;
        let c1 = step.ddim_sigma(self.eta);
        let c2 = step.ddim_direction(c1);
        let mean = (e.x0.affine(step.alpha_bar_s.sqrt(), 0.0)? + e.eps.affine(c2, 0.0)?)?;
        if c1 == 0.0 {
            return Ok(mean);
        }
        Ok((mean + predict.noise(x, number)?.affine(c1, 0.0)?)?)
    }
}
