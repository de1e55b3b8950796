//! What all denoising networks have in common, and what their output means.

use super::Architecture;
use crate::{Condition, Context, Denoiser, Mean, Prediction, Second, error::Result};
use candle_core::Tensor;
use serde::{Deserialize, Serialize};
use std::{fmt::Debug, sync::Arc};

/// A denoising network, its output without a meaning yet.
pub trait Network: Debug + Send + Sync {
    /// The raw forward pass: `x` `[B, C, H, W]` and one `network_time` per row (counted from 0, as in
    /// training) to `[B, C', H, W]`, where C' is twice C if there is a second block.
    ///
    /// # Errors
    /// When a shape, the number of times, or the condition does not fit the network.
    fn forward_network(
        &self,
        x: &Tensor,
        network_time: &[f64],
        condition: &Condition,
        context: &Context,
    ) -> Result<Tensor>;

    /// Multiply-adds of one forward pass for one image of `height` x `width`.
    fn multiply_adds(&self, height: usize, width: usize) -> u64;

    /// What it was built from.
    fn architecture(&self) -> Architecture;
}

/// A network that another one stands on.
pub(super) trait Trunk: Network {
    /// [`Network::forward_network`] in parts.
    fn features(
        &self,
        x: &Tensor,
        network_time: &[f64],
        condition: &Condition,
        context: &Context,
    ) -> Result<Features>;
}

/// Parts of a forward pass, maps `[B, H, W, C]`.
pub(super) struct Features {
    /// What the last norm is given.
    pub(super) maps: Tensor,
    /// The activated embedding of the time, `[B, width]`.
    pub(super) time: Tensor,
    /// The result.
    pub(super) out: Tensor,
}

/// What the first block of a network's output means; the names are diffusers', but for the last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PredictionType {
    /// The noise.
    #[default]
    Epsilon,
    /// The clean image.
    Sample,
    /// sqrt(abar) eps - sqrt(1-abar) x_0.
    VPrediction,
    /// x_t - x_0 (DDDM).
    Residual,
}

impl PredictionType {
    fn of(self, block: Tensor) -> Mean {
        match self {
            PredictionType::Epsilon => Mean::Eps(block),
            PredictionType::Sample => Mean::X0(block),
            PredictionType::VPrediction => Mean::V(block),
            PredictionType::Residual => Mean::Residual(block),
        }
    }
}

/// What the second block of a network's output means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecondType {
    /// There is none.
    #[default]
    None,
    /// Interpolation between log beta and log beta~ (improved DDPM).
    Range,
    /// An estimate of (eps - eps_hat)^2 (NPR-DPM).
    Npr,
    /// An estimate of eps^2 (SN-DPM).
    Sn,
}

/// A network together with the meaning of its output.
#[derive(Clone, Debug)]
pub struct NetworkDenoiser {
    network: Arc<dyn Network>,
    prediction: PredictionType,
    second: SecondType,
}

impl NetworkDenoiser {
    /// Of a network that predicts what its architecture says.
    pub fn new(network: Arc<dyn Network>) -> Self {
        let architecture = network.architecture();
        let config = architecture.config();
        let (prediction, second) = (config.prediction_type(), config.second());
        NetworkDenoiser { network, prediction, second }
    }

    /// The same network, the first block of its output read as `prediction`.
    pub fn predicting(self, prediction: PredictionType) -> Self {
        NetworkDenoiser { prediction, ..self }
    }

    /// What the first block of the output means.
    pub fn prediction_type(&self) -> PredictionType {
        self.prediction
    }

    /// The network.
    pub fn network(&self) -> &dyn Network {
        self.network.as_ref()
    }

    /// What the network was built from.
    pub fn architecture(&self) -> Architecture {
        self.network.architecture()
    }
}

impl Denoiser for NetworkDenoiser {
    fn forward(
        &self,
        x: &Tensor,
        t: &[f64],
        condition: &Condition,
        context: &Context,
    ) -> Result<Prediction> {
        let times: Vec<f64> = t.iter().map(|t| diff_core::time::network_time(*t)).collect();
        let out = self.network.forward_network(x, &times, condition, context)?;
        if self.second == SecondType::None {
            return Ok(Prediction { mean: self.prediction.of(out), second: Second::None });
        }
        let channels = out.dim(1)? / 2;
        let block = |first| out.narrow(1, first, channels)?.contiguous();
        let second = block(channels)?;
        let second = match self.second {
            SecondType::None => Second::None,
            SecondType::Range => Second::Range(second),
            SecondType::Npr => Second::Npr(second),
            SecondType::Sn => Second::Sn(second),
        };
        Ok(Prediction { mean: self.prediction.of(block(0)?), second })
    }
}
