//! A second head on a U-Net that takes no gradient: what it knows of the picture is enough to learn the
//! covariance of the reverse step from.

mod config;

pub use config::{Estimate, HeadsConfig, Mode, TrunkConfig};

use crate::{
    Condition, Context,
    error::Result,
    nets::{
        Architecture, Network,
        adm::{self, Adm, AdmConfig},
        layers::{Conv2d, GroupNorm},
        network::{Features, Trunk},
        resampling::Resampling,
        unet::{self, Unet, UnetConfig},
    },
    ops::{self, ConvGeometry, GroupNormSpec},
    params::ParamBuilder,
};
use candle_core::Tensor;

/// The network. Its output is the trunk's, and beside it the second head's.
#[derive(Debug)]
pub struct Heads {
    config: HeadsConfig,
    trunk: Box<dyn Trunk>,
    before: Option<Before>,
    norm: GroupNorm,
    conv: Conv2d,
    channels: usize,
}

/// The residual block of a complex head; of the trunk's kind.
#[derive(Debug)]
enum Before {
    Unet(Box<unet::ResnetBlock>),
    Adm(Box<adm::ResBlock>),
}

impl Heads {
    /// Builds the network.
    ///
    /// # Errors
    /// When the trunk is impossible. Weights that do not fit are reported by [`ParamBuilder::finish`].
    pub fn new(config: &HeadsConfig, builder: &mut ParamBuilder) -> Result<Self> {
        match &config.trunk {
            TrunkConfig::Ddpm(spec) => on_unet(config, &spec.config()?, builder),
            TrunkConfig::Unet(trunk) => on_unet(config, trunk, builder),
            TrunkConfig::Adm(trunk) => on_adm(config, trunk, builder),
        }
    }

    /// The second block of the output, `[B, H, W, C]`.
    fn second(&self, features: &Features, context: &Context) -> Result<Tensor> {
        let Features { maps, time, .. } = features;
        let h = match &self.before {
            None => maps.clone(),
            Some(Before::Unet(block)) => block.forward(maps, time, context)?,
            Some(Before::Adm(block)) => block.forward(maps, time, context)?,
        };
        self.conv.forward(&self.norm.forward_silu(&h)?)
    }
}

fn on_unet(config: &HeadsConfig, trunk: &UnetConfig, b: &mut ParamBuilder) -> Result<Heads> {
    HeadsConfig::check(trunk.in_channels, trunk.out_channels)?;
    let network = b.fixed(|b| Unet::new(trunk.clone(), b))?;
    let (width, channels) = (trunk.block_out_channels[0], trunk.in_channels);
    let before = match config.mode {
        Mode::Simple => None,
        Mode::Complex => {
            let block = unet::ResnetBlock::new(b, "before_out", (width, width), trunk, 1.0)?;
            Some(Before::Unet(Box::new(block)))
        }
    };
    let norm = GroupNormSpec { groups: trunk.norm_num_groups, eps: trunk.norm_eps };
    Ok(Heads {
        config: HeadsConfig { trunk: TrunkConfig::Unet(Box::new(trunk.clone())), ..config.clone() },
        trunk: Box::new(network),
        before,
        norm: GroupNorm::new(b, "norm_out2", width, norm)?,
        conv: Conv2d::new(b, "conv_out2", (width, channels), 3, ConvGeometry::same(3))?,
        channels,
    })
}

fn on_adm(config: &HeadsConfig, trunk: &AdmConfig, b: &mut ParamBuilder) -> Result<Heads> {
    let network = b.fixed(|b| Adm::new(trunk.clone(), b))?;
    let (width, channels) = (trunk.width(0), trunk.in_channels);
    let (before, norm, conv) = b.under("out2", |b| {
        let before = match config.mode {
            Mode::Simple => None,
            Mode::Complex => {
                let none = Resampling::None;
                let block = adm::ResBlock::new(b, 0, (width, width), none, trunk)?;
                Some(Before::Adm(Box::new(block)))
            }
        };
        let (norm, conv) = if before.is_none() { ("0", "2") } else { ("1", "3") };
        let norm = GroupNorm::new(b, norm, width, adm::NORM)?;
        Ok((before, norm, Conv2d::zero(b, conv, (width, channels), 3, ConvGeometry::same(3))?))
    })?;
    let trunk = Box::new(network);
    Ok(Heads { config: config.clone(), trunk, before, norm, conv, channels })
}

impl Network for Heads {
    fn forward_network(
        &self,
        x: &Tensor,
        network_time: &[f64],
        condition: &Condition,
        context: &Context,
    ) -> Result<Tensor> {
        let features = ops::within(|| self.trunk.features(x, network_time, condition, context))?;
        let inputs = [&features.maps, &features.time];
        let second = ops::record(&inputs, || self.second(&features, context))?;
        let first = features.out.narrow(3, 0, self.channels)?;
        let out = Tensor::cat(&[&first, &second], 3)?;
        Ok(out.permute((0, 3, 1, 2))?.contiguous()?)
    }

    fn multiply_adds(&self, height: usize, width: usize) -> u64 {
        let pixels = height * width;
        let before = match &self.before {
            None => 0,
            Some(Before::Unet(block)) => block.multiply_adds(pixels),
            Some(Before::Adm(block)) => block.multiply_adds(pixels).0,
        };
        self.trunk.multiply_adds(height, width) + before + self.conv.multiply_adds(pixels)
    }

    fn architecture(&self) -> Architecture {
        self.config.clone().into()
    }
}
