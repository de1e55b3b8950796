//! UniPC of order 2 with B(h) = e^h - 1 in predictions of the clean image (Zhao et al., 2023, algorithms 1
//! and 2; diffusers' `bh2`). A step first corrects the state that the step before predicted, by what the
//! network makes of it, then predicts the next one: no call more than DPM-Solver++(2M), an order more.

use super::{Clip, Entry, ODE_CLIPS, Plan, Predict, Sampler, SecondType};
use crate::Result;
use candle_core::Tensor;
use diff_core::Step;

pub(super) const UNIPC: Entry = Entry {
    name: "unipc",
    summary: "UniPC-2: DPM-Solver++(2M) with a correction of every state, at no further call",
    source: "UniPC algorithms 1 and 2, B_2",
    order: 3,
    calls_per_step: 1,
    stochastic: false,
    takes_eta: false,
    second: SecondType::None,
    clips: ODE_CLIPS,
    build: |plan, _, clip| Box::new(UniPc { plan, clip, last: None }),
};

struct UniPc {
    plan: Plan,
    clip: Clip,
    last: Option<Last>,
}

/// The step before.
struct Last {
    step: Step,
    /// Where it started, and the prediction there.
    x: Tensor,
    x0: Tensor,
    /// The prediction of the step before that, and its h.
    before: Option<(Tensor, f64)>,
}

impl Sampler for UniPc {
    fn remaining(&self) -> usize {
        self.plan.remaining()
    }

    fn step(&mut self, x: &Tensor, predict: &mut Predict) -> Result<Tensor> {
        let Some((_, step)) = self.plan.advance() else { return Ok(x.clone()) };
        if step.s == step.t {
            return Ok(x.clone());
        }
        let x0 = predict.estimate(x, step.t, self.clip)?.x0;
        if step.s == 0 {
            return Ok(x0);
        }
        let (x, before) = match self.last.take() {
            None => (x.clone(), None),
            Some(last) => (last.corrected(&x0)?, Some((last.x0, last.step.half_log_snr_gain()))),
        };
        let h = step.half_log_snr_gain();
        let slope = match &before {
            None => None,
            Some((before, h_before)) => Some((&x0 - before)?.affine(h / (2.0 * h_before), 0.0)?),
        };
        let next = arrive(&x, &x0, slope, &step)?;
        self.last = Some(Last { step, x, x0, before });
        Ok(next)
    }
}

impl Last {
    /// Where the step arrives, given the prediction `x0` at where it was thought to (algorithm 1).
    fn corrected(&self, x0: &Tensor) -> Result<Tensor> {
        let h = self.step.half_log_snr_gain();
        // The functions phi of exponential integrators, of -h and over B(h).
        let b = (-h).exp_m1();
        let phi = b / -h - 1.0;
        let first = phi / b;
        let second = 2.0 * (phi / -h - 0.5) / b;
        let here = (x0 - &self.x0)?;
        let slope = match &self.before {
            None => here.affine(0.5, 0.0)?,
            Some((before, h_before)) => {
                // Exact for predictions that are linear and quadratic in lambda.
                let r = -h_before / h;
                let weight = (first - second) / (1.0 - r);
                let back = (before - &self.x0)?.affine(weight / r, 0.0)?;
                (back + here.affine(first - weight, 0.0)?)?
            }
        };
        arrive(&self.x, &self.x0, Some(slope), &self.step)
    }
}

/// (sigma_s / sigma_t) x + sqrt(abar_s) (1 - e^-h) (x_0 + slope).
fn arrive(x: &Tensor, x0: &Tensor, slope: Option<Tensor>, step: &Step) -> Result<Tensor> {
    let ratio = ((1.0 - step.alpha_bar_s) / (1.0 - step.alpha_bar_t)).sqrt();
    let gone = -(-step.half_log_snr_gain()).exp_m1();
    let x0 = slope.map_or(Ok(x0.clone()), |slope| x0 + slope)?;
    Ok((x.affine(ratio, 0.0)? + x0.affine(step.alpha_bar_s.sqrt() * gone, 0.0)?)?)
}
