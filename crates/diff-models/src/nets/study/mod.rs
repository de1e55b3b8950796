//! The U-Nets of the study of DDPM, conditional DDPM, guidance and DDIM, under their own parameter names.

mod blocks;
mod config;

pub use config::StudyConfig;

use crate::{
    Condition, Context,
    error::Result,
    nets::{
        Architecture, Config, Network, check,
        layers::{Conv2d, Embedding, GroupNorm, Linear},
        times::Times,
    },
    ops::{self, ConvGeometry, TimeEmbedding},
    params::{Init, ParamBuilder},
};
use blocks::{Given, NORM, ResBlock, Resampler, Start};
use candle_core::Tensor;

/// The network. It predicts noise.
#[derive(Clone, Debug)]
pub struct Study {
    config: StudyConfig,
    /// Of times, where they are learnt.
    table: Option<Embedding>,
    time_layers: [Linear; 2],
    classes: Option<(Embedding, [Linear; 2])>,
    head: Conv2d,
    down: Vec<Block>,
    middle: [ResBlock; 2],
    up: Vec<Block>,
    norm_out: GroupNorm,
    conv_out: Conv2d,
}

#[derive(Clone, Debug)]
enum Block {
    Residual(Box<ResBlock>),
    Resampling(Box<Resampler>),
}

impl Study {
    /// Builds the network.
    ///
    /// # Errors
    /// When the configuration is impossible. Weights that do not fit are reported by
    /// [`ParamBuilder::finish`].
    pub fn new(config: StudyConfig, builder: &mut ParamBuilder) -> Result<Self> {
        config.check()?;
        let (start, first) = (Start::of(&config), config.channels);
        let (table, time_layers) = builder.under("time_embedding.timembedding", |b| {
            let table = match config.labels {
                None => {
                    b.known("0.weight");
                    None
                }
                Some(_) => {
                    let shape = (config.timesteps, first);
                    Some(Embedding::starting(b, "0", shape, Init::Waves, None)?)
                }
            };
            Ok((table, layers(b, start, &config)?))
        })?;
        let classes = match config.labels {
            None => None,
            Some(labels) => Some(builder.under("cond_embedding.condEmbedding", |b| {
                Ok((Embedding::padded(b, "0", labels + 1, first)?, layers(b, start, &config)?))
            })?),
        };
        let ends = (config.in_channels, first);
        let head = start.conv(builder, "head", ends, 3, ConvGeometry::same(3))?;
        let (down, mut skips) = builder.under("downblocks", |b| way_down(b, &config))?;
        let width = first * config.multipliers[config.multipliers.len() - 1];
        let middle = builder.under("middleblocks", |b| {
            let block = |b: &mut ParamBuilder, i: usize| {
                b.under(i, |b| ResBlock::new(b, (width, width), i == 0, &config))
            };
            Ok([block(b, 0)?, block(b, 1)?])
        })?;
        let up = builder.under("upblocks", |b| way_up(b, &mut skips, &config))?;
        let (norm_out, conv_out) = builder.under("tail", |b| {
            let width = first * config.multipliers[0];
            let norm = GroupNorm::new(b, "0", width, NORM)?;
            Ok((norm, start.last(b, "2", (width, config.in_channels))?))
        })?;
        Ok(Study {
            config,
            table,
            time_layers,
            classes,
            head,
            down,
            middle,
            up,
            norm_out,
            conv_out,
        })
    }

    /// `[B, H, W, C]` to the same.
    fn run(
        &self,
        x: &Tensor,
        times: &Times,
        labels: Option<&[u32]>,
        context: &Context,
    ) -> Result<Tensor> {
        let waves = times.start(self.table.as_ref())?;
        let class = match (&self.classes, labels) {
            (Some((table, layers)), Some(labels)) => {
                Some(embedded(&table.forward(labels)?, layers)?)
            }
            _ => None,
        };
        let given = Given { time: embedded(&waves, &self.time_layers)?, class };
        let mut h = self.head.forward(x)?;
        let mut skips = vec![h.clone()];
        for block in &self.down {
            h = block.forward(&h, &given, context)?;
            skips.push(h.clone());
        }
        for block in &self.middle {
            h = block.forward(&h, &given, context)?;
        }
        for block in &self.up {
            if let (Block::Residual(_), Some(skip)) = (block, skips.last()) {
                h = ops::concat(&[&h, skip])?;
                skips.pop();
            }
            h = block.forward(&h, &given, context)?;
        }
        self.conv_out.forward(&self.norm_out.forward_silu(&h)?)
    }
}

/// The two layers of an embedding; blocks start from its activated form.
fn embedded(x: &Tensor, layers: &[Linear; 2]) -> Result<Tensor> {
    ops::silu(&layers[1].forward(&ops::silu(&layers[0].forward(x)?)?)?)
}

