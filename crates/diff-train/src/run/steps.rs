use super::{
    built,
    parts::{Parts, fits},
};
use crate::{
    Result, StepReport,
    config::{NetworkConfig, RunConfig},
    data::{self, Loader},
    draws::{Draws as _, GivenDraws, StepDraws},
    measure::Inputs,
    subject::Kind,
};
use candle_core::Device;
use diff_core::Schedule;
use diff_models::checkpoint::{CategoricalCheckpoint, Checkpoint, ClassifierCheckpoint};

/// Takes the next step of a training.
pub type Stepper = Box<dyn FnMut() -> Result<StepReport>>;

/// The steps of a run and nothing around them: no folder, no log, no checkpoints.
///
/// # Errors
/// The configuration errors of [`run`](super::run).
pub fn steps(config: &RunConfig, device: &Device) -> Result<Stepper> {
    match &config.network {
        NetworkConfig::Denoiser(_) => steps_of::<Checkpoint>(config, device),
        NetworkConfig::Classifier(_) => steps_of::<ClassifierCheckpoint>(config, device),
        NetworkConfig::Categorical(_) => steps_of::<CategoricalCheckpoint>(config, device),
    }
}

fn steps_of<S: Kind>(config: &RunConfig, device: &Device) -> Result<Stepper> {
    let parts: Parts<S> = built(config, device)?;
    let (mut trainer, _) = parts.trainer(config, device)?;
    Ok(Box::new(move || trainer.step()))
}

/// What the first step of a run sees under the simple objective, with the weights it starts from
/// and without dropout: its pictures, times and noise.
///
/// # Errors
/// The configuration errors of [`run`](super::run).
pub fn first_inputs(config: &RunConfig, device: &Device) -> Result<Inputs> {
    config.check()?;
    let data = data::open(&config.data)?;
    let labelled = fits(config, &data)?;
    let (seed, rows) = (config.seed, config.train.batch);
    let batch = Loader::new(data, config.data.augment(), seed, rows, labelled)?.batch(0, device)?;
    let antithetic = config.train.antithetic;
    let draws = StepDraws {
        seed,
        step: 0,
        step_rows: rows,
        part: 0..rows,
        antithetic,
        ..StepDraws::default()
    };
    let times = draws.times(1, Schedule::new(&config.schedule)?.timesteps() as i64)?;
    let noise = draws.noise(&batch.x0, 0)?.unsqueeze(0)?;
    Ok(Inputs::new(batch, GivenDraws { times, noise }))
}
