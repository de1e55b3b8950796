use super::{Callback, Moment, Record};
use crate::{
    Result,
    config::RunConfig,
    data::{self, Augment, Batch, DataConfig, Loader, Split},
    draws::{Mode, StepDraws},
    log::{HeldOutLine, Line},
    objective::scalar,
    run::fits,
    subject::{BoxedObjective, Kind},
};
use candle_core::Device;
use std::collections::BTreeMap;

/// Measures the objective's loss of the averaged weights on held-out pictures. Pictures, times and
/// noise are the same every time, so that the curve shows the weights and not the draws.
pub struct HeldOut<S: Kind> {
    every: usize,
    subject: S,
    objective: BoxedObjective<S>,
    batches: Vec<Batch>,
    pictures: usize,
    seed: u64,
}

impl<S: Kind> HeldOut<S> {
    /// The measurement of `subject` that `config` asks for.
    ///
    /// # Errors
    /// When the data set has nothing held out, or it does not fit the network.
    pub fn new(config: &RunConfig, subject: &S, device: &Device) -> Result<Self> {
        let data = data::open(&held_out(config)?)?;
        let labelled = fits(config, &data)?;
        let pictures = config.held_out.num.min(data.len());
        let augment = Augment { flip: false, ..config.data.augment() };
        let batch = config.train.batch.div_ceil(config.train.accumulate).min(pictures);
        let mut loader = Loader::new(data, augment, config.seed, batch, labelled)?;
        let steps = pictures.div_ceil(batch);
        let mut batches: Vec<Batch> =
            (0..steps).map(|step| loader.batch(step, device)).collect::<Result<_>>()?;
        if let Some(last) = batches.last_mut() {
            let rows = pictures - batch * (steps - 1);
            last.x0 = last.x0.narrow(0, 0, rows)?;
            last.indices.truncate(rows);
            last.labels.iter_mut().for_each(|labels| labels.truncate(rows));
        }
        let objective = subject.objective(&config.objective)?;
        Ok(HeldOut {
            every: config.held_out.every,
            subject: subject.clone(),
            objective,
            batches,
            pictures,
            seed: config.seed,
        })
    }

    fn measure(&mut self, model: &S::Model) -> Result<(f64, BTreeMap<String, f64>)> {
        let (mut total, mut parts) = (0.0, BTreeMap::new());
        let mut first = 0;
        for batch in &self.batches {
            let rows = batch.indices.len();
            let draws = StepDraws {
                seed: self.seed,
                step_rows: self.pictures,
                part: first..first + rows,
                antithetic: true,
                mode: Mode::Measure,
                ..StepDraws::default()
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

/// The data to measure on: the range that was asked for, or else the other split.
fn held_out(config: &RunConfig) -> Result<DataConfig> {
    let data = config.data.clone();
    let Some([first, end]) = config.held_out.range else {
        let split = match data.split {
            Split::Train => Split::Test,
            Split::Test => Split::Train,
        };
        return Ok(DataConfig { split, ..data });
    };
    let apart = data.range.is_some_and(|[from, to]| end <= from || to <= first);
    match apart {
        true => Ok(DataConfig { range: Some([first, end]), ..data }),
        false => {
            let trained = data.range.map_or("not set".into(), |[a, b]| format!("[{a}, {b}]"));
            let expected = format!("a range apart from data.range, which is {trained}");
            let given = format!("[{first}, {end}]");
            Err(diff_core::Error::argument("held_out.range", given, expected).into())
        }
    }
}

impl<S: Kind> Callback for HeldOut<S> {
    fn after_step(&mut self, moment: &Moment, record: &mut Record) -> Result<()> {
        if !moment.due(self.every) {
            return Ok(());
        }
        let averaged = self.subject.with_weights(moment.averaged())?;
        let (held_out, parts) = self.measure(&averaged)?;
        record.write(Line::HeldOut(HeldOutLine {
            step: moment.report.step,
            images: moment.images,
            held_out,
            held_out_parts: parts.into_iter().map(|(name, part)| (name, part.into())).collect(),
            pictures: self.pictures,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use diff_models::checkpoint::Checkpoint;

    fn config(trained: Option<[u64; 2]>, held: Option<[u64; 2]>) -> RunConfig {
        let mut config = RunConfig::default();
        (config.data.range, config.held_out.range) = (trained, held);
        config
    }

    #[test]
    fn what_is_measured_on_is_never_what_is_trained_on() {
        assert_eq!(held_out(&config(None, None)).unwrap().split, Split::Test);
        let apart = held_out(&config(Some([0, 50]), Some([50, 60]))).unwrap();
        assert_eq!((apart.range, apart.split), (Some([50, 60]), Split::Train));
        for (trained, held) in
            [(None, [5, 6]), (Some([0, 50]), [49, 60]), (Some([10, 20]), [0, 30])]
        {
            let error = held_out(&config(trained, Some(held))).unwrap_err().to_string();
            assert!(error.contains("held_out.range") && error.contains("apart"), "{error}");
        }
    }

    #[test]
    fn the_loss_of_all_batches_is_that_of_one() {
        let text = r#"
            held_out = { every = 1, num = 25 }
            [network]
            kind = "ddpm"
            resolution = 8
            in_channels = 1
            out_channels = 1
            channels = 4
            multipliers = [1]
            blocks = 1
            attention_resolutions = []
            norm_groups = 2
        "#;
        let run: RunConfig = diff_core::config::read(text, "test", &[]).unwrap();
        let network = Checkpoint::fresh(&run, &Device::Cpu).unwrap();
        let loss = |batch: usize| {
            let mut run = run.clone();
            run.train.batch = batch;
            let mut held_out = HeldOut::new(&run, &network, &Device::Cpu).unwrap();
            let rows: Vec<usize> = held_out.batches.iter().map(|b| b.indices.len()).collect();
            assert_eq!(rows.iter().sum::<usize>(), 25);
            held_out.measure(&network.denoiser).unwrap().0
        };
        let whole = loss(25);
        assert!((loss(7) / whole - 1.0).abs() < 1e-5 && whole > 1.0, "{whole}");
    }
}
