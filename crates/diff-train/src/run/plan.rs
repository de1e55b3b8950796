use super::parts::Parts;
use crate::{
    Result,
    config::{NetworkConfig, RunConfig},
    data::Dataset,
    subject::Kind,
};
use candle_core::Device;
use diff_models::checkpoint::{CategoricalCheckpoint, Checkpoint, ClassifierCheckpoint};
use serde::Serialize;
use std::time::Instant;

/// What a run would do, without doing it.
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    /// The resolved configuration.
    pub config: RunConfig,
    /// Pictures to train on.
    pub pictures: usize,
    /// Times that every picture is seen.
    pub epochs: f64,
    /// Trainable numbers of the network.
    pub parameters: usize,
    /// Bytes held for weights, gradients, the optimiser and the averages; activations come on top.
    pub state_bytes: usize,
    /// Bytes of a checkpoint on disk.
    pub checkpoint_bytes: u64,
    /// Floating-point operations of one forward pass of one picture: twice its multiply-adds.
    pub forward_flops: u64,
    /// Floating-point operations of the whole run, three forward passes' worth a step (estimate).
    pub flops: f64,
    /// Seconds on this machine, from a few small steps (estimate).
    pub seconds: f64,
}

/// The plan of a run; takes a few steps on one and on several pictures to estimate its time.
///
/// # Errors
/// The configuration errors of [`run`](super::run).
pub fn plan(config: &RunConfig, device: &Device) -> Result<Plan> {
    match &config.network {
        NetworkConfig::Denoiser(_) => plan_of::<Checkpoint>(config, device),
        NetworkConfig::Classifier(_) => plan_of::<ClassifierCheckpoint>(config, device),
        NetworkConfig::Categorical(_) => plan_of::<CategoricalCheckpoint>(config, device),
    }
}

fn plan_of<S: Kind>(config: &RunConfig, device: &Device) -> Result<Plan> {
    let mut parts = Parts::<S>::build(config, device)?;
    if let Some(spec) = &config.init_from {
        parts.init_from(spec, device)?;
    }
    let (pictures, parameters) = (parts.data.len(), parts.subject.params().numel());
    let (batch, steps) = (config.train.batch as f64, config.train.steps as f64);
    let forward_flops = forward_flops(config, &parts.subject)?;
    let flops = training_flops(config, forward_flops, batch * steps);
    let one = step_seconds::<S>(&parts.data, config, 1, device)?;
    // As near to the real batch as patience allows.
    let many = ((PATIENCE / one) as usize).clamp(4, 4.max(config.train.batch));
    let more = step_seconds::<S>(&parts.data, config, many, device)?;
    // A part of a step costs something in itself, and something for every picture.
    let each = ((more - one) / (many - 1) as f64).max(0.0);
    let passes = config.train.accumulate as f64;
    let seconds = (one * passes + each * (batch - passes)) * steps;
    // Weights, gradients, the optimiser's numbers, the averages.
    let kept = config.train.optimiser.numbers_per_parameter() + config.train.ema.0.len();
    Ok(Plan {
        config: config.clone(),
        pictures,
        epochs: batch * steps / pictures as f64,
        parameters,
        state_bytes: (2 + kept) * 4 * parameters,
        checkpoint_bytes: checkpoint_bytes(config, parameters),
        forward_flops,
        flops,
        seconds,
    })
}

/// Floating-point operations of one forward pass of one picture.
pub(super) fn forward_flops<S: Kind>(config: &RunConfig, subject: &S) -> Result<u64> {
    let [_, height, width] = config.network.image_shape()?;
    Ok(2 * subject.multiply_adds(height, width))
}

/// Floating-point operations of training on so many pictures: three forward passes' worth for every
/// row that the network sees of a picture.
pub(super) fn training_flops(config: &RunConfig, forward_flops: u64, pictures: f64) -> f64 {
    3.0 * forward_flops as f64 * config.objective.rows_per_picture() as f64 * pictures
}

/// Bytes of a checkpoint, headers and texts left out.
pub(super) fn checkpoint_bytes(config: &RunConfig, parameters: usize) -> u64 {
    let kept = config.train.optimiser.numbers_per_parameter() + config.train.ema.0.len();
    ((1 + kept) * 4 * parameters) as u64
}

/// Seconds that a step on several pictures may take, about.
const PATIENCE: f64 = 2.0;

/// Most steps that are timed, and the time after which no further one is begun.
const TIMED: (usize, f64) = (5, 1.0);

/// Seconds of the fastest of a few steps on `batch` pictures, the first step left out: a machine that
/// does other things as well only makes steps slower.
fn step_seconds<S: Kind>(
    data: &Dataset,
    config: &RunConfig,
    batch: usize,
    device: &Device,
) -> Result<f64> {
    let mut probe = config.clone();
    (probe.train.batch, probe.train.accumulate) = (batch, 1);
    let (mut trainer, _) =
        Parts::<S>::over(data.clone(), &probe, device)?.trainer(&probe, device)?;
    trainer.step()?;
    let (mut fastest, begun) = (f64::INFINITY, Instant::now());
    for _ in 0..TIMED.0 {
        let started = Instant::now();
        trainer.step()?;
        fastest = fastest.min(started.elapsed().as_secs_f64());
        if begun.elapsed().as_secs_f64() > TIMED.1 {
            break;
        }
    }
    Ok(fastest)
}
