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
        Self::starting(builder, name, widths, kernel, geometry, (fan_in, fan_in))
    }

    /// The same, all zeros at first: what comes out of a residual block then is what goes in.
    pub fn zero(
        builder: &mut ParamBuilder,
        name: &str,
        widths: (usize, usize),
        kernel: usize,
        geometry: ConvGeometry,
    ) -> Result<Self> {
        Self::starting(builder, name, widths, kernel, geometry, (Init::Zeros, Init::Zeros))
    }

    /// The same, with first values of weight and bias.
    pub fn starting(
        builder: &mut ParamBuilder,
        name: &str,
        (inputs, outputs): (usize, usize),
        kernel: usize,
        geometry: ConvGeometry,
        (weight, bias): (Init, Init),
    ) -> Result<Self> {
        let prepared = builder.prepared();
        let convolution =
            Convolution { prepared, ..Convolution::new(geometry, builder.algorithm()) };
        builder.under(name, |b| {
            let weight = b.param("weight", (outputs, inputs, kernel, kernel), weight)?;
            Ok(Conv2d { weight, bias: b.param("bias", outputs, bias)?, convolution })
        })
    }

    /// The same, followed by a ReLU.
    pub fn rectified(mut self) -> Self {
        self.convolution.rectified = true;
        self
    }

    /// Convolves `x` `[B, H, W, I]` to `[B, H', W', O]`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.forward_with(x, Extra::default())
    }

    /// [`Conv2d::forward`], plus what there is in `extra`.
    pub fn forward_with(&self, x: &Tensor, extra: Extra) -> Result<Tensor> {
        self.convolution.apply(x, &self.weight, &self.bias, extra)
    }

    /// Height and width of the result of an image; `None` if it is smaller than the kernel.
    pub fn outputs(&self, image: (usize, usize)) -> Option<(usize, usize)> {
        let [_, _, rows, columns] = self.weight.dims() else { return None };
        self.convolution.geometry.outputs(image, (*rows, *columns))
    }

    /// Multiply-adds for one output image of `pixels`, as by the definition.
    pub fn multiply_adds(&self, pixels: usize) -> u64 {
        self.weight.elem_count() as u64 * pixels as u64
    }
}

/// A transposed convolution with bias that doubles the resolution, on `[B, H, W, I]`
/// ([`ops::conv_transpose2x`]).
#[derive(Clone, Debug)]
pub struct ConvTranspose2x {
    weight: Tensor,
    bias: Tensor,
    convolution: Convolution,
}

impl ConvTranspose2x {
    /// From `inputs` to `outputs` channels, named `name`.
    pub fn new(
        builder: &mut ParamBuilder,
        name: &str,
        (inputs, outputs): (usize, usize),
    ) -> Result<Self> {
        let (geometry, prepared) = (ConvGeometry::same(3), builder.prepared());
        let convolution =
            Convolution { prepared, ..Convolution::new(geometry, builder.algorithm()) };
        // PyTorch takes the second dimension of a weight for its inputs, here too.
        let fan_in = Init::FanIn(outputs * 25);
        builder.under(name, |b| {
            let weight = b.param("weight", (inputs, outputs, 5, 5), fan_in)?;
            Ok(ConvTranspose2x { weight, bias: b.param("bias", outputs, fan_in)?, convolution })
        })
    }

    /// Maps `[B, H, W, I]` to `[B, 2 H, 2 W, O]`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        ops::conv_transpose2x(x, &self.weight, &self.bias, &self.convolution)
    }

    /// Multiply-adds for one image of `pixels` that goes in, as by the definition.
    pub fn multiply_adds(&self, pixels: usize) -> u64 {
        self.weight.elem_count() as u64 * pixels as u64
    }
}

/// A linear layer, on rows `[..., in]`.
#[derive(Clone, Debug)]
pub struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
    affine: Affine,
}

impl Linear {
    /// From `inputs` to `outputs` features with bias, named `name`.
    pub fn new(
        builder: &mut ParamBuilder,
        name: &str,
        (inputs, outputs): (usize, usize),
    ) -> Result<Self> {
        let bias = Some(Init::FanIn(inputs));
        Self::starting(builder, name, vec![outputs, inputs], Init::FanIn(inputs), bias)
    }

