//! Times as networks take them.

use super::layers::Embedding;
use crate::error::{Error, Result};
use candle_core::Tensor;

/// The times of a batch, on their way to an embedding.
#[derive(Clone, Debug)]
pub(super) enum Times {
    /// Sines and cosines, `[B, width]`.
    Waves(Tensor),
    /// Rows of a table that is learnt.
    Rows(Vec<u32>),
}

impl Times {
    /// Rows of a table of `timesteps` rows.
    pub(super) fn rows(network_time: &[f64], timesteps: usize) -> Result<Self> {
        let row = |time: &f64| match *time as u32 {
            row if f64::from(row) == *time && (row as usize) < timesteps => Ok(row),
            _ => Err(Error::Input(format!(
                "network time {time}: this network knows the whole numbers 0..{timesteps}"
            ))),
        };
        Ok(Times::Rows(network_time.iter().map(row).collect::<Result<_>>()?))
    }

    /// What the layers of the embedding start from; `table` is there if times are its rows.
    pub(super) fn start(&self, table: Option<&Embedding>) -> Result<Tensor> {
        match (self, table) {
            (Times::Waves(waves), _) => Ok(waves.clone()),
            (Times::Rows(rows), Some(table)) => table.forward(rows),
            (Times::Rows(_), None) => {
                Err(Error::Input("times are rows, but there is no table of them".into()))
            }
        }
    }

    /// `x` and, where there are any, the waves: what goes into a recorded network.
    pub(super) fn beside<'a>(&'a self, x: &'a Tensor) -> Vec<&'a Tensor> {
        match self {
            Times::Waves(waves) => vec![x, waves],
            Times::Rows(_) => vec![x],
        }
    }
}
