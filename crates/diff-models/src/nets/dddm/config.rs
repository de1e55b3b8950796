//! The configuration of DDDM's networks.

use super::Dddm;
use crate::{
    error::{Error, Result},
    nets::{Classes, Config, Network, PredictionType, adm::AdmConfig},
    params::ParamBuilder,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::Arc;

/// The U-Net of "Directly Denoising Diffusion Models" (Zhang et al., 2024): the ADM U-Net, given an
/// estimate of the clean image besides the noisy one. Names are those of its repository; the defaults
/// are its CIFAR-10 network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DddmConfig {
    /// Height and width of the images.
    pub image_size: usize,
    /// Channels of the images.
    pub in_channels: usize,
    /// How the estimate comes in.
    pub conditioning: Conditioning,
    /// Width that the multiples are of.
    pub model_channels: usize,
    /// Width of each level as a multiple of `model_channels`; each further level halves the resolution.
    pub channel_mult: Vec<f64>,
    /// Residual blocks per level; one more on the way up.
    pub num_res_blocks: usize,
    /// Resolutions at which levels attend. The middle always does.
    pub attention_resolutions: Vec<usize>,
    /// Heads of an attention.
    pub num_heads: usize,
    /// Whether the time scales and shifts what the second norm of a block gives, instead of being added
    /// before it.
    pub use_scale_shift_norm: bool,
    /// Probability of dropping an activation inside residual blocks, while training.
    pub dropout: f64,
    /// Class labels, if the network is conditioned on them.
    pub num_classes: Option<usize>,
}

/// How a network is given an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Conditioning {
    /// Every attention is a transformer that also attends to the image's pixels.
    #[default]
    CrossAttention,
    /// As further channels beside the noisy image's. (In the released code this fails.)
    Concatenation,
    /// Not at all, the released code's `use_CA = False`.
    None,
}

impl Default for DddmConfig {
    fn default() -> Self {
        DddmConfig {
            image_size: 32,
            in_channels: 3,
            conditioning: Conditioning::CrossAttention,
            model_channels: 128,
            channel_mult: vec![1.0, 2.0, 2.0, 2.0],
            num_res_blocks: 3,
            attention_resolutions: vec![16, 8],
            num_heads: 4,
            use_scale_shift_norm: true,
            dropout: 0.3,
            num_classes: None,
        }
    }
}

impl DddmConfig {
    /// CIFAR-10: 131,343,619 parameters.
    pub fn cifar10() -> Self {
        Self::default()
    }

    /// CIFAR-10, twice as deep: 233,136,259 parameters.
    pub fn cifar10_deep() -> Self {
        DddmConfig { num_res_blocks: 6, ..Self::cifar10() }
    }

    /// ImageNet at 64x64: 437,680,515 parameters. (The paper's 270 million are those without
    /// cross-attention.)
    pub fn imagenet64() -> Self {
        DddmConfig {
            image_size: 64,
            model_channels: 192,
            channel_mult: vec![1.0, 2.0, 3.0, 4.0],
            dropout: 0.0,
            num_classes: Some(1000),
            ..Self::default()
        }
    }

    /// ImageNet at 64x64, twice as deep: 765,590,403 parameters.
    pub fn imagenet64_deep() -> Self {
        DddmConfig { num_res_blocks: 6, ..Self::imagenet64() }
    }

    /// For 8x8 images of one channel, on a CPU.
    pub fn tiny() -> Self {
        DddmConfig {
            image_size: 8,
            in_channels: 1,
            model_channels: 32,
            channel_mult: vec![1.0, 2.0],
            num_res_blocks: 1,
            attention_resolutions: vec![4],
            dropout: 0.0,
            ..Self::default()
        }
    }

    /// The network around what is DDDM's own.
    pub(super) fn body(&self) -> AdmConfig {
        AdmConfig {
            image_size: self.image_size,
            in_channels: self.in_channels,
            learn_sigma: false,
            model_channels: self.model_channels,
            channel_mult: self.channel_mult.clone(),
            num_res_blocks: self.num_res_blocks,
            attention_resolutions: self.attention_resolutions.clone(),
            num_heads: self.num_heads,
            use_scale_shift_norm: self.use_scale_shift_norm,
            dropout: self.dropout,
            num_classes: self.num_classes,
            ..AdmConfig::default()
        }
    }

    /// Width of the transformers' rows.
    pub(super) fn inner(&self) -> usize {
        4 * self.model_channels
    }

    /// Refuses what cannot be built, by name, with what is supported.
    ///
    /// # Errors
    /// The first option at fault.
    pub fn check(&self) -> Result<()> {
        self.body().check()?;
        if !self.inner().is_multiple_of(self.num_heads) {
            let supported = format!("divisors of 4 model_channels = {}", self.inner());
            return Err(Error::unsupported("num_heads", self.num_heads, supported));
        }
        Ok(())
    }
}

impl Config for DddmConfig {
    fn class() -> Option<&'static str> {
        Some("DiffDddm")
    }

    fn about() -> &'static str {
        "the U-Net of DDDM, which is given an estimate of the clean image"
    }

    fn presets() -> Vec<(&'static str, Self)> {
        vec![
            ("dddm-cifar10", Self::cifar10()),
            ("dddm-cifar10-deep", Self::cifar10_deep()),
            ("dddm-imagenet64", Self::imagenet64()),
            ("dddm-imagenet64-deep", Self::imagenet64_deep()),
            ("dddm-tiny", Self::tiny()),
        ]
    }

    fn network(&self, builder: &mut ParamBuilder) -> Result<Arc<dyn Network>> {
        Ok(Arc::new(Dddm::new(self.clone(), builder)?))
    }

    fn image_shape(&self) -> Option<[usize; 3]> {
        Some([self.in_channels, self.image_size, self.image_size])
    }

    fn classes(&self) -> Option<Classes> {
        self.num_classes.map(|count| Classes::new(count, false))
    }

    fn takes_image(&self) -> bool {
        self.conditioning != Conditioning::None
    }

    fn prediction_type(&self) -> PredictionType {
        PredictionType::Residual
    }

    fn to_json(&self) -> Value {
        json!(self)
    }
}
