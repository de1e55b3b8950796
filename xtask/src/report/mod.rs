//! The report of an experiment: gathered once, then written as a page, as Markdown and as data.

mod base64;
mod beside;
mod blocks;
mod chart;
pub(crate) mod compare;
pub(crate) mod curves;
mod evidence;
mod figures;
mod findings;
mod grids;
mod html;
mod markdown;
mod page;
mod quality;
mod results;
mod sections;
mod settings;
mod statistics;
mod table;
pub(crate) mod text;
mod training;

use crate::{
    machine::Machine,
    reproduce::{
        Finished, Outcome,
        experiment::{Experiment, MeasureKind},
        plan::{Cell, Run},
        task::{DRAWING, FIGURE, GRID},
    },
    workspace::Binaries,
};
use anyhow::Result;
use blocks::{Block, Chart, Shot};
use diff_core::save::{self, io_error};
use evidence::Evidence;
use settings::Settings;
use std::{collections::BTreeMap, fs, path::Path};

/// Everything the report shows.
pub(crate) struct Report<'a> {
    experiment: &'a Experiment,
    evidence: Evidence<'a>,
    settings: Settings,
    /// Loss curves of the first training of every model.
    curves: Vec<Chart>,
    /// Samples of the first training of every model.
    shots: Vec<Shot>,
    /// Drawings by the name of their measure.
    drawings: Vec<(String, String)>,
    /// Figures of a model with their PNG.
    figures: Vec<(Run, usize, &'a Finished, Vec<u8>)>,
    cells: Vec<(&'a str, &'a Outcome)>,
    versions: &'a BTreeMap<String, String>,
    machine: Machine,
    seconds: f64,
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
        let evidence = Evidence::gather(cells, outcomes);
        let firsts = firsts(&evidence.trained);
        let trained: Vec<Option<&Finished>> = firsts.iter().map(|(_, done)| *done).collect();
        let mut report = Report {
            experiment,
            drawings: drawings(experiment, &evidence)?,
            settings: Settings::gather(experiment, &trained)?,
            curves: Vec::new(),
            shots: Vec::new(),
            figures: Vec::new(),
            cells: cells.iter().map(|cell| cell.name.as_str()).zip(outcomes).collect(),
            versions: binaries.versions(),
            machine: Machine::here(),
            seconds,
            evidence,
        };
        let named =
            firsts.iter().map(|(run, done)| (experiment.models[run.model].name.as_str(), *done));
        report.curves = training::charts(named)?;
        for (run, sampler, done) in &report.evidence.samples {
            if firsts.iter().any(|(first, _)| first == run) {
                let sampler = &experiment.samplers[*sampler].name;
                report.shots.push(shot(&experiment.models[run.model].name, *run, sampler, *done)?);
            }
        }
        for (run, figure, done) in &report.evidence.figures {
            if let Some(done) = *done {
                let path = done.folder.join(FIGURE);
                let png = fs::read(&path).map_err(io_error(&path, "read"))?;
                report.figures.push((*run, *figure, done, png));
            }
        }
        Ok(report)
    }

    /// Writes `report.html`, `report.md` with its `files`, and `results.json`.
    pub(crate) fn write(&self, out: &Path) -> Result<()> {
        let files = out.join("files");
        for section in sections::sections(self) {
            for block in &section.blocks {
                match block {
                    Block::Charts(charts) => charts.iter().try_for_each(|chart| {
                        let svg = chart.chart.to_svg();
                        save::atomic_bytes(&files.join(&chart.file), svg.as_bytes())
                    })?,
                    Block::Drawing(file, _, svg) => {
                        save::atomic_bytes(&files.join(file), svg.as_bytes())?;
                    }
                    Block::Still(still) => {
                        save::atomic_bytes(&files.join(&still.file), &still.png)?;
                    }
                    Block::Grids(_, shots) => {
                        shots.iter().filter(|shot| !shot.png.is_empty()).try_for_each(|shot| {
                            save::atomic_bytes(&files.join(&shot.file), &shot.png)
                        })?
                    }
                    _ => {}
                }
            }
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

    /// A model's name, with its training seed where there are several.
    fn name_of(&self, run: Run) -> String {
        self.experiment.name_of(run)
    }

    /// Where the time went, in a sentence.
    fn time_line(&self) -> String {
        let done = self.cells.iter().filter_map(|(_, outcome)| outcome.finished());
        let (reused, fresh): (Vec<_>, Vec<_>) = done.partition(|done| done.reused);
        let sum = |part: &[&Finished]| part.iter().map(|done| done.record.seconds).sum::<f64>();
        let total = sum(&fresh) + sum(&reused);
        let mut line = format!(
            "This run took {}; all its cells together took {}, some of it side by side.",
            text::seconds(self.seconds),
            text::seconds(total)
        );
        if !reused.is_empty() {
            let from = text::seconds(sum(&reused));
            line += &format!(" {} of them ({from}) were finished by earlier runs.", reused.len());
        }
        let processors = self.processors();
        if processors.len() > 1 {
            let counts = processors.iter().map(|(name, count)| format!("{count} on {name}"));
            let counts = counts.collect::<Vec<_>>().join(", ");
            line += &format!(" Cells by the processor they ran on: {counts}.");
        }
        line
    }

    /// The processors that cells ran on, as far as they are known, and how many ran on each.
    fn processors(&self) -> BTreeMap<&str, usize> {
        let mut counts = BTreeMap::new();
        for done in self.cells.iter().filter_map(|(_, outcome)| outcome.finished()) {
            if !done.record.processor.is_empty() {
                *counts.entry(done.record.processor.as_str()).or_default() += 1;
            }
        }
        counts
    }
}

fn drawings(experiment: &Experiment, evidence: &Evidence) -> Result<Vec<(String, String)>> {
    let mut drawings = Vec::new();
    for (measure, values) in evidence.of_kind(experiment, MeasureKind::Illustrate) {
        for done in values.iter().filter_map(|value| value.done) {
            let path = done.folder.join(DRAWING);
            let svg = fs::read_to_string(&path).map_err(io_error(&path, "read"))?;
            drawings.push((measure.name().to_string(), svg));
        }
    }
    Ok(drawings)
}

/// The first training of every model.
fn firsts<'a>(trained: &[(Run, Option<&'a Finished>)]) -> Vec<(Run, Option<&'a Finished>)> {
    let mut firsts: Vec<(Run, Option<&Finished>)> = Vec::new();
    for (run, done) in trained {
        if firsts.iter().all(|(first, _)| first.model != run.model) {
            firsts.push((*run, *done));
        }
    }
    firsts
}

fn shot(model: &str, run: Run, sampler: &str, done: Option<&Finished>) -> Result<Shot> {
    let png = match done.map(|done| done.folder.join(GRID)) {
        Some(path) => fs::read(&path).map_err(io_error(&path, "read"))?,
        None => Vec::new(),
    };
    let calls = done.and_then(|done| done.record.summary.get("network_calls")?.as_u64());
    let calls = calls.map(|calls| format!(", {calls} network calls")).unwrap_or_default();
    let time = done.map(|done| text::seconds(done.record.seconds) + &calls);
    Ok(Shot {
        model: model.to_string(),
        seed: run.seed,
        sampler: sampler.to_string(),
        file: format!("{model}-{sampler}.png"),
        png,
        note: time.unwrap_or_default(),
    })
}
