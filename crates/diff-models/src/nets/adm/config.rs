//! The configuration of guided-diffusion's networks, and those that were published.

use super::Adm;
use crate::{
    error::{Error, Result},
    nets::{Classes, Config, Network, SecondType},
    params::ParamBuilder,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::Arc;

/// Groups of every group norm, and what is added to their variance.
pub(super) const GROUPS: usize = 32;
pub(super) const EPS: f64 = 1e-5;

/// The ADM U-Net of "Diffusion Models Beat GANs on Image Synthesis" (Dhariwal & Nichol, 2021), which is
/// also that of "Improved Denoising Diffusion Probabilistic Models" (2021). Names are guided-diffusion's;
/// the defaults are those of its scripts at 64x64: 92,025,731 parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdmConfig {
    /// Height and width of the images.
    pub image_size: usize,
    /// Channels going in.
    pub in_channels: usize,
    /// Whether there are twice as many channels coming out: the second half interpolates the logarithm
    /// of the variance.
    pub learn_sigma: bool,
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
    /// Width of a head, instead of their number.
    pub num_head_channels: Option<usize>,
    /// Heads on the way up, where other than `num_heads`.
    pub num_heads_upsample: Option<usize>,
    /// Whether queries, keys and values come before heads in the channels of `qkv`.
    pub use_new_attention_order: bool,
    /// Whether the time scales and shifts what the second norm of a block gives, instead of being added
    /// before it.
    pub use_scale_shift_norm: bool,
    /// Whether residual blocks change the resolution.
    pub resblock_updown: bool,
    /// Where they do not, whether a convolution does; else means of four pixels, and repetition.
    pub conv_resample: bool,
    /// Probability of dropping an activation inside residual blocks, while training.
    pub dropout: f64,
    /// Classes, if the network is conditioned on them.
    pub num_classes: Option<usize>,
    /// Whether it also knows a label for no class, which guidance needs; ours.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub null_class: bool,
}

impl Default for AdmConfig {
    fn default() -> Self {
        AdmConfig {
            image_size: 64,
            in_channels: 3,
            learn_sigma: false,
            model_channels: 128,
            channel_mult: vec![1.0, 2.0, 3.0, 4.0],
            num_res_blocks: 2,
            attention_resolutions: vec![16, 8],
            num_heads: 4,
            num_head_channels: None,
            num_heads_upsample: None,
            use_new_attention_order: false,
            use_scale_shift_norm: true,
            resblock_updown: false,
            conv_resample: true,
            dropout: 0.0,
            num_classes: None,
            null_class: false,
        }
    }
}

impl AdmConfig {
    /// guided-diffusion's class-conditional ImageNet network at 64x64: 295,904,454 parameters.
    pub fn imagenet64() -> Self {
        AdmConfig {
            model_channels: 192,
            num_res_blocks: 3,
            use_new_attention_order: true,
            dropout: 0.1,
            ..Self::wide(64, &[1.0, 2.0, 3.0, 4.0])
        }
    }

    /// The same at 128x128: 421,529,606 parameters.
    pub fn imagenet128() -> Self {
        AdmConfig { num_head_channels: None, ..Self::wide(128, &[1.0, 1.0, 2.0, 3.0, 4.0]) }
    }

    /// The same at 256x256: 553,838,086 parameters.
    pub fn imagenet256() -> Self {
        Self::wide(256, &[1.0, 1.0, 2.0, 2.0, 4.0, 4.0])
    }

    /// The same at 512x512: 558,997,638 parameters.
    pub fn imagenet512() -> Self {
        Self::wide(512, &[0.5, 1.0, 1.0, 2.0, 2.0, 4.0, 4.0])
    }

    /// guided-diffusion's LSUN networks, and the ImageNet network without classes: 552,814,086
    /// parameters. (LSUN's were trained with a dropout of 0.1.)
    pub fn lsun256() -> Self {
        AdmConfig { num_classes: None, dropout: 0.1, ..Self::imagenet256() }
    }

    fn wide(image_size: usize, channel_mult: &[f64]) -> Self {
        AdmConfig {
            image_size,
            learn_sigma: true,
            model_channels: 256,
            channel_mult: channel_mult.to_vec(),
            attention_resolutions: vec![32, 16, 8],
            num_head_channels: Some(64),
            resblock_updown: true,
            num_classes: Some(1000),
            ..Self::default()
        }
    }

    /// The CIFAR-10 network of Extended-Analytic-DPM: 52,542,979 parameters.
    pub fn cifar10() -> Self {
        AdmConfig {
            image_size: 32,
            num_res_blocks: 3,
            channel_mult: vec![1.0, 2.0, 2.0, 2.0],
            dropout: 0.3,
            ..Self::default()
        }
    }

    /// improved-diffusion's ImageNet network at 64x64: 121,063,942 parameters.
    pub fn improved64() -> Self {
        AdmConfig { num_res_blocks: 3, learn_sigma: true, ..Self::default() }
    }

    /// Channels coming out.
    pub fn out_channels(&self) -> usize {
        if self.learn_sigma { 2 * self.in_channels } else { self.in_channels }
    }

