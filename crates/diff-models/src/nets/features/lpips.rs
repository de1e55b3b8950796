//! LPIPS: the distance of what a network makes of two pictures (Zhang et al., 2018).

use super::{FeatureNetwork, Stack, Vgg16, alexnet, channels_last, imagenet, squeezenet};
use crate::{
    error::{Error, Result},
    ops::{self, PixelGrid},
    params::{Init, ParamBuilder},
};
use candle_core::Tensor;
use serde::{Deserialize, Serialize};

/// Whose activations are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Trunk {
    /// VGG16.
    #[default]
    Vgg,
    /// AlexNet.
    Alex,
    /// SqueezeNet 1.1.
    Squeeze,
}

/// The options of [`Lpips`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LpipsConfig {
    /// Whose activations are compared.
    pub trunk: Trunk,
    /// Whether VGG's windows give their means instead of their largest values.
    pub average_pooling: bool,
    /// Narrower pictures than 256 are resized to 224 x 224 first, bilinearly.
    pub resize: bool,
}

impl LpipsConfig {
    /// That of the package `lpips`.
    pub const fn of(trunk: Trunk) -> Self {
        LpipsConfig { trunk, average_pooling: false, resize: false }
    }

    /// What DDDM trains with: piq's LPIPS of averaging windows, after resizing.
    pub const fn piq() -> Self {
        LpipsConfig { trunk: Trunk::Vgg, average_pooling: true, resize: true }
    }
}

/// Side of resized pictures, and the width from which on they stay as they are.
const RESIZED: (usize, usize) = (224, 256);

/// Learned perceptual image patch similarity, version 0.1 of the package `lpips` and the variant of piq.
/// Its weights are constants; it can be differentiated by the pictures.
#[derive(Clone, Debug)]
pub struct Lpips {
    config: LpipsConfig,
    trunk: Stack,
    taps: Vec<&'static str>,
    /// A weight per channel of every tap.
    heads: Vec<Tensor>,
}

impl Lpips {
    /// The distance. Its weights are torchvision's (`features.N`) and those of the package's heads
    /// (`linI.model.1.weight`, `[1, C, 1, 1]`).
    ///
    /// # Errors
    /// When windows of another network than VGG16 should average. Weights that do not fit are reported by
    /// [`ParamBuilder::finish`].
    pub fn new(config: LpipsConfig, builder: &mut ParamBuilder) -> Result<Self> {
        if config.average_pooling && config.trunk != Trunk::Vgg {
            return Err(Error::unsupported("average_pooling", true, "VGG16 only"));
        }
        builder.fixed(|b| {
            let trunk = match config.trunk {
                Trunk::Vgg => Vgg16::features(b, config.average_pooling)?,
                Trunk::Alex => alexnet(b)?,
                Trunk::Squeeze => squeezenet(b)?,
            };
            let taps = trunk.taps();
            let head = |(i, channels): (usize, usize)| {
                b.under(format!("lin{i}.model.1"), |b| {
                    let weight = b.param("weight", (1, channels, 1, 1), Init::Ones)?;
                    Ok(weight.reshape(channels)?.contiguous()?)
                })
            };
            let heads = taps.iter().map(|tap| tap.channels).enumerate().map(head);
            let heads = heads.collect::<Result<_>>()?;
            Ok(Lpips { config, trunk, taps: taps.iter().map(|tap| tap.name).collect(), heads })
        })
    }

    /// What it is, in a few words.
    pub fn about(&self) -> String {
        let trunk = match self.config.trunk {
            Trunk::Vgg => "VGG16",
            Trunk::Alex => "AlexNet",
            Trunk::Squeeze => "SqueezeNet 1.1",
        };
        let pooling = if self.config.average_pooling { ", windows averaged" } else { "" };
        let resized = if self.config.resize { ", of pictures resized to 224 x 224" } else { "" };
        format!("LPIPS of {trunk}{pooling}{resized}")
    }

    /// What it was built from.
    pub fn config(&self) -> LpipsConfig {
        self.config
    }

    /// The distances `[B]` of pictures `x` and `y`, `[B, 3, H, W]` in [-1, 1] both.
    ///
    /// # Errors
    /// When their shapes differ, are others, or the pictures are too small.
    pub fn distance(&self, x: &Tensor, y: &Tensor) -> Result<Tensor> {
        if x.dims() != y.dims() {
            let (x, y) = (x.dims(), y.dims());
            return Err(Error::Input(format!(
                "pictures of {x:?} and of {y:?}: expected one shape"
            )));
        }
        let (x, y) = (self.prepare(x)?, self.prepare(y)?);
        ops::record(&[&x, &y], || {
            let (a, _) = self.trunk.run(&x, &self.taps, false)?;
            let (b, _) = self.trunk.run(&y, &self.taps, false)?;
            let mut sum: Option<Tensor> = None;
            for ((a, b), head) in a.iter().zip(&b).zip(&self.heads) {
                let part = ops::unit_distance(a, b, head)?;
                sum = Some(sum.map_or(Ok(part.clone()), |sum| ops::add(&sum, &part))?);
            }
            sum.ok_or_else(|| Error::Input("LPIPS compares nothing".into()))
        })
    }

    /// Pictures as the network takes them.
    fn prepare(&self, x: &Tensor) -> Result<Tensor> {
        let x = channels_last(x)?;
        let (side, least) = RESIZED;
        let x = match self.config.resize && x.dim(2)? < least {
            true => ops::resize_bilinear(&x, (side, side), PixelGrid::HalfPixel)?,
            false => x,
        };
        imagenet(&x)
    }

    /// Multiply-adds of a pair of pictures of `height` x `width`.
    pub fn multiply_adds(&self, height: usize, width: usize) -> u64 {
        let (side, least) = RESIZED;
        let resized = self.config.resize && width < least;
        let (height, width) = if resized { (side, side) } else { (height, width) };
        2 * self.trunk.multiply_adds(height, width)
    }
}
