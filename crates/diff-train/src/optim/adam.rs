use super::{Gradients, Optimiser, check_at_least, check_decay, named, take, zeros};
use crate::Result;
use candle_core::Tensor;
use diff_models::{ops, params::Params};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

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
    /// Weight of the L2 penalty that is added to the gradient, at least 0.
    pub weight_decay: f64,
}

impl Default for AdamConfig {
    fn default() -> Self {
        AdamConfig { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0 }
    }
}

impl AdamConfig {
    pub(super) fn check(&self) -> Result<()> {
        check_decay("train.optimiser.beta1", self.beta1)?;
        check_decay("train.optimiser.beta2", self.beta2)?;
        check_at_least("train.optimiser.eps", self.eps, true)?;
        check_at_least("train.optimiser.weight_decay", self.weight_decay, false)
    }
}

/// The constants of [`Adam::decoupled`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdamWConfig {
    /// Decay of the gradient's mean, in [0, 1).
    pub beta1: f64,
    /// Decay of the squared gradient's mean, in [0, 1).
    pub beta2: f64,
    /// Added to the denominator, above 0.
    pub eps: f64,
    /// Share of the weights that a step at learning rate 1 would take away, at least 0.
    pub weight_decay: f64,
}

impl Default for AdamWConfig {
    fn default() -> Self {
        AdamWConfig { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.01 }
    }
}

impl AdamWConfig {
    fn moments(self) -> AdamConfig {
        let AdamWConfig { beta1, beta2, eps, weight_decay } = self;
        AdamConfig { beta1, beta2, eps, weight_decay }
    }

    pub(super) fn check(&self) -> Result<()> {
        self.moments().check()
    }
}

/// Adam (Kingma and Ba, 2015) and AdamW (Loshchilov and Hutter, 2019) exactly as torch computes
/// them.
pub struct Adam {
    config: AdamConfig,
    decoupled: bool,
    steps: usize,
    mean: Vec<Tensor>,
    square: Vec<Tensor>,
}

impl Adam {
    /// Adam with moments of zero.
    ///
    /// # Errors
    /// When a tensor operation fails.
    pub fn new(config: AdamConfig, params: &Params) -> Result<Self> {
        let (mean, square) = (zeros(params)?, zeros(params)?);
        Ok(Adam { config, decoupled: false, steps: 0, mean, square })
    }

    /// AdamW: the weights decay by themselves instead of by way of the gradient.
    ///
    /// # Errors
    /// When a tensor operation fails.
    pub fn decoupled(config: AdamWConfig, params: &Params) -> Result<Self> {
        Ok(Adam { decoupled: true, ..Adam::new(config.moments(), params)? })
    }
}

/// One step's constants.
struct Rule {
    config: AdamConfig,
    decoupled: bool,
    lr: f64,
    /// The learning rate, corrected for the mean's start at 0.
    rate: f64,
    /// What the root of the mean square is corrected by.
    root: f64,
}

impl Rule {
    /// One tensor's step without a tensor in between, where that is possible: says whether it was.
    fn in_place(
        &self,
        weight: &Tensor,
        (g, factor): (&Tensor, f64),
        (mean, square): (&Tensor, &Tensor),
    ) -> Result<bool> {
        let Rule { lr, rate, root, .. } = *self;
        let AdamConfig { beta1, beta2, eps, weight_decay } = self.config;
        let (keep1, new1) = (beta1 as f32, (1.0 - beta1) as f32);
        let (keep2, new2) = (beta2 as f32, (1.0 - beta2) as f32);
        let (rate, root, eps, factor) = (rate as f32, root as f32, eps as f32, factor as f32);
        let shrink = if self.decoupled { (1.0 - lr * weight_decay) as f32 } else { 1.0 };
        // Adam's decay goes by way of the gradient.
        let penalty = if self.decoupled { 0.0 } else { weight_decay as f32 };
        Ok(ops::update([mean, square, weight], [g], |[m, v, w], [g]| {
            let g = factor * g + penalty * w;
            let (m, v) = (keep1 * m + new1 * g, keep2 * v + new2 * (g * g));
            [m, v, shrink * w - rate * (m / (root * v.sqrt() + eps))]
        })?)
    }
}

impl Optimiser for Adam {
    fn step(&mut self, params: &Params, gradients: &Gradients, lr: f64) -> Result<()> {
        self.steps += 1;
        let AdamConfig { beta1, beta2, eps, weight_decay } = self.config;
        let correction = |beta: f64| 1.0 - beta.powi(self.steps as i32);
        let rate = lr / correction(beta1);
        let root = 1.0 / correction(beta2).sqrt();
        let rule = Rule { config: self.config, decoupled: self.decoupled, lr, rate, root };
        let moments = self.mean.iter_mut().zip(&mut self.square);
        for (((_, var), g), (mean, square)) in params.iter().zip(gradients.iter()).zip(moments) {
            let weight = var.as_detached_tensor();
            if rule.in_place(&weight, g, (mean, square))? {
                continue;
            }
            let (mut weight, mut g) = (weight, g.0.affine(g.1, 0.0)?);
            if weight_decay > 0.0 && self.decoupled {
                weight = weight.affine(1.0 - lr * weight_decay, 0.0)?;
            } else if weight_decay > 0.0 {
                g = (g + weight.affine(weight_decay, 0.0)?)?;
            }
            *mean = (mean.affine(beta1, 0.0)? + g.affine(1.0 - beta1, 0.0)?)?;
            *square = (square.affine(beta2, 0.0)? + g.sqr()?.affine(1.0 - beta2, 0.0)?)?;
            let denominator = square.sqrt()?.affine(root, eps)?;
            let change = (&*mean / denominator)?.affine(-rate, 0.0)?;
            var.set(&(weight + change)?)?;
        }
        Ok(())
    }

    fn state(&self, params: &Params) -> Vec<(String, Tensor)> {
        let mut state = named(params, "mean", &self.mean);
        state.extend(named(params, "square", &self.square));
        state
    }

    fn restore(
        &mut self,
        params: &Params,
        steps: usize,
        state: &HashMap<String, Tensor>,
    ) -> Result<()> {
        let (mean, square) = (take(params, "mean", state)?, take(params, "square", state)?);
        (self.steps, self.mean, self.square) = (steps, mean, square);
        Ok(())
    }
}
