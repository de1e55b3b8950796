//! Samplers: one file each, one line each in [`SAMPLERS`].

mod ddim;
mod ddpm;
mod dpm_solver;
mod heun;
mod lookahead;
pub(crate) mod pf_euler;
mod plan;
mod plms;
mod predict;
mod study;
mod unipc;

pub use plan::Plan;
pub use predict::{Clip, Estimate, Predict};

use crate::{Error, Result};
use candle_core::Tensor;
use diff_core::{Schedule, Step, config::nearest};
use diff_models::nets::SecondType;
use serde::{Deserialize, Serialize};

/// A sampler in the middle of its plan.
pub trait Sampler: Send {
    /// Steps left; 0 when `x` is the sample.
    fn remaining(&self) -> usize;

    /// Takes the next step from `x` `[B, C, H, W]`, asking `predict` as often as the method needs.
    fn step(&mut self, x: &Tensor, predict: &mut Predict) -> Result<Tensor>;
}

/// A sampler's registry line.
pub struct Entry {
    /// What the user types.
    pub name: &'static str,
    /// The update, in one line.
    pub summary: &'static str,
    /// Document and equation, or the code it follows.
    pub source: &'static str,
    /// Power of the step size that the error of a trajectory falls with, in theory: that of the ODE it
    /// solves, or of the mean for one that adds noise; 0 where the error does not go to 0.
    pub order: usize,
    /// Network calls a step.
    pub calls_per_step: usize,
    /// Whether steps add noise (for DDIM: when eta > 0).
    pub stochastic: bool,
    /// Whether it takes eta.
    pub takes_eta: bool,
    /// The second block of output that it needs of a network.
    pub second: SecondType,
    /// Clipping policies it knows; the first is its default.
    pub clips: &'static [Clip],
    build: fn(Plan, f64, Clip) -> Box<dyn Sampler>,
}

/// Every sampler there is.
pub const SAMPLERS: &[Entry] = &[
    ddpm::SMALL,
    ddpm::LARGE,
    ddpm::LEARNED,
    ddim::DDIM,
    ddpm::SIGMA_HAT,
    lookahead::LA_DDIM,
    study::DDIM,
    study::SIMPLE,
    pf_euler::PF_EULER,
    pf_euler::TO_THE_END,
    heun::HEUN,
    plms::PLMS,
    dpm_solver::ODE,
    dpm_solver::SDE,
    unipc::UNIPC,
];

/// What samplers know that use one reading of a prediction only.
const ODE_CLIPS: &[Clip] = &[Clip::None, Clip::RecomputeEps];

/// DDIM's step without noise along `eps`, a prediction or a mean of some (DDIM, equation 13):
/// sqrt(abar_s / abar_t) x + (sqrt(1 - abar_s) - sqrt(abar_s / abar_t) sqrt(1 - abar_t)) eps.
fn transfer(x: &Tensor, eps: &Tensor, step: &Step) -> Result<Tensor> {
    carry(x, eps, step.alpha_bar_t, step.alpha_bar_s)
}

/// [`transfer`] between any two noise levels, given as alpha_bar; `from` is above 0.
pub(crate) fn carry(x: &Tensor, eps: &Tensor, from: f64, to: f64) -> Result<Tensor> {
    let ratio = (to / from).sqrt();
    let part = (1.0 - to).sqrt() - ratio * (1.0 - from).sqrt();
    Ok((x.affine(ratio, 0.0)? + eps.affine(part, 0.0)?)?)
}

/// Steps where nobody says how many: enough for a good picture, few enough not to wait for it.
pub const DEFAULT_STEPS: usize = 50;

/// Which sampler, over which times, how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SamplerSpec {
    /// A name in [`SAMPLERS`].
    pub sampler: String,
    /// Steps S, in 1..=T; where there is none, a list brings its own number and a name is asked for
    /// [`DEFAULT_STEPS`], or T if that is less.
    pub steps: Option<usize>,
    /// A name that [`diff_core::trajectory::resolve`] knows, or a list of paper times.
    pub trajectory: String,
    /// DDIM's eta in [0, 1]; none for samplers without it.
    pub eta: Option<f64>,
    /// The clipping policy; none for the sampler's default.
    pub clip: Option<Clip>,
}

impl SamplerSpec {
    /// Checks the request against the schedule and lays out the sampler's plan.
    ///
    /// # Errors
    /// Unknown names (with the nearest one), S outside 1..=T, eta outside [0, 1] or given to a
    /// sampler without it, a clipping policy the sampler does not know.
    pub fn build(&self, schedule: &Schedule) -> Result<Box<dyn Sampler>> {
        let entry = find(&self.sampler)?;
        let eta = check_eta(entry, self.eta)?;
        let clip = check_clip(entry, self.clip)?;
        let times = self.times(schedule)?;
        Ok((entry.build)(Plan::new(&times, schedule), eta, clip))
    }

