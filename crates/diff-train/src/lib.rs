//! Trains denoising networks and classifiers: data sets, objectives, the optimiser, and one loop for
//! all of them.
//!
//! Every random number is addressed by (seed, purpose, step, row), so a step's draws do not depend
//! on what ran before it.

pub mod callback;
pub mod config;
pub mod data;
pub mod draws;
mod error;
mod fault;
pub mod log;
pub mod measure;
pub mod objective;
pub mod optim;
pub mod presets;
pub mod run;
pub mod stop;
mod store;
pub mod subject;
pub mod tensorboard;
mod trainer;

pub use error::{Error, Result};
pub use store::{Newest, Store};
pub use trainer::{StepReport, Trainer};
