//! The configuration of a training run.

mod categorical;
mod network;

pub use network::NetworkConfig;

use crate::{
    Result,
    data::DataConfig,
    draws::{DropBy, LabelDrop},
    objective::ObjectiveConfig,
    optim::{Decay, Decays, EmaStart, OptimiserConfig, Rate},
};
use diff_core::ScheduleSpec;
use diff_models::pictures::Transform;
use serde::{Deserialize, Serialize};
use std::{fmt::Display, path::PathBuf};

/// Everything that determines a run. Written, resolved, next to its result.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RunConfig {
    /// Seed of every random number.
    pub seed: u64,
    /// The run folder.
    pub out: Option<PathBuf>,
    /// A checkpoint (a path, or `hub:org/name`) whose weights the run starts from.
    pub init_from: Option<String>,
    /// What to train on.
    pub data: DataConfig,
    /// What to train.
    pub network: NetworkConfig,
    /// The forward process; of no account to classifiers and networks over levels.
    pub schedule: ScheduleSpec,
    /// What to minimise.
    pub objective: ObjectiveConfig,
    /// How.
    pub train: TrainConfig,
    /// What is saved on the way, and when.
    pub save: SaveConfig,
    /// Pictures drawn on the way.
    pub preview: PreviewConfig,
    /// The loss on pictures that are not trained on.
    pub held_out: HeldOutConfig,
}

/// The train section. The defaults are ermongroup/ddim's for CIFAR-10, except for the length.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainConfig {
    /// Optimiser steps.
    pub steps: usize,
    /// Pictures a step.
    pub batch: usize,
    /// Parts in which a step's pictures go through the network one after the other, 1 or more:
    /// less memory, the same step but for rounding.
    pub accumulate: usize,
    /// Learning rate.
    pub lr: f64,
    /// Steps over which the learning rate rises to `lr`.
    pub warmup: usize,
    /// How the learning rate goes down: `constant` or `cosine`.
    pub decay: Decay,
    /// Largest L2 norm of all gradients together; 0 for no limit.
    pub clip: f64,
    /// Decays of the weights' moving averages, in [0, 1); the first is that of the model.
    pub ema: Decays,
    /// What the averages start from: `initial` weights, or those after the `first-step`.
    pub ema_start: EmaStart,
    /// Draw time steps in mirror pairs.
    pub antithetic: bool,
    /// Probability in [0, 1) that the null label takes the place of a picture's class; guidance needs
    /// some, 0.1 say.
    pub label_drop: f64,
    /// What that is drawn for: every `sample`, or the `batch` as a whole.
    pub label_drop_by: DropBy,
    /// Steps between lines of the log, at least 1; a line holds means over its steps.
    pub log_every: usize,
    /// What turns gradients into steps.
    pub optimiser: OptimiserConfig,
}

impl Default for TrainConfig {
    fn default() -> Self {
        TrainConfig {
            steps: 100_000,
            batch: 128,
            accumulate: 1,
            lr: 2e-4,
            warmup: 0,
            decay: Decay::Constant,
            clip: 1.0,
            ema: Decays(vec![0.9999]),
            ema_start: EmaStart::Initial,
            antithetic: true,
            label_drop: 0.0,
            label_drop_by: DropBy::Sample,
            log_every: 100,
            optimiser: OptimiserConfig::default(),
        }
    }
}

impl TrainConfig {
    /// Refuses values out of range, by name.
    ///
    /// # Errors
    /// Names the value and its range.
    pub fn check(&self) -> Result<()> {
        at_least_one("train.steps", self.steps)?;
        at_least_one("train.batch", self.batch)?;
        at_least_one("train.accumulate", self.accumulate)?;
        at_least_one("train.log_every", self.log_every)?;
        if self.accumulate > self.batch {
            let expected = format!("at most train.batch = {}", self.batch);
            return Err(
                diff_core::Error::argument("train.accumulate", self.accumulate, expected).into()
            );
        }
        number("train.lr", self.lr, true)?;
        number("train.clip", self.clip, false)?;
        if !(0.0..1.0).contains(&self.label_drop) {
            let expected = "a probability, at least 0 and below 1";
            let name = "train.label_drop";
            return Err(diff_core::Error::argument(name, self.label_drop, expected).into());
        }
        self.ema.check()?;
        self.optimiser.check()
    }

