//! A small residual classifier of pictures, whose last features serve as a feature space.

use super::layers::{Conv2d, GroupNorm, Linear};
use crate::{
    Context,
    error::{Error, Result},
    ops::{self, ConvGeometry, Extra, GroupNormSpec},
    params::ParamBuilder,
};
use candle_core::Tensor;
use serde::{Deserialize, Serialize};

/// Added to the variance in every group norm.
const NORM_EPS: f64 = 1e-5;

/// The shape of a [`Classifier`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassifierSpec {
    /// Height and width of the images.
    pub resolution: usize,
    /// Channels of the images.
    pub in_channels: usize,
    /// Width of the first level.
    #[serde(default = "default::channels")]
    pub channels: usize,
    /// Width of each level as a multiple of `channels`; each further level halves the resolution.
    #[serde(default = "default::multipliers")]
    pub multipliers: Vec<usize>,
    /// Residual blocks per level.
    #[serde(default = "default::blocks")]
    pub blocks: usize,
    /// Groups of every group norm.
    #[serde(default = "default::norm_groups")]
    pub norm_groups: usize,
    /// Probability of dropping an activation inside residual blocks, while training.
    #[serde(default)]
    pub dropout: f64,
    /// Classes it tells apart.
    pub classes: usize,
}

mod default {
    pub(super) fn channels() -> usize {
        32
    }

    pub(super) fn multipliers() -> Vec<usize> {
        vec![1, 2]
    }

    pub(super) fn blocks() -> usize {
        1
    }

    pub(super) fn norm_groups() -> usize {
        8
    }
}

impl ClassifierSpec {
    /// The default widths for images of `in_channels` x `resolution` x `resolution` in `classes`.
    pub fn new(resolution: usize, in_channels: usize, classes: usize) -> Self {
        ClassifierSpec {
            resolution,
            in_channels,
            channels: default::channels(),
            multipliers: default::multipliers(),
            blocks: default::blocks(),
            norm_groups: default::norm_groups(),
            dropout: 0.0,
            classes,
        }
    }

    /// Refuses what cannot be built, by name, with what is supported.
    ///
    /// # Errors
    /// When a count is 0, a width does not fall into the groups, the dropout is no probability
    /// below 1, or there are more levels than the resolution can be halved for.
    pub fn check(&self) -> Result<()> {
        let counts = [
            ("in_channels", self.in_channels),
            ("channels", self.channels),
            ("blocks", self.blocks),
            ("norm_groups", self.norm_groups),
            ("multipliers", self.multipliers.iter().copied().min().unwrap_or(0)),
        ];
        if let Some((name, _)) = counts.iter().find(|(_, value)| *value == 0) {
            let value =
                if *name == "multipliers" { format!("{:?}", self.multipliers) } else { "0".into() };
            return Err(Error::unsupported(*name, value, "at least 1"));
        }
        if self.classes < 2 {
            return Err(Error::unsupported("classes", self.classes, "at least 2"));
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return Err(Error::unsupported("dropout", self.dropout, "0 <= p < 1"));
        }
        let least = 1usize.checked_shl(self.multipliers.len() as u32 - 1).unwrap_or(usize::MAX);
        if self.resolution < least {
            let supported = format!("at least {least}, for {} levels", self.multipliers.len());
            return Err(Error::unsupported("resolution", self.resolution, supported));
        }
        match self.widths().find(|width| width % self.norm_groups != 0) {
            None => Ok(()),
            Some(width) => {
                let supported = format!("divisors of the level width {width}");
                Err(Error::unsupported("norm_groups", self.norm_groups, supported))
            }
        }
    }

    /// Width of every level.
    fn widths(&self) -> impl Iterator<Item = usize> {
        self.multipliers.iter().map(|multiplier| multiplier * self.channels)
    }
}

/// What a classifier makes of a batch.
#[derive(Clone, Debug)]
pub struct Judgement {
    /// The last level's activations, averaged over the pixels: `[B, F]`.
    pub features: Tensor,
    /// Log-odds of the classes up to a constant per row: `[B, classes]`.
    pub logits: Tensor,
}

/// The network: a convolution, levels of residual blocks with a halving convolution between them,
/// the mean over the pixels, a linear layer.
#[derive(Clone, Debug)]
pub struct Classifier {
    spec: ClassifierSpec,
    conv_in: Conv2d,
    levels: Vec<Level>,
    norm_out: GroupNorm,
    head: Linear,
}

impl Classifier {
    /// Builds the network.
    ///
    /// # Errors
    /// When the specification is impossible. Weights that do not fit are reported by
    /// [`ParamBuilder::finish`].
    pub fn new(spec: ClassifierSpec, builder: &mut ParamBuilder) -> Result<Self> {
        spec.check()?;
        let widths: Vec<usize> = spec.widths().collect();
        let (first, last) = (widths[0], widths[widths.len() - 1]);
        let conv_in =
            Conv2d::new(builder, "conv_in", (spec.in_channels, first), 3, ConvGeometry::same(3))?;
        let levels = builder.under("levels", |b| {
            (0..widths.len()).map(|level| Level::new(b, level, &widths, &spec)).collect()
        })?;
        let norm_out = GroupNorm::new(builder, "norm_out", last, norm(&spec))?;
        let head = Linear::new(builder, "head", (last, spec.classes))?;
        Ok(Classifier { spec, conv_in, levels, norm_out, head })
    }

    /// The specification the network was built from.
    pub fn spec(&self) -> &ClassifierSpec {
        &self.spec
    }