    /// The same without bias.
    pub fn without_bias(
        builder: &mut ParamBuilder,
        name: &str,
        (inputs, outputs): (usize, usize),
    ) -> Result<Self> {
        Self::starting(builder, name, vec![outputs, inputs], Init::FanIn(inputs), None)
    }

    /// A convolution with a kernel of one, which is the same but for its weight: `[out, in, 1]` if it is
    /// one of sequences (`dims` = 1), `[out, in, 1, 1]` if it is one of pictures (2).
    pub fn pointwise(
        builder: &mut ParamBuilder,
        name: &str,
        (inputs, outputs): (usize, usize),
        dims: usize,
        init: Init,
    ) -> Result<Self> {
        let mut shape = vec![outputs, inputs];
        shape.resize(2 + dims, 1);
        Self::starting(builder, name, shape, init, Some(init))
    }

    /// With a weight of `shape`, `[out, in]` and perhaps ones, and first values of weight and bias.
    pub fn starting(
        builder: &mut ParamBuilder,
        name: &str,
        shape: Vec<usize>,
        weight: Init,
        bias: Option<Init>,
    ) -> Result<Self> {
        let affine = Affine::new(builder.prepared());
        builder.under(name, |b| {
            let outputs = shape[0];
            let weight = b.param("weight", shape, weight)?;
            let bias = bias.map(|init| b.param("bias", outputs, init)).transpose()?;
            Ok(Linear { weight, bias, affine })
        })
    }

    /// The same, followed by a ReLU.
    pub fn rectified(self) -> Self {
        Linear { affine: self.affine.rectified(true), ..self }
    }

    /// Maps `[..., in]` to `[..., out]`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.affine.apply(x, &self.weight, self.bias.as_ref(), None)
    }

    /// [`Linear::forward`] plus `residual` `[..., out]`.
    pub fn forward_plus(&self, x: &Tensor, residual: &Tensor) -> Result<Tensor> {
        self.affine.apply(x, &self.weight, self.bias.as_ref(), Some(residual))
    }

    /// The weight, `[out, in]` and perhaps ones.
    pub fn weight(&self) -> &Tensor {
        &self.weight
    }

    /// The bias, `[out]`, if there is one.
    pub fn bias(&self) -> Option<&Tensor> {
        self.bias.as_ref()
    }

    /// Multiply-adds for `rows` rows.
    pub fn multiply_adds(&self, rows: usize) -> u64 {
        self.weight.elem_count() as u64 * rows as u64
    }
}

/// A layer norm with scale and offset per channel, on rows `[..., C]`.
#[derive(Clone, Debug)]
pub struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    eps: f64,
}

impl LayerNorm {
    /// Over `channels`, named `name`.
    pub fn new(builder: &mut ParamBuilder, name: &str, channels: usize, eps: f64) -> Result<Self> {
        builder.under(name, |b| {
            let weight = b.param("weight", channels, Init::Ones)?;
            Ok(LayerNorm { weight, bias: b.param("bias", channels, Init::Zeros)?, eps })
        })
    }

    /// Normalises every row of `x`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        ops::layer_norm(x, &self.weight, &self.bias, self.eps)
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
    fixed: Option<u32>,
}

impl Embedding {
    /// `rows` rows of `width`, named `name`.
    pub fn new(builder: &mut ParamBuilder, name: &str, rows: usize, width: usize) -> Result<Self> {
        Self::starting(builder, name, (rows, width), Init::Normal, None)
    }

    /// The same, row 0 of which is zero and stays what it is: no class.
    pub fn padded(
        builder: &mut ParamBuilder,
        name: &str,
        rows: usize,
        width: usize,
    ) -> Result<Self> {
        Self::starting(builder, name, (rows, width), Init::NormalAfter(width), Some(0))
    }

    /// `shape.0` rows of `shape.1`, named `name`, that start as `init` says; `fixed` takes no gradient.
    pub fn starting(
        builder: &mut ParamBuilder,
        name: &str,
        shape: (usize, usize),
        init: Init,
        fixed: Option<u32>,
    ) -> Result<Self> {
        let table = builder.under(name, |b| b.param("weight", shape, init))?;
        Ok(Embedding { table, fixed })
    }

    /// The rows of `labels`, `[labels, width]`.
    pub fn forward(&self, labels: &[u32]) -> Result<Tensor> {
        ops::embedding(&self.table, labels, self.fixed)
    }
}
