//! The DDPM U-Net (Ho et al., 2020), as diffusers' `UNet2DModel` spells it.

mod blocks;
mod config;
mod levels;

pub(super) use blocks::ResnetBlock;
pub use config::{SampleSize, UnetConfig};

use crate::{
    Condition, Context,
    error::Result,
    nets::{
        Architecture, Config, Network, check,
        layers::{Conv2d, Embedding, GroupNorm, Linear},
        network::{Features, Trunk},
        times::Times,
    },
    ops::{self, ConvGeometry, GroupNormSpec, TimeEmbedding},
    params::ParamBuilder,
};
use candle_core::Tensor;
use levels::{DownLevel, Middle, UpLevel};

/// The network.
#[derive(Clone, Debug)]
pub struct Unet {
    config: UnetConfig,
    conv_in: Conv2d,
    /// Of times, where they are learnt.
    table: Option<Embedding>,
    time1: Linear,
    time2: Linear,
    classes: Option<Embedding>,
    down: Vec<DownLevel>,
    middle: Option<Middle>,
    up: Vec<UpLevel>,
    norm_out: GroupNorm,
    conv_out: Conv2d,
}

impl Unet {
    /// Builds the network.
    ///
    /// # Errors
    /// When the configuration is impossible or not supported. Weights that do not fit are
    /// reported by [`ParamBuilder::finish`].
    pub fn new(config: UnetConfig, builder: &mut ParamBuilder) -> Result<Self> {
        config.check()?;
        let widths = config.block_out_channels.clone();
        let (first, last, time) = (widths[0], widths[widths.len() - 1], config.time_width());
        let norm = GroupNormSpec { groups: config.norm_num_groups, eps: config.norm_eps };
        let same = ConvGeometry::same(3);
        // The order is PyTorch's registration order, hence the middle after the way up.
        let conv_in = Conv2d::new(builder, "conv_in", (config.in_channels, first), 3, same)?;
        let table = match config.learnt_times() {
            None => None,
            Some(rows) => Some(Embedding::new(builder, "time_proj", rows, first)?),
        };
        let (time1, time2) = builder.under("time_embedding", |b| {
            Ok((
                Linear::new(b, "linear_1", (first, time))?,
                Linear::new(b, "linear_2", (time, time))?,
            ))
        })?;
        let classes = match config.num_class_embeds {
            None => None,
            Some(rows) => Some(Embedding::new(builder, "class_embedding", rows, time)?),
        };
        let down = builder.under("down_blocks", |b| {
            (0..widths.len()).map(|level| DownLevel::new(b, level, &config)).collect()
        })?;
        let up = builder.under("up_blocks", |b| {
            (0..widths.len()).map(|step| UpLevel::new(b, step, &config)).collect()
        })?;
        let middle = match config.mid_block_type {
            None => None,
            Some(_) => Some(builder.under("mid_block", |b| Middle::new(b, last, &config))?),
        };
        let norm_out = GroupNorm::new(builder, "conv_norm_out", first, norm)?;
        let conv_out = Conv2d::new(builder, "conv_out", (first, config.out_channels), 3, same)?;
        Ok(Unet {
            config,
            conv_in,
            table,
            time1,
            time2,
            classes,
            down,
            middle,
            up,
            norm_out,
            conv_out,
        })
    }

    /// The configuration the network was built from.
    pub fn config(&self) -> &UnetConfig {
        &self.config
    }

    /// `[B, H, W, in_channels]` and the embedding of the time to `[B, H, W, out_channels]`.
    fn run(&self, given: &Given, context: &Context) -> Result<Features> {
        let Given { x, times, labels } = given;
        let waves = times.start(self.table.as_ref())?;
        let mut time = self.time2.forward(&ops::silu(&self.time1.forward(&waves)?)?)?;
        if let (Some(classes), Some(labels)) = (&self.classes, labels) {
            time = ops::add(&time, &classes.forward(labels)?)?;
        }
        let time = ops::silu(&time)?;
        let mut h = self.conv_in.forward(x)?;
        let mut skips = vec![h.clone()];
        for level in &self.down {
            h = level.forward(h, &time, context, &mut skips)?;
        }
        if let Some(middle) = &self.middle {
            h = middle.forward(h, &time, context)?;
        }
        for level in &self.up {
            h = level.forward(h, &time, context, &mut skips)?;
        }
        let out = self.conv_out.forward(&self.norm_out.forward_silu(&h)?)?;
        Ok(Features { maps: h, time, out })
    }

    /// What the layers take, checked.
    fn given(&self, x: &Tensor, network_time: &[f64], condition: &Condition) -> Result<Given> {
        let factor = 1 << (self.down.len() - 1);
        check::input(x, network_time, self.config.in_channels, factor)?;
        check::no_image(condition)?;
        let labels = check::labels(network_time.len(), condition, self.config.classes())?;
        let x = match self.config.center_input_sample {
            true => ((x * 2.0)? - 1.0)?,
            false => x.clone(),
        };
        let x = x.permute((0, 2, 3, 1))?.contiguous()?;
        let times = match self.config.learnt_times() {
            Some(rows) => Times::rows(network_time, rows)?,
            None => {
                let spec = TimeEmbedding {
                    width: self.config.block_out_channels[0],
                    flip_sin_to_cos: self.config.flip_sin_to_cos,
                    freq_shift: self.config.freq_shift,
                };
                Times::Waves(ops::timestep_embedding(network_time, spec, x.dtype(), x.device())?)
            }
        };
        Ok(Given { x, times, labels })
    }
}

/// What the layers take.
struct Given {
    /// `[B, H, W, C]`.
    x: Tensor,
    times: Times,
    labels: Option<Vec<u32>>,
}

impl Trunk for Unet {
    fn features(
        &self,
        x: &Tensor,
        network_time: &[f64],
        condition: &Condition,
        context: &Context,
    ) -> Result<Features> {
        self.run(&self.given(x, network_time, condition)?, context)
    }
}

impl Network for Unet {
    fn forward_network(
        &self,
        x: &Tensor,
        network_time: &[f64],
        condition: &Condition,
        context: &Context,
    ) -> Result<Tensor> {
        let given = self.given(x, network_time, condition)?;
        let run = || Ok(self.run(&given, context)?.out);
        let out = ops::record(&given.times.beside(&given.x), run)?;
        Ok(out.permute((0, 3, 1, 2))?.contiguous()?)
    }

    fn multiply_adds(&self, height: usize, width: usize) -> u64 {
        let pixels = height * width;
        let levels = self.down.len();
        let down: u64 =
            self.down.iter().enumerate().map(|(i, l)| l.multiply_adds(pixels >> (2 * i))).sum();
        let up: u64 = self
            .up
            .iter()
            .enumerate()
            .map(|(i, l)| l.multiply_adds(pixels >> (2 * (levels - 1 - i))))
            .sum();
        let middle =
            self.middle.as_ref().map_or(0, |m| m.multiply_adds(pixels >> (2 * (levels - 1))));
        let ends = self.conv_in.multiply_adds(pixels) + self.conv_out.multiply_adds(pixels);
        ends + self.time1.multiply_adds(1) + self.time2.multiply_adds(1) + down + middle + up
    }

    fn architecture(&self) -> Architecture {
        self.config.clone().into()
    }
}
