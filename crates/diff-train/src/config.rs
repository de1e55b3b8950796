//! The configuration of a training run.

use crate::{Result, data::DataConfig, objective::ObjectiveConfig, optim::AdamConfig};
use diff_core::ScheduleSpec;
use diff_models::nets::{DdpmSpec, unet::UnetConfig};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Everything that determines a run. Written, resolved, next to its result.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RunConfig {
    /// Seed of every random number.
    pub seed: u64,
    /// The run folder.
    pub out: Option<PathBuf>,
    /// What to train on.
    pub data: DataConfig,
    /// What to train.
    pub network: NetworkConfig,
    /// The forward process.
    pub schedule: ScheduleSpec,
    /// What to minimise.
    pub objective: ObjectiveConfig,
    /// How.
    pub train: TrainConfig,
}

/// The network section.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum NetworkConfig {
    /// The DDPM U-Net.
    Ddpm(DdpmSpec),
}

impl Default for NetworkConfig {
    fn default() -> Self {
        NetworkConfig::Ddpm(DdpmSpec::default())
    }
}

impl NetworkConfig {
    /// The network in diffusers' terms.
    pub fn unet(&self) -> Result<UnetConfig> {
        let NetworkConfig::Ddpm(spec) = self;
        Ok(spec.config()?)
    }

    /// C, H, W of the pictures it takes, and its number of classes.
    pub fn input(&self) -> ([usize; 3], Option<usize>) {
        let NetworkConfig::Ddpm(spec) = self;
        ([spec.in_channels, spec.resolution, spec.resolution], spec.classes)
    }
}

/// The train section. The defaults are ermongroup/ddim's for CIFAR-10, except for the length.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainConfig {
    /// Optimiser steps.
    pub steps: usize,
    /// Pictures a step.
    pub batch: usize,
    /// Learning rate of Adam, constant.
    pub lr: f64,
    /// Adam's constants.
    pub adam: AdamConfig,
    /// Largest L2 norm of all gradients together; 0 for no limit.
    pub clip: f64,
    /// Decay of the weights' moving average, in [0, 1).
    pub ema: f64,
    /// Draw time steps in mirror pairs.
    pub antithetic: bool,
    /// Steps between lines of the log, at least 1; a line holds means over its steps.
    pub log_every: usize,
}

impl Default for TrainConfig {
    fn default() -> Self {
        TrainConfig {
            steps: 100_000,
            batch: 128,
            lr: 2e-4,
            adam: AdamConfig::default(),
            clip: 1.0,
            ema: 0.9999,
            antithetic: true,
            log_every: 100,
        }
    }
}

impl TrainConfig {
    /// Refuses values out of range, by name.
    pub fn check(&self) -> Result<()> {
        let whole = |name: &str, v: usize| match v {
            0 => Err(diff_core::Error::argument(name, v, "at least 1")),
            _ => Ok(()),
        };
        whole("train.steps", self.steps)?;
        whole("train.batch", self.batch)?;
        whole("train.log_every", self.log_every)?;
        let number = |name: &str, v: f64, positive: bool| match v.is_finite() && v >= 0.0 {
            true if v > 0.0 || !positive => Ok(()),
            _ => Err(diff_core::Error::argument(
                name,
                v,
                if positive { "more than 0" } else { "at least 0" },
            )),
        };
        number("train.lr", self.lr, true)?;
        number("train.clip", self.clip, false)?;
        self.adam.check()
    }
}
