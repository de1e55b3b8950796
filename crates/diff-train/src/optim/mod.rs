//! From gradients to weights: clipping, the optimiser, the moving average.

mod adam;
mod ema;
mod gradients;

pub use adam::{Adam, AdamConfig};
pub use ema::Ema;
pub use gradients::Gradients;
