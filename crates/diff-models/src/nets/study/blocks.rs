//! What the networks are made of. Without classes, weights start as Glorot's; with classes, as PyTorch's.

use super::config::{GROUPS, StudyConfig};
use crate::{
    Context,
    error::Result,
    nets::layers::{Conv2d, ConvTranspose2x, GroupNorm, Linear},
    ops::{self, ConvGeometry, Extra, GroupNormSpec},
    params::{Init, ParamBuilder},
};
use candle_core::Tensor;

pub(super) const NORM: GroupNormSpec = GroupNormSpec { groups: GROUPS, eps: 1e-5 };
/// What scales the first weights of layers whose result is added to something.
const SMALL: f64 = 1e-5;

/// How the layers of a network start.
#[derive(Clone, Copy, Debug)]
pub(super) enum Start {
    /// Uniform with variance 2 / (fan-in + fan-out), biases zero.
    Glorot,
    /// PyTorch's defaults.
    Default,
}

impl Start {
    pub(super) fn of(config: &StudyConfig) -> Self {
        if config.labels.is_none() { Start::Glorot } else { Start::Default }
    }

    /// Weight and bias of a layer with so many numbers between one input channel and one output channel.
    fn init(self, (inputs, outputs): (usize, usize), each: usize, gain: f64) -> (Init, Init) {
        let bound = gain * (6.0 / ((inputs + outputs) * each) as f64).sqrt();
        match self {
            Start::Glorot => (Init::Uniform { bound }, Init::Zeros),
            Start::Default => (Init::FanIn(inputs * each), Init::FanIn(inputs * each)),
        }
    }

    pub(super) fn conv(
        self,
        builder: &mut ParamBuilder,
        name: &str,
        widths: (usize, usize),
        kernel: usize,
        geometry: ConvGeometry,
    ) -> Result<Conv2d> {
        let init = self.init(widths, kernel * kernel, 1.0);
        Conv2d::starting(builder, name, widths, kernel, geometry, init)
    }

    /// A convolution with a kernel of 3 whose result is added to something.
    pub(super) fn last(
        self,
        builder: &mut ParamBuilder,
        name: &str,
        widths: (usize, usize),
    ) -> Result<Conv2d> {
        let init = self.init(widths, 9, SMALL);
        Conv2d::starting(builder, name, widths, 3, ConvGeometry::same(3), init)
    }

    pub(super) fn linear(
        self,
        builder: &mut ParamBuilder,
        name: &str,
        widths: (usize, usize),
    ) -> Result<Linear> {
        let (weight, bias) = self.init(widths, 1, 1.0);
        Linear::starting(builder, name, vec![widths.1, widths.0], weight, Some(bias))
    }

    /// A 1x1 convolution.
    fn pixelwise(
        self,
        builder: &mut ParamBuilder,
        name: &str,
        width: usize,
        gain: f64,
    ) -> Result<Linear> {
        let (weight, bias) = self.init((width, width), 1, gain);
        Linear::starting(builder, name, vec![width, width, 1, 1], weight, Some(bias))
    }
}

/// Norm, SiLU, convolution, plus time and class, norm, SiLU, dropout, convolution, plus input; then,
/// perhaps, attention.
#[derive(Clone, Debug)]
pub(super) struct ResBlock {
    norm1: GroupNorm,
    conv1: Conv2d,
    time: Linear,
    class: Option<Linear>,
    norm2: GroupNorm,
    conv2: Conv2d,
    shortcut: Option<Conv2d>,
    attention: Option<Attention>,
    dropout: f64,
    /// Tells this block's dropout masks from other blocks'.
    layer: u16,
}

impl ResBlock {
    pub(super) fn new(
        builder: &mut ParamBuilder,
        (inputs, outputs): (usize, usize),
        attends: bool,
        config: &StudyConfig,
    ) -> Result<Self> {
        let (start, same) = (Start::of(config), ConvGeometry::same(3));
        let layer = builder.shapes().len() as u16;
        let embedded = (config.embedded(), outputs);
        let (norm1, conv1) = builder.under("block1", |b| {
            let norm = GroupNorm::new(b, "0", inputs, NORM)?;
            Ok((norm, start.conv(b, "2", (inputs, outputs), 3, same)?))
        })?;
        let time = builder.under("temb_proj", |b| start.linear(b, "1", embedded))?;
        let class = match config.labels {
            None => None,
            Some(_) => Some(builder.under("cond_proj", |b| start.linear(b, "1", embedded))?),
        };
        let (norm2, conv2) = builder.under("block2", |b| {
            let norm = GroupNorm::new(b, "0", outputs, NORM)?;
            Ok((norm, start.last(b, "3", (outputs, outputs))?))
        })?;
        let shortcut = match inputs == outputs {
            true => None,
            false => {
                let one = ConvGeometry::same(1);
                Some(start.conv(builder, "shortcut", (inputs, outputs), 1, one)?)
            }
        };
        let attention = match attends {
            false => None,
            true => Some(builder.under("attn", |b| Attention::new(b, outputs, start))?),
        };
        let dropout = config.dropout;
        Ok(ResBlock {
            norm1,
            conv1,
            time,
            class,
            norm2,
            conv2,
            shortcut,
            attention,
            dropout,
            layer,
        })
    }

