//! The three parts of the network: levels going down, the middle, levels going up.

use super::{
    blocks::{AttentionBlock, ResnetBlock},
    config::UnetConfig,
};
use crate::{
    Context,
    error::Result,
    nets::{layers::Conv2d, resampling::Resampling},
    ops::{self, ConvGeometry},
    params::ParamBuilder,
};
use candle_core::Tensor;

/// What changes the resolution after a level.
#[derive(Clone, Debug)]
enum Resampler {
    /// A convolution; on the way up, of repeated pixels.
    Conv(Conv2d),
    /// A residual block.
    Resnet(Box<ResnetBlock>),
}

/// `DownBlock2D`, `AttnDownBlock2D` or `ResnetDownsampleBlock2D`.
#[derive(Clone, Debug)]
pub(super) struct DownLevel {
    attentions: Vec<AttentionBlock>,
    resnets: Vec<ResnetBlock>,
    downsample: Option<Resampler>,
}

/// `UpBlock2D`, `AttnUpBlock2D` or `ResnetUpsampleBlock2D`.
#[derive(Clone, Debug)]
pub(super) struct UpLevel {
    attentions: Vec<AttentionBlock>,
    resnets: Vec<ResnetBlock>,
    upsample: Option<Resampler>,
}

/// `UNetMidBlock2D`.
#[derive(Clone, Debug)]
pub(super) struct Middle {
    attention: Option<AttentionBlock>,
    resnets: [ResnetBlock; 2],
}

impl DownLevel {
    pub(super) fn new(
        builder: &mut ParamBuilder,
        level: usize,
        config: &UnetConfig,
    ) -> Result<Self> {
        let widths = &config.block_out_channels;
        let width = widths[level];
        let before = widths[level.saturating_sub(1)];
        let attends = config.down_block_types[level].starts_with("Attn");
        let layers = config.layers_per_block;
        let inputs: Vec<usize> = (0..layers).map(|r| if r == 0 { before } else { width }).collect();
        builder.under(level, |b| {
            let attentions = attentions(b, if attends { layers } else { 0 }, width, config)?;
            let resnets = resnets(b, &inputs, width, config)?;
            let half = ConvGeometry::half(config.downsample_padding);
            let downsample = match (level + 1 == widths.len(), config.resnet_down(level)) {
                (true, _) => None,
                (false, true) => Some(resnet(b, "downsamplers", width, config, Resampling::Down)?),
                (false, false) => Some(conv(b, "downsamplers", width, half)?),
            };
            Ok(DownLevel { attentions, resnets, downsample })
        })
    }

    /// Pushes every intermediate map onto `skips` and returns the last.
    pub(super) fn forward(
        &self,
        mut x: Tensor,
        time: &Tensor,
        context: &Context,
        skips: &mut Vec<Tensor>,
    ) -> Result<Tensor> {
        for (i, resnet) in self.resnets.iter().enumerate() {
            x = resnet.forward(&x, time, context)?;
            if let Some(attention) = self.attentions.get(i) {
                x = attention.forward(&x)?;
            }
            skips.push(x.clone());
        }
        if let Some(downsample) = &self.downsample {
            x = match downsample {
                Resampler::Conv(conv) => conv.forward(&x)?,
                Resampler::Resnet(block) => block.forward(&x, time, context)?,
            };
            skips.push(x.clone());
        }
        Ok(x)
    }

    /// At `pixels` per map; the downsampled map has a quarter of them.
    pub(super) fn multiply_adds(&self, pixels: usize) -> u64 {
        blocks_multiply_adds(&self.resnets, &self.attentions, pixels)
            + self.downsample.as_ref().map_or(0, |after| after.multiply_adds(pixels, pixels / 4))
    }
}

impl UpLevel {
    /// `step` counts the levels in execution order, from the lowest resolution.
    pub(super) fn new(
        builder: &mut ParamBuilder,
        step: usize,
        config: &UnetConfig,
    ) -> Result<Self> {
        let widths = &config.block_out_channels;
        let level = widths.len() - 1 - step;
        let width = widths[level];
        let from_below = widths[(level + 1).min(widths.len() - 1)];
        let last_skip = widths[level.saturating_sub(1)];
        let attends = config.up_block_types[step].starts_with("Attn");
        let layers = config.layers_per_block + 1;
        let inputs: Vec<usize> = (0..layers)
            .map(|r| {
                let hidden = if r == 0 { from_below } else { width };
                hidden + if r + 1 == layers { last_skip } else { width }
            })
            .collect();
        builder.under(step, |b| {
            let attentions = attentions(b, if attends { layers } else { 0 }, width, config)?;
            let resnets = resnets(b, &inputs, width, config)?;
            let upsample = match (level == 0, config.resnet_up(step)) {
                (true, _) => None,
                (false, true) => Some(resnet(b, "upsamplers", width, config, Resampling::Up)?),
                (false, false) => Some(conv(b, "upsamplers", width, ConvGeometry::same(3))?),
            };
            Ok(UpLevel { attentions, resnets, upsample })
        })
    }

