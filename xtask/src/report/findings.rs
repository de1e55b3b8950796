//! What the samples say: distances by model and sampler, and the differences that were asked for.

use super::{
    evidence::{Evidence, Measured},
    statistics::{Estimate, paired},
};
use crate::reproduce::{
    experiment::{Contrast, Experiment, MeasureKind, Published},
    plan::Run,
};
use std::collections::BTreeSet;

/// The measures that give distances, and what those are called.
pub(crate) const SPACES: [(MeasureKind, &str); 2] =
    [(MeasureKind::Fd, "in the classifier's features"), (MeasureKind::Pixels, "in pixels")];

/// A measured distance of a model by a sampler, over its training seeds.
pub(crate) struct Score<'a> {
    /// The model's name.
    pub(crate) model: &'a str,
    /// The sampler's number.
    pub(crate) sampler: usize,
    /// The Fréchet distance.
    pub(crate) fd: Option<Estimate>,
    /// The classifier score.
    pub(crate) cs: Option<Estimate>,
}

/// A difference that was asked for.
pub(crate) struct Difference<'a> {
    /// Between which models.
    pub(crate) contrast: &'a Contrast,
    /// By which sampler.
    pub(crate) sampler: usize,
    /// Distance of the model.
    pub(crate) model: f64,
    /// Distance of what it is held against.
    pub(crate) against: f64,
    /// Their difference; below 0 the model is better.
    pub(crate) difference: Estimate,
}

impl Difference<'_> {
    /// What may be said of it.
    pub(crate) fn verdict(&self) -> &'static str {
        match self.difference.interval() {
            None => "no interval",
            Some((_, high)) if high < 0.0 => "better, outside the interval",
            Some((low, _)) if low > 0.0 => "worse, outside the interval",
            Some(_) => "within the interval",
        }
    }

    /// The distance as a part of the other.
    pub(crate) fn ratio(&self) -> f64 {
        self.model / self.against
    }

    /// The published pair that asks the same.
    pub(crate) fn published<'e>(&self, experiment: &'e Experiment) -> Option<&'e Published> {
        let sampler = &experiment.samplers[self.sampler].name;
        experiment.published.iter().find(|published| {
            published.model == self.contrast.model
                && published.against == self.contrast.against
                && published.sampler == *sampler
        })
    }
}

/// Every model by every sampler it is sampled by, in the space of a kind of measure.
pub(crate) fn scores<'a>(
    experiment: &'a Experiment,
    evidence: &Evidence,
    kind: MeasureKind,
) -> Vec<Score<'a>> {
    let values = distances(experiment, evidence, kind);
    let mut scores = Vec::new();
    for (m, model) in experiment.models.iter().enumerate() {
        let runs = experiment.seeds_of(model).into_iter().map(|seed| Run { model: m, seed });
        let sampled: BTreeSet<usize> = runs.flat_map(|run| experiment.samplers_of(run)).collect();
        for sampler in sampled {
            let own: Vec<&&Measured> = values
                .iter()
                .filter(|v| v.sampler == Some(sampler) && v.run.is_some_and(|r| r.model == m))
                .collect();
            let over = |name: &str| {
                let read = |value: &&&Measured| {
                    let bound = |end: &str| value.number(&format!("{name}_{end}"));
                    Some((value.number(name)?, bound("low").zip(bound("high"))))
                };
                Estimate::over(&own.iter().filter_map(read).collect::<Vec<_>>())
            };
            let (fd, cs) = (over("fd"), over("cs"));
            scores.push(Score { model: &model.name, sampler, fd, cs });
        }
    }
    scores
}

/// The differences that the experiment asks for, by every sampler that both models share.
pub(crate) fn differences<'a>(
    experiment: &'a Experiment,
    evidence: &Evidence,
    kind: MeasureKind,
) -> Vec<Difference<'a>> {
    let values = distances(experiment, evidence, kind);
    let place = |name: &str| experiment.models.iter().position(|model| model.name == name);
    let mut found = Vec::new();
    for contrast in &experiment.contrasts {
        let (Some(a), Some(b)) = (place(&contrast.model), place(&contrast.against)) else {
            continue;
        };
        for sampler in 0..experiment.samplers.len() {
            let of = |model: usize| -> Vec<&&Measured> {
                let by = |v: &&&Measured| {
                    v.sampler == Some(sampler) && v.run.is_some_and(|run| run.model == model)
                };
                values.iter().filter(by).collect()
            };
            found.extend(difference(contrast, sampler, &of(a), &of(b)));
        }
    }
    found
}

/// The difference over the seeds that both models were trained from.
fn difference<'a>(
    contrast: &'a Contrast,
    sampler: usize,
    a: &[&&Measured],
    b: &[&&Measured],
) -> Option<Difference<'a>> {
    let (mut pairs, mut sums) = (Vec::new(), (0.0, 0.0));
    for value in a {
        let seed = |v: &Measured| v.run.map(|run| run.seed);
        let Some(other) = b.iter().find(|other| seed(other) == seed(value)) else { continue };
        let (Some(x), Some(y)) = (value.number("fd"), other.number("fd")) else { continue };
        let replicates = value.list("fd_replicates").zip(other.list("fd_replicates"));
        let interval = replicates.and_then(|(a, b)| paired(x - y, &a, &b));
        pairs.push((x - y, interval));
        sums = (sums.0 + x, sums.1 + y);
    }
    let count = pairs.len() as f64;
    Some(Difference {
        contrast,
        sampler,
        difference: Estimate::over(&pairs)?,
        model: sums.0 / count,
        against: sums.1 / count,
    })
}

fn distances<'b, 'a>(
    experiment: &'b Experiment,
    evidence: &'b Evidence<'a>,
    kind: MeasureKind,
) -> Vec<&'b Measured<'a>> {
    evidence.of_kind(experiment, kind).flat_map(|(_, values)| values).collect()
}
