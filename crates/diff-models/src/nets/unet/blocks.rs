//! The two blocks a level is made of: residual convolutions and self-attention.

use super::config::UnetConfig;
use crate::{
    Context,
    error::Result,
    nets::{
        layers::{Conv2d, GroupNorm, Linear},
        resampling::Resampling,
    },
    ops::{self, ConvGeometry, Extra, GroupNormSpec},
    params::ParamBuilder,
};
use candle_core::Tensor;

/// diffusers' `ResnetBlock2D`: norm, SiLU, convolution, plus time, norm, SiLU, dropout,
/// convolution, plus input. With `resnet_time_scale_shift = "scale_shift"` the time scales and shifts
/// what the second norm gives instead of being added before it.
#[derive(Clone, Debug)]
pub(in crate::nets) struct ResnetBlock {
    norm1: GroupNorm,
    conv1: Conv2d,
    time: Linear,
    norm2: GroupNorm,
    conv2: Conv2d,
    shortcut: Option<Conv2d>,
    resampling: Resampling,
    scale_shift: bool,
    dropout: f64,
    /// Tells this block's dropout masks from other blocks'.
    layer: u16,
    /// Divides the sum at the end.
    scale: f64,
}

impl ResnetBlock {
    pub(in crate::nets) fn new(
        builder: &mut ParamBuilder,
        name: impl ToString,
        (inputs, outputs): (usize, usize),
        config: &UnetConfig,
        scale: f64,
    ) -> Result<Self> {
        let norm = GroupNormSpec { groups: config.norm_num_groups, eps: config.norm_eps };
        let same = ConvGeometry::same(3);
        let scale_shift = config.scale_shift();
        let time = (config.time_width(), if scale_shift { 2 * outputs } else { outputs });
        builder.under(name, |b| {
            Ok(ResnetBlock {
                layer: b.shapes().len() as u16,
                dropout: config.dropout,
                scale,
                resampling: Resampling::None,
                norm1: GroupNorm::new(b, "norm1", inputs, norm)?,
                conv1: Conv2d::new(b, "conv1", (inputs, outputs), 3, same)?,
                scale_shift,
                time: Linear::new(b, "time_emb_proj", time)?,
                norm2: GroupNorm::new(b, "norm2", outputs, norm)?,
                conv2: Conv2d::new(b, "conv2", (outputs, outputs), 3, same)?,
                shortcut: match inputs == outputs {
                    true => None,
                    false => Some(Conv2d::new(
                        b,
                        "conv_shortcut",
                        (inputs, outputs),
                        1,
                        ConvGeometry::same(1),
                    )?),
                },
            })
        })
    }

    /// One that changes the resolution as well.
    pub(super) fn resampler(
        builder: &mut ParamBuilder,
        name: impl ToString,
        width: usize,
        config: &UnetConfig,
        resampling: Resampling,
    ) -> Result<Self> {
        let block = Self::new(builder, name, (width, width), config, 1.0)?;
        Ok(ResnetBlock { resampling, ..block })
    }

    /// `time` is the activated time embedding `[B, time_width]`.
    pub(in crate::nets) fn forward(
        &self,
        x: &Tensor,
        time: &Tensor,
        context: &Context,
    ) -> Result<Tensor> {
        let time = self.time.forward(time)?;
        let h = self.resampling.forward(&self.norm1.forward_silu(x)?)?;
        let x = &self.resampling.forward(x)?;
        let h = match self.scale_shift {
            true => self.norm2.forward_scale_shift_silu(&self.conv1.forward(&h)?, &time)?,
            false => {
                let shift = Extra { shift: Some(&time), residual: None };
                self.norm2.forward_silu(&self.conv1.forward_with(&h, shift)?)?
            }
        };
        let h = ops::dropout(&h, self.dropout, context, self.layer)?;
        let skip = match &self.shortcut {
            None => x.clone(),
            Some(shortcut) => shortcut.forward(x)?,
        };
        let residual = Extra { shift: None, residual: Some(&skip) };
        rescale(self.conv2.forward_with(&h, residual)?, self.scale)
    }

    /// For so many pixels that go in.
    pub(in crate::nets) fn multiply_adds(&self, pixels: usize) -> u64 {
        let pixels = self.resampling.pixels(pixels);
        let shortcut = self.shortcut.as_ref().map_or(0, |s| s.multiply_adds(pixels));
        let convs = self.conv1.multiply_adds(pixels) + self.conv2.multiply_adds(pixels);
        convs + shortcut + self.time.multiply_adds(1)
    }
}

/// diffusers' `Attention` over the pixels of a map, with residual connection.
#[derive(Clone, Debug)]
pub(super) struct AttentionBlock {
    norm: Option<GroupNorm>,
    to_q: Linear,
    to_k: Linear,
    to_v: Linear,
    to_out: Linear,
    channels: usize,
    heads: usize,
    /// Divides the sum at the end.
    scale: f64,
}

impl AttentionBlock {
    pub(super) fn new(
        builder: &mut ParamBuilder,
        index: usize,
        channels: usize,
        groups: Option<usize>,
        config: &UnetConfig,
        scale: f64,
    ) -> Result<Self> {
        let norm = groups.map(|groups| GroupNormSpec { groups, eps: config.norm_eps });
        let width = (channels, channels);
        builder.under(index, |b| {
            Ok(AttentionBlock {
                norm: norm
                    .map(|norm| GroupNorm::new(b, "group_norm", channels, norm))
                    .transpose()?,
                to_q: Linear::new(b, "to_q", width)?,
                to_k: Linear::new(b, "to_k", width)?,
                to_v: Linear::new(b, "to_v", width)?,
                to_out: b.under("to_out", |b| Linear::new(b, "0", width))?,
                channels,
                heads: channels / config.attention_head_dim.unwrap_or(channels),
                scale,
            })
        })
    }

    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let h = self.norm.as_ref().map_or_else(|| Ok(x.clone()), |norm| norm.forward(x))?;
        let (q, k, v) = (self.to_q.forward(&h)?, self.to_k.forward(&h)?, self.to_v.forward(&h)?);
        let mixed = ops::attention(&q, &k, &v, self.heads)?;
        rescale(self.to_out.forward_plus(&mixed, x)?, self.scale)
    }

    pub(super) fn multiply_adds(&self, pixels: usize) -> u64 {
        4 * self.to_q.multiply_adds(pixels) + 2 * (pixels * pixels * self.channels) as u64
    }
}

fn rescale(sum: Tensor, scale: f64) -> Result<Tensor> {
    if scale == 1.0 { Ok(sum) } else { ops::scale(&sum, 1.0 / scale) }
}
