use crate::{
    Result,
    config::TrainConfig,
    data::{Batch, Loader},
    draws::{Mode, StepDraws},
    fault,
    objective::{Objective, scalar},
    optim::{Ema, Gradients, Optimiser, Rate},
};
use candle_core::{Device, Tensor};
use diff_models::{ops::within, params::Params};
use std::{collections::HashMap, ops::Range};

/// One loop for every objective: batch, draws, loss, gradient, clipping, optimiser, averages.
pub struct Trainer<M: ?Sized> {
    model: Box<M>,
    params: Params,
    objective: Box<dyn Objective<Model = M>>,
    loader: Loader,
    config: TrainConfig,
    seed: u64,
    device: Device,
    optimiser: Box<dyn Optimiser>,
    rate: Rate,
    averages: Vec<Ema>,
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
    /// The learning rate it was taken at.
    pub lr: f64,
}

impl<M: ?Sized + Send> Trainer<M> {
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
        let optimiser = config.optimiser.build(&params)?;
        let average = |decay: &f64| Ema::new(*decay, config.ema_start, &params);
        let averages = config.ema.0.iter().map(average).collect::<Result<_>>()?;
        let rate = config.rate();
        Ok(Trainer {
            model,
            params,
            objective,
            loader,
            config,
            seed,
            device,
            optimiser,
            rate,
            averages,
            step: 0,
        })
    }

    /// Takes one optimiser step.
    ///
    /// # Errors
    /// [`Error::NotFinite`](crate::Error::NotFinite) when the loss or its gradient is not a number;
    /// the weights are then those of the step before.
    pub fn step(&mut self) -> Result<StepReport> {
        let batch = self.loader.batch(self.step, &self.device)?;
        within(|| self.step_on(&batch))
    }

    fn step_on(&mut self, batch: &Batch) -> Result<StepReport> {
        let (mut sum, mut gradients) = self.gradients(batch)?;
        let clip = (self.config.clip > 0.0).then_some(self.config.clip);
        let grad_norm = gradients.clip(clip)?;
        if !grad_norm.is_finite() {
            return Err(self.not_finite("the gradient", &sum.times));
        }
        let lr = self.rate.at(self.step);
        self.optimiser.step(&self.params, &gradients, lr)?;
        self.averages.iter_mut().try_for_each(|average| average.update(&self.params))?;
        self.objective.after_step(&self.model, batch)?;
        self.step += 1;
        let parts = std::mem::take(&mut sum.parts);
        Ok(StepReport { step: self.step, loss: sum.loss, parts, grad_norm, lr })
    }

    /// Loss and gradient of a step, summed over its parts.
    fn gradients(&mut self, batch: &Batch) -> Result<(Sum, Gradients)> {
        let rows = batch.x0.dim(0)?;
        let mut sum = Sum::default();
        let mut total: Option<Gradients> = None;
        for part in split(rows, self.config.accumulate) {
            let draws = StepDraws {
                seed: self.seed,
                step: self.step as u32,
                step_rows: rows,
                part: part.clone(),
                antithetic: self.config.antithetic,
                label_drop: self.config.label_drop(),
                mode: Mode::Train,
            };
            let loss = self.objective.loss(&self.model, &narrow(batch, &part)?, &draws)?;
            let parts = loss.parts.iter().map(|(name, value)| Ok((*name, scalar(value)?)));
            sum.add(scalar(&loss.total)?, parts.collect::<Result<_>>()?, &loss.times);
            if !sum.loss.is_finite() {
                return Err(self.not_finite("the loss", &sum.times));
            }
            let gradients = Gradients::of(&loss.total, &self.params)?;
            match &mut total {
                None => total = Some(gradients),
                Some(total) => total.add(gradients)?,
            }
        }
        let total = total
            .ok_or_else(|| diff_core::Error::argument("train.batch", rows, "at least 1 picture"))?;
        Ok((sum, total))
    }

    fn not_finite(&self, what: &str, times: &[i64]) -> crate::Error {
        fault::not_finite(self.step + 1, what, times, &self.params)
    }

    /// The averages of the weights, in the order of their decays.
    pub fn averages(&self) -> &[Ema] {
        &self.averages
    }

    /// The average that the run is about.
    pub fn ema_weights(&self) -> &[(String, Tensor)] {
        self.averages.first().map_or(&[], Ema::weights)
    }

    /// What a checkpoint needs besides the first average: raw weights (`weight.`), the optimiser's
    /// numbers (`mean.`, `square.`, ..), further averages (`average-DECAY.`) and the objective's
    /// own tensors (`objective.`).
    pub fn state(&self) -> Vec<(String, Tensor)> {
        let named = |prefix: String| move |(n, t): (String, Tensor)| (format!("{prefix}.{n}"), t);
        let mut state: Vec<_> =
            self.params.tensors().into_iter().map(named("weight".into())).collect();
        state.extend(self.optimiser.state(&self.params));
        for average in self.averages.iter().skip(1) {
            let prefix = average_prefix(average.decay());
            state.extend(average.weights().iter().cloned().map(named(prefix)));
        }
        state.extend(self.objective.state().into_iter().map(named("objective".into())));
        state
    }

    /// Goes back to where [`Trainer::state`] and [`Trainer::ema_weights`] were taken, after `steps`
    /// steps. Everything that follows is then what it would have been.
    ///
    /// # Errors
    /// Names every tensor that is missing, left over or of another shape.
    pub fn restore(
        &mut self,
        steps: usize,
        mut state: HashMap<String, Tensor>,
        ema_weights: HashMap<String, Tensor>,
    ) -> Result<()> {
        let mut own = |prefix: &str| -> HashMap<String, Tensor> {
            let names: Vec<String> =
                state.keys().filter(|name| name.starts_with(prefix)).cloned().collect();
            let bare = |name: String| {
                state.remove(&name).map(|tensor| (name[prefix.len()..].to_string(), tensor))
            };
            names.into_iter().filter_map(bare).collect()
        };
        let (weights, objective) = (own("weight."), own("objective."));
        self.params.load(&weights)?;
        let mut objective: Vec<_> = objective.into_iter().collect();
        objective.sort_by(|a, b| a.0.cmp(&b.0));
        self.objective.restore(&objective)?;
        self.optimiser.restore(&self.params, steps, &state)?;
        let first: HashMap<String, Tensor> =
            ema_weights.into_iter().map(|(name, t)| (format!("model.{name}"), t)).collect();
        for (i, average) in self.averages.iter_mut().enumerate() {
            let prefix = average_prefix(average.decay());
            match i {
                0 => average.restore(&self.params, steps, "model", &first)?,
                _ => average.restore(&self.params, steps, &prefix, &state)?,
            }
        }
        self.step = steps;
        Ok(())
    }

    /// Steps taken.
    pub fn steps(&self) -> usize {
        self.step
    }

    /// Pictures seen.
    pub fn images(&self) -> usize {
        self.step * self.config.batch
    }
}

