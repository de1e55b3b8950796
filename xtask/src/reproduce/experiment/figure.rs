//! Pictures that are drawn with a model, beside its samples.

use serde::Deserialize;
use std::collections::BTreeMap;
use toml::Value;

/// A figure of every model's first training.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Figure {
    /// diff-sample's command.
    pub(crate) kind: FigureKind,
    /// Its name in cells and headings, where it is not that of its kind.
    #[serde(default)]
    pub(crate) name: Option<String>,
    /// Flags of the command, without their dashes.
    #[serde(default)]
    pub(crate) options: BTreeMap<String, Value>,
    /// What it shows.
    pub(crate) about: String,
}

/// The commands of diff-sample that draw figures.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum FigureKind {
    /// The same latents in several numbers of steps.
    Consistency,
    /// Pictures between latents.
    Interpolate,
    /// Samples at several times of their making.
    Strip,
    /// The same latents with a number added.
    Shift,
}

impl FigureKind {
    /// Its name on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            FigureKind::Consistency => "consistency",
            FigureKind::Interpolate => "interpolate",
            FigureKind::Strip => "strip",
            FigureKind::Shift => "shift",
        }
    }

    /// The list in its summary whose entries are the rows of a table, if it has numbers.
    pub(crate) fn rows(self) -> Option<&'static str> {
        match self {
            FigureKind::Consistency => Some("consistency"),
            FigureKind::Shift => Some("shifts"),
            FigureKind::Interpolate | FigureKind::Strip => None,
        }
    }
}

impl Figure {
    /// Its name in cells and headings.
    pub(crate) fn name(&self) -> &str {
        self.name.as_deref().unwrap_or(self.kind.name())
    }
}
