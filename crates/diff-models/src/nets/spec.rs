//! The DDPM U-Net in the paper's terms.

use super::{
    Classes, Config, Network,
    unet::{SampleSize, UnetConfig},
};
use crate::{
    error::{Error, Result},
    params::ParamBuilder,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::Arc;

/// The U-Net of "Denoising Diffusion Probabilistic Models" (Ho et al., 2020); the defaults are its
/// CIFAR-10 network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DdpmSpec {
    /// Height and width of the images.
    pub resolution: usize,
    /// Channels going in.
    pub in_channels: usize,
    /// Channels coming out.
    pub out_channels: usize,
    /// Width of the first level.
    pub channels: usize,
    /// Width of each level as a multiple of `channels`; each further level halves the resolution.
    pub multipliers: Vec<usize>,
    /// Residual blocks per level.
    pub blocks: usize,
    /// Resolutions at which levels attend.
    pub attention_resolutions: Vec<usize>,
    /// Probability of dropping an activation inside residual blocks, while training.
    pub dropout: f64,
    /// Groups of every group norm.
    pub norm_groups: usize,
    /// Classes, if the network is conditioned on them.
    pub classes: Option<usize>,
    /// Whether it also knows a label for no class, which guidance needs.
    pub null_class: bool,
}

impl Default for DdpmSpec {
    fn default() -> Self {
        DdpmSpec {
            resolution: 32,
            in_channels: 3,
            out_channels: 3,
            channels: 128,
            multipliers: vec![1, 2, 2, 2],
            blocks: 2,
            attention_resolutions: vec![16],
            dropout: 0.1,
            norm_groups: 32,
            classes: None,
            null_class: false,
        }
    }
}

impl DdpmSpec {
    /// CIFAR-10 at 32x32: 35,746,307 parameters.
    pub fn cifar10() -> Self {
        Self::default()
    }

    /// CelebA, AFHQ and FFHQ at 64x64: 78,700,803 parameters.
    pub fn celeba64() -> Self {
        DdpmSpec { resolution: 64, multipliers: vec![1, 2, 2, 2, 4], ..Self::default() }
    }

    /// LSUN and CelebA-HQ at 256x256: 113,673,219 parameters.
    pub fn lsun256() -> Self {
        DdpmSpec {
            resolution: 256,
            multipliers: vec![1, 1, 2, 2, 4, 4],
            dropout: 0.0,
            ..Self::default()
        }
    }

    /// The same network in diffusers' terms.
    ///
    /// # Errors
    /// When the resolution cannot be halved once per level, or the widths do not fit the groups.
    pub fn config(&self) -> Result<UnetConfig> {
        let levels = self.multipliers.len();
        if levels == 0 {
            return Err(Error::unsupported("multipliers", "[]", "at least one level"));
        }
        let factor = 1usize.checked_shl(levels as u32 - 1).unwrap_or(0);
        if factor == 0 || self.resolution == 0 || !self.resolution.is_multiple_of(factor) {
            let supported = format!("a multiple of {factor}, for {levels} levels");
            return Err(Error::unsupported("resolution", self.resolution, supported));
        }
        let attends =
            |level: &usize| self.attention_resolutions.contains(&(self.resolution >> level));
        let name = |level: usize, plain: &str| match attends(&level) {
            true => format!("Attn{plain}"),
            false => plain.to_string(),
        };
        for resolution in &self.attention_resolutions {
            if !(0..levels).any(|level| self.resolution >> level == *resolution) {
                let found: Vec<usize> = (0..levels).map(|level| self.resolution >> level).collect();
                let supported = format!("resolutions of the levels, {found:?}");
                return Err(Error::unsupported("attention_resolutions", resolution, supported));
            }
        }
        if self.null_class && self.classes.is_none() {
            return Err(Error::unsupported(
                "null_class",
                true,
                "false, where there are no classes",
            ));
        }
        if self.classes == Some(0) {
            return Err(Error::unsupported("classes", 0, "at least 1"));
        }
        let config = UnetConfig {
            sample_size: Some(SampleSize::Square(self.resolution)),
            in_channels: self.in_channels,
            out_channels: self.out_channels,
            freq_shift: 1.0,
            flip_sin_to_cos: false,
            down_block_types: (0..levels).map(|level| name(level, "DownBlock2D")).collect(),
            up_block_types: (0..levels).rev().map(|level| name(level, "UpBlock2D")).collect(),
            block_out_channels: self.multipliers.iter().map(|m| m * self.channels).collect(),
            layers_per_block: self.blocks,
            downsample_padding: 0,
            dropout: self.dropout,
            attention_head_dim: None,
            norm_num_groups: self.norm_groups,
            norm_eps: 1e-6,
            num_class_embeds: self.classes().map(|classes| classes.rows()),
            null_class: self.null_class,
            ..UnetConfig::default()
        };
        config.check()?;
        Ok(config)
    }
}

impl Config for DdpmSpec {
    /// Its networks are `UNet2DModel`s.
    fn class() -> Option<&'static str> {
        None
    }

    fn about() -> &'static str {
        "the U-Net of DDPM and DDIM, in the terms of the paper"
    }

    fn presets() -> Vec<(&'static str, Self)> {
        vec![
            ("ddpm-cifar10", Self::cifar10()),
            ("ddpm-celeba64", Self::celeba64()),
            ("ddpm-lsun256", Self::lsun256()),
        ]
    }

    fn network(&self, builder: &mut ParamBuilder) -> Result<Arc<dyn Network>> {
        self.config()?.network(builder)
    }

    fn image_shape(&self) -> Option<[usize; 3]> {
        Some([self.in_channels, self.resolution, self.resolution])
    }

    fn classes(&self) -> Option<Classes> {
        self.classes.map(|count| Classes::new(count, self.null_class))
    }

    fn to_json(&self) -> Value {
        json!(self)
    }
}
