use crate::{Error, Result};
use candle_core::Tensor;
use diff_models::{ops, params::Params};

/// One gradient a parameter, in the parameters' order, detached from the graph.
pub struct Gradients {
    named: Vec<(String, Tensor)>,
    /// What all of them are to be multiplied by.
    factor: f64,
}

impl Gradients {
    /// Differentiates a scalar loss.
    ///
    /// # Errors
    /// When a parameter has no gradient: part of the network was cut off from the loss.
    pub fn of(loss: &Tensor, params: &Params) -> Result<Self> {
        let mut derivatives = ops::backward(loss)?;
        let named = params
            .iter()
            .map(|(name, var)| match derivatives.take(var)? {
                Some(gradient) => Ok((name.to_string(), gradient.contiguous()?.detach())),
                None => Err(Error::Model(diff_models::Error::Input(format!(
                    "parameter {name} receives no gradient from the loss"
                )))),
            })
            .collect::<Result<_>>()?;
        Ok(Gradients { named, factor: 1.0 })
    }

    /// The gradients, each with the number it is to be multiplied by: what clipping comes to.
    pub fn iter(&self) -> impl Iterator<Item = (&Tensor, f64)> {
        self.named.iter().map(|(_, g)| (g, self.factor))
    }

    /// Names and L2 norms, summed in f64.
    pub fn norms(&self) -> Result<Vec<(String, f64)>> {
        let norm = |(name, g): &(String, Tensor)| Ok((name.clone(), self.factor * norm(g)?));
        self.named.iter().map(norm).collect()
    }

    /// Adds those of another part of the same step, both of them not clipped.
    ///
    /// # Errors
    /// When a tensor operation fails.
    pub fn add(&mut self, other: Gradients) -> Result<()> {
        for ((_, sum), (_, gradient)) in self.named.iter_mut().zip(other.named) {
            *sum = ops::add(sum, &gradient)?;
        }
        Ok(())
    }

    /// Scales all gradients together so that their common L2 norm is at most `limit`
    /// (torch: factor min(1, limit / (norm + 1e-6))). Returns the norm before.
    pub fn clip(&mut self, limit: Option<f64>) -> Result<f64> {
        let norms = self.norms()?;
        let total = norms.iter().map(|(_, n)| n * n).sum::<f64>().sqrt();
        self.factor *= limit.map_or(1.0, |limit| (limit / (total + 1e-6)).min(1.0));
        Ok(total)
    }
}

fn norm(x: &Tensor) -> Result<f64> {
    Ok(ops::sum_of_squares(x)?.sqrt())
}
