use crate::{Error, Result};
use candle_core::Tensor;
use diff_models::{ops, params::Params};

/// One gradient a parameter, in the parameters' order, detached from the graph.
pub struct Gradients {
    named: Vec<(String, Tensor)>,
}

impl Gradients {
    /// Differentiates a scalar loss.
    ///
    /// # Errors
    /// When a parameter has no gradient: part of the network was cut off from the loss.
    pub fn of(loss: &Tensor, params: &Params) -> Result<Self> {
        let store = loss.backward()?;
        let named = params
            .iter()
            .map(|(name, var)| match store.get(var) {
                Some(gradient) => Ok((name.to_string(), gradient.contiguous()?.detach())),
                None => Err(Error::Model(diff_models::Error::Input(format!(
                    "parameter {name} receives no gradient from the loss"
                )))),
            })
            .collect::<Result<_>>()?;
        Ok(Gradients { named })
    }

    /// Names and gradients.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.named.iter().map(|(name, g)| (name.as_str(), g))
    }

    /// Names and L2 norms, summed in f64.
    pub fn norms(&self) -> Result<Vec<(String, f64)>> {
        self.iter().map(|(name, g)| Ok((name.to_string(), norm(g)?))).collect()
    }

    /// Adds those of another part of the same step.
    ///
    /// # Errors
    /// When a tensor operation fails.
    pub fn add(&mut self, other: Gradients) -> Result<()> {
        for ((_, sum), (_, gradient)) in self.named.iter_mut().zip(other.named) {
            *sum = (&*sum + gradient)?;
        }
        Ok(())
    }

    /// Scales all gradients together so that their common L2 norm is at most `limit`
    /// (torch: factor min(1, limit / (norm + 1e-6))). Returns the norm before.
    pub fn clip(&mut self, limit: Option<f64>) -> Result<f64> {
        let norms = self.norms()?;
        let total = norms.iter().map(|(_, n)| n * n).sum::<f64>().sqrt();
        let factor = limit.map_or(1.0, |limit| (limit / (total + 1e-6)).min(1.0));
        if factor < 1.0 {
            for (_, gradient) in &mut self.named {
                if !ops::update(gradient, [], |g, []| factor as f32 * g)? {
                    *gradient = gradient.affine(factor, 0.0)?;
                }
            }
        }
        Ok(total)
    }
}

fn norm(x: &Tensor) -> Result<f64> {
    Ok(ops::sum_of_squares(x)?.sqrt())
}