    /// The same request with every default filled in. `steps` stays what was asked for: a peer's
    /// trajectory may be longer (300 -> 334).
    ///
    /// # Errors
    /// As [`SamplerSpec::build`].
    pub fn resolved(&self, schedule: &Schedule) -> Result<SamplerSpec> {
        let entry = find(&self.sampler)?;
        let eta = check_eta(entry, self.eta)?;
        self.times(schedule)?;
        Ok(SamplerSpec {
            steps: Some(self.steps(schedule.timesteps())?),
            eta: entry.takes_eta.then_some(eta),
            clip: Some(check_clip(entry, self.clip)?),
            ..self.clone()
        })
    }

    /// Refuses a network without the second block of output that the sampler needs.
    ///
    /// # Errors
    /// Unknown samplers, and what is missing.
    pub fn check_network(&self, second: SecondType) -> Result<()> {
        let entry = find(&self.sampler)?;
        match entry.second == SecondType::None || entry.second == second {
            true => Ok(()),
            false => Err(lacking(entry)),
        }
    }

    /// Whether it is another sample each time noise is drawn anew, besides the latent.
    ///
    /// # Errors
    /// As [`SamplerSpec::build`].
    pub fn adds_noise(&self) -> Result<bool> {
        let entry = find(&self.sampler)?;
        let eta = check_eta(entry, self.eta)?;
        Ok(entry.stochastic && (eta > 0.0 || !entry.takes_eta))
    }

    /// The visited paper times, ascending.
    ///
    /// # Errors
    /// What [`diff_core::trajectory::resolve`] refuses.
    pub fn times(&self, schedule: &Schedule) -> Result<Vec<usize>> {
        let steps = self.steps(schedule.timesteps())?;
        Ok(diff_core::trajectory::resolve(&self.trajectory, steps, schedule)?)
    }

    fn steps(&self, timesteps: usize) -> Result<usize> {
        let listed = self.trajectory.starts_with(|c: char| c.is_ascii_digit());
        match self.steps {
            Some(steps) => Ok(steps),
            None if listed => Ok(self.trajectory.split(',').count()),
            None => Ok(DEFAULT_STEPS.min(timesteps)),
        }
    }
}

fn find(name: &str) -> Result<&'static Entry> {
    SAMPLERS.iter().find(|e| e.name == name).ok_or_else(|| {
        let names: Vec<_> = SAMPLERS.iter().map(|e| e.name).collect();
        let hint = nearest(name, names.iter().copied())
            .map_or_else(String::new, |n| format!("; did you mean `{n}`?"));
        let expected = format!("one of {}{hint}", names.join(", "));
        Error::Core(diff_core::Error::argument("sampler", name, expected))
    })
}

/// What a network lacks that a sampler needs.
fn lacking(entry: &Entry) -> Error {
    let what = match entry.second {
        SecondType::Range => "learned variance (adm with learn_sigma = true)",
        SecondType::Npr => "head for NPR",
        SecondType::Sn => "head for SN",
        SecondType::None => "first block",
    };
    let expected = format!("another one: this one needs a {what}, which the network has not");
    diff_core::Error::argument("sampler", entry.name, expected).into()
}

fn check_eta(entry: &Entry, eta: Option<f64>) -> Result<f64> {
    let refuse = |eta: f64, expected: String| -> Result<f64> {
        Err(diff_core::Error::argument("eta", eta, expected).into())
    };
    match eta {
        None => Ok(0.0),
        Some(eta) if !entry.takes_eta => {
            let why = if entry.stochastic { "has a fixed variance" } else { "adds no noise" };
            refuse(eta, format!("none: sampler {} {why}", entry.name))
        }
        Some(eta) if !(0.0..=1.0).contains(&eta) => refuse(eta, "a value in [0, 1]".into()),
        Some(eta) => Ok(eta),
    }
}

fn check_clip(entry: &Entry, clip: Option<Clip>) -> Result<Clip> {
    match clip {
        None => Ok(entry.clips[0]),
        Some(clip) if entry.clips.contains(&clip) => Ok(clip),
        Some(clip) => {
            let names: Vec<_> = entry.clips.iter().map(|c| c.name()).collect();
            let expected = format!("one of {} for sampler {}", names.join(", "), entry.name);
            Err(diff_core::Error::argument("clip", clip.name(), expected).into())
        }
    }
}