    /// What the sides of images must be multiples of.
    pub(in crate::nets) fn factor(&self) -> usize {
        1 << (self.channel_mult.len() - 1)
    }

    /// Width of the time embedding.
    pub(super) fn time_width(&self) -> usize {
        4 * self.model_channels
    }

    /// Width of a level.
    pub(in crate::nets) fn width(&self, level: usize) -> usize {
        (self.channel_mult[level] * self.model_channels as f64) as usize
    }

    /// Whether a level attends.
    pub(super) fn attends(&self, level: usize) -> bool {
        self.attention_resolutions.contains(&(self.image_size >> level))
    }

    /// Heads of an attention over `channels`.
    pub(super) fn heads(&self, channels: usize, up: bool) -> usize {
        match (self.num_head_channels, self.num_heads_upsample) {
            (Some(width), _) => channels / width,
            (None, Some(heads)) if up => heads,
            (None, _) => self.num_heads,
        }
    }

    /// Refuses what cannot be built, by name, with what is supported.
    ///
    /// # Errors
    /// The first option at fault.
    pub fn check(&self) -> Result<()> {
        let refuse = |name: &str, value: String, supported: String| {
            Err(Error::unsupported(name, value, supported))
        };
        let levels = self.channel_mult.len();
        if levels == 0 {
            return refuse("channel_mult", "[]".into(), "at least one level".into());
        }
        let counts = [
            ("in_channels", self.in_channels),
            ("model_channels", self.model_channels),
            ("num_res_blocks", self.num_res_blocks),
            ("num_heads", self.num_heads),
            ("num_head_channels", self.num_head_channels.unwrap_or(1)),
            ("num_heads_upsample", self.num_heads_upsample.unwrap_or(1)),
            ("num_classes", self.num_classes.unwrap_or(1)),
        ];
        if let Some((name, _)) = counts.into_iter().find(|(_, value)| *value == 0) {
            return refuse(name, "0".into(), "at least 1".into());
        }
        if self.null_class && self.num_classes.is_none() {
            return refuse("null_class", "true".into(), "false, where there are no classes".into());
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return refuse("dropout", self.dropout.to_string(), "0 <= p < 1".into());
        }
        let factor = 1usize.checked_shl(levels as u32 - 1).unwrap_or(0);
        if factor == 0 || self.image_size == 0 || !self.image_size.is_multiple_of(factor) {
            let supported = format!("a multiple of {factor}, for {levels} levels");
            return refuse("image_size", self.image_size.to_string(), supported);
        }
        let found: Vec<usize> = (0..levels).map(|level| self.image_size >> level).collect();
        if let Some(other) = self.attention_resolutions.iter().find(|r| !found.contains(r)) {
            let supported = format!("resolutions of the levels, {found:?}");
            return refuse("attention_resolutions", other.to_string(), supported);
        }
        for level in 0..levels {
            let width = self.width(level);
            if width == 0 || !width.is_multiple_of(GROUPS) {
                let supported = format!(
                    "multiples that make widths of whole {GROUPS}s of model_channels = {}",
                    self.model_channels
                );
                return refuse("channel_mult", self.channel_mult[level].to_string(), supported);
            }
            if !self.attends(level) && level + 1 < levels {
                continue;
            }
            let split = self.num_head_channels.map_or("num_heads", |_| "num_head_channels");
            for up in [false, true] {
                let divisor = self.num_head_channels.unwrap_or_else(|| self.heads(width, up));
                if !width.is_multiple_of(divisor) {
                    let supported = format!("divisors of the attended width {width}");
                    return refuse(split, divisor.to_string(), supported);
                }
            }
        }
        Ok(())
    }
}

impl Config for AdmConfig {
    fn class() -> Option<&'static str> {
        Some("DiffAdm")
    }

    fn about() -> &'static str {
        "the U-Net of guided-diffusion (ADM) and improved-diffusion"
    }

    fn presets() -> Vec<(&'static str, Self)> {
        vec![
            ("adm-scripts64", Self::default()),
            ("adm-cifar10", Self::cifar10()),
            ("adm-improved64", Self::improved64()),
            ("adm-imagenet64", Self::imagenet64()),
            ("adm-imagenet128", Self::imagenet128()),
            ("adm-imagenet256", Self::imagenet256()),
            ("adm-imagenet512", Self::imagenet512()),
            ("adm-lsun256", Self::lsun256()),
        ]
    }

    fn network(&self, builder: &mut ParamBuilder) -> Result<Arc<dyn Network>> {
        Ok(Arc::new(Adm::new(self.clone(), builder)?))
    }

    fn image_shape(&self) -> Option<[usize; 3]> {
        Some([self.in_channels, self.image_size, self.image_size])
    }

    fn classes(&self) -> Option<Classes> {
        self.num_classes.map(|count| Classes::new(count, self.null_class))
    }

    fn second(&self) -> SecondType {
        if self.learn_sigma { SecondType::Range } else { SecondType::None }
    }

    fn to_json(&self) -> Value {
        json!(self)
    }
}
