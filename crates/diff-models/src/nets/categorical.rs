//! A U-Net over the levels of pixels: K channels of one-hot levels in, K logits out.

use super::{Architecture, Network};
use crate::{
    Condition, Context,
    categorical::{Categorizer, LEVELS, one_hot},
    error::{Error, Result},
    params::ParamBuilder,
};
use candle_core::{DType, Tensor};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What a [`Categorical`] is built from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CategoricalSpec {
    /// The network it is made of: `ddpm` or `unet`, with as many channels going in and coming out as
    /// there are levels, and without classes.
    pub body: Architecture,
}

impl CategoricalSpec {
    /// Refuses what cannot be one, by name, with what is supported.
    ///
    /// # Errors
    /// When the body is of another kind, takes classes, does not tell the size of its pictures, or has
    /// unequal or impossible numbers of channels.
    pub fn check(&self) -> Result<()> {
        self.size()?;
        self.levels().map(|_| ())
    }

    /// K, the body's channels.
    ///
    /// # Errors
    /// As [`CategoricalSpec::check`].
    pub fn levels(&self) -> Result<usize> {
        let (into, out) = match &self.body {
            Architecture::Ddpm(body) => (body.in_channels, body.out_channels),
            Architecture::Unet(body) => (body.in_channels, body.out_channels),
            other => return Err(Error::unsupported("body.kind", other.kind(), "ddpm, unet")),
        };
        if !LEVELS.contains(&into) {
            let supported = format!("one a level, {} to {}", LEVELS.start(), LEVELS.end());
            return Err(Error::unsupported("body.in_channels", into, supported));
        }
        if out != into {
            let supported = format!("{into}, as many as go in");
            return Err(Error::unsupported("body.out_channels", out, supported));
        }
        if self.body.config().classes().is_some() {
            return Err(Error::unsupported("body.classes", "some", "none"));
        }
        Ok(into)
    }

    /// H, W of the pictures.
    ///
    /// # Errors
    /// When the body's configuration does not tell.
    pub fn size(&self) -> Result<[usize; 2]> {
        match self.body.config().image_shape() {
            Some([_, height, width]) => Ok([height, width]),
            None => {
                Err(Error::unsupported("body.sample_size", "nothing", "the size of the pictures"))
            }
        }
    }
}

/// A network over the levels of pixels.
#[derive(Clone, Debug)]
pub struct Categorical {
    spec: CategoricalSpec,
    levels: usize,
    dtype: DType,
    body: Arc<dyn Network>,
}

impl Categorical {
    /// Builds the network; its parameters have the names of the body's.
    ///
    /// # Errors
    /// When the specification is impossible. Weights that do not fit are reported by
    /// [`ParamBuilder::finish`].
    pub fn new(spec: CategoricalSpec, builder: &mut ParamBuilder) -> Result<Self> {
        spec.check()?;
        let (levels, dtype) = (spec.levels()?, builder.dtype());
        let body = spec.body.config().network(builder)?;
        Ok(Categorical { spec, levels, dtype, body })
    }

    /// What it was built from.
    pub fn spec(&self) -> &CategoricalSpec {
        &self.spec
    }

    /// Multiply-adds of one forward pass for one picture of `height` x `width`.
    pub fn multiply_adds(&self, height: usize, width: usize) -> u64 {
        self.body.multiply_adds(height, width)
    }
}

impl Categorizer for Categorical {
    fn levels(&self) -> usize {
        self.levels
    }

    fn forward(&self, x_t: &Tensor, t: &[f64], context: &Context) -> Result<Tensor> {
        let times: Vec<f64> = t.iter().map(|t| diff_core::time::network_time(*t)).collect();
        let planes = one_hot(x_t, self.levels, self.dtype)?;
        self.body.forward_network(&planes, &times, &Condition::default(), context)
    }
}
