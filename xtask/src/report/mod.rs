//! The report of an experiment: gathered once, then written as a page, as Markdown and as data.

mod base64;
mod chart;
pub(crate) mod compare;
pub(crate) mod curves;
mod grids;
mod html;
mod markdown;
mod page;
mod results;
mod settings;
mod table;
mod text;

use crate::{
    machine::Machine,
    reproduce::{
        Finished, Outcome,
        experiment::{Experiment, Measure, MeasureKind, Model, Sampler},
        plan::{Cell, Subject},
        task::GRID,
    },
    workspace::Binaries,
};
use anyhow::Result;
use curves::Chart;
use diff_core::save::{self, io_error};
use serde_json::Value;
use settings::Settings;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

/// Everything the report shows, in the order of the experiment.
pub(crate) struct Report<'a> {
    experiment: &'a Experiment,
    models: Vec<ModelRow<'a>>,
    settings: Settings,
    charts: Vec<Chart>,
    grids: Vec<GridRow<'a>>,
    values: Vec<ValueTable<'a>>,
    cells: Vec<CellRow<'a>>,
    versions: &'a BTreeMap<String, String>,
    machine: Machine,
    seconds: f64,
}

/// A model, and what its training came to; `None` where it did not.
struct ModelRow<'a> {
    name: &'a str,
    about: &'a str,
    summary: Option<&'a Value>,
    seconds: Option<f64>,
}

/// The samples of all models by one sampler.
struct GridRow<'a> {
    sampler: &'a str,
    about: String,
    grids: Vec<Grid<'a>>,
}

/// The samples of a model by a sampler; without bytes where there are none.
struct Grid<'a> {
    model: &'a str,
    file: String,
    png: Vec<u8>,
    calls: Option<u64>,
    seconds: Option<f64>,
}

/// One measure on the samples of every model and sampler.
struct ValueTable<'a> {
    kind: MeasureKind,
    reference: &'a str,
    rows: Vec<ValueRow<'a>>,
}

/// A measure on the samples of a model by a sampler.
struct ValueRow<'a> {
    model: &'a str,
    sampler: &'a str,
    values: BTreeMap<&'a str, f64>,
}

/// A cell, and how it ended.
struct CellRow<'a> {
    name: &'a str,
    outcome: &'a Outcome,
}

impl<'a> Report<'a> {
    /// Collects the results of the cells; `seconds` is what this run took.
    pub(crate) fn gather(
        experiment: &'a Experiment,
        cells: &'a [Cell],
        outcomes: &'a [Outcome],
        binaries: &'a Binaries,
        seconds: f64,
    ) -> Result<Self> {
        let mut report = Report {
            experiment,
            models: Vec::new(),
            settings: Settings::default(),
            charts: Vec::new(),
            grids: experiment.samplers.iter().map(GridRow::empty).collect(),
            values: experiment.measures.iter().map(ValueTable::empty).collect(),
            cells: Vec::new(),
            versions: binaries.versions(),
            machine: Machine::here(),
            seconds,
        };
        let mut trained = Vec::new();
        for (cell, outcome) in cells.iter().zip(outcomes) {
            let done = outcome.finished();
            report.cells.push(CellRow { name: &cell.name, outcome });
            match cell.subject {
                Subject::Model(m) => {
                    report.models.push(ModelRow::new(&experiment.models[m], done));
                    trained.push(done);
                }
                Subject::Samples(m, s) => {
                    let names = (&experiment.models[m].name, &experiment.samplers[s].name);
                    report.grids[s].grids.push(Grid::read(names.0, names.1, done)?);
                }
                Subject::Value(m, s, v) => report.values[v].rows.push(ValueRow {
                    model: &experiment.models[m].name,
                    sampler: &experiment.samplers[s].name,
                    values: numbers(done),
                }),
            }
        }
        report.settings = Settings::gather(experiment, &trained)?;
        report.charts = charts(&report.models, &trained)?;
        Ok(report)
    }

    /// Writes `report.html`, `report.md` with its `files`, and `results.json`.
    pub(crate) fn write(&self, out: &Path) -> Result<()> {
        let files = out.join("files");
        for grid in self.grids.iter().flat_map(|row| &row.grids).filter(|g| !g.png.is_empty()) {
            save::atomic_bytes(&files.join(&grid.file), &grid.png)?;
        }
        for chart in &self.charts {
            save::atomic_bytes(&files.join(&chart.file), chart.drawing.to_svg().as_bytes())?;
        }
        let results = serde_json::to_string_pretty(&results::results(self))? + "\n";
        save::atomic_bytes(&out.join("results.json"), results.as_bytes())?;
        save::atomic_bytes(&out.join("report.md"), markdown::render(self).as_bytes())?;
        save::atomic_bytes(&out.join("report.html"), html::render(self).as_bytes())?;
        Ok(())
    }