    /// F, the number of features: the last level's width.
    pub fn width(&self) -> usize {
        self.spec.channels * self.spec.multipliers.last().copied().unwrap_or(0)
    }

    /// Judges `x` `[B, in_channels, resolution, resolution]` in [-1, 1].
    ///
    /// # Errors
    /// When the shape of `x` does not fit the network.
    pub fn forward(&self, x: &Tensor, context: &Context) -> Result<Judgement> {
        let side = self.spec.resolution;
        match x.dims() {
            [_, channels, height, width]
                if (*channels, *height, *width) == (self.spec.in_channels, side, side) => {}
            found => {
                let expected = format!("[B, {}, {side}, {side}]", self.spec.in_channels);
                return Err(Error::Input(format!("x: expected {expected}, got {found:?}")));
            }
        }
        let x = x.permute((0, 2, 3, 1))?.contiguous()?;
        let maps = ops::record(&[&x], || {
            let mut h = self.conv_in.forward(&x)?;
            for level in &self.levels {
                h = level.forward(h, context)?;
            }
            self.norm_out.forward_silu(&h)
        })?;
        let pixels = maps.flatten(1, 2)?;
        let features = (pixels.sum(1)? / pixels.dim(1)? as f64)?;
        let logits = self.head.forward(&features)?;
        Ok(Judgement { features, logits })
    }

    /// Multiply-adds of one forward pass for one image of `height` x `width`.
    pub fn multiply_adds(&self, height: usize, width: usize) -> u64 {
        let (mut height, mut width) = (height, width);
        let mut sum = self.conv_in.multiply_adds(height * width) + self.head.multiply_adds(1);
        for level in &self.levels {
            sum += level.blocks.iter().map(|b| b.multiply_adds(height * width)).sum::<u64>();
            if let Some(down) = &level.down {
                (height, width) = (height.div_ceil(2), width.div_ceil(2));
                sum += down.multiply_adds(height * width);
            }
        }
        sum
    }
}

fn norm(spec: &ClassifierSpec) -> GroupNormSpec {
    GroupNormSpec { groups: spec.norm_groups, eps: NORM_EPS }
}

/// Residual blocks at one resolution, and the way to the next.
#[derive(Clone, Debug)]
struct Level {
    blocks: Vec<Block>,
    down: Option<Conv2d>,
}

impl Level {
    fn new(
        builder: &mut ParamBuilder,
        level: usize,
        widths: &[usize],
        spec: &ClassifierSpec,
    ) -> Result<Self> {
        let (before, width) = (widths[level.saturating_sub(1)], widths[level]);
        builder.under(level, |b| {
            let blocks = b.under("blocks", |b| {
                let inputs = |i: usize| if i == 0 { before } else { width };
                (0..spec.blocks).map(|i| Block::new(b, i, (inputs(i), width), spec)).collect()
            })?;
            let down = match level + 1 == widths.len() {
                true => None,
                false => Some(Conv2d::new(b, "down", (width, width), 3, ConvGeometry::half(1))?),
            };
            Ok(Level { blocks, down })
        })
    }

    fn forward(&self, x: Tensor, context: &Context) -> Result<Tensor> {
        let mut h = x;
        for block in &self.blocks {
            h = block.forward(&h, context)?;
        }
        match &self.down {
            None => Ok(h),
            Some(down) => down.forward(&h),
        }
    }
}

/// Norm, SiLU, convolution, norm, SiLU, dropout, convolution, plus the input.
#[derive(Clone, Debug)]
struct Block {
    norm1: GroupNorm,
    conv1: Conv2d,
    norm2: GroupNorm,
    conv2: Conv2d,
    shortcut: Option<Conv2d>,
    dropout: f64,
    /// Tells this block's dropout masks from other blocks'.
    layer: u16,
}

impl Block {
    fn new(
        builder: &mut ParamBuilder,
        index: usize,
        (inputs, outputs): (usize, usize),
        spec: &ClassifierSpec,
    ) -> Result<Self> {
        let same = ConvGeometry::same;
        builder.under(index, |b| {
            Ok(Block {
                layer: b.shapes().len() as u16,
                dropout: spec.dropout,
                norm1: GroupNorm::new(b, "norm1", inputs, norm(spec))?,
                conv1: Conv2d::new(b, "conv1", (inputs, outputs), 3, same(3))?,
                norm2: GroupNorm::new(b, "norm2", outputs, norm(spec))?,
                conv2: Conv2d::new(b, "conv2", (outputs, outputs), 3, same(3))?,
                shortcut: match inputs == outputs {
                    true => None,
                    false => Some(Conv2d::new(b, "shortcut", (inputs, outputs), 1, same(1))?),
                },
            })
        })
    }

    fn forward(&self, x: &Tensor, context: &Context) -> Result<Tensor> {
        let h = self.conv1.forward(&self.norm1.forward_silu(x)?)?;
        let h = self.norm2.forward_silu(&h)?;
        let h = ops::dropout(&h, self.dropout, context, self.layer)?;
        let skip = match &self.shortcut {
            None => x.clone(),
            Some(shortcut) => shortcut.forward(x)?,
        };
        self.conv2.forward_with(&h, Extra { shift: None, residual: Some(&skip) })
    }

    fn multiply_adds(&self, pixels: usize) -> u64 {
        let shortcut = self.shortcut.as_ref().map_or(0, |s| s.multiply_adds(pixels));
        self.conv1.multiply_adds(pixels) + self.conv2.multiply_adds(pixels) + shortcut
    }
}
