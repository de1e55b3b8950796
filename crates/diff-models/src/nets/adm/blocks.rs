//! What the stages of the network are made of.

use super::{
    body::Attend,
    config::{AdmConfig, EPS, GROUPS},
};
use crate::{
    Context,
    error::Result,
    nets::{
        layers::{Conv2d, GroupNorm, Linear},
        resampling::Resampling,
    },
    ops::{self, ConvGeometry, Extra, GroupNormSpec, QkvOrder},
    params::{Init, ParamBuilder},
};
use candle_core::Tensor;

pub(in crate::nets) const NORM: GroupNormSpec = GroupNormSpec { groups: GROUPS, eps: EPS };

/// guided-diffusion's `ResBlock`: norm, SiLU, convolution, norm, SiLU, dropout, convolution, plus input;
/// the time scales and shifts after the second norm, or is added before it. One that resamples does so
/// before the first convolution, and the input as well.
#[derive(Clone, Debug)]
pub(in crate::nets) struct ResBlock {
    norm1: GroupNorm,
    conv1: Conv2d,
    time: Linear,
    norm2: GroupNorm,
    conv2: Conv2d,
    skip: Option<Conv2d>,
    resampling: Resampling,
    scale_shift: bool,
    dropout: f64,
    /// Tells this block's dropout masks from other blocks'.
    layer: u16,
}

impl ResBlock {
    pub(in crate::nets) fn new(
        builder: &mut ParamBuilder,
        name: usize,
        (inputs, outputs): (usize, usize),
        resampling: Resampling,
        config: &AdmConfig,
    ) -> Result<Self> {
        let same = ConvGeometry::same(3);
        let scale_shift = config.use_scale_shift_norm;
        let time = (config.time_width(), if scale_shift { 2 * outputs } else { outputs });
        builder.under(name, |b| {
            let layer = b.shapes().len() as u16;
            let (norm1, conv1) = b.under("in_layers", |b| {
                let norm = GroupNorm::new(b, "0", inputs, NORM)?;
                Ok((norm, Conv2d::new(b, "2", (inputs, outputs), 3, same)?))
            })?;
            let time = b.under("emb_layers", |b| Linear::new(b, "1", time))?;
            let (norm2, conv2) = b.under("out_layers", |b| {
                let norm = GroupNorm::new(b, "0", outputs, NORM)?;
                Ok((norm, Conv2d::zero(b, "3", (outputs, outputs), 3, same)?))
            })?;
            let skip = match inputs == outputs {
                true => None,
                false => {
                    let one = ConvGeometry::same(1);
                    Some(Conv2d::new(b, "skip_connection", (inputs, outputs), 1, one)?)
                }
            };
            let dropout = config.dropout;
            Ok(ResBlock {
                norm1,
                conv1,
                time,
                norm2,
                conv2,
                skip,
                resampling,
                scale_shift,
                dropout,
                layer,
            })
        })
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
        let h = match self.scale_shift {
            true => self.norm2.forward_scale_shift_silu(&self.conv1.forward(&h)?, &time)?,
            false => {
                let shift = Extra { shift: Some(&time), residual: None };
                self.norm2.forward_silu(&self.conv1.forward_with(&h, shift)?)?
            }
        };
        let h = ops::dropout(&h, self.dropout, context, self.layer)?;
        let x = self.resampling.forward(x)?;
        let skip = self.skip.as_ref().map_or_else(|| Ok(x.clone()), |skip| skip.forward(&x))?;
        self.conv2.forward_with(&h, Extra { shift: None, residual: Some(&skip) })
    }

    /// And the pixels that come out, of so many that go in.
    pub(in crate::nets) fn multiply_adds(&self, pixels: usize) -> (u64, usize) {
        let pixels = self.resampling.pixels(pixels);
        let skip = self.skip.as_ref().map_or(0, |skip| skip.multiply_adds(pixels));
        let convs = self.conv1.multiply_adds(pixels) + self.conv2.multiply_adds(pixels);
        (convs + skip + self.time.multiply_adds(1), pixels)
    }
}

/// guided-diffusion's `AttentionBlock` over the pixels of a map, with residual connection.
#[derive(Clone, Debug)]
pub(super) struct AttentionBlock {
    norm: GroupNorm,
    qkv: Linear,
    proj_out: Linear,
    channels: usize,
    heads: usize,
    order: QkvOrder,
}

impl AttentionBlock {
    pub(super) fn new(
        builder: &mut ParamBuilder,
        name: usize,
        channels: usize,
        heads: usize,
        config: &AdmConfig,
    ) -> Result<Self> {
        let order = match config.use_new_attention_order {
            true => QkvOrder::ByKind,
            false => QkvOrder::ByHead,
        };
        builder.under(name, |b| {
            let norm = GroupNorm::new(b, "norm", channels, NORM)?;
            let fan_in = Init::FanIn(channels);
            let qkv = Linear::pointwise(b, "qkv", (channels, 3 * channels), 1, fan_in)?;
            let ends = (channels, channels);
            let proj_out = Linear::pointwise(b, "proj_out", ends, 1, Init::Zeros)?;
            Ok(AttentionBlock { norm, qkv, proj_out, channels, heads, order })
        })
    }
}

impl Attend for AttentionBlock {
    fn forward(&self, x: &Tensor, _: Option<&Tensor>) -> Result<Tensor> {
        let qkv = self.qkv.forward(&self.norm.forward(x)?)?;
        let mixed = ops::self_attention(&qkv, self.heads, self.order)?;
        self.proj_out.forward_plus(&mixed, x)
    }

    fn multiply_adds(&self, pixels: usize, _: usize) -> u64 {
        let layers = self.qkv.multiply_adds(pixels) + self.proj_out.multiply_adds(pixels);
        layers + 2 * (pixels * pixels * self.channels) as u64
    }
}
