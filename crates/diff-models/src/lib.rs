//! Denoising networks, a classifier, the operations they are built from, and their checkpoints.
//!
//! Images are `[B, C, H, W]` at every public boundary; inside networks tensors are contiguous
//! `[B, H, W, C]`. Everything above this crate talks to a denoising network through [`Denoiser`].

pub mod categorical;
pub mod checkpoint;
mod compute;
mod denoiser;
pub mod device;
pub mod digest;
mod error;
mod forward;
pub mod hub;
pub mod nets;
pub mod noise;
pub mod ops;
mod oracle;
pub mod params;
pub mod pictures;
mod prediction;

pub use compute::{ComputeArgs, ProfileArgs};
pub use denoiser::{Condition, Context, Denoiser, Label};
pub use error::{Error, Result};
pub use forward::{ForwardInputs, forward_file, write_prediction};
pub use oracle::{Component, GaussianMixture};
pub use prediction::{Mean, Prediction, Second, diffuse, eps_to_x0, x0_to_eps};
