use crate::Result;
use candle_core::Tensor;
use diff_models::params::Params;

/// The moving average of the weights, shadow <- m shadow + (1-m) weight after every step, without
/// bias correction. It starts as the initial weights (ermongroup/ddim).
pub struct Ema {
    decay: f64,
    shadow: Vec<(String, Tensor)>,
}

impl Ema {
    /// A shadow of the weights as they are; `decay` in [0, 1), 0 follows the weights.
    pub fn new(decay: f64, params: &Params) -> Result<Self> {
        if !(0.0..1.0).contains(&decay) {
            return Err(diff_core::Error::argument("train.ema", decay, "a value in [0, 1)").into());
        }
        let shadow = params
            .iter()
            .map(|(name, var)| Ok((name.to_string(), var.as_detached_tensor().copy()?)))
            .collect::<Result<_>>()?;
        Ok(Ema { decay, shadow })
    }

    /// Takes the weights of another step in.
    pub fn update(&mut self, params: &Params) -> Result<()> {
        for ((_, shadow), (_, var)) in self.shadow.iter_mut().zip(params.iter()) {
            let weight = var.as_detached_tensor().affine(1.0 - self.decay, 0.0)?;
            *shadow = (shadow.affine(self.decay, 0.0)? + weight)?;
        }
        Ok(())
    }

    /// The averaged weights, in the parameters' order.
    pub fn weights(&self) -> &[(String, Tensor)] {
        &self.shadow
    }
}
