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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        data::{Batch, DataConfig, open},
        draws::Draws,
        objective::Loss,
    };
    use candle_core::DType;
    use diff_models::params::{Init, ParamBuilder};

    /// (w - 3)^2, or a number that is none at and after step `breaks`.
    struct Parabola {
        steps: usize,
        breaks: usize,
    }

    impl Objective for Parabola {
        type Model = Tensor;

        fn loss(&mut self, w: &Tensor, batch: &Batch, draws: &dyn Draws) -> Result<Loss> {
            let times = draws.times(batch.x0.dim(0)?, 1, 10)?;
            let total = (w - 3.0)?.sqr()?.sum_all()?;
            let factor = if self.steps >= self.breaks { f64::NAN } else { 1.0 };
            let total = (total * factor)?;
            Ok(Loss { total: total.clone(), parts: vec![("parabola", total)], times })
        }

        fn after_step(&mut self, _: &Tensor, _: &Batch) -> Result<()> {
            self.steps += 1;
            Ok(())
        }

        fn state(&self) -> Vec<(String, Tensor)> {
            vec![("steps".into(), Tensor::new(self.steps as f64, &Device::Cpu).unwrap())]
        }
    }

    fn trainer(breaks: usize, ema: f64) -> Trainer<Tensor> {
        let mut builder = ParamBuilder::init(0, DType::F32, &Device::Cpu);
        let w = builder.param("w", 1, Init::Zeros).unwrap();
        let params = builder.finish().unwrap();
        let config = TrainConfig { lr: 0.1, batch: 4, ema, ..TrainConfig::default() };
        let data = DataConfig::default();
        let loader = Loader::new(open(&data).unwrap(), data.augment(), 0, 4, false).unwrap();
        let objective = Box::new(Parabola { steps: 0, breaks });
        Trainer::new(Box::new(w), params, objective, loader, config, 0, Device::Cpu).unwrap()
    }

    fn value(weights: &[(String, Tensor)]) -> f32 {
        weights[0].1.to_vec1::<f32>().unwrap()[0]
    }

    #[test]
    fn training_finds_the_minimum_and_the_average_lags_behind() {
        let mut trainer = trainer(usize::MAX, 0.9);
        let reports: Vec<_> = (0..100).map(|_| trainer.step().unwrap()).collect();
        assert_eq!((reports[0].step, reports[0].loss, reports[0].grad_norm), (1, 9.0, 6.0));
        assert!(reports[99].loss < 1e-2, "{}", reports[99].loss);
        let averaged = value(trainer.ema_weights());
        let raw = value(&trainer.state()[..1]);
        assert!((raw - 3.0).abs() < 0.1 && (averaged - raw).abs() > 1e-4, "{raw} {averaged}");
        let names: Vec<String> = trainer.state().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["weight.w", "mean.w", "square.w", "objective.steps"]);
    }

    #[test]
    fn a_loss_that_is_not_finite_stops_with_its_step_and_leaves_the_weights() {
        let mut trainer = trainer(2, 0.0);
        trainer.step().unwrap();
        trainer.step().unwrap();
        let before = value(trainer.ema_weights());
        let message = trainer.step().unwrap_err().to_string();
        assert!(message.contains("step 3: the loss is not finite"), "{message}");
        assert_eq!((trainer.steps(), value(&trainer.state()[..1])), (2, before));
    }
}
