//! Layers: parameters together with the operation they feed.

use crate::{
    error::Result,
    ops::{self, Affine, ConvGeometry, Convolution, Extra, GroupNormSpec},
    params::{Init, ParamBuilder},
};
use candle_core::Tensor;

/// A convolution with bias, on `[B, H, W, I]`.
#[derive(Clone, Debug)]
pub struct Conv2d {
    weight: Tensor,
    bias: Tensor,
    convolution: Convolution,
}

impl Conv2d {
    /// A square `kernel` from `inputs` to `outputs` channels, named `name`.
    pub fn new(
        builder: &mut ParamBuilder,
        name: &str,
        widths: (usize, usize),
        kernel: usize,
        geometry: ConvGeometry,
    ) -> Result<Self> {
        let fan_in = Init::FanIn(widths.0 * kernel * kernel);
        Self::starting(builder, name, widths, kernel, geometry, fan_in)
    }

    /// The same, all zeros at first: what comes out of a residual block then is what goes in.
    pub fn zero(
        builder: &mut ParamBuilder,
        name: &str,
        widths: (usize, usize),
        kernel: usize,
        geometry: ConvGeometry,
    ) -> Result<Self> {
        Self::starting(builder, name, widths, kernel, geometry, Init::Zeros)
    }

    fn starting(
        builder: &mut ParamBuilder,
        name: &str,
        (inputs, outputs): (usize, usize),
        kernel: usize,
        geometry: ConvGeometry,
        init: Init,
    ) -> Result<Self> {
        let prepared = builder.prepared();
        let convolution = Convolution { geometry, algorithm: builder.algorithm(), prepared };
        builder.under(name, |b| {
            let weight = b.param("weight", (outputs, inputs, kernel, kernel), init)?;
            Ok(Conv2d { weight, bias: b.param("bias", outputs, init)?, convolution })
        })
    }

    /// Convolves `x` `[B, H, W, I]` to `[B, H', W', O]`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.forward_with(x, Extra::default())
    }

    /// [`Conv2d::forward`], plus what there is in `extra`.
    pub fn forward_with(&self, x: &Tensor, extra: Extra) -> Result<Tensor> {
        self.convolution.apply(x, &self.weight, &self.bias, extra)
    }

    /// Multiply-adds for one output image of `pixels`, as by the definition.
    pub fn multiply_adds(&self, pixels: usize) -> u64 {
        self.weight.elem_count() as u64 * pixels as u64
    }
}

/// A linear layer with bias, on rows `[..., in]`.
#[derive(Clone, Debug)]
pub struct Linear {
    weight: Tensor,
    bias: Tensor,
    affine: Affine,
}

impl Linear {
    /// From `inputs` to `outputs` features, named `name`.
    pub fn new(
        builder: &mut ParamBuilder,
        name: &str,
        (inputs, outputs): (usize, usize),
    ) -> Result<Self> {
        let fan_in = Init::FanIn(inputs);
        let affine = Affine::new(builder.prepared());
        builder.under(name, |b| {
            let weight = b.param("weight", (outputs, inputs), fan_in)?;
            Ok(Linear { weight, bias: b.param("bias", outputs, fan_in)?, affine })
        })
    }

    /// A convolution of sequences with a kernel of one, which is the same but for a weight
    /// `[out, in, 1]`.
    pub fn pointwise(
        builder: &mut ParamBuilder,
        name: &str,
        (inputs, outputs): (usize, usize),
        init: Init,
    ) -> Result<Self> {
        let affine = Affine::new(builder.prepared());
        builder.under(name, |b| {
            let weight = b.param("weight", (outputs, inputs, 1), init)?;
            Ok(Linear { weight, bias: b.param("bias", outputs, init)?, affine })
        })
    }

    /// Maps `[..., in]` to `[..., out]`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.affine.apply(x, &self.weight, &self.bias, None)
    }

    /// [`Linear::forward`] plus `residual` `[..., out]`.
    pub fn forward_plus(&self, x: &Tensor, residual: &Tensor) -> Result<Tensor> {
        self.affine.apply(x, &self.weight, &self.bias, Some(residual))
    }

    /// Multiply-adds for `rows` rows.
    pub fn multiply_adds(&self, rows: usize) -> u64 {
        self.weight.elem_count() as u64 * rows as u64
    }
}

/// A group norm with scale and offset per channel, on `[B, H, W, C]`.
#[derive(Clone, Debug)]
pub struct GroupNorm {
    weight: Tensor,
    bias: Tensor,
    spec: GroupNormSpec,
}

impl GroupNorm {
    /// Over `channels`, named `name`.
    pub fn new(
        builder: &mut ParamBuilder,
        name: &str,
        channels: usize,
        spec: GroupNormSpec,
    ) -> Result<Self> {
        builder.under(name, |b| {
            let weight = b.param("weight", channels, Init::Ones)?;
            Ok(GroupNorm { weight, bias: b.param("bias", channels, Init::Zeros)?, spec })
        })
    }

    /// Normalises `x`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        ops::group_norm(x, &self.weight, &self.bias, self.spec)
    }

    /// Normalises `x` and applies SiLU.
    pub fn forward_silu(&self, x: &Tensor) -> Result<Tensor> {
        ops::group_norm_silu(x, &self.weight, &self.bias, self.spec)
    }

    /// Normalises `x`, applies scale and shift `[B, 2 C]` of its samples, and SiLU.
    pub fn forward_scale_shift_silu(&self, x: &Tensor, scale_shift: &Tensor) -> Result<Tensor> {
        ops::group_norm_scale_shift_silu(x, &self.weight, &self.bias, scale_shift, self.spec)
    }
}

/// A table with one row per class.
#[derive(Clone, Debug)]
pub struct Embedding {
    table: Tensor,
}

impl Embedding {
    /// `rows` rows of `width`, named `name`.
    pub fn new(builder: &mut ParamBuilder, name: &str, rows: usize, width: usize) -> Result<Self> {
        let table = builder.under(name, |b| b.param("weight", (rows, width), Init::Normal))?;
        Ok(Embedding { table })
    }

    /// The rows of `labels`, `[labels, width]`.
    pub fn forward(&self, labels: &[u32]) -> Result<Tensor> {
        ops::embedding(&self.table, labels)
    }
}
