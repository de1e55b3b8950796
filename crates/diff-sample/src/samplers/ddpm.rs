//! DDPM's ancestral step over any sub-sequence: the posterior mean gamma1 x_0 + gamma2 x_t with a
//! fixed variance: beta~_{s|t} (small) or beta_{t|s} (large). The step onto clean data is noise-free.
//!
//! sigma-hat is DDIM's name for the large variance (DDIM, appendix D.3; ermongroup/ddim
//! `ddpm_noisy`). Its printed mean uses the unclipped x_0: that is `clip = none`.

use super::{Clip, Entry, Plan, Predict, Sampler};
use crate::Result;
use candle_core::Tensor;
use diff_core::Step;

const CLIPS: &[Clip] = &[Clip::Posterior, Clip::None];

pub(super) const SMALL: Entry = Entry {
    name: "ddpm",
    summary: "posterior mean, variance beta~_{s|t}",
    source: "DDPM algorithm 2, sigma^2 = beta~",
    order: 1,
    calls_per_step: 1,
    stochastic: true,
    takes_eta: false,
    clips: CLIPS,
    build: |plan, _, clip| Box::new(Ddpm { plan, clip, variance: Step::beta_tilde }),
};

pub(super) const LARGE: Entry = Entry {
    name: "ddpm-large",
    summary: "posterior mean, variance beta_{t|s}",
    source: "DDPM algorithm 2, sigma^2 = beta",
    build: |plan, _, clip| Box::new(Ddpm { plan, clip, variance: Step::beta }),
    ..SMALL
};

pub(super) const SIGMA_HAT: Entry = Entry {
    name: "sigma-hat",
    summary: "the same update as ddpm-large, under DDIM's name for it",
    source: "DDIM appendix D.3, table 1's last row",
    ..LARGE
};

struct Ddpm {
    plan: Plan,
    clip: Clip,
    variance: fn(&Step) -> f64,
}

impl Sampler for Ddpm {
    fn remaining(&self) -> usize {
        self.plan.remaining()
    }

    fn step(&mut self, x: &Tensor, predict: &mut Predict) -> Result<Tensor> {
        let Some((number, step)) = self.plan.advance() else { return Ok(x.clone()) };
        let e = predict.estimate(x, step.t, self.clip)?;
        let mean = (e.x0.affine(step.gamma1(), 0.0)? + x.affine(step.gamma2(), 0.0)?)?;
        let sigma = (self.variance)(&step).sqrt();
        if step.s == 0 || sigma == 0.0 {
            return Ok(mean);
        }
        Ok((mean + predict.noise(x, number)?.affine(sigma, 0.0)?)?)
    }
}
