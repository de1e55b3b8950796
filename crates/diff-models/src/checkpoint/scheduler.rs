//! `scheduler_config.json`: diffusers' description of the forward process, and ours read from it.

use crate::{
    error::{Error, Result},
    nets::{Architecture, PredictionType},
};
use diff_core::{Schedule, ScheduleKind, ScheduleSpec};
use serde::{Deserialize, Serialize};

/// The fields of diffusers' schedulers that describe the model rather than a sampler. A field that
/// a file lacks takes the library's default; fields of particular samplers are passed over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SchedulerConfig {
    /// diffusers' class; only the name of a sampler to us.
    #[serde(rename = "_class_name")]
    pub class_name: String,
    /// T; called `timesteps` in files of 2022.
    #[serde(alias = "timesteps")]
    pub num_train_timesteps: usize,
    /// First beta.
    pub beta_start: f64,
    /// Last beta.
    pub beta_end: f64,
    /// The family of betas.
    pub beta_schedule: String,
    /// The betas themselves, instead of a family.
    pub trained_betas: Option<Vec<f64>>,
    /// The variance the model was trained to be sampled with.
    pub variance_type: String,
    /// Whether samplers clip the predicted clean image.
    pub clip_sample: bool,
    /// Where they clip it.
    pub clip_sample_range: f64,
    /// What the network predicts.
    pub prediction_type: PredictionType,
    /// Dynamic thresholding; not supported.
    pub thresholding: bool,
    /// How diffusers picks a shorter trajectory.
    pub timestep_spacing: String,
    /// Added to diffusers' trajectory.
    pub steps_offset: i64,
    /// Rescaling to alpha_bar_T = 0; not supported.
    pub rescale_betas_zero_snr: bool,
}

impl Default for SchedulerConfig {
    fn default() -> Self {
        SchedulerConfig {
            class_name: "DDPMScheduler".into(),
            num_train_timesteps: 1000,
            beta_start: 1e-4,
            beta_end: 0.02,
            beta_schedule: "linear".into(),
            trained_betas: None,
            variance_type: "fixed_small".into(),
            clip_sample: true,
            clip_sample_range: 1.0,
            prediction_type: PredictionType::Epsilon,
            thresholding: false,
            timestep_spacing: "leading".into(),
            steps_offset: 0,
            rescale_betas_zero_snr: false,
        }
    }
}

impl SchedulerConfig {
    /// The settings of a network of which no more is known than its architecture.
    pub fn of(architecture: &Architecture) -> Self {
        let prediction_type = architecture.config().prediction_type();
        SchedulerConfig { prediction_type, ..Self::default() }
    }

    /// The forward process described.
    ///
    /// # Errors
    /// When the process is not one of ours, or its numbers are impossible.
    pub fn schedule(&self) -> Result<Schedule> {
        for (name, on) in [
            ("thresholding", self.thresholding),
            ("rescale_betas_zero_snr", self.rescale_betas_zero_snr),
        ] {
            if on {
                return Err(Error::unsupported(name, true, "false"));
            }
        }
        if let Some(betas) = &self.trained_betas {
            return Ok(Schedule::from_betas(betas)?);
        }
        let (kind, bounded) = match self.beta_schedule.as_str() {
            "linear" => (ScheduleKind::Linear, true),
            "scaled_linear" => (ScheduleKind::Quadratic, true),
            "squaredcos_cap_v2" => (ScheduleKind::Cosine, false),
            "sigmoid" => (ScheduleKind::Sigmoid, true),
            other => {
                let supported =
                    "linear, scaled_linear, squaredcos_cap_v2, sigmoid, or trained_betas";
                return Err(Error::unsupported("beta_schedule", other, supported));
            }
        };
        Ok(Schedule::new(&ScheduleSpec {
            kind,
            timesteps: self.num_train_timesteps,
            beta_start: bounded.then_some(self.beta_start),
            beta_end: bounded.then_some(self.beta_end),
            ..ScheduleSpec::default()
        })?)
    }

    /// The same settings with another forward process. Kinds that diffusers has no name for are
    /// spelled out beta by beta.
    pub fn with_schedule(self, schedule: &Schedule) -> Self {
        let spec = schedule.spec();
        let name = match spec.kind {
            ScheduleKind::Linear => Some("linear"),
            ScheduleKind::Quadratic => Some("scaled_linear"),
            ScheduleKind::Cosine => Some("squaredcos_cap_v2"),
            ScheduleKind::Sigmoid => Some("sigmoid"),
            _ => None,
        };
        let defaults = SchedulerConfig::default();
        let betas = (1..=schedule.timesteps()).map(|t| schedule.beta(t));
        SchedulerConfig {
            num_train_timesteps: schedule.timesteps(),
            beta_start: spec.beta_start.unwrap_or(defaults.beta_start),
            beta_end: spec.beta_end.unwrap_or(defaults.beta_end),
            beta_schedule: name.unwrap_or("linear").into(),
            trained_betas: if name.is_some() { None } else { Some(betas.collect()) },
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Schedule> {
        serde_json::from_str::<SchedulerConfig>(json).unwrap().schedule()
    }

    #[test]
    fn every_kind_survives_the_way_through_the_file() {
        for kind in ScheduleKind::ALL.into_iter().filter(|kind| *kind != ScheduleKind::Custom) {
            let spec = ScheduleSpec { kind, timesteps: 50, ..ScheduleSpec::default() };
            let schedule = Schedule::new(&spec).unwrap();
            let config = SchedulerConfig::default().with_schedule(&schedule);
            let text = serde_json::to_string(&config).unwrap();
            let again = read(&text).unwrap();
            for t in 1..=50 {
                assert_eq!(again.beta(t), schedule.beta(t), "{kind} at {t}");
                let (a, b) = (again.alpha_bar(t), schedule.alpha_bar(t));
                assert!((a - b).abs() <= 1e-14 * b, "{kind} at {t}: {a} {b}");
            }
        }
    }

    #[test]
    fn files_of_2022_name_the_steps_differently() {
        let old = r#"{"_class_name": "GaussianDDPMScheduler", "timesteps": 20, "beta_end": 0.5}"#;
        let schedule = read(old).unwrap();
        assert_eq!((schedule.timesteps(), schedule.beta(20)), (20, 0.5));
    }

    #[test]
    fn what_is_not_ours_is_refused_by_name() {
        for (json, part) in [
            (r#"{"beta_schedule": "laplace"}"#, "beta_schedule = laplace"),
            (r#"{"rescale_betas_zero_snr": true}"#, "rescale_betas_zero_snr = true"),
            (r#"{"thresholding": true}"#, "thresholding = true"),
            (r#"{"beta_end": -1.0}"#, "beta_end"),
        ] {
            let message = read(json).unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
        }
    }
}
