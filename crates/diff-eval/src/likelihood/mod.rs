//! The variational bound of trained networks in bits per dimension, term by term (DDPM, equation 5
//! and section 4.3; improved DDPM, section 3; the covariance papers' NELBO over sub-sequences).
//!
//! Everything here is summed in f64. The noise is addressed by picture and time, so that networks
//! that are compared meet the same pictures and the same noise, whatever the batch.

mod measure;
mod report;
#[cfg(test)]
mod tests;

pub use measure::{Likelihood, LikelihoodRequest, Parts, measure};
pub use report::{Bounded, Summary, chart, csv, summary};
