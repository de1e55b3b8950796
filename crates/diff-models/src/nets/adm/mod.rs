//! The ADM U-Net of guided-diffusion and improved-diffusion, under its own parameter names.

mod blocks;
mod body;
mod config;

pub(super) use blocks::{NORM, ResBlock};
pub(super) use body::{Attend, Body};
pub use config::AdmConfig;

use crate::{
    Condition, Context,
    error::Result,
    nets::{
        Architecture, Config, Network, check,
        network::{Features, Trunk},
    },
    ops::{self, TimeEmbedding},
    params::ParamBuilder,
};
use blocks::AttentionBlock;
use candle_core::Tensor;
use std::sync::Arc;

/// The network. It predicts noise and, with `learn_sigma`, the range of the variance.
#[derive(Clone, Debug)]
pub struct Adm {
    config: AdmConfig,
    body: Body,
}

impl Adm {
    /// Builds the network.
    ///
    /// # Errors
    /// When the configuration is impossible. Weights that do not fit are reported by
    /// [`ParamBuilder::finish`].
    pub fn new(config: AdmConfig, builder: &mut ParamBuilder) -> Result<Self> {
        let ends = (config.in_channels, config.out_channels());
        let body = Body::new(&config, ends, &attention(&config), builder)?;
        Ok(Adm { config, body })
    }

    /// What the layers take, checked: maps `[B, H, W, C]`, the waves of the time, labels.
    fn given(
        &self,
        x: &Tensor,
        network_time: &[f64],
        condition: &Condition,
    ) -> Result<(Tensor, Tensor, Option<Vec<u32>>)> {
        check::input(x, network_time, self.config.in_channels, self.config.factor())?;
        check::no_image(condition)?;
        let labels = check::labels(network_time.len(), condition, self.config.classes())?;
        let x = x.permute((0, 2, 3, 1))?.contiguous()?;
        let waves = waves(&self.config, network_time, &x)?;
        Ok((x, waves, labels))
    }
}

impl Trunk for Adm {
    fn features(
        &self,
        x: &Tensor,
        network_time: &[f64],
        condition: &Condition,
        context: &Context,
    ) -> Result<Features> {
        let (x, waves, labels) = self.given(x, network_time, condition)?;
        self.body.run(&x, &waves, labels.as_deref(), None, context)
    }
}

/// What attends in the network: `AttentionBlock`s.
pub(super) fn attention(
    config: &AdmConfig,
) -> impl Fn(&mut ParamBuilder, usize, usize, bool) -> Result<Arc<dyn Attend>> + '_ {
    |builder, name, width, up| {
        let heads = config.heads(width, up);
        Ok(Arc::new(AttentionBlock::new(builder, name, width, heads, config)?))
    }
}

/// The waves that tell the network the time.
pub(super) fn waves(config: &AdmConfig, network_time: &[f64], x: &Tensor) -> Result<Tensor> {
    let width = config.model_channels;
    let spec = TimeEmbedding { width, flip_sin_to_cos: true, freq_shift: 0.0 };
    ops::timestep_embedding(network_time, spec, x.dtype(), x.device())
}

impl Network for Adm {
    fn forward_network(
        &self,
        x: &Tensor,
        network_time: &[f64],
        condition: &Condition,
        context: &Context,
    ) -> Result<Tensor> {
        let (x, waves, labels) = self.given(x, network_time, condition)?;
        let run = || Ok(self.body.run(&x, &waves, labels.as_deref(), None, context)?.out);
        let out = ops::record(&[&x, &waves], run)?;
        Ok(out.permute((0, 3, 1, 2))?.contiguous()?)
    }

    fn multiply_adds(&self, height: usize, width: usize) -> u64 {
        self.body.multiply_adds(height, width)
    }

    fn architecture(&self) -> Architecture {
        self.config.clone().into()
    }
}
