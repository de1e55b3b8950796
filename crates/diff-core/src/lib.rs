//! The mathematics of discrete diffusion, in f64 and without tensors.
//!
//! Time is the papers' t in 1..=T everywhere, with alpha_bar(0) = 1. Networks are trained on
//! t - 1; [`time::network_time`] is the only place that knows.

pub mod cli;
pub mod config;
pub mod discrete;
mod error;
pub mod gap;
pub mod kl;
pub mod peers;
pub mod plot;
pub mod posterior;
pub mod progress;
pub mod report;
pub mod reverse;
pub mod rng;
pub mod save;
pub mod schedule;
pub mod table;
pub mod time;
pub mod timing;
pub mod trajectory;

pub use error::{Error, Result};
pub use peers::PeerTrajectory;
pub use posterior::Step;
pub use reverse::{LogRange, ReverseVariance};
pub use schedule::{Schedule, ScheduleKind, ScheduleSpec};
pub use trajectory::Trajectory;
