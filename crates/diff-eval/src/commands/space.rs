//! The classifier of a command, and the pictures it is used on.

use clap::Args;
use diff_eval::{ClassifierFeatures, pictures::Named};
use diff_models::device;

#[derive(Args)]
pub(super) struct SpaceArgs {
    /// The classifier whose features are compared: a checkpoint folder, a run, or `hub:org/name`.
    #[arg(long, value_name = "SPEC")]
    classifier: String,
    /// What the model was trained on [default: NAME:train, NAME the classifier's data set].
    #[arg(long, value_name = "SOURCE")]
    reference: Option<String>,
    /// Where to compute: cpu, cuda or cuda:N.
    #[arg(long, default_value = "cpu")]
    device: String,
}

impl SpaceArgs {
    pub(super) fn open(&self) -> anyhow::Result<ClassifierFeatures> {
        Ok(ClassifierFeatures::open(&self.classifier, &device::open(&self.device)?)?)
    }

    pub(super) fn reference(&self, features: &ClassifierFeatures) -> anyhow::Result<Named> {
        part(features, self.reference.as_deref(), ("reference", "train"))
    }
}

/// Pictures that a command compares with: those named, or a part of the classifier's data set.
pub(super) fn part(
    features: &ClassifierFeatures,
    given: Option<&str>,
    (option, split): (&str, &str),
) -> anyhow::Result<Named> {
    let own = || features.data().map(|name| format!("{name}:{split}"));
    let source = given.map(str::to_string).or_else(own).ok_or_else(|| {
        let expected = "a source; the classifier does not tell what it was trained on";
        diff_core::Error::argument(format!("--{option}"), "nothing", expected)
    })?;
    Ok(Named::read(&source)?)
}

/// ` [low, high]` of an interval, or nothing.
pub(super) fn range(low: Option<f64>, high: Option<f64>) -> String {
    match (low, high) {
        (Some(low), Some(high)) => format!(" [{low:.4}, {high:.4}]"),
        _ => String::new(),
    }
}
