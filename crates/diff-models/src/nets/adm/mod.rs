//! The ADM U-Net of guided-diffusion and improved-diffusion, under its own parameter names.

mod blocks;
mod config;

pub use config::AdmConfig;

use crate::{
    Condition, Context, Denoiser, Mean, Prediction, Second,
    error::Result,
    nets::{
        check,
        layers::{Conv2d, Embedding, GroupNorm, Linear},
    },
    ops::{self, ConvGeometry, TimeEmbedding},
    params::ParamBuilder,
};
use blocks::{AttentionBlock, NORM, ResBlock, Resampling};
use candle_core::Tensor;

/// The network. It predicts noise and, with `learn_sigma`, the range of the variance.
#[derive(Clone, Debug)]
pub struct Adm {
    config: AdmConfig,
    time: [Linear; 2],
    classes: Option<Embedding>,
    down: Vec<Stage>,
    middle: Stage,
    up: Vec<Stage>,
    norm_out: GroupNorm,
    conv_out: Conv2d,
}

/// Layers between two skip connections.
#[derive(Clone, Debug)]
struct Stage(Vec<Layer>);

#[derive(Clone, Debug)]
enum Layer {
    Conv(Conv2d),
    Residual(Box<ResBlock>),
    Attention(Box<AttentionBlock>),
    Down(Option<Conv2d>),
    Up(Option<Conv2d>),
}

impl Adm {
    /// Builds the network.
    ///
    /// # Errors
    /// When the configuration is impossible. Weights that do not fit are reported by
    /// [`ParamBuilder::finish`].
    pub fn new(config: AdmConfig, builder: &mut ParamBuilder) -> Result<Self> {
        config.check()?;
        let (first, time) = (config.model_channels, config.time_width());
        let layers = builder.under("time_embed", |b| {
            Ok([Linear::new(b, "0", (first, time))?, Linear::new(b, "2", (time, time))?])
        })?;
        let classes = match config.num_classes {
            None => None,
            Some(rows) => Some(Embedding::new(builder, "label_emb", rows, time)?),
        };
        let (down, mut skips) = builder.under("input_blocks", |b| way_down(b, &config))?;
        let width = config.width(config.channel_mult.len() - 1);
        let middle = builder.under("middle_block", |b| {
            let first = residual(b, 0, (width, width), Resampling::None, &config)?;
            let attention = attention(b, 1, width, false, &config)?;
            let last = residual(b, 2, (width, width), Resampling::None, &config)?;
            Ok(Stage(vec![first, attention, last]))
        })?;
        let up = builder.under("output_blocks", |b| way_up(b, &mut skips, &config))?;
        let (norm_out, conv_out) = builder.under("out", |b| {
            let width = config.width(0);
            let norm = GroupNorm::new(b, "0", width, NORM)?;
            let ends = (width, config.out_channels());
            Ok((norm, Conv2d::zero(b, "2", ends, 3, ConvGeometry::same(3))?))
        })?;
        Ok(Adm { config, time: layers, classes, down, middle, up, norm_out, conv_out })
    }

    /// The configuration the network was built from.
    pub fn config(&self) -> &AdmConfig {
        &self.config
    }

    /// The raw network: `x` `[B, in_channels, H, W]` and one `network_time` per row (counted from 0, as
    /// in training) to `[B, out_channels, H, W]`.
    ///
    /// # Errors
    /// When a shape, the number of times, or the condition does not fit the network.
    pub fn forward_network(
        &self,
        x: &Tensor,
        network_time: &[f64],
        condition: &Condition,
        context: &Context,
    ) -> Result<Tensor> {
        let factor = 1 << (self.config.channel_mult.len() - 1);
        check::input(x, network_time, self.config.in_channels, factor)?;
        let labels = check::labels(network_time.len(), condition, self.config.num_classes)?;
        let x = x.permute((0, 2, 3, 1))?.contiguous()?;
        let width = self.config.model_channels;
        let spec = TimeEmbedding { width, flip_sin_to_cos: true, freq_shift: 0.0 };
        let waves = ops::timestep_embedding(network_time, spec, x.dtype(), x.device())?;
        let out = ops::record(&[&x, &waves], || self.run(&x, &waves, labels, context))?;
        Ok(out.permute((0, 3, 1, 2))?.contiguous()?)
    }

