//! The estimation gap of SA-DPM: how errors of the noise prediction add up along a trajectory.

use crate::schedule::Schedule;
use serde::{Deserialize, Serialize};

/// Which weights tau the sequence-aware loss gives its time steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TauMode {
    /// 1 everywhere, as the released code of SA-DPM.
    #[default]
    Off,
    /// The tau of Theorem 1, which span orders of magnitude.
    On,
    /// The tau of Theorem 1 over their mean, which keeps the scale of the loss.
    Normalised,
}

/// The weight of every time step, indexed by t = 0..=T (entry 0 is 0): 1 for `Off`, tau_t for
/// `On`, and tau_t over the mean of tau_2..tau_T for `Normalised`.
pub fn step_weights(schedule: &Schedule, mode: TauMode) -> Vec<f64> {
    let last = schedule.timesteps();
    let scale = match mode {
        TauMode::Off => return (0..=last).map(|t| if t == 0 { 0.0 } else { 1.0 }).collect(),
        TauMode::On => 1.0,
        TauMode::Normalised if last < 2 => 1.0,
        TauMode::Normalised => (last - 1) as f64 / (2..=last).map(|t| schedule.tau(t)).sum::<f64>(),
    };
    (0..=last).map(|t| scale * schedule.tau(t)).collect()
}
