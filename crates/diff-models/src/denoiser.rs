//! The seam between networks and everything that uses them.

use crate::{Error, Prediction};
use candle_core::Tensor;
use diff_core::rng::Address;

/// A network, or an oracle, that says what a noisy batch was made of.
pub trait Denoiser: Send + Sync {
    /// Predicts from `x` `[B, C, H, W]` at paper time `t` (one per row, in 1..=T, real-valued).
    ///
    /// # Errors
    /// When shapes disagree with each other or with the network, or the condition is not one the
    /// network takes.
    fn forward(
        &self,
        x: &Tensor,
        t: &[f64],
        condition: &Condition,
        context: &Context,
    ) -> Result<Prediction, Error>;
}

/// A class of the data, counted from 0; or none, the null label, for networks that know one.
pub type Label = Option<u32>;

/// What the prediction is conditioned on; nothing is a value too.
#[derive(Clone, Debug, Default)]
pub struct Condition {
    /// Class labels, one per row.
    pub class: Option<Vec<Label>>,
    /// A conditioning image `[B, C, H, W]`.
    pub image: Option<Tensor>,
}

/// How a forward pass runs.
#[derive(Clone, Copy, Debug, Default)]
pub enum Context {
    /// Inference: dropout off.
    #[default]
    Eval,
    /// Training: dropout on, with masks of row i drawn at index `dropout.index + i`. Networks use
    /// the lane to tell their layers apart, starting from the lane given.
    Train {
        /// Where the masks are drawn.
        dropout: Address,
    },
}
