//! A training run from its configuration to its folder:
//!
//! ```text
//! config.toml              the configuration, resolved
//! log.jsonl                one line every few steps, and the held-out losses
//! events.out.tfevents.*    the same for TensorBoard
//! checkpoints/IMAGES/      all that is needed to go on: model/, training/, manifest.json
//! milestones/IMAGES/       averaged weights on the way (`save.keep_every`)
//! previews/IMAGES.png      samples on the way (`preview.every`)
//! model/                   the averaged weights of the finished run; written last
//! model-ema-DECAY/         those of further averages
//! ```
//!
//! IMAGES is the number of pictures seen.

mod lock;
mod parts;
mod plan;
mod resume;
mod session;
mod steps;

pub(crate) use parts::fits;
pub use plan::{Plan, plan};
pub use resume::resumed;
pub use steps::{Stepper, first_inputs, steps};

use crate::{
    Error, Result,
    callback::Callback,
    config::{NetworkConfig, RunConfig},
    stop::{Signal, Stop},
    subject::Kind,
};
use candle_core::Device;
use diff_models::checkpoint::{CategoricalCheckpoint, Checkpoint, ClassifierCheckpoint};
use lock::Lock;
use serde::Serialize;
use session::Prepared;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// What a run reports when it ends.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// The run folder.
    pub out: PathBuf,
    /// Trainable numbers of the network.
    pub parameters: usize,
    /// Optimiser steps taken, those before a resumption included.
    pub steps: usize,
    /// Pictures seen.
    pub images: usize,
    /// Floating-point operations of one forward pass of one picture: twice its multiply-adds.
    pub forward_flops: u64,
    /// Floating-point operations of the training, three forward passes' worth a step (estimate).
    pub flops: f64,
    /// Mean loss over the steps of the last log line, if there is one.
    pub loss: Option<f64>,
    /// The parts of the last held-out loss, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_out: Option<BTreeMap<String, f64>>,
    /// Seconds of training, those before a resumption included.
    pub seconds: f64,
    /// Steps that had been taken when it was resumed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resumed_at: Option<usize>,
    /// Why it ended early, if it did; it can be resumed.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "by_name")]
    pub stopped_by: Option<Signal>,
}

fn by_name<S: serde::Serializer>(signal: &Option<Signal>, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(signal.map_or("", Signal::name))
}

/// How a run begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// In a folder without a run.
    Fresh,
    /// From the newest complete checkpoint of its folder, or from nothing where there is none yet.
    Resume,
}

/// Trains to the end, or until `stop` asks; either way a checkpoint is saved. A run that ended early
/// and is resumed comes out bit for bit as if it had never ended.
///
/// # Errors
/// When the configuration is impossible, the folder already holds a run, another process works in
/// it, a loss is not finite, or a file cannot be written.
pub fn run(
    config: &RunConfig,
    start: Start,
    device: &Device,
    stop: &Stop,
    callbacks: &mut [&mut dyn Callback],
) -> Result<Summary> {
    match &config.network {
        NetworkConfig::Denoiser(_) => train::<Checkpoint>(config, start, device, stop, callbacks),
        NetworkConfig::Classifier(_) => {
            train::<ClassifierCheckpoint>(config, start, device, stop, callbacks)
        }
        NetworkConfig::Categorical(_) => {
            train::<CategoricalCheckpoint>(config, start, device, stop, callbacks)
        }
    }
}

fn train<S: Kind>(
    config: &RunConfig,
    start: Start,
    device: &Device,
    stop: &Stop,
    callbacks: &mut [&mut dyn Callback],
) -> Result<Summary> {
    let out = config.out.as_deref().ok_or_else(|| {
        diff_core::Error::argument("out", "nothing", "a folder for the run, e.g. --set out=runs/a")
    })?;
    // Before anything is read that another process may be about to replace.
    let held = out.is_dir().then(|| Lock::take(out)).transpose()?;
    if start == Start::Fresh {
        check_vacant(out)?;
    }
    let (parts, resumable) = match start {
        Start::Fresh => (built::<S>(config, device)?, None),
        Start::Resume => match resume::newest(out)? {
            Some(newest) => (parts::Parts::build(config, device)?, Some(newest)),
            None => (built(config, device)?, None),
        },
    };
    let prepared = Prepared::new(config, out, parts, device)?;
    diff_core::save::create_folder(out)?;
    let _lock = match held {
        Some(lock) => lock,
        None => Lock::take(out)?,
    };
    let mut session = match &resumable {
        None => prepared.begin()?,
        Some(newest) => prepared.go_on(newest)?,
    };
    session.train(stop, callbacks)
}

fn built<S: Kind>(config: &RunConfig, device: &Device) -> Result<parts::Parts<S>> {
    let mut parts = parts::Parts::build(config, device)?;
    if let Some(spec) = &config.init_from {
        parts.init_from(spec, device)?;
    }
    Ok(parts)
}

fn check_vacant(out: &Path) -> Result<()> {
    let occupied = |what| Err(Error::Occupied { folder: out.to_path_buf(), what });
    match () {
        () if out.join("model").exists() => occupied("a trained model"),
        () if out.join("checkpoints").exists() => occupied("a run that is not finished"),
        () => Ok(()),
    }
}
