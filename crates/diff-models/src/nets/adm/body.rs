//! The network without its configuration, for the families that share it.

use super::{
    blocks::{NORM, ResBlock},
    config::AdmConfig,
};
use crate::{
    Context,
    error::Result,
    nets::{
        Config,
        layers::{Conv2d, Embedding, GroupNorm, Linear},
        network::Features,
        resampling::Resampling,
    },
    ops::{self, ConvGeometry},
    params::ParamBuilder,
};
use candle_core::Tensor;
use std::{fmt::Debug, sync::Arc};

/// What stands where a level attends: from maps `[B, H, W, C]` to maps of the same shape.
pub(in crate::nets) trait Attend: Debug + Send + Sync {
    /// `context` is what the network was given besides.
    fn forward(&self, x: &Tensor, context: Option<&Tensor>) -> Result<Tensor>;

    /// Multiply-adds for a map of so many pixels of an image of so many.
    fn multiply_adds(&self, pixels: usize, image: usize) -> u64;
}

/// Builds an [`Attend`] under a name, for a width, on the way down and in the middle (false) or up.
pub(in crate::nets) type Attention<'a> =
    &'a dyn Fn(&mut ParamBuilder, usize, usize, bool) -> Result<Arc<dyn Attend>>;

/// All layers.
#[derive(Clone, Debug)]
pub(in crate::nets) struct Body {
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
    Attention(Arc<dyn Attend>),
    Down(Option<Conv2d>),
    Up(Option<Conv2d>),
}

/// What the parts of a body are built from.
#[derive(Clone, Copy)]
struct Plan<'a> {
    config: &'a AdmConfig,
    attention: Attention<'a>,
}

impl Body {
    /// From `ends.0` channels to `ends.1`, whatever the configuration says of them.
    pub(in crate::nets) fn new(
        config: &AdmConfig,
        ends: (usize, usize),
        attention: Attention,
        builder: &mut ParamBuilder,
    ) -> Result<Self> {
        config.check()?;
        let plan = Plan { config, attention };
        let (first, width) = (config.model_channels, config.time_width());
        let time = builder.under("time_embed", |b| {
            Ok([Linear::new(b, "0", (first, width))?, Linear::new(b, "2", (width, width))?])
        })?;
        let classes = match config.classes() {
            None => None,
            Some(classes) => Some(Embedding::new(builder, "label_emb", classes.rows(), width)?),
        };
        let (down, mut skips) = builder.under("input_blocks", |b| plan.way_down(b, ends.0))?;
        let width = config.width(config.channel_mult.len() - 1);
        let middle = builder.under("middle_block", |b| {
            let first = plan.residual(b, 0, (width, width), Resampling::None)?;
            let attention = Layer::Attention(attention(b, 1, width, false)?);
            let last = plan.residual(b, 2, (width, width), Resampling::None)?;
            Ok(Stage(vec![first, attention, last]))
        })?;
        let up = builder.under("output_blocks", |b| plan.way_up(b, &mut skips))?;
        let (norm_out, conv_out) = builder.under("out", |b| {
            let width = config.width(0);
            let norm = GroupNorm::new(b, "0", width, NORM)?;
            Ok((norm, Conv2d::zero(b, "2", (width, ends.1), 3, ConvGeometry::same(3))?))
        })?;
        Ok(Body { time, classes, down, middle, up, norm_out, conv_out })
    }

    /// `[B, H, W, C]` and the waves of the time to `[B, H, W, C']`.
    pub(in crate::nets) fn run(
        &self,
        x: &Tensor,
        waves: &Tensor,
        labels: Option<&[u32]>,
        given: Option<&Tensor>,
        context: &Context,
    ) -> Result<Features> {
        let mut time = self.time[1].forward(&ops::silu(&self.time[0].forward(waves)?)?)?;
        if let (Some(classes), Some(labels)) = (&self.classes, labels) {
            time = ops::add(&time, &classes.forward(labels)?)?;
        }
        // Every block starts from it in this form.
        let time = ops::silu(&time)?;
        let mut h = x.clone();
        let mut skips = Vec::new();
        for stage in &self.down {
            h = stage.forward(h, &time, given, context)?;
            skips.push(h.clone());
        }
        h = self.middle.forward(h, &time, given, context)?;
        for stage in &self.up {
            if let Some(skip) = skips.pop() {
                h = ops::concat(&[&h, &skip])?;
            }
            h = stage.forward(h, &time, given, context)?;
        }
        let out = self.conv_out.forward(&self.norm_out.forward_silu(&h)?)?;
        Ok(Features { maps: h, time, out })
    }