    /// How often labels are dropped.
    pub fn label_drop(&self) -> LabelDrop {
        LabelDrop { probability: self.label_drop, by: self.label_drop_by }
    }

    /// The learning rate of every step.
    pub fn rate(&self) -> Rate {
        Rate { lr: self.lr, warmup: self.warmup, decay: self.decay, steps: self.steps }
    }
}

/// The save section. A checkpoint is saved at the end, when the run is interrupted, and as often as
/// this says. It is all that is needed to go on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SaveConfig {
    /// Pictures between checkpoints; 0 for none by this rule.
    pub every: usize,
    /// Minutes between checkpoints; 0 for none by this rule.
    pub minutes: f64,
    /// How many of the newest checkpoints are kept, at least 1.
    pub last: usize,
    /// Pictures between milestones: averaged weights that are kept for good, to choose from later;
    /// 0 for none.
    pub keep_every: usize,
}

impl Default for SaveConfig {
    fn default() -> Self {
        SaveConfig { every: 0, minutes: 15.0, last: 2, keep_every: 0 }
    }
}

impl SaveConfig {
    /// Refuses values out of range, by name.
    ///
    /// # Errors
    /// Names the value and its range.
    pub fn check(&self) -> Result<()> {
        at_least_one("save.last", self.last)?;
        number("save.minutes", self.minutes, false)
    }
}

/// The preview section: samples of the averaged weights, from the same noise every time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PreviewConfig {
    /// Pictures of training between previews; 0 for none.
    pub every: usize,
    /// Samples on a preview, at least 1.
    pub num: usize,
    /// DDIM steps they are sampled with, at least 1.
    pub steps: usize,
}

impl Default for PreviewConfig {
    fn default() -> Self {
        PreviewConfig { every: 0, num: 36, steps: 20 }
    }
}

impl PreviewConfig {
    /// Refuses values out of range, by name.
    ///
    /// # Errors
    /// Names the value and its range.
    pub fn check(&self) -> Result<()> {
        at_least_one("preview.num", self.num)?;
        at_least_one("preview.steps", self.steps)
    }
}

/// The held-out section: the objective's loss of the averaged weights on pictures of the data set's
/// other split, with the same noise and times every time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HeldOutConfig {
    /// Pictures of training between measurements; 0 for none.
    pub every: usize,
    /// Held-out pictures that are measured, at least 1; all of them if there are fewer.
    pub num: usize,
    /// Takes them from this range of the training split's indices instead of the other split, for
    /// data sets whose parts are ranges of one source.
    pub range: Option<[u64; 2]>,
}

impl Default for HeldOutConfig {
    fn default() -> Self {
        HeldOutConfig { every: 0, num: 1024, range: None }
    }
}

impl HeldOutConfig {
    /// Refuses values out of range, by name.
    ///
    /// # Errors
    /// Names the value and its range.
    pub fn check(&self) -> Result<()> {
        at_least_one("held_out.num", self.num)
    }
}

impl RunConfig {
    /// Refuses values out of range or at odds with each other, by name.
    ///
    /// # Errors
    /// Names the value and what was expected.
    pub fn check(&self) -> Result<()> {
        self.train.check()?;
        self.save.check()?;
        self.preview.check()?;
        self.held_out.check()?;
        self.check_kinds()
    }

