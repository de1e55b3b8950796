//! What stands where a level attends: a transformer block that also attends to an image.

use super::config::DddmConfig;
use crate::{
    error::{Error, Result},
    nets::{
        adm::Attend,
        layers::{GroupNorm, LayerNorm, Linear},
    },
    ops::{self, Affine, GroupNormSpec},
    params::{Init, ParamBuilder},
};
use candle_core::Tensor;

/// Added to the variance in layer norms.
const LAYER_EPS: f64 = 1e-5;
const NORM: GroupNormSpec = GroupNormSpec { groups: 32, eps: 1e-6 };

/// DDDM's `SpatialTransformer`: norm, 1x1 convolution to rows, attention among the rows, attention to
/// the image's pixels, a gated layer, 1x1 convolution back, plus input.
#[derive(Debug)]
pub(super) struct Transformer {
    norm: GroupNorm,
    proj_in: Linear,
    /// Makes a row of a pixel of the image.
    proj_cond: Linear,
    attn1: Attention,
    ff_in: Linear,
    ff_out: Linear,
    attn2: Attention,
    norms: [LayerNorm; 3],
    proj_out: Linear,
    heads: usize,
    inner: usize,
}

/// Linear maps to queries, keys and values, and of the result.
#[derive(Debug)]
struct Attention {
    to_q: Linear,
    to_k: Linear,
    to_v: Linear,
    to_out: Linear,
}

impl Attention {
    fn new(builder: &mut ParamBuilder, name: &str, width: usize) -> Result<Self> {
        let ends = (width, width);
        builder.under(name, |b| {
            Ok(Attention {
                to_q: Linear::without_bias(b, "to_q", ends)?,
                to_k: Linear::without_bias(b, "to_k", ends)?,
                to_v: Linear::without_bias(b, "to_v", ends)?,
                to_out: b.under("to_out", |b| Linear::new(b, "0", ends))?,
            })
        })
    }
}

impl Transformer {
    pub(super) fn new(
        builder: &mut ParamBuilder,
        name: usize,
        channels: usize,
        config: &DddmConfig,
    ) -> Result<Self> {
        let (inner, heads) = (config.inner(), config.num_heads);
        builder.under(name, |b| {
            let norm = GroupNorm::new(b, "norm", channels, NORM)?;
            let of = |inputs: usize| Init::FanIn(inputs);
            let proj_in = Linear::pointwise(b, "proj_in", (channels, inner), 2, of(channels))?;
            let pixel = config.in_channels;
            let proj_cond = Linear::pointwise(b, "proj_cond", (pixel, inner), 2, of(pixel))?;
            // The order is PyTorch's registration order.
            let (attn1, (ff_in, ff_out), attn2, norms) = b.under("transformer_blocks.0", |b| {
                Ok((
                    Attention::new(b, "attn1", inner)?,
                    b.under("ff.net", |b| {
                        let ff_in = Linear::new(b, "0.proj", (inner, 8 * inner))?;
                        Ok((ff_in, Linear::new(b, "2", (4 * inner, inner))?))
                    })?,
                    Attention::new(b, "attn2", inner)?,
                    [
                        LayerNorm::new(b, "norm1", inner, LAYER_EPS)?,
                        LayerNorm::new(b, "norm2", inner, LAYER_EPS)?,
                        LayerNorm::new(b, "norm3", inner, LAYER_EPS)?,
                    ],
                ))
            })?;
            let ends = (inner, channels);
            let proj_out = Linear::pointwise(b, "proj_out", ends, 2, Init::Zeros)?;
            Ok(Transformer {
                norm,
                proj_in,
                proj_cond,
                attn1,
                ff_in,
                ff_out,
                attn2,
                norms,
                proj_out,
                heads,
                inner,
            })
        })
    }

    /// Attention among the rows.
    fn among(&self, h: &Tensor) -> Result<Tensor> {
        let Attention { to_q, to_k, to_v, to_out } = &self.attn1;
        let rows = self.norms[0].forward(h)?;
        let (q, k, v) = (to_q.forward(&rows)?, to_k.forward(&rows)?, to_v.forward(&rows)?);
        to_out.forward_plus(&ops::attention(&q, &k, &v, self.heads)?, h)
    }

    /// Attention to the image, whose pixels are (1, p) in `tokens`, once for every head.
    ///
    /// All that comes between a pixel and its key and value is linear: k = (1, p) K and v = (1, p) V with
    /// few rows in K and V. So queries go through q K' instead, attention is to the pixels themselves, and
    /// what comes of it goes through V: the same numbers at a small part of the cost, as there are many
    /// more pixels than rows of K.
    fn to_image(&self, h: &Tensor, tokens: &Tensor) -> Result<Tensor> {
        let Attention { to_q, to_k, to_v, to_out } = &self.attn2;
        let bias = |layer: &Linear| {
            let found = layer.bias().cloned();
            found.ok_or_else(|| Error::Input("attention: a layer lacks its bias".into()))
        };
        let heads = self.heads;
        let pixel = ops::affine_rows(self.proj_cond.weight(), &bias(&self.proj_cond)?)?;
        let keys = ops::spread_heads(&to_k.forward(&pixel)?, heads)?;
        let values = ops::spread_heads(&to_v.forward(&pixel)?, heads)?;
        let queries = Affine::turned().apply(&keys, to_q.weight(), None, None)?;
        let mixed = Affine::new(None).apply(&values, to_out.weight(), None, None)?;
        // `attention` divides by the root of the width that it sees.
        let (seen, meant) = (pixel.dim(0)? as f64, (self.inner / heads) as f64);
        let queries = ops::scale(&queries, (seen / meant).sqrt())?;
        let q = Affine::new(None).apply(&self.norms[1].forward(h)?, &queries, None, None)?;
        let found = ops::attention(&q, tokens, tokens, heads)?;
        Affine::turned().apply(&found, &mixed, Some(&bias(to_out)?), Some(h))
    }
}

impl Attend for Transformer {
    fn forward(&self, x: &Tensor, context: Option<&Tensor>) -> Result<Tensor> {
        let Some(tokens) = context else {
            return Err(Error::Input("the network needs a conditioning image per row".into()));
        };
        let h = self.proj_in.forward(&self.norm.forward(x)?)?;
        let h = self.among(&h)?;
        let h = self.to_image(&h, tokens)?;
        let gated = ops::geglu(&self.ff_in.forward(&self.norms[2].forward(&h)?)?)?;
        let h = self.ff_out.forward_plus(&gated, &h)?;
        self.proj_out.forward_plus(&h, x)
    }

    /// As by the definition, in which every pixel of the image has keys and values of full width.
    fn multiply_adds(&self, pixels: usize, image: usize) -> u64 {
        let layers = [&self.proj_in, &self.proj_out, &self.ff_in, &self.ff_out];
        let square = self.attn1.to_q.multiply_adds(1);
        let per_pixel: u64 =
            layers.map(|layer| layer.multiply_adds(1)).iter().sum::<u64>() + 6 * square;
        let per_token = self.proj_cond.multiply_adds(1) + 2 * square;
        let attended = 2 * (pixels * (pixels + image) * self.inner) as u64;
        per_pixel * pixels as u64 + per_token * image as u64 + attended
    }
}
