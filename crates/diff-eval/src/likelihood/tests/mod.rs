//! The bound against truth, against guided-diffusion's, and against itself in other batches.

mod golden;
mod oracle;
mod requests;

use super::LikelihoodRequest;
use crate::gap::Subject;
use candle_core::{DType, Device};
use diff_core::{ReverseVariance, Schedule};
use diff_models::Denoiser;

fn subject<'a>(denoiser: &'a dyn Denoiser, schedule: &'a Schedule) -> Subject<'a> {
    Subject { denoiser, schedule, labelled: false, dtype: DType::F64, device: Device::Cpu }
}

/// Every time, not clipped.
fn request(timesteps: usize, num: u64) -> LikelihoodRequest {
    LikelihoodRequest {
        times: (1..=timesteps).collect(),
        variance: ReverseVariance::Small,
        num,
        batch: 1000,
        seed: 5,
        clip: false,
    }
}
