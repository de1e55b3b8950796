//! `results.json`. Two runs of one experiment with the same seeds differ in `times` alone, and in
//! `machine` where the machines do.

use super::{
    Report,
    findings::{Difference, SPACES, differences},
    text,
};
use crate::reproduce::{Finished, Outcome, plan::Run};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The report as data.
pub(crate) fn results(report: &Report) -> Value {
    let (experiment, evidence) = (report.experiment, &report.evidence);
    let model = |run: Run| &experiment.models[run.model].name;
    let sampler = |sampler: usize| &experiment.samplers[sampler].name;
    json!({
        "experiment": experiment.name,
        "title": experiment.title,
        "evidence": experiment.evidence,
        "settings": settings(report),
        "classifier": evidence.classifier.map(|done| json!({ "trained": done.map(numbers) })),
        "models": evidence.trained.iter().map(|(run, done)| json!({
            "name": model(*run),
            "seed": run.seed,
            "about": experiment.models[run.model].about,
            "trained": done.map(numbers),
        })).collect::<Vec<_>>(),
        "samples": evidence.samples.iter().map(|(run, by, done)| json!({
            "model": model(*run),
            "seed": run.seed,
            "sampler": sampler(*by),
            "drawn": done.map(numbers),
        })).collect::<Vec<_>>(),
        "values": evidence.values.iter().map(|value| json!({
            "measure": experiment.measures[value.measure].name(),
            "model": value.run.map(model),
            "seed": value.run.map(|run| run.seed),
            "sampler": value.sampler.map(sampler),
            "values": value.done.map(|_| value.numbers()),
        })).collect::<Vec<_>>(),
        "differences": SPACES.iter().flat_map(|(kind, _)| {
            differences(experiment, evidence, *kind).iter()
                .map(|difference| row(report, difference, kind.name())).collect::<Vec<_>>()
        }).collect::<Vec<_>>(),
        "cells": report.cells.iter().map(|(name, outcome)| json!({
            "name": name,
            "key": outcome.finished().map(|done| &done.record.key),
            "state": state(outcome),
        })).collect::<Vec<_>>(),
        "versions": report.versions,
        "machine": report.machine,
        "times": times(report),
    })
}

fn row(report: &Report, difference: &Difference, measure: &str) -> Value {
    let experiment = report.experiment;
    json!({
        "measure": measure,
        "model": difference.contrast.model,
        "against": difference.contrast.against,
        "sampler": experiment.samplers[difference.sampler].name,
        "fd": difference.model,
        "fd_against": difference.against,
        "difference": difference.difference.value,
        "interval": difference.difference.interval().map(|(low, high)| [low, high]),
        "verdict": difference.verdict(),
        "ratio": difference.ratio(),
        "published": difference.published(experiment),
    })
}

fn state(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Done(_) => "done",
        Outcome::Failed(_) => "failed",
        Outcome::Skipped(_) => "skipped",
        Outcome::Absent => "not run",
    }
}

fn settings(report: &Report) -> Value {
    let shared: BTreeMap<_, _> = report.settings.shared.iter().cloned().collect();
    let names = || report.experiment.models.iter().map(|model| &model.name);
    let differing: BTreeMap<_, BTreeMap<_, _>> = report
        .settings
        .differing
        .iter()
        .map(|(key, values)| (key, names().zip(values).collect()))
        .collect();
    json!({
        "shared": shared,
        "differing": differing,
        "sample": report.experiment.sample,
    })
}

fn times(report: &Report) -> Value {
    let cells: BTreeMap<&str, f64> = report
        .cells
        .iter()
        .filter_map(|(name, outcome)| Some((*name, outcome.finished()?.record.seconds)))
        .collect();
    let reused = |outcome: &Outcome| outcome.finished().is_some_and(|done| done.reused);
    let reused = report.cells.iter().filter(|(_, outcome)| reused(outcome));
    json!({
        "unit": "seconds",
        "run": report.seconds,
        "cells": cells,
        "processors": report.processors(),
        "reused": reused.map(|(name, _)| name).collect::<Vec<_>>(),
    })
}

/// The numbers of a summary, without what differs from run to run.
fn numbers(done: &Finished) -> Value {
    let fields = done.record.summary.as_object().into_iter().flatten();
    let steady = fields.filter(|(name, value)| {
        value.is_number() && !text::is_time(name) && name.as_str() != "resumed_at"
    });
    Value::Object(steady.map(|(name, value)| (name.clone(), value.clone())).collect::<Map<_, _>>())
}
