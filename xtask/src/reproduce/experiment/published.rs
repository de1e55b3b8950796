//! What documents say about what an experiment asks.

use super::Experiment;
use serde::{Deserialize, Serialize};

/// A pair of published numbers that asks what a contrast asks.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Published {
    /// The model that stands for the published one.
    pub(crate) model: String,
    /// The model that stands for its baseline.
    pub(crate) against: String,
    /// The sampler that stands for the published one.
    pub(crate) sampler: String,
    /// What was measured, on which data: `FID, CIFAR-10`.
    pub(crate) metric: String,
    /// The published number.
    pub(crate) value: f64,
    /// That of its baseline.
    pub(crate) baseline: f64,
    /// Document and table.
    pub(crate) source: String,
}

/// A published table with the names of the cells that ask the same.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PublishedTable {
    /// Its heading.
    pub(crate) title: String,
    /// Document, table and data.
    pub(crate) source: String,
    /// What was published.
    pub(crate) metric: String,
    /// What stands beside it.
    pub(crate) ours: String,
    /// What else a reader should know.
    #[serde(default)]
    pub(crate) about: String,
    /// Heads of its columns.
    pub(crate) columns: Vec<String>,
    /// Its rows.
    pub(crate) rows: Vec<PublishedRow>,
}

/// A row of a published table.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PublishedRow {
    /// Its head.
    pub(crate) name: String,
    /// For every column `SAMPLER` or `MODEL/SAMPLER`, whose distance answers it, or `MEASURE:FIELD`, of the
    /// first model, where the field is a name or a JSON pointer.
    pub(crate) cells: Vec<String>,
    /// The published numbers; nan where there is none.
    pub(crate) published: Vec<f64>,
}

/// What answers a cell of a published table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer<'a> {
    /// The Fréchet distance of a model by a sampler, by their places.
    Distance {
        /// The model.
        model: usize,
        /// The sampler.
        sampler: usize,
    },
    /// A number of a measure.
    Number {
        /// The measure's place.
        measure: usize,
        /// The number's name.
        field: &'a str,
    },
}

impl Experiment {
    /// What answers a cell of a published table, if its name is that of anything here.
    pub(crate) fn answer<'a>(&self, cell: &'a str) -> Option<Answer<'a>> {
        if let Some((name, field)) = cell.split_once(':') {
            let measure = self.measures.iter().position(|measure| measure.name() == name)?;
            return Some(Answer::Number { measure, field });
        }
        let (model, sampler) = match cell.split_once('/') {
            Some((model, sampler)) => (self.models.iter().position(|m| m.name == model)?, sampler),
            None => (0, cell),
        };
        let sampler = self.samplers.iter().position(|s| s.name == sampler)?;
        Some(Answer::Distance { model, sampler })
    }
}