    /// Multiply-adds of one forward pass for one image of `height` x `width`.
    pub(in crate::nets) fn multiply_adds(&self, height: usize, width: usize) -> u64 {
        let image = height * width;
        let mut pixels = image;
        let mut total = self.conv_out.multiply_adds(image);
        total += self.time.iter().map(|layer| layer.multiply_adds(1)).sum::<u64>();
        let stages = self.down.iter().chain([&self.middle]).chain(&self.up);
        for layer in stages.flat_map(|stage| &stage.0) {
            let (count, after) = layer.multiply_adds(pixels, image);
            total += count;
            pixels = after;
        }
        total
    }
}

impl Stage {
    fn forward(
        &self,
        mut h: Tensor,
        time: &Tensor,
        given: Option<&Tensor>,
        context: &Context,
    ) -> Result<Tensor> {
        for layer in &self.0 {
            h = match layer {
                Layer::Conv(conv) => conv.forward(&h)?,
                Layer::Residual(block) => block.forward(&h, time, context)?,
                Layer::Attention(block) => block.forward(&h, given)?,
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
    fn multiply_adds(&self, pixels: usize, image: usize) -> (u64, usize) {
        let resampled = |conv: &Option<Conv2d>, resampling: Resampling| {
            let pixels = resampling.pixels(pixels);
            (conv.as_ref().map_or(0, |conv| conv.multiply_adds(pixels)), pixels)
        };
        match self {
            Layer::Conv(conv) => (conv.multiply_adds(pixels), pixels),
            Layer::Residual(block) => block.multiply_adds(pixels),
            Layer::Attention(block) => (block.multiply_adds(pixels, image), pixels),
            Layer::Down(conv) => resampled(conv, Resampling::Down),
            Layer::Up(conv) => resampled(conv, Resampling::Up),
        }
    }
}

impl Plan<'_> {
    fn residual(
        &self,
        builder: &mut ParamBuilder,
        name: usize,
        widths: (usize, usize),
        resampling: Resampling,
    ) -> Result<Layer> {
        let block = ResBlock::new(builder, name, widths, resampling, self.config)?;
        Ok(Layer::Residual(Box::new(block)))
    }

    /// A residual block that changes the resolution, or the layer that does so instead.
    fn resampler(
        &self,
        builder: &mut ParamBuilder,
        name: usize,
        width: usize,
        resampling: Resampling,
    ) -> Result<Layer> {
        if self.config.resblock_updown {
            return self.residual(builder, name, (width, width), resampling);
        }
        let mut conv = |kind: &str, geometry| match self.config.conv_resample {
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

    /// A residual block and, where its level attends, what does.
    fn step(
        &self,
        builder: &mut ParamBuilder,
        widths: (usize, usize),
        level: usize,
        up: bool,
    ) -> Result<Vec<Layer>> {
        let mut layers = vec![self.residual(builder, 0, widths, Resampling::None)?];
        if self.config.attends(level) {
            layers.push(Layer::Attention((self.attention)(builder, 1, widths.1, up)?));
        }
        Ok(layers)
    }

    /// The stages before the middle, and the widths of what they leave for the way up.
    fn way_down(
        &self,
        builder: &mut ParamBuilder,
        channels: usize,
    ) -> Result<(Vec<Stage>, Vec<usize>)> {
        let config = self.config;
        let mut width = config.width(0);
        let conv = builder
            .under(0, |b| Conv2d::new(b, "0", (channels, width), 3, ConvGeometry::same(3)))?;
        let mut stages = vec![Stage(vec![Layer::Conv(conv)])];
        let mut skips = vec![width];
        for level in 0..config.channel_mult.len() {
            for _ in 0..config.num_res_blocks {
                let widths = (width, config.width(level));
                width = widths.1;
                let layers = builder.under(stages.len(), |b| self.step(b, widths, level, false))?;
                stages.push(Stage(layers));
                skips.push(width);
            }
            if level + 1 < config.channel_mult.len() {
                let layer = builder
                    .under(stages.len(), |b| self.resampler(b, 0, width, Resampling::Down))?;
                stages.push(Stage(vec![layer]));
                skips.push(width);
            }
        }
        Ok((stages, skips))
    }

    /// The stages after the middle.
    fn way_up(&self, builder: &mut ParamBuilder, skips: &mut Vec<usize>) -> Result<Vec<Stage>> {
        let config = self.config;
        let mut stages = Vec::new();
        let levels = config.channel_mult.len();
        let mut width = config.width(levels - 1);
        for level in (0..levels).rev() {
            for i in 0..=config.num_res_blocks {
                let widths = (width + skips.pop().unwrap_or_default(), config.width(level));
                width = widths.1;
                let layers = builder.under(stages.len(), |b| {
                    let mut layers = self.step(b, widths, level, true)?;
                    if level > 0 && i == config.num_res_blocks {
                        layers.push(self.resampler(b, layers.len(), width, Resampling::Up)?);
                    }
                    Ok(layers)
                })?;
                stages.push(Stage(layers));
            }
        }
        Ok(stages)
    }
}
