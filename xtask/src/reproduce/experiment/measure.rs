//! What is measured, of what.

use serde::Deserialize;
use std::collections::BTreeMap;
use toml::Value;

/// Something to measure.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Measure {
    /// diff-eval's command.
    pub(crate) kind: MeasureKind,
    /// Its name in cells and tables, where it is not that of its kind.
    #[serde(default)]
    pub(crate) name: Option<String>,
    /// Further flags of the command, without their dashes.
    #[serde(default)]
    pub(crate) options: BTreeMap<String, Value>,
    /// The training seeds it is taken of, where they are not all.
    #[serde(default)]
    pub(crate) seeds: Vec<u64>,
}

/// The commands of diff-eval that an experiment may call.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum MeasureKind {
    /// Plain statistics of pixels.
    Pixels,
    /// Fréchet distance and classifier score in the features of the experiment's classifier.
    Fd,
    /// What real pictures score, and what a model would that only memorises.
    Floor,
    /// The accumulated estimation gap along a model's own trajectories.
    Gap,
    /// The total gap and the three numbers of SA-DPM's Theorem 2.
    Bounds,
    /// What is left of pictures after encoding and decoding them.
    Reconstruction,
    /// A drawing of why errors that agree from step to step matter.
    Illustrate,
}

/// What a measure is taken of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// Samples of a model by a sampler.
    Samples,
    /// A model.
    Model,
    /// The classifier alone.
    Classifier,
    /// Nothing that is trained.
    Nothing,
}

impl MeasureKind {
    /// Its name on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            MeasureKind::Pixels => "pixels",
            MeasureKind::Fd => "fd",
            MeasureKind::Floor => "floor",
            MeasureKind::Gap => "gap",
            MeasureKind::Bounds => "bounds",
            MeasureKind::Reconstruction => "reconstruction",
            MeasureKind::Illustrate => "illustrate",
        }
    }

    /// What it is taken of.
    pub(crate) fn taken(self) -> Taken {
        match self {
            MeasureKind::Pixels | MeasureKind::Fd => Taken::Samples,
            MeasureKind::Gap | MeasureKind::Bounds | MeasureKind::Reconstruction => Taken::Model,
            MeasureKind::Floor => Taken::Classifier,
            MeasureKind::Illustrate => Taken::Nothing,
        }
    }

    /// Whether it needs the experiment's classifier.
    pub(crate) fn judges(self) -> bool {
        matches!(self, MeasureKind::Fd | MeasureKind::Floor)
    }

    /// What it tells and what it does not, for readers of a report.
    pub(crate) fn about(self) -> &'static str {
        match self {
            MeasureKind::Pixels => {
                "FD-pixels, the Fréchet distance between Gaussians fitted to the grey values \
                 themselves, and plain statistics of them. No network has a say in it; it sees \
                 pictures that are too dark, too flat or all alike, and does not see what a \
                 picture shows. It is no FID, nor a substitute for one."
            }
            MeasureKind::Fd => {
                "Fréchet distance between Gaussians fitted to the features of samples and of \
                 training pictures (lower is better), and the classifier score, the formula of \
                 the Inception score (higher is better). The features are those of a small \
                 classifier trained on the training pictures: these numbers are no FID and no IS, \
                 and compare with nothing outside this report. Intervals: where the same number \
                 of other samples would fall, 95 % (bootstrap)."
            }
            MeasureKind::Floor => {
                "What real pictures score: held-out ones, and training pictures drawn again and \
                 again, as a model would that only memorises. A distance near the latter is no \
                 proof of quality by itself."
            }
            MeasureKind::Gap => {
                "The accumulated estimation gap of SA-DPM (section 3.1) along the model's own \
                 trajectories from noised training pictures: the same pictures and noise for all \
                 models. Smaller is better."
            }
            MeasureKind::Bounds => {
                "The total gap of Theorem 1 (mean norm), its square L_theta, and for windows of K steps \
                 the three numbers that Theorem 2 of SA-DPM orders, upper >= L_sa >= lower: means over \
                 pictures, with whether both inequalities hold for every picture."
            }
            MeasureKind::Reconstruction => {
                "Held-out pictures are encoded by DDIM's map run upwards in S steps, decoded by the \
                 same number of steps downwards, and compared with what they were: the mean squared \
                 error a dimension on the scale from 0 to 1, nothing clipped (DDIM, table 2)."
            }
            MeasureKind::Illustrate => {
                "Our drawing of the idea of SA-DPM's figure 1, where all is known: a mixture of two \
                 Gaussians in one dimension, sampled by its exact noise prediction, by that plus an \
                 error of one sign in every step, and by that plus an error of the same size whose \
                 sign alternates. Errors that agree add up, errors that cancel do not; the \
                 sequence-aware loss punishes the sum of neighbouring errors, hence the former."
            }
        }
    }
}

impl Measure {
    /// Its name in cells and tables.
    pub(crate) fn name(&self) -> &str {
        self.name.as_deref().unwrap_or(self.kind.name())
    }

    /// A whole-number option.
    pub(crate) fn whole(&self, name: &str) -> Option<u64> {
        self.options.get(name)?.as_integer()?.try_into().ok()
    }
}