fn layers(b: &mut ParamBuilder, start: Start, config: &StudyConfig) -> Result<[Linear; 2]> {
    let width = config.embedded();
    Ok([start.linear(b, "1", (config.channels, width))?, start.linear(b, "3", (width, width))?])
}

impl Block {
    fn forward(&self, x: &Tensor, given: &Given, context: &Context) -> Result<Tensor> {
        match self {
            Block::Residual(block) => block.forward(x, given, context),
            Block::Resampling(resampler) => resampler.forward(x),
        }
    }
}

/// The blocks before the middle, and the widths of what they leave for the way up.
fn way_down(b: &mut ParamBuilder, config: &StudyConfig) -> Result<(Vec<Block>, Vec<usize>)> {
    let (mut blocks, mut width) = (Vec::new(), config.channels);
    let mut skips = vec![width];
    for (level, multiple) in config.multipliers.iter().enumerate() {
        for _ in 0..config.blocks {
            let widths = (width, multiple * config.channels);
            let attends = config.attends(level, false);
            let block = b.under(blocks.len(), |b| ResBlock::new(b, widths, attends, config))?;
            blocks.push(Block::Residual(Box::new(block)));
            width = widths.1;
            skips.push(width);
        }
        if level + 1 < config.multipliers.len() {
            let resampler = b.under(blocks.len(), |b| Resampler::down(b, width, config))?;
            blocks.push(Block::Resampling(Box::new(resampler)));
            skips.push(width);
        }
    }
    Ok((blocks, skips))
}

/// The blocks after the middle.
fn way_up(
    b: &mut ParamBuilder,
    skips: &mut Vec<usize>,
    config: &StudyConfig,
) -> Result<Vec<Block>> {
    let levels = config.multipliers.len();
    let (mut blocks, mut width) = (Vec::new(), config.channels * config.multipliers[levels - 1]);
    for (level, multiple) in config.multipliers.iter().enumerate().rev() {
        for _ in 0..=config.blocks {
            let widths = (width + skips.pop().unwrap_or_default(), multiple * config.channels);
            let attends = config.attends(level, true);
            let block = b.under(blocks.len(), |b| ResBlock::new(b, widths, attends, config))?;
            blocks.push(Block::Residual(Box::new(block)));
            width = widths.1;
        }
        if level > 0 {
            let resampler = b.under(blocks.len(), |b| Resampler::up(b, width, config))?;
            blocks.push(Block::Resampling(Box::new(resampler)));
        }
    }
    Ok(blocks)
}

impl Network for Study {
    /// With classes, times must be whole numbers below `timesteps`: rows of a table.
    fn forward_network(
        &self,
        x: &Tensor,
        network_time: &[f64],
        condition: &Condition,
        context: &Context,
    ) -> Result<Tensor> {
        let config = &self.config;
        check::input(x, network_time, config.in_channels, config.factor())?;
        check::no_image(condition)?;
        let labels = check::labels(network_time.len(), condition, config.classes())?;
        let x = x.permute((0, 2, 3, 1))?.contiguous()?;
        let times = match self.table {
            Some(_) => Times::rows(network_time, config.timesteps)?,
            None => {
                let width = config.channels;
                let spec = TimeEmbedding { width, flip_sin_to_cos: false, freq_shift: 0.0 };
                let waves = ops::timestep_embedding(network_time, spec, x.dtype(), x.device())?;
                Times::Waves(side_by_side(&waves)?)
            }
        };
        let out =
            ops::record(&times.beside(&x), || self.run(&x, &times, labels.as_deref(), context))?;
        Ok(out.permute((0, 3, 1, 2))?.contiguous()?)
    }

    fn multiply_adds(&self, height: usize, width: usize) -> u64 {
        let mut pixels = height * width;
        let mut total = self.head.multiply_adds(pixels) + self.conv_out.multiply_adds(pixels);
        let classes = self.classes.iter().flat_map(|(_, layers)| layers);
        total += self.time_layers.iter().chain(classes).map(|l| l.multiply_adds(1)).sum::<u64>();
        let of = |blocks: &[Block], pixels: &mut usize| -> u64 {
            let each = blocks.iter().map(|block| match block {
                Block::Residual(block) => block.multiply_adds(*pixels),
                Block::Resampling(resampler) => {
                    let (count, after) = resampler.multiply_adds(*pixels);
                    *pixels = after;
                    count
                }
            });
            each.sum()
        };
        total += of(&self.down, &mut pixels);
        total += self.middle.iter().map(|block| block.multiply_adds(pixels)).sum::<u64>();
        total + of(&self.up, &mut pixels)
    }

    fn architecture(&self) -> Architecture {
        self.config.clone().into()
    }
}

/// Sines before cosines, `[B, width]`, as pairs of a sine and its cosine.
fn side_by_side(waves: &Tensor) -> Result<Tensor> {
    let (batch, width) = waves.dims2()?;
    let pairs = waves.reshape((batch, 2, width / 2))?.transpose(1, 2)?;
    Ok(pairs.reshape((batch, width))?.contiguous()?)
}