    /// The banner of a report whose numbers are not results.
    fn banner(&self) -> Option<&'static str> {
        (!self.experiment.evidence).then_some("Plumbing run, not evidence")
    }

    /// Cells without a result, and why.
    fn missing(&self) -> impl Iterator<Item = (&str, &str)> {
        self.cells.iter().filter_map(|row| match row.outcome {
            Outcome::Done(_) => None,
            Outcome::Failed(reason) => Some((row.name, reason.as_str())),
            Outcome::Skipped(reason) => Some((row.name, reason.as_str())),
        })
    }

    /// Where the time went, in a sentence.
    fn time_line(&self) -> String {
        let done = self.cells.iter().filter_map(|row| row.outcome.finished());
        let (reused, fresh): (Vec<_>, Vec<_>) = done.partition(|done| done.reused);
        let sum = |part: &[&Finished]| part.iter().map(|done| done.record.seconds).sum::<f64>();
        let total = sum(&fresh) + sum(&reused);
        let mut line = format!(
            "This run took {}; all its cells together took {}.",
            text::seconds(self.seconds),
            text::seconds(total)
        );
        if !reused.is_empty() {
            let from = text::seconds(sum(&reused));
            line += &format!(" {} of them ({from}) were finished by earlier runs.", reused.len());
        }
        line
    }
}

impl<'a> ModelRow<'a> {
    fn new(model: &'a Model, done: Option<&'a Finished>) -> Self {
        ModelRow {
            name: &model.name,
            about: &model.about,
            summary: done.map(|done| &done.record.summary),
            seconds: done.map(|done| done.record.seconds),
        }
    }

    /// A number of the training's summary.
    fn number(&self, name: &str) -> Option<f64> {
        self.summary?.get(name)?.as_f64()
    }
}

impl<'a> GridRow<'a> {
    fn empty(sampler: &'a Sampler) -> Self {
        let mut about = format!("{}, {} steps", sampler.sampler, sampler.steps);
        if let Some(eta) = sampler.eta {
            about += &format!(", eta {eta}");
        }
        if let Some(trajectory) = &sampler.trajectory {
            about += &format!(", {trajectory} time steps");
        }
        GridRow { sampler: &sampler.name, about, grids: Vec::new() }
    }
}

impl<'a> ValueTable<'a> {
    fn empty(measure: &'a Measure) -> Self {
        ValueTable { kind: measure.kind, reference: &measure.reference, rows: Vec::new() }
    }

    /// Names of the values, each once.
    fn columns(&self) -> BTreeSet<&'a str> {
        self.rows.iter().flat_map(|row| row.values.keys().copied()).collect()
    }
}

impl<'a> Grid<'a> {
    fn read(model: &'a str, sampler: &str, done: Option<&Finished>) -> Result<Self> {
        let png = match done.map(|done| done.folder.join(GRID)) {
            Some(path) => fs::read(&path).map_err(io_error(&path, "read"))?,
            None => Vec::new(),
        };
        Ok(Grid {
            model,
            file: format!("{model}-{sampler}.png"),
            png,
            calls: done.and_then(|done| done.record.summary.get("network_calls")?.as_u64()),
            seconds: done.map(|done| done.record.seconds),
        })
    }
}

/// The numbers a measure came to, without its times.
fn numbers(done: Option<&Finished>) -> BTreeMap<&str, f64> {
    let summary = done.and_then(|done| done.record.summary.as_object());
    let fields = summary.into_iter().flatten().filter(|(name, _)| !text::is_time(name));
    fields.filter_map(|(name, value)| Some((name.as_str(), value.as_f64()?))).collect()
}

fn charts(models: &[ModelRow], trained: &[Option<&Finished>]) -> Result<Vec<Chart>> {
    let mut logs = Vec::new();
    for (model, done) in models.iter().zip(trained) {
        if let Some(done) = done {
            logs.push((model.name, curves::read(&done.folder.join("run/log.jsonl"))?));
        }
    }
    Ok(curves::charts(&logs))
}
