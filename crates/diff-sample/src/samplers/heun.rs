//! Heun's second-order steps of DDIM's ODE, d(x / sqrt(abar)) = eps d sigma with
//! sigma = sqrt((1 - abar) / abar) (DDIM, equation 14; EDM, algorithm 1 without churn, whose slope is the
//! predicted noise). The step onto clean data is a plain one.

use super::{Clip, Entry, ODE_CLIPS, Plan, Predict, Sampler, SecondType, transfer};
use crate::Result;
use candle_core::Tensor;

pub(super) const HEUN: Entry = Entry {
    name: "heun",
    summary: "two predictions a step, at both its ends; the last step has one",
    source: "EDM algorithm 1, without churn",
    order: 2,
    calls_per_step: 2,
    stochastic: false,
    takes_eta: false,
    second: SecondType::None,
    clips: ODE_CLIPS,
    build: |plan, _, clip| Box::new(Heun { plan, clip }),
};

struct Heun {
    plan: Plan,
    clip: Clip,
}

impl Sampler for Heun {
    fn remaining(&self) -> usize {
        self.plan.remaining()
    }

    fn step(&mut self, x: &Tensor, predict: &mut Predict) -> Result<Tensor> {
        let Some((_, step)) = self.plan.advance() else { return Ok(x.clone()) };
        if step.s == step.t {
            return Ok(x.clone());
        }
        let before = predict.estimate(x, step.t, self.clip)?.eps;
        let there = transfer(x, &before, &step)?;
        if step.s == 0 {
            return Ok(there);
        }
        let after = predict.estimate(&there, step.s, self.clip)?.eps;
        transfer(x, &(before + after)?.affine(0.5, 0.0)?, &step)
    }
}
