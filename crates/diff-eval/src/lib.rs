//! Judges samples. A measure is called by the space it is taken in: statistics of pixels are
//! statistics of pixels, never an FID.

mod error;
mod features;
mod frechet;
mod metric;
mod moments;
pub mod pictures;
mod pixels;

pub use error::{Error, Result};
pub use features::{Features, Rows, Seen};
pub use frechet::{Frechet, FrechetReference, frechet};
pub use metric::Metric;
pub use moments::{Gaussian, Moments};
pub use pixels::{PixelMoments, PixelReport, compare};
