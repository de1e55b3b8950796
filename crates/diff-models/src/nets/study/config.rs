//! The configuration of the networks of the DDPM / conditional study.

use super::Study;
use crate::{
    error::{Error, Result},
    nets::{Classes, Config, Network},
    params::ParamBuilder,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::Arc;

/// Groups of every group norm.
pub(super) const GROUPS: usize = 32;

/// The two U-Nets of the study of DDPM, conditional DDPM, guidance and DDIM: one without classes, and one
/// with classes, which also resamples and attends otherwise. The defaults are those of the first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StudyConfig {
    /// Height and width of the images.
    pub resolution: usize,
    /// Channels of the images.
    pub in_channels: usize,
    /// Width of the first level.
    pub channels: usize,
    /// Width of each level as a multiple of `channels`; each further level halves the resolution.
    pub multipliers: Vec<usize>,
    /// Residual blocks per level; one more on the way up.
    pub blocks: usize,
    /// Levels that attend, counted from 0, of the network without classes. (The other attends at all
    /// levels on the way down and at none on the way up.) The middle always does.
    pub attention_levels: Vec<usize>,
    /// Probability of dropping an activation inside residual blocks, while training.
    pub dropout: f64,
    /// Classes of the network with classes. Row 0 of its table is for no class, the study's label 0.
    pub labels: Option<usize>,
    /// Rows of its table of times, which it learns: one per time step.
    pub timesteps: usize,
}

impl Default for StudyConfig {
    fn default() -> Self {
        StudyConfig {
            resolution: 32,
            in_channels: 3,
            channels: 128,
            multipliers: vec![1, 2, 3, 4],
            blocks: 2,
            attention_levels: vec![2],
            dropout: 0.15,
            labels: None,
            timesteps: 1000,
        }
    }
}

impl StudyConfig {
    /// CIFAR-10 without classes: 82,958,979 parameters.
    pub fn ddpm() -> Self {
        Self::default()
    }

    /// CIFAR-10 with classes: 47,764,611 parameters.
    pub fn conditional() -> Self {
        StudyConfig {
            multipliers: vec![1, 2, 2, 2],
            attention_levels: Vec::new(),
            labels: Some(10),
            ..Self::default()
        }
    }

    /// Width of the embeddings.
    pub(super) fn embedded(&self) -> usize {
        4 * self.channels
    }

    /// What the sides of images must be multiples of.
    pub(super) fn factor(&self) -> usize {
        1 << (self.multipliers.len() - 1)
    }

    /// Whether residual blocks of a level attend, on the way down or up.
    pub(super) fn attends(&self, level: usize, up: bool) -> bool {
        match self.labels {
            None => self.attention_levels.contains(&level),
            Some(_) => !up,
        }
    }

    /// Refuses what cannot be built, by name, with what is supported.
    ///
    /// # Errors
    /// The first option at fault.
    pub fn check(&self) -> Result<()> {
        let refuse = |name: &str, value: String, supported: String| {
            Err(Error::unsupported(name, value, supported))
        };
        let counts = [
            ("in_channels", self.in_channels),
            ("channels", self.channels),
            ("blocks", self.blocks),
            ("labels", self.labels.unwrap_or(1)),
            ("timesteps", self.timesteps),
        ];
        if let Some((name, _)) = counts.into_iter().find(|(_, value)| *value == 0) {
            return refuse(name, "0".into(), "at least 1".into());
        }
        let levels = self.multipliers.len();
        let factor = match levels {
            0 => return refuse("multipliers", "[]".into(), "at least one level".into()),
            levels => 1usize.checked_shl(levels as u32 - 1).unwrap_or(0),
        };
        if factor == 0 || self.resolution == 0 || !self.resolution.is_multiple_of(factor) {
            let supported = format!("a multiple of {factor}, for {levels} levels");
            return refuse("resolution", self.resolution.to_string(), supported);
        }
        if !self.channels.is_multiple_of(GROUPS) {
            let supported = format!("multiples of {GROUPS}");
            return refuse("channels", self.channels.to_string(), supported);
        }
        if self.multipliers.contains(&0) {
            return refuse("multipliers", "0".into(), "at least 1".into());
        }
        if let Some(level) = self.attention_levels.iter().find(|level| **level >= levels) {
            return refuse(
                "attention_levels",
                level.to_string(),
                format!("levels 0 to {}", levels - 1),
            );
        }
        if self.labels.is_some() && !self.attention_levels.is_empty() {
            let supported = "[], as the network with classes attends where it does".into();
            return refuse("attention_levels", format!("{:?}", self.attention_levels), supported);
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return refuse("dropout", self.dropout.to_string(), "0 <= p < 1".into());
        }
        Ok(())
    }
}

impl Config for StudyConfig {
    fn class() -> Option<&'static str> {
        Some("DiffStudy")
    }

    fn about() -> &'static str {
        "the U-Nets of the DDPM / conditional study, without and with classes"
    }

    fn presets() -> Vec<(&'static str, Self)> {
        vec![("study-ddpm", Self::ddpm()), ("study-conditional", Self::conditional())]
    }

    fn network(&self, builder: &mut ParamBuilder) -> Result<Arc<dyn Network>> {
        Ok(Arc::new(Study::new(self.clone(), builder)?))
    }

    fn image_shape(&self) -> Option<[usize; 3]> {
        Some([self.in_channels, self.resolution, self.resolution])
    }

    fn classes(&self) -> Option<Classes> {
        self.labels.map(Classes::after_null)
    }

    fn to_json(&self) -> Value {
        json!(self)
    }
}
