//! `results.json`. Two runs of one experiment with one seed differ in `times` alone, and in
//! `machine` where the machines do.

use super::{Report, text};
use crate::reproduce::Outcome;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The report as data.
pub(crate) fn results(report: &Report) -> Value {
    json!({
        "experiment": report.experiment.name,
        "title": report.experiment.title,
        "evidence": report.experiment.evidence,
        "settings": settings(report),
        "models": report.models.iter().map(|model| json!({
            "name": model.name,
            "about": model.about,
            "trained": model.summary.map(numbers),
        })).collect::<Vec<_>>(),
        "samples": report.grids.iter().flat_map(|row| row.grids.iter().map(|grid| json!({
            "model": grid.model,
            "sampler": row.sampler,
            "network_calls": grid.calls,
            "file": (!grid.png.is_empty()).then(|| format!("files/{}", grid.file)),
        }))).collect::<Vec<_>>(),
        "values": report.values.iter().flat_map(|table| table.rows.iter().map(|row| json!({
            "model": row.model,
            "sampler": row.sampler,
            "measure": table.kind.name(),
            "reference": table.reference,
            "values": row.values,
        }))).collect::<Vec<_>>(),
        "cells": report.cells.iter().map(|row| json!({
            "name": row.name,
            "key": row.outcome.finished().map(|done| &done.record.key),
            "state": state(row.outcome),
        })).collect::<Vec<_>>(),
        "versions": report.versions,
        "machine": report.machine,
        "times": times(report),
    })
}

fn state(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Done(_) => "done",
        Outcome::Failed(_) => "failed",
        Outcome::Skipped(_) => "skipped",
    }
}

fn settings(report: &Report) -> Value {
    let shared: BTreeMap<_, _> = report.settings.shared.iter().cloned().collect();
    let names = || report.models.iter().map(|model| model.name);
    let differing: BTreeMap<_, BTreeMap<_, _>> = report
        .settings
        .differing
        .iter()
        .map(|(key, values)| (key, names().zip(values).collect()))
        .collect();
    json!({ "shared": shared, "differing": differing })
}

fn times(report: &Report) -> Value {
    let cells: BTreeMap<&str, f64> = report
        .cells
        .iter()
        .filter_map(|row| Some((row.name, row.outcome.finished()?.record.seconds)))
        .collect();
    let reused =
        report.cells.iter().filter(|row| row.outcome.finished().is_some_and(|done| done.reused));
    json!({
        "unit": "seconds",
        "run": report.seconds,
        "cells": cells,
        "reused": reused.map(|row| row.name).collect::<Vec<_>>(),
    })
}

/// The numbers of a summary, without what differs from run to run.
fn numbers(summary: &Value) -> Value {
    let fields = summary.as_object().into_iter().flatten();
    let steady = fields.filter(|(name, value)| value.is_number() && !text::is_time(name));
    Value::Object(steady.map(|(name, value)| (name.clone(), value.clone())).collect::<Map<_, _>>())
}
