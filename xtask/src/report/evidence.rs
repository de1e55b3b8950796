//! What the cells came to, in the order of the experiment.

use crate::reproduce::{
    Finished, Outcome,
    experiment::{Experiment, Measure, MeasureKind},
    plan::{Cell, Run, Subject},
};
use serde_json::Value;
use std::collections::BTreeMap;

/// The results of an experiment's cells; `None` where a cell has none.
pub(crate) struct Evidence<'a> {
    /// The classifier, where the experiment has one.
    pub(crate) classifier: Option<Option<&'a Finished>>,
    /// Trained models, model by model, seed by seed.
    pub(crate) trained: Vec<(Run, Option<&'a Finished>)>,
    /// Samples of a model by a sampler.
    pub(crate) samples: Vec<(Run, usize, Option<&'a Finished>)>,
    /// Figures of a model.
    pub(crate) figures: Vec<(Run, usize, Option<&'a Finished>)>,
    /// Measured values.
    pub(crate) values: Vec<Measured<'a>>,
}

/// What a measure came to.
#[derive(Clone, Copy)]
pub(crate) struct Measured<'a> {
    /// Its number in the experiment's list.
    pub(crate) measure: usize,
    /// The model it was taken of.
    pub(crate) run: Option<Run>,
    /// The sampler whose samples it was taken of.
    pub(crate) sampler: Option<usize>,
    /// Its result.
    pub(crate) done: Option<&'a Finished>,
}

impl<'a> Evidence<'a> {
    /// Sorts the outcomes of the cells.
    pub(crate) fn gather(cells: &[Cell], outcomes: &'a [Outcome]) -> Self {
        let (mut classifier, mut trained) = (None, Vec::new());
        let (mut samples, mut figures, mut values) = (Vec::new(), Vec::new(), Vec::new());
        for (cell, outcome) in cells.iter().zip(outcomes) {
            let done = outcome.finished();
            match cell.subject {
                Subject::Classifier => classifier = Some(done),
                Subject::Model(run) => trained.push((run, done)),
                Subject::Samples(run, sampler) => samples.push((run, sampler, done)),
                Subject::Figure(run, figure) => figures.push((run, figure, done)),
                Subject::Value(run, sampler, measure) => {
                    values.push(Measured { measure, run, sampler, done });
                }
            }
        }
        trained.sort_by_key(|(run, _)| *run);
        samples.sort_by_key(|(run, sampler, _)| (*run, *sampler));
        values.sort_by_key(|value| (value.measure, value.run, value.sampler));
        Evidence { classifier, trained, samples, figures, values }
    }

    /// The values of every measure of a kind, with the measure.
    pub(crate) fn of_kind<'b>(
        &'b self,
        experiment: &'b Experiment,
        kind: MeasureKind,
    ) -> impl Iterator<Item = (&'b Measure, Vec<&'b Measured<'a>>)> {
        let measures = experiment.measures.iter().enumerate();
        measures.filter(move |(_, measure)| measure.kind == kind).map(|(v, measure)| {
            let values = self.values.iter().filter(|value| value.measure == v).collect();
            (measure, values)
        })
    }
}

impl<'a> Measured<'a> {
    /// One number of the result, by its name or, from `/` on, by its way down the JSON.
    pub(crate) fn number(&self, name: &str) -> Option<f64> {
        let summary = self.summary()?;
        match name.starts_with('/') {
            true => summary.pointer(name)?.as_f64(),
            false => summary.get(name)?.as_f64(),
        }
    }

    /// A list of numbers of the result.
    pub(crate) fn list(&self, name: &str) -> Option<Vec<f64>> {
        self.summary()?.get(name)?.as_array()?.iter().map(Value::as_f64).collect()
    }

    /// All single numbers of the result, without its times. Those of the gap lie one level below,
    /// where there is room for more than one checkpoint.
    pub(crate) fn numbers(&self) -> BTreeMap<&'a str, f64> {
        let checkpoint = self.summary().and_then(|summary| summary.pointer("/checkpoints/0"));
        let places = self.summary().into_iter().chain(checkpoint);
        let fields = places.filter_map(Value::as_object).flatten();
        let steady = fields.filter(|(name, _)| !super::text::is_time(name));
        steady.filter_map(|(name, value)| Some((name.as_str(), value.as_f64()?))).collect()
    }

    fn summary(&self) -> Option<&'a Value> {
        self.done.map(|done| &done.record.summary)
    }
}
