//! A training run from its configuration to its folder.

use crate::{
    Error, Log, Result, Trainer,
    config::RunConfig,
    data::{self, Dataset, Loader},
    log::Means,
    objective::NoiseObjective,
};
use candle_core::Device;
use diff_core::{
    Schedule,
    save::{atomic_bytes, io_error},
};
use diff_models::{
    Denoiser,
    checkpoint::{Checkpoint, write_tensors},
};
use serde::Serialize;
use std::{
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

/// What a finished run reports.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// The run folder.
    pub out: PathBuf,
    /// Trainable numbers of the network.
    pub parameters: usize,
    /// Optimiser steps taken.
    pub steps: usize,
    /// Pictures seen.
    pub images: usize,
    /// Mean loss over the steps of the last log line.
    pub loss: f64,
    /// Wall time of the loop.
    pub seconds: f64,
}

/// What a run would do, without doing it.
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    /// The resolved configuration.
    pub config: RunConfig,
    /// Pictures to train on.
    pub pictures: usize,
    /// Trainable numbers of the network.
    pub parameters: usize,
    /// Bytes held for weights, gradients, moments and the average; activations come on top.
    pub state_bytes: usize,
    /// Floating-point operations of the whole run, three forward passes' worth a step (estimate).
    pub flops: f64,
    /// Seconds on this machine, from a few small steps (estimate).
    pub seconds: f64,
}

/// The parts of a run, built and checked against each other.
struct Parts {
    data: Dataset,
    checkpoint: Checkpoint,
    objective: NoiseObjective,
    labelled: bool,
}

impl Parts {
    fn build(config: &RunConfig, device: &Device) -> Result<Self> {
        config.train.check()?;
        let schedule = Schedule::new(&config.schedule)?;
        let objective = config.objective.build(&schedule)?;
        let data = data::open(&config.data)?;
        let (shape, classes) = config.network.input();
        if data.shape() != shape {
            let expected = format!("{:?}, what data set {} holds", data.shape(), data.name());
            let given = format!("[C, H, W] = {shape:?}");
            return Err(diff_core::Error::argument("network input", given, expected).into());
        }
        if classes.is_some_and(|c| c < data.classes()) {
            let expected = format!("at least {} for data set {}", data.classes(), data.name());
            let given = classes.unwrap_or_default();
            return Err(diff_core::Error::argument("network.classes", given, expected).into());
        }
        let unet = config.network.unet()?;
        let checkpoint = Checkpoint::init(unet, schedule, config.seed, device)?;
        Ok(Parts { data, checkpoint, objective, labelled: classes.is_some() })
    }

    /// The trainer, and the checkpoint whose parameters it trains.
    fn trainer(
        self,
        config: &RunConfig,
        device: &Device,
    ) -> Result<(Trainer<dyn Denoiser>, Checkpoint)> {
        let Parts { data, checkpoint, objective, labelled } = self;
        let loader =
            Loader::new(data, config.data.augment(), config.seed, config.train.batch, labelled)?;
        let model: Box<dyn Denoiser> = Box::new(checkpoint.unet.clone());
        let params = checkpoint.params.clone();
        let (train, seed) = (config.train.clone(), config.seed);
        let trainer = Trainer::new(model, params, objective, loader, train, seed, device.clone())?;
        Ok((trainer, checkpoint))
    }
}

/// Trains and writes `out/{config.toml, log.jsonl, training/, model/}`. `model/` holds the averaged
/// weights as a checkpoint; it appears last and whole, so its presence means the run is complete.
///
/// # Errors
/// When the configuration is impossible, `out` already holds a model, a loss is not finite, or a
/// file cannot be written.
pub fn run(
    config: &RunConfig,
    device: &Device,
    progress: &mut dyn FnMut(usize, f64),
) -> Result<Summary> {
    let out = config.out.as_deref().ok_or_else(|| {
        diff_core::Error::argument("out", "nothing", "a folder for the run, e.g. --set out=runs/a")
    })?;
    if out.join("model").exists() {
        return Err(Error::Occupied(out.to_path_buf()));
    }
    let parts = Parts::build(config, device)?;
    let parameters = parts.checkpoint.params.numel();
    let (mut trainer, mut checkpoint) = parts.trainer(config, device)?;
    fs::create_dir_all(out).map_err(io_error(out, "create folder"))?;
    atomic_bytes(&out.join("config.toml"), to_toml(config)?.as_bytes())?;
    let started = Instant::now();
    let loss = train(&mut trainer, config, out, started, progress)?;
    let seconds = started.elapsed().as_secs_f64();
    save(&trainer, config, &mut checkpoint, out)?;
    let steps = trainer.steps();
    let images = steps * config.train.batch;
    Ok(Summary { out: out.to_path_buf(), parameters, steps, images, loss, seconds })
}

