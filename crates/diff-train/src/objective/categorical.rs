//! The bound of discrete diffusion (DDIM, appendix A).

use super::{Loss, Objective, argument, step_times};
use crate::{Result, data::Batch, draws::Draws};
use candle_core::{DType, Device, Tensor};
use diff_core::discrete::{CategoricalProcess, CategoricalStep, ProcessKind, ProcessSpec, Stay};
use diff_models::categorical::{Categorizer, draw, levels_of, log_softmax, one_hot};
use serde::{Deserialize, Serialize};

/// The options of [`CategoricalBound`], and the forward process it is about.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CategoricalConfig {
    /// The forward process: `linear`, a_t = 1 - t/T.
    pub process: ProcessKind,
    /// T, at least 1.
    pub timesteps: usize,
    /// What x_(t-1) keeps of x_t in the process that the bound is of: `zero`, `most`, or a fraction of
    /// the most.
    pub stay: Stay,
    /// What is minimised.
    pub loss: CategoricalLoss,
}

/// What [`CategoricalBound`] minimises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CategoricalLoss {
    /// The divergence KL(q(x_(t-1) | x_t, x_0) || q(x_(t-1) | x_t, p)).
    #[default]
    Kl,
    /// Its upper bound, (a_(t-1) - stay a_t) times the cross-entropy of p with x_0.
    CrossEntropy,
}

impl Default for CategoricalConfig {
    fn default() -> Self {
        CategoricalConfig {
            process: ProcessKind::Linear,
            timesteps: 50,
            stay: Stay::MOST,
            loss: CategoricalLoss::Kl,
        }
    }
}

impl CategoricalConfig {
    /// The forward process.
    pub fn process(&self) -> ProcessSpec {
        ProcessSpec { kind: self.process, timesteps: self.timesteps }
    }
}

/// An estimate of the bound on -ln p(x_0) in nats a picture: T times the term of one t a picture, uniform
/// over 1..=T, summed over pixels and averaged over the batch. There is no term for x_T, which is
/// uniform whatever x_0 is.
pub struct CategoricalBound {
    loss: CategoricalLoss,
    process: CategoricalProcess,
    /// From t to t - 1, for t = 1..=T.
    steps: Vec<CategoricalStep>,
}

impl CategoricalBound {
    /// The objective under a process; the one that `config` names is not looked at.
    ///
    /// # Errors
    /// As [`CategoricalProcess::step`], which refuses no step from t to t - 1.
    pub fn new(config: CategoricalConfig, process: CategoricalProcess) -> Result<Self> {
        let step = |t: usize| process.step(t - 1, t, config.stay);
        let steps = (1..=process.timesteps()).map(step).collect::<Result<_, _>>()?;
        Ok(CategoricalBound { loss: config.loss, process, steps })
    }
}

impl Objective for CategoricalBound {
    type Model = dyn Categorizer;

    fn loss(
        &mut self,
        model: &(dyn Categorizer + 'static),
        batch: &Batch,
        draws: &dyn Draws,
    ) -> Result<Loss> {
        let (levels, timesteps) = (self.process.classes(), self.process.timesteps());
        if model.levels() != levels {
            let expected = format!("{levels}, those of the process");
            return Err(argument("levels of the network", model.levels(), expected));
        }
        let x0 = levels_of(&batch.x0, levels)?;
        let step = step_times(draws, x0.dim(0)?, 1, timesteps as i64)?;
        let times = step[draws.part()].to_vec();
        let rows = Rows { times: &times, dtype: batch.x0.dtype(), device: batch.x0.device() };
        let clean = one_hot(&x0, levels, rows.dtype)?;
        let keep = rows.of(|t| self.process.keep(t))?;
        let other = rows.of(|t| (1.0 - self.process.keep(t)) / levels as f64)?;
        let marginal = clean.broadcast_mul(&keep)?.broadcast_add(&other)?;
        let x_t = draw(&marginal, &draws.uniforms(&batch.x0, 0)?.squeeze(1)?)?;

        let paper: Vec<f64> = times.iter().map(|t| *t as f64).collect();
        let log_p = log_softmax(&model.forward(&x_t, &paper, &draws.context(1))?)?;
        let weight = |of: fn(&CategoricalStep) -> f64| rows.of(|t| of(&self.steps[t - 1]));
        let terms = Terms {
            own: one_hot(&x_t, levels, rows.dtype)?
                .broadcast_mul(&weight(|step| step.stay)?)?
                .broadcast_add(&weight(|step| step.uniform)?)?,
            weight: weight(|step| step.clean)?,
            clean,
        };
        let scale = timesteps as f64 / step.len() as f64;
        let share = |terms: Tensor| terms.sum_all()?.affine(scale, 0.0);
        let (kl, bound) = (share(terms.kl(&log_p)?)?, share(terms.cross_entropy(&log_p)?)?);
        let total = match self.loss {
            CategoricalLoss::Kl => kl.clone(),
            CategoricalLoss::CrossEntropy => bound.clone(),
        };
        Ok(Loss { total, parts: vec![("kl", kl), ("cross_entropy", bound)], times })
    }
}

/// Numbers that differ from picture to picture by their times.
struct Rows<'a> {
    times: &'a [i64],
    dtype: DType,
    device: &'a Device,
}

impl Rows<'_> {
    /// `[B, 1, 1, 1]`.
    fn of(&self, value: impl Fn(usize) -> f64) -> Result<Tensor> {
        let values: Vec<f64> = self.times.iter().map(|t| value(*t as usize)).collect();
        let shape = (values.len(), 1, 1, 1);
        Ok(Tensor::from_vec(values, shape, self.device)?.to_dtype(self.dtype)?)
    }
}

/// q(x_(t-1) | x_t, x_0) = Cat(`own` + `weight` `clean`), pixel by pixel.
struct Terms {
    /// What x_t and the uniform part give, `[B, K, H, W]`.
    own: Tensor,
    /// The weight of x_0, `[B, 1, 1, 1]`; never 0.
    weight: Tensor,
    /// x_0, one-hot, `[B, K, H, W]`.
    clean: Tensor,
}

impl Terms {
    /// q (ln q - ln q'), where q' has p for x_0: `[B, K, H, W]`.
    fn kl(&self, log_p: &Tensor) -> Result<Tensor> {
        let truth = (self.clean.broadcast_mul(&self.weight)? + &self.own)?;
        // 0 ln 0 = 0.
        let log_truth = truth.maximum(f64::from(f32::MIN_POSITIVE))?.log()?;
        // ln(weight p + own) from the logarithms, so that no p is too small.
        let (ours, own) = (log_p.broadcast_add(&self.weight.log()?)?, self.own.log()?);
        let larger = ours.detach().maximum(&own)?;
        let sum = ((ours - &larger)?.exp()? + (own - &larger)?.exp()?)?;
        let log_predicted = (sum.log()? + larger)?;
        Ok((truth * (log_truth - log_predicted)?)?)
    }

    /// weight (- ln p) at the level of x_0, 0 elsewhere: `[B, K, H, W]`.
    fn cross_entropy(&self, log_p: &Tensor) -> Result<Tensor> {
        Ok(self.clean.broadcast_mul(&self.weight.neg()?)?.mul(log_p)?)
    }
}
