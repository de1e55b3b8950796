//! From gradients to weights: clipping, the optimisers (one file each, one line each in
//! [`OptimiserConfig`]), the learning rate, the moving averages.

mod adagrad;
mod adam;
mod ema;
mod gradients;
mod rate;

pub use adagrad::{Adagrad, AdagradConfig};
pub use adam::{Adam, AdamConfig, AdamWConfig};
pub use ema::{Decays, Ema, EmaStart};
pub use gradients::Gradients;
pub use rate::{Decay, Rate};

use crate::{Error, Result};
use candle_core::Tensor;
use diff_models::params::Params;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// What turns gradients into a change of the weights. Its state has a name for every number it
/// keeps, so that a run can go on where it stopped.
pub trait Optimiser: Send {
    /// One step at learning rate `lr`.
    ///
    /// # Errors
    /// When a tensor operation fails.
    fn step(&mut self, params: &Params, gradients: &Gradients, lr: f64) -> Result<()>;

    /// What it keeps between steps, named `<kind>.<parameter>`; the next step may change it in place.
    fn state(&self, params: &Params) -> Vec<(String, Tensor)>;

    /// Takes back what [`Optimiser::state`] gave after `steps` steps.
    ///
    /// # Errors
    /// Names every tensor that is missing or has another shape.
    fn restore(
        &mut self,
        params: &Params,
        steps: usize,
        state: &HashMap<String, Tensor>,
    ) -> Result<()>;
}

/// The optimiser section of a configuration. Defaults are torch's.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum OptimiserConfig {
    /// Adam.
    Adam(AdamConfig),
    /// Adam with decoupled weight decay.
    AdamW(AdamWConfig),
    /// Adagrad.
    Adagrad(AdagradConfig),
}

impl Default for OptimiserConfig {
    fn default() -> Self {
        OptimiserConfig::Adam(AdamConfig::default())
    }
}

impl OptimiserConfig {
    /// The optimiser for these parameters.
    ///
    /// # Errors
    /// When a constant is out of range.
    pub fn build(&self, params: &Params) -> Result<Box<dyn Optimiser>> {
        self.check()?;
        Ok(match *self {
            OptimiserConfig::Adam(config) => Box::new(Adam::new(config, params)?),
            OptimiserConfig::AdamW(config) => Box::new(Adam::decoupled(config, params)?),
            OptimiserConfig::Adagrad(config) => Box::new(Adagrad::new(config, params)?),
        })
    }

    /// Refuses values out of range, by name.
    ///
    /// # Errors
    /// Names the value and its range.
    pub fn check(&self) -> Result<()> {
        match self {
            OptimiserConfig::Adam(config) => config.check(),
            OptimiserConfig::AdamW(config) => config.check(),
            OptimiserConfig::Adagrad(config) => config.check(),
        }
    }

    /// Numbers kept for every parameter.
    pub fn numbers_per_parameter(&self) -> usize {
        match self {
            OptimiserConfig::Adam(_) | OptimiserConfig::AdamW(_) => 2,
            OptimiserConfig::Adagrad(_) => 1,
        }
    }
}

/// `prefix.<parameter>` of every parameter, in their order.
fn take(params: &Params, prefix: &str, state: &HashMap<String, Tensor>) -> Result<Vec<Tensor>> {
    let mut problems = Vec::new();
    let mut taken = Vec::with_capacity(params.len());
    for (name, var) in params.iter() {
        let name = format!("{prefix}.{name}");
        match state.get(&name) {
            Some(tensor) if tensor.shape() == var.shape() => {
                // A copy: it will be changed in place.
                taken.push(tensor.to_device(var.device())?.to_dtype(var.dtype())?.copy()?);
            }
            Some(tensor) => problems.push(format!(
                "{name}: expected shape {:?}, found {:?}",
                var.dims(),
                tensor.dims()
            )),
            None => problems.push(format!("{name}: missing, expected shape {:?}", var.dims())),
        }
    }
    match problems.is_empty() {
        true => Ok(taken),
        false => {
            let file = "training state".into();
            Err(Error::Model(diff_models::Error::Weights { file, problems }))
        }
    }
}

fn named(params: &Params, prefix: &str, tensors: &[Tensor]) -> Vec<(String, Tensor)> {
    let names = params.iter().map(|(name, _)| format!("{prefix}.{name}"));
    names.zip(tensors.iter().cloned()).collect()
}

fn zeros(params: &Params) -> Result<Vec<Tensor>> {
    params.iter().map(|(_, var)| Ok(var.zeros_like()?)).collect()
}

fn check_decay(name: &str, value: f64) -> Result<()> {
    match (0.0..1.0).contains(&value) {
        true => Ok(()),
        false => Err(diff_core::Error::argument(name, value, "a value in [0, 1)").into()),
    }
}

fn check_at_least(name: &str, value: f64, above_zero: bool) -> Result<()> {
    let expected = if above_zero { "more than 0" } else { "at least 0" };
    match value.is_finite() && value >= 0.0 && !(above_zero && value == 0.0) {
        true => Ok(()),
        false => Err(diff_core::Error::argument(name, value, expected).into()),
    }
}