    /// Refuses what does not go with the kind of network.
    fn check_kinds(&self) -> Result<()> {
        let apart = !matches!(self.network, NetworkConfig::Denoiser(_));
        let with = format!("which goes with network.kind = {}", self.network.kind());
        let refuse = |name: &str, value: &dyn Display, fitting: &str| {
            let expected = format!("{fitting}, {with}");
            Err(diff_core::Error::argument(name, value, expected).into())
        };
        let (goes, fitting) = match (&self.network, &self.objective) {
            (NetworkConfig::Classifier(_), given) => {
                (matches!(given, ObjectiveConfig::Classifier(_)), "classifier")
            }
            (NetworkConfig::Categorical(_), given) => {
                (matches!(given, ObjectiveConfig::Categorical(_)), "categorical")
            }
            (NetworkConfig::Denoiser(_), given) => (given.denoises(), ObjectiveConfig::DENOISING),
        };
        if !goes {
            return refuse("objective.kind", &self.objective.kind(), fitting);
        }
        let knows_none = self.network.classes().is_some_and(|classes| classes.knows_none());
        if self.train.label_drop > 0.0 && !knows_none {
            let expected = "0, or network.null_class = true for a network with classes: labels \
                            that are dropped need a null label in their place";
            let dropped = self.train.label_drop;
            return Err(diff_core::Error::argument("train.label_drop", dropped, expected).into());
        }
        if let NetworkConfig::Denoiser(architecture) = &self.network {
            self.objective.check_output(architecture.config().second())?;
        }
        if self.objective.takes_grey_levels() && self.data.transform != Transform::Rescaled {
            let expected = format!(
                "rescaled: the decoder of objective.kind = {} has 256 levels evenly over [-1, 1]",
                self.objective.kind()
            );
            return Err(diff_core::Error::argument("data.transform", "logit", expected).into());
        }
        if apart && self.preview.every > 0 {
            return refuse("preview.every", &self.preview.every, "0 (no previews)");
        }
        if apart && self.data.transform != Transform::Rescaled {
            return refuse("data.transform", &"logit", "rescaled");
        }
        match &self.network {
            NetworkConfig::Categorical(spec) => categorical::check(self, spec),
            NetworkConfig::Denoiser(_) | NetworkConfig::Classifier(_) => Ok(()),
        }
    }

    /// The configuration as TOML.
    ///
    /// # Errors
    /// When a value has no form in TOML.
    pub fn to_toml(&self) -> Result<String> {
        Ok(diff_core::config::text(self)?)
    }
}

/// True when a step that went from `before` to `after` pictures reached or passed a multiple of
/// `every`; never when that is 0.
pub fn due(before: usize, after: usize, every: usize) -> bool {
    every > 0 && before / every < after / every
}

fn at_least_one(name: &str, value: usize) -> Result<()> {
    match value {
        0 => Err(diff_core::Error::argument(name, value, "at least 1").into()),
        _ => Ok(()),
    }
}

fn number(name: &str, value: f64, positive: bool) -> Result<()> {
    match value.is_finite() && value >= 0.0 && (value > 0.0 || !positive) {
        true => Ok(()),
        false => {
            let expected = if positive { "more than 0" } else { "at least 0" };
            Err(diff_core::Error::argument(name, value, expected).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(overrides: &[&str]) -> String {
        let text = "[network]\nkind = 'classifier'\nresolution = 8\nin_channels = 1\nclasses = 10\n\
                    [objective]\nkind = 'classifier'";
        let overrides: Vec<String> = overrides.iter().map(|s| s.to_string()).collect();
        let config: RunConfig = diff_core::config::read(text, "test", &overrides).unwrap();
        config.check().map_or_else(|e| e.to_string(), |()| String::new())
    }

    #[test]
    fn what_does_not_go_with_the_kind_of_network_is_refused_with_what_does() {
        assert_eq!(refused(&[]), "");
        for (overrides, words) in [
            (["objective={ kind = 'sa' }"], ["objective.kind = sa", "classifier, which goes with"]),
            (
                ["network={ kind = 'ddpm' }"],
                ["objective.kind = classifier", "simple, sa, vlb or hybrid, which"],
            ),
            (["preview.every=9"], ["preview.every = 9", "0 (no previews)"]),
            (["data.transform='logit'"], ["data.transform = logit", "rescaled"]),
        ] {
            let message = refused(&overrides);
            for word in words.into_iter().chain(["network.kind = "]) {
                assert!(message.contains(word), "{word} is not in {message}");
            }
        }
        let objective = ObjectiveConfig::Classifier(Default::default());
        let schedule = diff_core::Schedule::new(&ScheduleSpec::default()).unwrap();
        assert!(objective.build(&schedule).is_err() && objective.build_classifier().is_ok());
        assert!(ObjectiveConfig::default().build_classifier().is_err());
    }
}