    /// Takes one map off `skips` per residual block.
    pub(super) fn forward(
        &self,
        mut x: Tensor,
        time: &Tensor,
        context: &Context,
        skips: &mut Vec<Tensor>,
    ) -> Result<Tensor> {
        for (i, resnet) in self.resnets.iter().enumerate() {
            if let Some(skip) = skips.pop() {
                x = ops::concat(&[&x, &skip])?;
            }
            x = resnet.forward(&x, time, context)?;
            if let Some(attention) = self.attentions.get(i) {
                x = attention.forward(&x)?;
            }
        }
        match &self.upsample {
            None => Ok(x),
            Some(Resampler::Conv(conv)) => conv.forward(&ops::upsample_nearest2x(&x)?),
            Some(Resampler::Resnet(block)) => block.forward(&x, time, context),
        }
    }

    /// At `pixels` per map; the upsampled map has four times as many.
    pub(super) fn multiply_adds(&self, pixels: usize) -> u64 {
        blocks_multiply_adds(&self.resnets, &self.attentions, pixels)
            + self.upsample.as_ref().map_or(0, |after| after.multiply_adds(pixels, 4 * pixels))
    }
}

impl Middle {
    pub(super) fn new(
        builder: &mut ParamBuilder,
        width: usize,
        config: &UnetConfig,
    ) -> Result<Self> {
        let scale = config.mid_block_scale_factor;
        // The library's own reading: with scale and shift, no norm unless its groups are named.
        let groups = config.attn_norm_num_groups.or(match config.scale_shift() {
            true => None,
            false => Some(config.norm_num_groups),
        });
        let attention = match config.add_attention {
            false => None,
            true => Some(builder.under("attentions", |b| {
                AttentionBlock::new(b, 0, width, groups, config, scale)
            })?),
        };
        let resnets = builder.under("resnets", |b| {
            let first = ResnetBlock::new(b, 0, (width, width), config, scale)?;
            Ok([first, ResnetBlock::new(b, 1, (width, width), config, scale)?])
        })?;
        Ok(Middle { attention, resnets })
    }

    pub(super) fn forward(&self, x: Tensor, time: &Tensor, context: &Context) -> Result<Tensor> {
        let mut x = self.resnets[0].forward(&x, time, context)?;
        if let Some(attention) = &self.attention {
            x = attention.forward(&x)?;
        }
        self.resnets[1].forward(&x, time, context)
    }

    pub(super) fn multiply_adds(&self, pixels: usize) -> u64 {
        blocks_multiply_adds(&self.resnets, self.attention.as_slice(), pixels)
    }
}

fn attentions(
    builder: &mut ParamBuilder,
    count: usize,
    width: usize,
    config: &UnetConfig,
) -> Result<Vec<AttentionBlock>> {
    builder.under("attentions", |b| {
        (0..count)
            .map(|i| AttentionBlock::new(b, i, width, Some(config.norm_num_groups), config, 1.0))
            .collect()
    })
}

fn resnets(
    builder: &mut ParamBuilder,
    inputs: &[usize],
    width: usize,
    config: &UnetConfig,
) -> Result<Vec<ResnetBlock>> {
    builder.under("resnets", |b| {
        inputs
            .iter()
            .enumerate()
            .map(|(i, input)| ResnetBlock::new(b, i, (*input, width), config, 1.0))
            .collect()
    })
}

impl Resampler {
    /// For so many pixels before and after.
    fn multiply_adds(&self, before: usize, after: usize) -> u64 {
        match self {
            Resampler::Conv(conv) => conv.multiply_adds(after),
            Resampler::Resnet(block) => block.multiply_adds(before),
        }
    }
}

fn conv(
    builder: &mut ParamBuilder,
    list: &str,
    width: usize,
    geometry: ConvGeometry,
) -> Result<Resampler> {
    let conv = builder
        .under(list, |b| b.under(0, |b| Conv2d::new(b, "conv", (width, width), 3, geometry)))?;
    Ok(Resampler::Conv(conv))
}

fn resnet(
    builder: &mut ParamBuilder,
    list: &str,
    width: usize,
    config: &UnetConfig,
    resampling: Resampling,
) -> Result<Resampler> {
    let block = builder.under(list, |b| ResnetBlock::resampler(b, 0, width, config, resampling))?;
    Ok(Resampler::Resnet(Box::new(block)))
}

fn blocks_multiply_adds(
    resnets: &[ResnetBlock],
    attentions: &[AttentionBlock],
    pixels: usize,
) -> u64 {
    let resnets: u64 = resnets.iter().map(|r| r.multiply_adds(pixels)).sum();
    resnets + attentions.iter().map(|a| a.multiply_adds(pixels)).sum::<u64>()
}
