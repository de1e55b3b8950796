//! DDPM's ancestral step over any sub-sequence: the posterior mean gamma1 x_0 + gamma2 x_t with a
//! fixed variance, beta~_{s|t} (small) or beta_{t|s} (large), or with the network's own between the
//! two. The step onto clean data is noise-free.
//!
//! sigma-hat is DDIM's name for the large variance (DDIM, appendix D.3; ermongroup/ddim
//! `ddpm_noisy`). Its printed mean uses the unclipped x_0: that is `clip = none`.

use super::{Clip, Entry, Plan, Predict, Sampler, SecondType, lacking};
use crate::Result;
use candle_core::Tensor;
use diff_core::{LogRange, Step};
use diff_models::Second;

const CLIPS: &[Clip] = &[Clip::Posterior, Clip::None];

pub(super) const SMALL: Entry = Entry {
    name: "ddpm",
    summary: "posterior mean, variance beta~_{s|t}",
    source: "DDPM algorithm 2, sigma^2 = beta~",
    order: 1,
    calls_per_step: 1,
    stochastic: true,
    takes_eta: false,
    second: SecondType::None,
    clips: CLIPS,
    build: |plan, _, clip| build(plan, clip, Variance::Fixed(Step::beta_tilde)),
};

pub(super) const LARGE: Entry = Entry {
    name: "ddpm-large",
    summary: "posterior mean, variance beta_{t|s}",
    source: "DDPM algorithm 2, sigma^2 = beta",
    build: |plan, _, clip| build(plan, clip, Variance::Fixed(Step::beta)),
    ..SMALL
};

pub(super) const LEARNED: Entry = Entry {
    name: "ddpm-learned",
    summary: "posterior mean, the network's own variance between beta~_{s|t} and beta_{t|s}",
    source: "improved DDPM eq. 15; guided-diffusion's p_sample",
    second: SecondType::Range,
    build: |plan, _, clip| build(plan, clip, Variance::Learned),
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
    variance: Variance,
}

#[derive(Clone, Copy)]
enum Variance {
    Fixed(fn(&Step) -> f64),
    Learned,
}

fn build(plan: Plan, clip: Clip, variance: Variance) -> Box<dyn Sampler> {
    Box::new(Ddpm { plan, clip, variance })
}

impl Sampler for Ddpm {
    fn remaining(&self) -> usize {
        self.plan.remaining()
    }

    fn step(&mut self, x: &Tensor, predict: &mut Predict) -> Result<Tensor> {
        let Some((number, step)) = self.plan.advance() else { return Ok(x.clone()) };
        let e = predict.estimate(x, step.t, self.clip)?;
        let mean = (e.x0.affine(step.gamma1(), 0.0)? + x.affine(step.gamma2(), 0.0)?)?;
        if step.s == 0 || step.beta() == 0.0 {
            return Ok(mean);
        }
        let noise = predict.noise(x, number)?;
        let scaled = match self.variance {
            Variance::Fixed(variance) => noise.affine(variance(&step).sqrt(), 0.0)?,
            Variance::Learned => (noise * deviation(&e.second, &step)?)?,
        };
        Ok((mean + scaled)?)
    }
}

/// The standard deviation that the network's second block says, for s > 0.
fn deviation(second: &Second, step: &Step) -> Result<Tensor> {
    let Second::Range(range) = second else { return Err(lacking(&LEARNED)) };
    let (slope, offset) = LogRange::of(step).affine();
    Ok(range.affine(0.5 * slope, 0.5 * offset)?.exp()?)
}
