//! The U-Net of DDDM, under its own parameter names.

mod config;
mod transformer;

pub use config::{Conditioning, DddmConfig};

use super::adm::{self, Attend, Body};
use crate::{
    Condition, Context,
    error::Result,
    nets::{Architecture, Config, Network, check},
    ops,
    params::ParamBuilder,
};
use candle_core::{D, Tensor};
use std::sync::Arc;
use transformer::Transformer;

/// The network. It predicts F with x_0 = x_t - F from x_t and an estimate of x_0.
#[derive(Clone, Debug)]
pub struct Dddm {
    config: DddmConfig,
    body: Body,
}

impl Dddm {
    /// Builds the network.
    ///
    /// # Errors
    /// When the configuration is impossible. Weights that do not fit are reported by
    /// [`ParamBuilder::finish`].
    pub fn new(config: DddmConfig, builder: &mut ParamBuilder) -> Result<Self> {
        config.check()?;
        let body_config = config.body();
        let channels = config.in_channels;
        let body = match config.conditioning {
            Conditioning::CrossAttention => {
                let attention = |b: &mut ParamBuilder, name, width, _| {
                    let block: Arc<dyn Attend> =
                        Arc::new(Transformer::new(b, name, width, &config)?);
                    Ok(block)
                };
                Body::new(&body_config, (channels, channels), &attention, builder)?
            }
            Conditioning::Concatenation => {
                let attention = adm::attention(&body_config);
                Body::new(&body_config, (2 * channels, channels), &attention, builder)?
            }
            Conditioning::None => {
                let attention = adm::attention(&body_config);
                Body::new(&body_config, (channels, channels), &attention, builder)?
            }
        };
        Ok(Dddm { config, body })
    }

    /// The image's pixels as rows (1, pixel), once for every head: `[B, H W, heads (1 + C)]`.
    fn tokens(&self, image: &Tensor) -> Result<Tensor> {
        let (batch, channels, height, width) = image.dims4()?;
        let pixels = image.permute((0, 2, 3, 1))?.reshape((batch, height * width, channels))?;
        let one = pixels.narrow(D::Minus1, 0, 1)?.ones_like()?;
        let row = Tensor::cat(&[&one, &pixels], 2)?;
        Ok(row.repeat((1, 1, self.config.num_heads))?.contiguous()?)
    }
}

impl Network for Dddm {
    fn forward_network(
        &self,
        x: &Tensor,
        network_time: &[f64],
        condition: &Condition,
        context: &Context,
    ) -> Result<Tensor> {
        let config = self.config.body();
        check::input(x, network_time, config.in_channels, config.factor())?;
        let labels = check::labels(network_time.len(), condition, config.classes())?;
        let (x, tokens) = match self.config.conditioning {
            Conditioning::CrossAttention => {
                (x.clone(), Some(self.tokens(check::image(x, condition)?)?))
            }
            Conditioning::Concatenation => {
                (Tensor::cat(&[x, check::image(x, condition)?], 1)?, None)
            }
            Conditioning::None => {
                check::no_image(condition)?;
                (x.clone(), None)
            }
        };
        let x = x.permute((0, 2, 3, 1))?.contiguous()?;
        let waves = adm::waves(&config, network_time, &x)?;
        let inputs: Vec<&Tensor> =
            [Some(&x), Some(&waves), tokens.as_ref()].into_iter().flatten().collect();
        let run =
            || Ok(self.body.run(&x, &waves, labels.as_deref(), tokens.as_ref(), context)?.out);
        let out = ops::record(&inputs, run)?;
        Ok(out.permute((0, 3, 1, 2))?.contiguous()?)
    }

    fn multiply_adds(&self, height: usize, width: usize) -> u64 {
        self.body.multiply_adds(height, width)
    }

    fn architecture(&self) -> Architecture {
        self.config.clone().into()
    }
}
