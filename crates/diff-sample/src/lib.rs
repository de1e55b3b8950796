//! Samples from a [`Denoiser`](diff_models::Denoiser): samplers behind one trait, one driver that
//! runs them all, and the forms in which pictures leave.
//!
//! Pictures whose pixels are levels have a [driver of their own](discrete).
//!
//! Sample i of seed s is the same picture whatever batch it was made in: its latent and the noise
//! of every step are addressed by (seed, i, step).

pub mod discrete;
mod driver;
mod error;
mod guidance;
mod labels;
pub mod samplers;
pub mod sinks;

pub use driver::{Outcome, Request, generate};
pub use error::{Error, Result};
pub use guidance::Guidance;
pub use labels::Labels;
pub use samplers::{Clip, Plan, Predict, Sampler, SamplerSpec};
pub use sinks::ImageSink;
