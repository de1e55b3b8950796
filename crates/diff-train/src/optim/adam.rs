use super::Gradients;
use crate::Result;
use candle_core::Tensor;
use diff_models::params::Params;
use serde::{Deserialize, Serialize};

/// The constants of [`Adam`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdamConfig {
    /// Decay of the gradient's mean, in [0, 1).
    pub beta1: f64,
    /// Decay of the squared gradient's mean, in [0, 1).
    pub beta2: f64,
    /// Added to the denominator, above 0.
    pub eps: f64,
}

impl Default for AdamConfig {
    fn default() -> Self {
        AdamConfig { beta1: 0.9, beta2: 0.999, eps: 1e-8 }
    }
}

impl AdamConfig {
    pub(crate) fn check(&self) -> Result<()> {
        let decay = |name: &str, v: f64| match (0.0..1.0).contains(&v) {
            true => Ok(()),
            false => Err(diff_core::Error::argument(name, v, "a value in [0, 1)")),
        };
        decay("train.adam.beta1", self.beta1)?;
        decay("train.adam.beta2", self.beta2)?;
        if !(self.eps > 0.0 && self.eps.is_finite()) {
            return Err(
                diff_core::Error::argument("train.adam.eps", self.eps, "more than 0").into()
            );
        }
        Ok(())
    }
}

/// Adam (Kingma and Ba, 2015) exactly as torch computes it, with moments that can be saved.
pub struct Adam {
    config: AdamConfig,
    steps: usize,
    moments: Vec<Moments>,
}

struct Moments {
    mean: Tensor,
    square: Tensor,
}

impl Adam {
    /// An optimiser whose moments are zero.
    pub fn new(config: AdamConfig, params: &Params) -> Result<Self> {
        let moments = params
            .iter()
            .map(|(_, var)| Ok(Moments { mean: var.zeros_like()?, square: var.zeros_like()? }))
            .collect::<Result<_>>()?;
        Ok(Adam { config, steps: 0, moments })
    }

    /// Steps taken.
    pub fn steps(&self) -> usize {
        self.steps
    }

    /// One step at learning rate `lr`.
    pub fn step(&mut self, params: &Params, gradients: &Gradients, lr: f64) -> Result<()> {
        self.steps += 1;
        let AdamConfig { beta1, beta2, eps } = self.config;
        let correction = |beta: f64| 1.0 - beta.powi(self.steps as i32);
        let rate = lr / correction(beta1);
        let root = 1.0 / correction(beta2).sqrt();
        for (((_, var), (_, g)), m) in params.iter().zip(gradients.iter()).zip(&mut self.moments) {
            m.mean = (m.mean.affine(beta1, 0.0)? + g.affine(1.0 - beta1, 0.0)?)?;
            m.square = (m.square.affine(beta2, 0.0)? + g.sqr()?.affine(1.0 - beta2, 0.0)?)?;
            let denominator = m.square.sqrt()?.affine(root, eps)?;
            let change = (&m.mean / denominator)?.affine(-rate, 0.0)?;
            var.set(&(var.as_detached_tensor() + change)?)?;
        }
        Ok(())
    }

    /// The moments, named `mean.<parameter>` and `square.<parameter>`.
    pub fn state(&self, params: &Params) -> Vec<(String, Tensor)> {
        let named = params.iter().zip(&self.moments);
        named
            .flat_map(|((name, _), m)| {
                [
                    (format!("mean.{name}"), m.mean.clone()),
                    (format!("square.{name}"), m.square.clone()),
                ]
            })
            .collect()
    }
}