/// The plan of a run; takes a few steps on one and on four pictures to estimate its time.
///
/// # Errors
/// The configuration errors of [`run`].
pub fn plan(config: &RunConfig, device: &Device) -> Result<Plan> {
    let parts = Parts::build(config, device)?;
    let (pictures, parameters) = (parts.data.len(), parts.checkpoint.params.numel());
    let (batch, steps) = (config.train.batch as f64, config.train.steps as f64);
    let rows = batch * config.objective.rows_per_picture() as f64;
    let [_, height, width] = config.network.input().0;
    let forward = 2.0 * parts.checkpoint.unet.multiply_adds(height, width) as f64;
    let flops = 3.0 * forward * rows * steps;
    let (one, four) = (step_seconds(config, 1, device)?, step_seconds(config, 4, device)?);
    // A step costs something in itself, and something for every picture.
    let each = ((four - one) / 3.0).max(0.0);
    let seconds = (one + each * (batch - 1.0)) * steps;
    let state_bytes = 5 * 4 * parameters;
    Ok(Plan { config: config.clone(), pictures, parameters, state_bytes, flops, seconds })
}

/// Seconds of a step on `batch` pictures, the first step left out.
fn step_seconds(config: &RunConfig, batch: usize, device: &Device) -> Result<f64> {
    let mut probe = config.clone();
    probe.train.batch = batch;
    let (mut trainer, _) = Parts::build(&probe, device)?.trainer(&probe, device)?;
    trainer.step()?;
    let started = Instant::now();
    trainer.step()?;
    Ok(started.elapsed().as_secs_f64())
}

/// A configuration as TOML.
pub fn to_toml(config: &RunConfig) -> Result<String> {
    toml::to_string(config).map_err(|e| {
        let message = e.to_string();
        diff_core::Error::Config { origin: "resolved configuration".into(), message }.into()
    })
}

/// The loop; returns the mean loss of the last log line.
fn train(
    trainer: &mut Trainer<dyn Denoiser>,
    config: &RunConfig,
    out: &Path,
    started: Instant,
    progress: &mut dyn FnMut(usize, f64),
) -> Result<f64> {
    let mut log = Log::create(&out.join("log.jsonl"))?;
    let mut means = Means::default();
    let mut last = f64::NAN;
    let settings = &config.train;
    while trainer.steps() < settings.steps {
        let report = trainer.step()?;
        means.add(report.loss, report.grad_norm, &report.parts);
        if report.step % settings.log_every == 0 || report.step == settings.steps {
            let seconds = started.elapsed().as_secs_f64();
            let line = means.take(report.step, settings.batch, settings.lr, seconds);
            last = line.loss;
            log.write(&line)?;
        }
        progress(report.step, report.loss);
    }
    Ok(last)
}

fn save(
    trainer: &Trainer<dyn Denoiser>,
    config: &RunConfig,
    checkpoint: &mut Checkpoint,
    out: &Path,
) -> Result<()> {
    let training = out.join("training");
    write_tensors(&training.join("state.safetensors"), &trainer.state())?;
    let counters = serde_json::json!({
        "step": trainer.steps(),
        "images": trainer.steps() * config.train.batch,
        "seed": config.seed,
    });
    atomic_bytes(&training.join("state.json"), format!("{counters:#}\n").as_bytes())?;
    // Without the folder: the same recipe gives the same file wherever it is run.
    let recipe = RunConfig { out: None, ..config.clone() };
    checkpoint.metadata.insert("diff.config".into(), to_toml(&recipe)?);
    checkpoint.metadata.insert("diff.steps".into(), trainer.steps().to_string());
    Ok(checkpoint.write(&out.join("model"), trainer.ema_weights())?)
}
