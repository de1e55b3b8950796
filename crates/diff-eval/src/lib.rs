//! Judges samples. A measure is called by the space it is taken in: statistics of pixels are
//! statistics of pixels, never an FID.

mod error;
pub mod gap;
mod metric;
pub mod pictures;
mod pixels;

pub use error::{Error, Result};
pub use metric::Metric;
pub use pixels::{PixelMoments, PixelReport, compare};
