//! Pseudo linear multistep (PNDM, Liu et al., 2022; S-PNDM's start, as diffusers' `skip_prk_steps` and
//! Stable Diffusion's PLMS): DDIM's step along a mean of the last predictions with Adams and Bashforth's
//! weights. The first step, which has none before it, predicts at both its ends.

use super::{Clip, Entry, ODE_CLIPS, Plan, Predict, Sampler, SecondType, transfer};
use crate::Result;
use candle_core::Tensor;
use std::collections::VecDeque;

pub(super) const PLMS: Entry = Entry {
    name: "plms",
    summary: "DDIM's steps along means of the last four predictions; the first step has two",
    source: "PNDM eq. 9, 12 and 22",
    order: 2,
    calls_per_step: 1,
    stochastic: false,
    takes_eta: false,
    second: SecondType::None,
    clips: ODE_CLIPS,
    build: |plan, _, clip| Box::new(Plms { plan, clip, last: VecDeque::new() }),
};

/// Weights of the last predictions, from the newest on, by how many there are.
const WEIGHTS: [&[f64]; 4] = [
    &[1.0],
    &[3.0 / 2.0, -1.0 / 2.0],
    &[23.0 / 12.0, -16.0 / 12.0, 5.0 / 12.0],
    &[55.0 / 24.0, -59.0 / 24.0, 37.0 / 24.0, -9.0 / 24.0],
];

struct Plms {
    plan: Plan,
    clip: Clip,
    /// Predictions, the newest first, four at most.
    last: VecDeque<Tensor>,
}

impl Sampler for Plms {
    fn remaining(&self) -> usize {
        self.plan.remaining()
    }

    fn step(&mut self, x: &Tensor, predict: &mut Predict) -> Result<Tensor> {
        let Some((_, step)) = self.plan.advance() else { return Ok(x.clone()) };
        if step.s == step.t {
            return Ok(x.clone());
        }
        let eps = predict.estimate(x, step.t, self.clip)?.eps;
        self.last.push_front(eps.clone());
        self.last.truncate(WEIGHTS.len());
        if self.last.len() == 1 && step.s > 0 {
            let there = transfer(x, &eps, &step)?;
            let after = predict.estimate(&there, step.s, self.clip)?.eps;
            return transfer(x, &(eps + after)?.affine(0.5, 0.0)?, &step);
        }
        let mut mean = eps.zeros_like()?;
        for (eps, weight) in self.last.iter().zip(WEIGHTS[self.last.len() - 1]) {
            mean = (mean + eps.affine(*weight, 0.0)?)?;
        }
        transfer(x, &mean, &step)
    }
}
