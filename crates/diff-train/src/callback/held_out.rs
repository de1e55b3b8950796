use super::{Callback, Moment, Record};
use crate::{
    Result,
    config::RunConfig,
    data::{self, Batch, DataConfig, Loader, Split},
    draws::{Mode, StepDraws},
    log::{HeldOutLine, Line},
    objective::{NoiseObjective, scalar},
    run::fits,
};
use candle_core::Device;
use diff_core::Schedule;
use diff_models::Denoiser;
use std::collections::BTreeMap;

/// Measures the objective's loss of the averaged weights on held-out pictures. Pictures, times and
/// noise are the same every time, so that the curve shows the weights and not the draws.
pub struct HeldOut {
    every: usize,
    objective: NoiseObjective,
    batches: Vec<Batch>,
    pictures: usize,
    seed: u64,
}

impl HeldOut {
    /// The measurement that `config` asks for.
    ///
    /// # Errors
    /// When the data set has nothing held out, or it does not fit the network.
    pub fn new(config: &RunConfig, schedule: &Schedule, device: &Device) -> Result<Self> {
        let other = match config.data.split {
            Split::Train => Split::Test,
            Split::Test => Split::Train,
        };
        let data = data::open(&DataConfig { split: other, ..config.data.clone() })?;
        let labelled = fits(config, &data)?;
        let pictures = config.held_out.num.min(data.len());
        let batch = config.train.batch.div_ceil(config.train.accumulate).min(pictures);
        let mut loader = Loader::new(data, config.data.augment(), config.seed, batch, labelled)?;
        let steps = pictures.div_ceil(batch);
        let mut batches: Vec<Batch> =
            (0..steps).map(|step| loader.batch(step, device)).collect::<Result<_>>()?;
        if let Some(last) = batches.last_mut() {
            let rows = pictures - batch * (steps - 1);
            last.x0 = last.x0.narrow(0, 0, rows)?;
            last.indices.truncate(rows);
            last.labels.iter_mut().for_each(|labels| labels.truncate(rows));
        }
        let objective = config.objective.build(schedule)?;
        Ok(HeldOut {
            every: config.held_out.every,
            objective,
            batches,
            pictures,
            seed: config.seed,
        })
    }

    fn measure(
        &mut self,
        model: &(dyn Denoiser + 'static),
    ) -> Result<(f64, BTreeMap<String, f64>)> {
        let (mut total, mut parts) = (0.0, BTreeMap::new());
        let mut first = 0;
        for batch in &self.batches {
            let rows = batch.indices.len();
            let draws = StepDraws {
                seed: self.seed,
                step: 0,
                step_rows: self.pictures,
                part: first..first + rows,
                antithetic: true,
                mode: Mode::Measure,
            };
            let loss = self.objective.loss(model, batch, &draws)?;
            total += scalar(&loss.total)?;
            for (name, part) in &loss.parts {
                *parts.entry(name.to_string()).or_default() += scalar(part)?;
            }
            first += rows;
        }
        Ok((total, parts))
    }
}

impl Callback for HeldOut {
    fn after_step(&mut self, moment: &Moment, record: &mut Record) -> Result<()> {
        if !moment.due(self.every) {
            return Ok(());
        }
        let averaged = moment.checkpoint.with_weights(moment.trainer.ema_weights())?;
        let (held_out, parts) = self.measure(&averaged)?;
        record.write(Line::HeldOut(HeldOutLine {
            step: moment.report.step,
            images: moment.trainer.images(),
            held_out,
            held_out_parts: parts.into_iter().map(|(name, part)| (name, part.into())).collect(),
            pictures: self.pictures,
        }))
    }
}
