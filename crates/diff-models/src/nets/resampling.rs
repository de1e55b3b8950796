//! Changes of resolution without weights.

use crate::{error::Result, ops};
use candle_core::Tensor;

/// What a residual block does to the resolution, of its input and of what it makes of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Resampling {
    /// Nothing.
    #[default]
    None,
    /// Means of four pixels.
    Down,
    /// Repetition.
    Up,
}

impl Resampling {
    pub(super) fn forward(self, x: &Tensor) -> Result<Tensor> {
        match self {
            Resampling::None => Ok(x.clone()),
            Resampling::Down => ops::downsample_average2x(x),
            Resampling::Up => ops::upsample_nearest2x(x),
        }
    }

    /// Pixels after, of so many before.
    pub(super) fn pixels(self, before: usize) -> usize {
        match self {
            Resampling::None => before,
            Resampling::Down => before / 4,
            Resampling::Up => before * 4,
        }
    }
}