    pub(super) fn forward(&self, x: &Tensor, given: &Given, context: &Context) -> Result<Tensor> {
        let mut shift = self.time.forward(&given.time)?;
        if let (Some(layer), Some(class)) = (&self.class, &given.class) {
            shift = ops::add(&shift, &layer.forward(class)?)?;
        }
        let h = self.norm1.forward_silu(x)?;
        let h = self.conv1.forward_with(&h, Extra { shift: Some(&shift), residual: None })?;
        let h = self.norm2.forward_silu(&h)?;
        let h = ops::dropout(&h, self.dropout, context, self.layer)?;
        let skip = self.shortcut.as_ref().map_or_else(|| Ok(x.clone()), |skip| skip.forward(x))?;
        let h = self.conv2.forward_with(&h, Extra { shift: None, residual: Some(&skip) })?;
        self.attention.as_ref().map_or(Ok(h.clone()), |attention| attention.forward(&h))
    }

    pub(super) fn multiply_adds(&self, pixels: usize) -> u64 {
        let convs = [Some(&self.conv1), Some(&self.conv2), self.shortcut.as_ref()];
        let convs: u64 = convs.into_iter().flatten().map(|conv| conv.multiply_adds(pixels)).sum();
        let given = [Some(&self.time), self.class.as_ref()];
        let given: u64 = given.into_iter().flatten().map(|layer| layer.multiply_adds(1)).sum();
        let attention = self.attention.as_ref().map_or(0, |a| a.multiply_adds(pixels));
        convs + given + attention
    }
}

/// The embeddings of time and class, activated: `[B, embedded]`.
pub(super) struct Given {
    pub(super) time: Tensor,
    pub(super) class: Option<Tensor>,
}

/// Attention of one head over the pixels of a map, with residual connection.
#[derive(Clone, Debug)]
struct Attention {
    norm: GroupNorm,
    q: Linear,
    k: Linear,
    v: Linear,
    proj: Linear,
    channels: usize,
}

impl Attention {
    fn new(builder: &mut ParamBuilder, channels: usize, start: Start) -> Result<Self> {
        Ok(Attention {
            norm: GroupNorm::new(builder, "group_norm", channels, NORM)?,
            q: start.pixelwise(builder, "proj_q", channels, 1.0)?,
            k: start.pixelwise(builder, "proj_k", channels, 1.0)?,
            v: start.pixelwise(builder, "proj_v", channels, 1.0)?,
            // The residual block that holds it starts its convolutions anew, without the small factor.
            proj: start.pixelwise(builder, "proj", channels, 1.0)?,
            channels,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let h = self.norm.forward(x)?;
        let (q, k, v) = (self.q.forward(&h)?, self.k.forward(&h)?, self.v.forward(&h)?);
        self.proj.forward_plus(&ops::attention(&q, &k, &v, 1)?, x)
    }

    fn multiply_adds(&self, pixels: usize) -> u64 {
        4 * self.q.multiply_adds(pixels) + 2 * (pixels * pixels * self.channels) as u64
    }
}

/// Halves or doubles the resolution.
#[derive(Clone, Debug)]
pub(super) enum Resampler {
    /// A convolution with stride 2.
    Down(Conv2d),
    /// Kernels of 3 and of 5, summed.
    DownTwice(Conv2d, Conv2d),
    /// Repeated pixels, then a convolution.
    Up(Conv2d),
    /// A transposed convolution, then another.
    UpTransposed(ConvTranspose2x, Conv2d),
}

impl Resampler {
    pub(super) fn down(b: &mut ParamBuilder, width: usize, config: &StudyConfig) -> Result<Self> {
        let (start, ends) = (Start::of(config), (width, width));
        let half = ConvGeometry::new(2, (1, 1));
        match config.labels {
            None => Ok(Resampler::Down(start.conv(b, "main", ends, 3, half)?)),
            Some(_) => {
                let wide = ConvGeometry::new(2, (2, 2));
                let small = start.conv(b, "c1", ends, 3, half)?;
                Ok(Resampler::DownTwice(small, start.conv(b, "c2", ends, 5, wide)?))
            }
        }
    }

    pub(super) fn up(b: &mut ParamBuilder, width: usize, config: &StudyConfig) -> Result<Self> {
        let (start, ends, same) = (Start::of(config), (width, width), ConvGeometry::same(3));
        match config.labels {
            None => Ok(Resampler::Up(start.conv(b, "main", ends, 3, same)?)),
            Some(_) => {
                let conv = start.conv(b, "c", ends, 3, same)?;
                Ok(Resampler::UpTransposed(ConvTranspose2x::new(b, "t", ends)?, conv))
            }
        }
    }

    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match self {
            Resampler::Down(conv) => conv.forward(x),
            Resampler::DownTwice(small, wide) => {
                let small = small.forward(x)?;
                wide.forward_with(x, Extra { shift: None, residual: Some(&small) })
            }
            Resampler::Up(conv) => conv.forward(&ops::upsample_nearest2x(x)?),
            Resampler::UpTransposed(transposed, conv) => conv.forward(&transposed.forward(x)?),
        }
    }

    /// And the pixels that come out, of so many that go in.
    pub(super) fn multiply_adds(&self, pixels: usize) -> (u64, usize) {
        let (down, up) = (pixels / 4, pixels * 4);
        match self {
            Resampler::Down(conv) => (conv.multiply_adds(down), down),
            Resampler::DownTwice(a, b) => (a.multiply_adds(down) + b.multiply_adds(down), down),
            Resampler::Up(conv) => (conv.multiply_adds(up), up),
            Resampler::UpTransposed(transposed, conv) => {
                (transposed.multiply_adds(pixels) + conv.multiply_adds(up), up)
            }
        }
    }
}
