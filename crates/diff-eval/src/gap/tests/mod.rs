//! The measurement against truth, against a plain second writing of it, and against numpy.

mod addressing;
mod scalars;
mod theorems;

use super::{CleanPictures, GapRequest, Subject};
use candle_core::{DType, Device, Tensor};
use diff_core::{Schedule, ScheduleSpec};
use diff_models::{
    Condition, Context, Denoiser, Error, Prediction, checkpoint::Checkpoint, nets::DdpmSpec,
};
use std::sync::Mutex;

/// A denoiser made of a rule for one value, which keeps what it was shown.
struct Rule<F> {
    eps: F,
    seen: Mutex<Vec<Vec<f64>>>,
}

impl<F: Fn(f64, f64) -> f64> Rule<F> {
    fn new(eps: F) -> Self {
        Rule { eps, seen: Mutex::default() }
    }
}

impl<F: Fn(f64, f64) -> f64 + Send + Sync> Denoiser for Rule<F> {
    fn forward(
        &self,
        x: &Tensor,
        t: &[f64],
        _condition: &Condition,
        _context: &Context,
    ) -> Result<Prediction, Error> {
        let values = x.flatten_all()?.to_dtype(DType::F64)?.to_vec1::<f64>()?;
        let eps: Vec<f64> = values.iter().map(|x| (self.eps)(*x, t[0])).collect();
        self.seen.lock().unwrap().push(values);
        let eps = Tensor::from_vec(eps, x.dims(), x.device())?;
        Ok(Prediction::eps_only(eps.to_dtype(x.dtype())?))
    }
}

fn schedule(timesteps: usize) -> Schedule {
    Schedule::new(&ScheduleSpec { timesteps, ..ScheduleSpec::default() }).unwrap()
}

fn subject<'a>(denoiser: &'a dyn Denoiser, schedule: &'a Schedule) -> Subject<'a> {
    Subject { denoiser, schedule, labelled: false, dtype: DType::F64, device: Device::Cpu }
}

fn request(start: usize, num: u64) -> GapRequest {
    GapRequest { start, num, batch: 4, eta: 1.0, seed: 5 }
}

fn some_pictures() -> CleanPictures {
    let values = (0..12).map(|i| (1.7 * f64::from(i)).sin()).collect();
    CleanPictures::from_values([1, 2, 2], values).unwrap()
}

fn assert_close(ours: &[f64], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(ours.len(), expected.len(), "{what}");
    let scale = expected.iter().fold(1e-300f64, |most, v| most.max(v.abs()));
    for (i, (a, b)) in ours.iter().zip(expected).enumerate() {
        assert!((a - b).abs() <= tolerance * scale, "{what}, place {i}: {a:e} {b:e}");
    }
}

fn norm(row: &[f64]) -> f64 {
    row.iter().map(|v| v * v).sum::<f64>().sqrt()
}

fn tiny(schedule: &Schedule, seed: u64) -> Checkpoint {
    let spec = DdpmSpec {
        resolution: 4,
        in_channels: 1,
        out_channels: 1,
        channels: 8,
        multipliers: vec![1, 2],
        blocks: 1,
        attention_resolutions: vec![2],
        norm_groups: 4,
        ..DdpmSpec::default()
    };
    Checkpoint::init(&spec.into(), schedule.clone(), seed, &Device::Cpu).unwrap()
}

fn waves(count: usize) -> CleanPictures {
    let values = (0..16 * count).map(|i| (0.7 * i as f64).sin()).collect();
    CleanPictures::from_values([1, 4, 4], values).unwrap()
}