    /// `[B, H, W, in_channels]` and the waves of the time to `[B, H, W, out_channels]`.
    fn run(
        &self,
        x: &Tensor,
        waves: &Tensor,
        labels: Option<&[u32]>,
        context: &Context,
    ) -> Result<Tensor> {
        let mut time = self.time[1].forward(&ops::silu(&self.time[0].forward(waves)?)?)?;
        if let (Some(classes), Some(labels)) = (&self.classes, labels) {
            time = ops::add(&time, &classes.forward(labels)?)?;
        }
        // Every block starts from it in this form.
        let time = ops::silu(&time)?;
        let mut h = x.clone();
        let mut skips = Vec::new();
        for stage in &self.down {
            h = stage.forward(h, &time, context)?;
            skips.push(h.clone());
        }
        h = self.middle.forward(h, &time, context)?;
        for stage in &self.up {
            if let Some(skip) = skips.pop() {
                h = ops::concat(&h, &skip)?;
            }
            h = stage.forward(h, &time, context)?;
        }
        self.conv_out.forward(&self.norm_out.forward_silu(&h)?)
    }

    /// Multiply-adds of one forward pass for one image of `height` x `width`.
    pub fn multiply_adds(&self, height: usize, width: usize) -> u64 {
        let mut pixels = height * width;
        let mut total = self.conv_out.multiply_adds(pixels);
        total += self.time.iter().map(|layer| layer.multiply_adds(1)).sum::<u64>();
        let stages = self.down.iter().chain([&self.middle]).chain(&self.up);
        for layer in stages.flat_map(|stage| &stage.0) {
            let (count, after) = layer.multiply_adds(pixels);
            total += count;
            pixels = after;
        }
        total
    }
}

impl Stage {
    fn forward(&self, mut h: Tensor, time: &Tensor, context: &Context) -> Result<Tensor> {
        for layer in &self.0 {
            h = match layer {
                Layer::Conv(conv) => conv.forward(&h)?,
                Layer::Residual(block) => block.forward(&h, time, context)?,
                Layer::Attention(block) => block.forward(&h)?,
                Layer::Down(Some(conv)) => conv.forward(&h)?,
                Layer::Down(None) => Resampling::Down.forward(&h)?,
                Layer::Up(conv) => {
                    let h = Resampling::Up.forward(&h)?;
                    conv.as_ref().map_or(Ok(h.clone()), |conv| conv.forward(&h))?
                }
            };
        }
        Ok(h)
    }
}

impl Layer {
    /// And the pixels that come out, of so many that go in.
    fn multiply_adds(&self, pixels: usize) -> (u64, usize) {
        let resampled = |conv: &Option<Conv2d>, resampling: Resampling| {
            let pixels = resampling.pixels(pixels);
            (conv.as_ref().map_or(0, |conv| conv.multiply_adds(pixels)), pixels)
        };
        match self {
            Layer::Conv(conv) => (conv.multiply_adds(pixels), pixels),
            Layer::Residual(block) => block.multiply_adds(pixels),
            Layer::Attention(block) => (block.multiply_adds(pixels), pixels),
            Layer::Down(conv) => resampled(conv, Resampling::Down),
            Layer::Up(conv) => resampled(conv, Resampling::Up),
        }
    }
}

fn residual(
    builder: &mut ParamBuilder,
    name: usize,
    widths: (usize, usize),
    resampling: Resampling,
    config: &AdmConfig,
) -> Result<Layer> {
    Ok(Layer::Residual(Box::new(ResBlock::new(builder, name, widths, resampling, config)?)))
}