fn average_prefix(decay: f64) -> String {
    format!("average-{decay}")
}

/// What the parts of a step have added up to.
#[derive(Default)]
struct Sum {
    loss: f64,
    parts: Vec<(&'static str, f64)>,
    times: Vec<i64>,
}

impl Sum {
    fn add(&mut self, loss: f64, parts: Vec<(&'static str, f64)>, times: &[i64]) {
        self.loss += loss;
        self.times.extend_from_slice(times);
        if self.parts.is_empty() {
            self.parts = parts;
        } else {
            self.parts.iter_mut().zip(parts).for_each(|(sum, part)| sum.1 += part.1);
        }
    }
}

/// `rows` in `parts` runs of nearly equal length, none of them empty.
fn split(rows: usize, parts: usize) -> impl Iterator<Item = Range<usize>> {
    let parts = parts.clamp(1, rows.max(1));
    (0..parts).map(move |i| i * rows / parts..(i + 1) * rows / parts)
}

fn narrow(batch: &Batch, part: &Range<usize>) -> Result<Batch> {
    Ok(Batch {
        x0: batch.x0.narrow(0, part.start, part.len())?,
        labels: batch.labels.as_ref().map(|labels| labels[part.clone()].to_vec()),
        indices: batch.indices[part.clone()].to_vec(),
    })
}

#[cfg(test)]
mod tests;
