//! SA-DPM's estimation gap: measured along the trajectories of trained networks (section 3.1,
//! figures 4 and 5), bounded as in its Theorem 2, and drawn in one dimension (the idea of figure 1).
//!
//! Everything here is summed in f64. All noise is addressed by the number of the picture, so that
//! networks that are compared meet the same pictures and the same noise, whatever the batch.

mod bench;
mod bounds;
mod curves;
mod descent;
mod illustrate;
mod measure;
mod noise;
mod report;
mod subject;
#[cfg(test)]
mod tests;

pub use bench::{Bench, Model};
pub use bounds::{BoundsReport, BoundsRequest, WindowBounds, bounds};
pub use curves::{GapCurves, GapStep, GapSums, Scalar};
pub use diff_sample::CleanPictures;
pub use illustrate::{Illustration, illustrate};
pub use measure::{GapRequest, measure};
pub use report::{chart, csv};
pub use subject::Subject;
pub(crate) use {
    measure::{batches, check_counts, forward_sample},
    noise::{Addressed, Noise},
    report::field,
};