fn attention(
    builder: &mut ParamBuilder,
    name: usize,
    width: usize,
    up: bool,
    config: &AdmConfig,
) -> Result<Layer> {
    let heads = config.heads(width, up);
    Ok(Layer::Attention(Box::new(AttentionBlock::new(builder, name, width, heads, config)?)))
}

/// A residual block that changes the resolution, or the layer that does so instead.
fn resampler(
    builder: &mut ParamBuilder,
    name: usize,
    width: usize,
    resampling: Resampling,
    config: &AdmConfig,
) -> Result<Layer> {
    if config.resblock_updown {
        return residual(builder, name, (width, width), resampling, config);
    }
    let mut conv = |kind: &str, geometry| match config.conv_resample {
        false => Ok(None),
        true => {
            builder.under(name, |b| Conv2d::new(b, kind, (width, width), 3, geometry)).map(Some)
        }
    };
    match resampling {
        Resampling::Up => Ok(Layer::Up(conv("conv", ConvGeometry::same(3))?)),
        _ => Ok(Layer::Down(conv("op", ConvGeometry::half(1))?)),
    }
}

/// The stages before the middle, and the widths of what they leave for the way up.
fn way_down(builder: &mut ParamBuilder, config: &AdmConfig) -> Result<(Vec<Stage>, Vec<usize>)> {
    let mut width = config.width(0);
    let conv = builder
        .under(0, |b| Conv2d::new(b, "0", (config.in_channels, width), 3, ConvGeometry::same(3)))?;
    let mut stages = vec![Stage(vec![Layer::Conv(conv)])];
    let mut skips = vec![width];
    for level in 0..config.channel_mult.len() {
        for _ in 0..config.num_res_blocks {
            let stage = builder.under(stages.len(), |b| {
                let widths = (width, config.width(level));
                let mut layers = vec![residual(b, 0, widths, Resampling::None, config)?];
                if config.attends(level) {
                    layers.push(attention(b, 1, widths.1, false, config)?);
                }
                Ok(Stage(layers))
            })?;
            width = config.width(level);
            stages.push(stage);
            skips.push(width);
        }
        if level + 1 < config.channel_mult.len() {
            let layer = builder
                .under(stages.len(), |b| resampler(b, 0, width, Resampling::Down, config))?;
            stages.push(Stage(vec![layer]));
            skips.push(width);
        }
    }
    Ok((stages, skips))
}

/// The stages after the middle.
fn way_up(
    builder: &mut ParamBuilder,
    skips: &mut Vec<usize>,
    config: &AdmConfig,
) -> Result<Vec<Stage>> {
    let mut stages = Vec::new();
    let levels = config.channel_mult.len();
    let mut width = config.width(levels - 1);
    for level in (0..levels).rev() {
        for i in 0..=config.num_res_blocks {
            let skip = skips.pop().unwrap_or_default();
            let stage = builder.under(stages.len(), |b| {
                let widths = (width + skip, config.width(level));
                let mut layers = vec![residual(b, 0, widths, Resampling::None, config)?];
                if config.attends(level) {
                    layers.push(attention(b, 1, widths.1, true, config)?);
                }
                if level > 0 && i == config.num_res_blocks {
                    let name = layers.len();
                    layers.push(resampler(b, name, widths.1, Resampling::Up, config)?);
                }
                Ok(Stage(layers))
            })?;
            width = config.width(level);
            stages.push(stage);
        }
    }
    Ok(stages)
}

impl Denoiser for Adm {
    fn forward(
        &self,
        x: &Tensor,
        t: &[f64],
        condition: &Condition,
        context: &Context,
    ) -> Result<Prediction> {
        let times: Vec<f64> = t.iter().map(|t| diff_core::time::network_time(*t)).collect();
        let out = self.forward_network(x, &times, condition, context)?;
        if !self.config.learn_sigma {
            return Ok(Prediction::eps_only(out));
        }
        let channels = self.config.in_channels;
        let part = |first| out.narrow(1, first, channels)?.contiguous();
        Ok(Prediction { mean: Mean::Eps(part(0)?), second: Second::Range(part(channels)?) })
    }
}
