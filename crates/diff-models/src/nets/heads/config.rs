//! The configuration of networks with two heads.

use super::Heads;
use crate::{
    error::{Error, Result},
    nets::{
        Classes, Config, DdpmSpec, Network, PredictionType, SecondType, adm::AdmConfig,
        unet::UnetConfig,
    },
    params::ParamBuilder,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::Arc;

/// The networks of "Estimating the Optimal Covariance with Imperfect Mean in Diffusion Probabilistic
/// Models" (Bao et al., 2022): a trained U-Net that is kept as it is, and a second head on it that learns
/// about the covariance.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HeadsConfig {
    /// The U-Net. Of one that has two blocks of output the first is used.
    pub trunk: TrunkConfig,
    /// What the second head estimates.
    pub second: Estimate,
    /// What it is made of.
    pub mode: Mode,
}

/// A U-Net that carries heads. In a configuration `kind` names its family.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum TrunkConfig {
    /// The DDPM U-Net in its paper's terms; a network says what it is as `unet`.
    Ddpm(Box<DdpmSpec>),
    /// diffusers' `UNet2DModel`.
    Unet(Box<UnetConfig>),
    /// The ADM U-Net.
    Adm(Box<AdmConfig>),
}

/// What a second head estimates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Estimate {
    /// The squared residual of the noise, (eps - eps_hat)^2 (NPR-DPM).
    #[default]
    Npr,
    /// The squared noise, eps^2 (SN-DPM).
    Sn,
}

/// What a second head is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Norm, SiLU, convolution.
    #[default]
    Simple,
    /// A residual block before them.
    Complex,
}

impl Default for TrunkConfig {
    fn default() -> Self {
        TrunkConfig::Ddpm(Box::default())
    }
}

impl TrunkConfig {
    pub(super) fn config(&self) -> &dyn Config {
        match self {
            TrunkConfig::Ddpm(spec) => spec.as_ref(),
            TrunkConfig::Unet(config) => config.as_ref(),
            TrunkConfig::Adm(config) => config.as_ref(),
        }
    }
}

impl HeadsConfig {
    /// Analytic-DPM's CIFAR-10 network of DDPM with a simple head: 35,750,022 parameters.
    pub fn cifar10(second: Estimate) -> Self {
        HeadsConfig { second, ..Self::default() }
    }

    /// Its CIFAR-10 network of improved DDPM with a complex head: 52,973,702 parameters.
    pub fn cifar10_cosine(second: Estimate) -> Self {
        let trunk = TrunkConfig::Adm(Box::new(AdmConfig::cifar10()));
        HeadsConfig { trunk, second, mode: Mode::Complex }
    }
}

impl Config for HeadsConfig {
    fn class() -> Option<&'static str> {
        Some("DiffHeads")
    }

    fn about() -> &'static str {
        "a U-Net with a second head for the covariance, NPR-DPM's or SN-DPM's"
    }

    fn presets() -> Vec<(&'static str, Self)> {
        vec![
            ("npr-cifar10", Self::cifar10(Estimate::Npr)),
            ("sn-cifar10", Self::cifar10(Estimate::Sn)),
            ("npr-cifar10-cosine", Self::cifar10_cosine(Estimate::Npr)),
            ("sn-cifar10-cosine", Self::cifar10_cosine(Estimate::Sn)),
        ]
    }

    fn network(&self, builder: &mut ParamBuilder) -> Result<Arc<dyn Network>> {
        Ok(Arc::new(Heads::new(self, builder)?))
    }

    fn image_shape(&self) -> Option<[usize; 3]> {
        self.trunk.config().image_shape()
    }

    fn classes(&self) -> Option<Classes> {
        self.trunk.config().classes()
    }

    fn prediction_type(&self) -> PredictionType {
        self.trunk.config().prediction_type()
    }

    fn second(&self) -> SecondType {
        match self.second {
            Estimate::Npr => SecondType::Npr,
            Estimate::Sn => SecondType::Sn,
        }
    }

    fn to_json(&self) -> Value {
        json!(self)
    }
}

impl HeadsConfig {
    /// Refuses a trunk whose output is not one picture or two.
    pub(super) fn check(channels: usize, outputs: usize) -> Result<()> {
        if outputs == channels || outputs == 2 * channels {
            return Ok(());
        }
        let supported = format!("{channels} as in_channels, or twice as many");
        Err(Error::unsupported("trunk.out_channels", outputs, supported))
    }
}
