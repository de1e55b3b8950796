use crate::{
    Error, Result,
    config::TrainConfig,
    data::Loader,
    draws::StepDraws,
    objective::{Objective, scalar},
    optim::{Adam, Ema, Gradients},
};
use candle_core::{Device, Tensor};
use diff_models::params::Params;

/// One loop for every objective: batch, draws, loss, gradient, clipping, optimiser, average.
pub struct Trainer<M: ?Sized> {
    model: Box<M>,
    params: Params,
    objective: Box<dyn Objective<Model = M>>,
    loader: Loader,
    config: TrainConfig,
    seed: u64,
    device: Device,
    optimiser: Adam,
    ema: Ema,
    step: usize,
}

/// What a step measured.
#[derive(Clone, Debug)]
pub struct StepReport {
    /// Steps taken, this one included.
    pub step: usize,
    /// The loss.
    pub loss: f64,
    /// Its named parts.
    pub parts: Vec<(&'static str, f64)>,
    /// L2 norm of the gradient before clipping.
    pub grad_norm: f64,
}

impl<M: ?Sized> Trainer<M> {
    /// A trainer at step 0.
    ///
    /// # Errors
    /// When a value of `config` is out of range.
    pub fn new(
        model: Box<M>,
        params: Params,
        objective: Box<dyn Objective<Model = M>>,
        loader: Loader,
        config: TrainConfig,
        seed: u64,
        device: Device,
    ) -> Result<Self> {
        config.check()?;
        let optimiser = Adam::new(config.adam, &params)?;
        let ema = Ema::new(config.ema, &params)?;
        Ok(Trainer {
            model,
            params,
            objective,
            loader,
            config,
            seed,
            device,
            optimiser,
            ema,
            step: 0,
        })
    }

    /// Takes one optimiser step.
    ///
    /// # Errors
    /// [`Error::NotFinite`] when the loss or its gradient is not a number; the weights are then
    /// those of the step before.
    pub fn step(&mut self) -> Result<StepReport> {
        let batch = self.loader.batch(self.step, &self.device)?;
        let draws = StepDraws {
            seed: self.seed,
            step: self.step as u32,
            step_rows: self.config.batch,
            first_row: 0,
            antithetic: self.config.antithetic,
        };
        let loss = self.objective.loss(&self.model, &batch, &draws)?;
        let total = scalar(&loss.total)?;
        let finite = |what: &str, value: f64| match value.is_finite() {
            true => Ok(value),
            false => Err(Error::NotFinite {
                step: self.step + 1,
                what: what.into(),
                times: loss.times.clone(),
            }),
        };
        let total = finite("the loss", total)?;
        let mut gradients = Gradients::of(&loss.total, &self.params)?;
        let clip = (self.config.clip > 0.0).then_some(self.config.clip);
        let grad_norm = finite("the gradient", gradients.clip(clip)?)?;
        self.optimiser.step(&self.params, &gradients, self.config.lr)?;
        self.ema.update(&self.params)?;
        self.objective.after_step(&self.model, &batch)?;
        self.step += 1;
        let parts = loss.parts.iter().map(|(name, part)| Ok((*name, scalar(part)?)));
        Ok(StepReport {
            step: self.step,
            loss: total,
            parts: parts.collect::<Result<_>>()?,
            grad_norm,
        })
    }

    /// The averaged weights.
    pub fn ema_weights(&self) -> &[(String, Tensor)] {
        self.ema.weights()
    }

    /// What a checkpoint needs besides the averaged weights: raw weights (`weight.`), moments
    /// (`mean.`, `square.`) and the objective's own tensors (`objective.`).
    pub fn state(&self) -> Vec<(String, Tensor)> {
        let named =
            |prefix: &'static str| move |(n, t): (String, Tensor)| (format!("{prefix}{n}"), t);
        let mut state: Vec<_> = self.params.tensors().into_iter().map(named("weight.")).collect();
        state.extend(self.optimiser.state(&self.params));
        state.extend(self.objective.state().into_iter().map(named("objective.")));
        state
    }

    /// Steps taken.
    pub fn steps(&self) -> usize {
        self.step
    }
}
