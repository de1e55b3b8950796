//! DPM-Solver++ with two predictions (Lu et al., 2022): with lambda = ln(sqrt(abar) / sqrt(1 - abar)),
//! h = lambda_s - lambda_t and D = x_0 + h / (2 h') (x_0 - x_0'), where ' is the step before,
//! 2M (algorithm 2): x_s = (sigma_s / sigma_t) x + sqrt(abar_s) (1 - e^-h) D; and its SDE form (appendix):
//! x_s = (sigma_s / sigma_t) e^-h x + sqrt(abar_s) (1 - e^-2h) D + sigma_s sqrt(1 - e^-2h) z,
//! sigma = sqrt(1 - abar). The first step, and the one onto clean data, know D = x_0 only.

use super::{Clip, Entry, ODE_CLIPS, Plan, Predict, Sampler, SecondType};
use crate::Result;
use candle_core::Tensor;

pub(super) const ODE: Entry = Entry {
    name: "dpmpp-2m",
    summary: "DPM-Solver++(2M): exact in the linear part, two predictions of the clean image",
    source: "DPM-Solver++ algorithm 2",
    order: 2,
    calls_per_step: 1,
    stochastic: false,
    takes_eta: false,
    second: SecondType::None,
    clips: ODE_CLIPS,
    build: |plan, _, clip| Box::new(DpmSolver { plan, clip, noisy: false, last: None }),
};

pub(super) const SDE: Entry = Entry {
    name: "dpmpp-2m-sde",
    summary: "SDE-DPM-Solver++(2M): the same of the reverse SDE",
    source: "DPM-Solver++ section 6 and appendix",
    stochastic: true,
    build: |plan, _, clip| Box::new(DpmSolver { plan, clip, noisy: true, last: None }),
    ..ODE
};

struct DpmSolver {
    plan: Plan,
    clip: Clip,
    noisy: bool,
    /// The prediction of the step before, and its h.
    last: Option<(Tensor, f64)>,
}

impl Sampler for DpmSolver {
    fn remaining(&self) -> usize {
        self.plan.remaining()
    }

    fn step(&mut self, x: &Tensor, predict: &mut Predict) -> Result<Tensor> {
        let Some((number, step)) = self.plan.advance() else { return Ok(x.clone()) };
        if step.s == step.t {
            return Ok(x.clone());
        }
        let x0 = predict.estimate(x, step.t, self.clip)?.x0;
        if step.s == 0 {
            return Ok(x0);
        }
        let h = step.half_log_snr_gain();
        let mean = match &self.last {
            None => x0.clone(),
            Some((before, h_before)) => {
                let part = h / (2.0 * h_before);
                (x0.affine(1.0 + part, 0.0)? - before.affine(part, 0.0)?)?
            }
        };
        self.last = Some((x0, h));
        let sigma = (1.0 - step.alpha_bar_s).sqrt();
        let ratio = sigma / (1.0 - step.alpha_bar_t).sqrt();
        let exponent = if self.noisy { -2.0 * h } else { -h };
        // 1 - e^-h, or 1 - e^-2h.
        let gone = -exponent.exp_m1();
        let kept = if self.noisy { ratio * (-h).exp() } else { ratio };
        let mean = mean.affine(step.alpha_bar_s.sqrt() * gone, 0.0)?;
        let x = (x.affine(kept, 0.0)? + mean)?;
        match self.noisy {
            false => Ok(x),
            true => Ok((&x + predict.noise(&x, number)?.affine(sigma * gone.sqrt(), 0.0)?)?),
        }
    }
}
