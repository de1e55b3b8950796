use super::{Gradients, Optimiser, check_at_least, named, take, zeros};
use crate::Result;
use candle_core::Tensor;
use diff_models::{ops, params::Params};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// The constants of [`Adagrad`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdagradConfig {
    /// Added to the denominator, above 0.
    pub eps: f64,
    /// The learning rate of step n is divided by 1 + (n - 1) times this, at least 0.
    pub lr_decay: f64,
    /// Weight of the L2 penalty that is added to the gradient, at least 0.
    pub weight_decay: f64,
    /// What the sums of squares start from, at least 0.
    pub initial: f64,
}

impl Default for AdagradConfig {
    fn default() -> Self {
        AdagradConfig { eps: 1e-10, lr_decay: 0.0, weight_decay: 0.0, initial: 0.0 }
    }
}

impl AdagradConfig {
    pub(super) fn check(&self) -> Result<()> {
        check_at_least("train.optimiser.eps", self.eps, true)?;
        check_at_least("train.optimiser.lr_decay", self.lr_decay, false)?;
        check_at_least("train.optimiser.weight_decay", self.weight_decay, false)?;
        check_at_least("train.optimiser.initial", self.initial, false)
    }
}

/// Adagrad (Duchi, Hazan and Singer, 2011) exactly as torch computes it; the optimiser of the
/// DDPM / classifier-free-guidance study.
pub struct Adagrad {
    config: AdagradConfig,
    steps: usize,
    sum: Vec<Tensor>,
}

impl Adagrad {
    /// Adagrad with its sums at their start.
    ///
    /// # Errors
    /// When a tensor operation fails.
    pub fn new(config: AdagradConfig, params: &Params) -> Result<Self> {
        let start = |zero: Tensor| Ok(zero.affine(1.0, config.initial)?);
        let sum = zeros(params)?.into_iter().map(start).collect::<Result<_>>()?;
        Ok(Adagrad { config, steps: 0, sum })
    }
}

impl Optimiser for Adagrad {
    fn step(&mut self, params: &Params, gradients: &Gradients, lr: f64) -> Result<()> {
        let AdagradConfig { eps, lr_decay, weight_decay, .. } = self.config;
        let rate = lr / (1.0 + self.steps as f64 * lr_decay);
        self.steps += 1;
        for (((_, var), (g, factor)), sum) in params.iter().zip(gradients.iter()).zip(&mut self.sum)
        {
            let weight = var.as_detached_tensor();
            let (penalty, step, least) = (weight_decay as f32, rate as f32, eps as f32);
            let scale = factor as f32;
            if ops::update([sum, &weight], [g], |[sum, w], [g]| {
                let g = scale * g + penalty * w;
                let sum = sum + g * g;
                [sum, w - step * (g / (sum.sqrt() + least))]
            })? {
                continue;
            }
            let mut g = g.affine(factor, 0.0)?;
            if weight_decay > 0.0 {
                g = (g + weight.affine(weight_decay, 0.0)?)?;
            }
            *sum = (&*sum + g.sqr()?)?;
            let change = (g / sum.sqrt()?.affine(1.0, eps)?)?.affine(-rate, 0.0)?;
            var.set(&(weight + change)?)?;
        }
        Ok(())
    }

    fn state(&self, params: &Params) -> Vec<(String, Tensor)> {
        named(params, "sum", &self.sum)
    }

    fn restore(
        &mut self,
        params: &Params,
        steps: usize,
        state: &HashMap<String, Tensor>,
    ) -> Result<()> {
        (self.steps, self.sum) = (steps, take(params, "sum", state)?);
        Ok(())
    }
}
