//! Samples from a [`Denoiser`](diff_models::Denoiser): samplers behind one trait, one driver that
//! runs them all, and the forms in which pictures leave.
//!
//! Pictures whose pixels are levels have a [driver of their own](discrete).
//!
//! Sample i of seed s is the same picture whatever batch it was made in: its latent and the noise
//! of every step are addressed by (seed, i, step).

mod clean;
pub mod discrete;
mod driver;
mod error;
mod guidance;
mod labels;
pub mod latents;
pub mod samplers;
pub mod sinks;
pub mod source;
mod strip;

pub use clean::CleanPictures;
pub use driver::{Outcome, Request, Starts, drawn, generate, generate_from};
pub use error::{Error, Result};
pub use guidance::Guidance;
pub use labels::Labels;
pub use samplers::{Clip, Plan, Predict, Sampler, SamplerSpec};
pub use sinks::ImageSink;
pub use source::{CleanData, source_and_split};
pub use strip::{Frame, nearest_times, strip};
