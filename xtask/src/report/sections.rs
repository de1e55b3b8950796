//! The report's sections, in the order in which they are read.

use super::{
    Report, beside,
    blocks::{Block, Chart, Section, Table},
    figures, quality,
    table::Td,
    text, training,
};
use crate::reproduce::{Outcome, experiment::MeasureKind};

/// The sections that have something to say.
pub(crate) fn sections(report: &Report) -> Vec<Section> {
    let all = [
        ("Without a result", missing(report)),
        ("Differences", quality::differences(report)),
        ("Published tables", beside::tables(report)),
        ("Distances", quality::distances(report)),
        ("Samples", samples(report)),
        ("Figures", figures::section(report)),
        ("Estimation gap", quality::gap(report)),
        ("Training", training::section(report)),
        ("Further measures", further(report)),
        ("Settings", settings(report)),
        ("Wall times", times(report)),
        ("Machine and versions", machine(report)),
    ];
    let sections = all.into_iter().filter(|(_, blocks)| !blocks.is_empty());
    sections.map(|(title, blocks)| Section { title, blocks }).collect()
}

fn missing(report: &Report) -> Vec<Block> {
    let mut blocks = Vec::new();
    let failures: Vec<(String, String)> = report
        .cells
        .iter()
        .filter_map(|(name, outcome)| match outcome {
            Outcome::Failed(reason) | Outcome::Skipped(reason) => {
                Some((name.to_string(), reason.clone()))
            }
            Outcome::Done(_) | Outcome::Absent => None,
        })
        .collect();
    if !failures.is_empty() {
        blocks.push(Block::Failures(failures));
    }
    let absent = report.cells.iter().filter(|(_, outcome)| matches!(outcome, Outcome::Absent));
    let absent = absent.count();
    if absent > 0 {
        blocks.push(Block::Text(format!(
            "{absent} of {} cells have not been run. What they would have shown is left empty.",
            report.cells.len()
        )));
    }
    blocks
}

fn samples(report: &Report) -> Vec<Block> {
    let samples = &report.experiment.sample;
    let shown = samples.grid.min(samples.num);
    let samplers = report.experiment.samplers.iter();
    let samplers = samplers.map(|s| (s.name.clone(), s.about())).collect();
    vec![
        Block::Quiet(format!(
            "The first {shown} of {} pictures a cell, sampling seed {}; the same place in two \
             grids is the same latent.",
            samples.num, samples.seed
        )),
        Block::Grids(samplers, report.shots.clone()),
    ]
}

/// Whatever has no section of its own.
fn further(report: &Report) -> Vec<Block> {
    let mut blocks = Vec::new();
    for kind in [MeasureKind::Floor, MeasureKind::Pixels] {
        for (measure, values) in report.evidence.of_kind(report.experiment, kind) {
            let mut columns: Vec<&str> =
                values.iter().flat_map(|value| value.numbers().into_keys()).collect();
            columns.sort_unstable();
            columns.dedup();
            let words: Vec<String> = columns.iter().map(|name| text::words(name)).collect();
            let heading = ["of", "by"].into_iter().chain(words.iter().map(String::as_str));
            let mut table = Table::new(heading);
            for value in &values {
                let of = value.run.map_or("real pictures".into(), |run| report.name_of(run));
                let by = value.sampler.map(|s| report.experiment.samplers[s].name.clone());
                let words = [Td::Word(of), Td::Word(by.unwrap_or_default())];
                let numbers = value.numbers();
                let numbers = columns.iter().map(|name| Td::number(numbers.get(name).copied()));
                table.rows.push(words.into_iter().chain(numbers).collect());
            }
            let aside = measure.options.iter().map(|(k, v)| format!("{k} {v}"));
            let aside = aside.collect::<Vec<_>>().join(", ");
            blocks.push(Block::Heading(measure.name().to_string(), aside));
            blocks.push(Block::Table(table));
            blocks.push(Block::Quiet(kind.about().to_string()));
        }
    }
    blocks
}

fn settings(report: &Report) -> Vec<Block> {
    let mut blocks = Vec::new();
    if !report.settings.differing.is_empty() {
        let names = report.experiment.models.iter().map(|model| model.name.as_str());
        let mut table = Table::new(std::iter::once("setting").chain(names));
        for (key, values) in &report.settings.differing {
            table.rows.push(std::iter::once(key).chain(values).map(Td::word).collect());
        }
        blocks.push(Block::Table(table));
    }
    let mut table = Table::new(["setting", "all models"]);
    table.rows =
        report.settings.shared.iter().map(|(k, v)| vec![Td::word(k), Td::word(v)]).collect();
    blocks.push(Block::Folded("What all models share", table));
    blocks
}

fn times(report: &Report) -> Vec<Block> {
    let mut table = Table::new(["cell", "time", "reused from"]);
    for (name, outcome) in &report.cells {
        let time = match outcome {
            Outcome::Done(done) => text::seconds(done.record.seconds),
            Outcome::Failed(_) => "failed".to_string(),
            Outcome::Skipped(_) => "skipped".to_string(),
            Outcome::Absent => "not run".to_string(),
        };
        let reused = outcome.finished().is_some_and(|done| done.reused);
        let from = if reused { "an earlier run" } else { "" };
        table.rows.push(vec![Td::word(name), Td::Number(time), Td::word(from)]);
    }
    let mut blocks = vec![Block::Text(report.time_line())];
    if let Some(chart) = figures::wall_time(report, &quality::families(report)) {
        let (file, alt) = ("wall-time.svg".into(), format!("Line chart: {}", chart.title));
        blocks.push(Block::Charts(vec![Chart { file, alt, chart }]));
    }
    blocks.push(Block::Folded("Every cell", table));
    blocks
}

fn machine(report: &Report) -> Vec<Block> {
    let facts = report.machine.rows().into_iter().map(|(name, fact)| (name.to_string(), fact));
    let versions = report.versions.iter().map(|(name, version)| (name.clone(), version.clone()));
    let rows = facts.chain(versions).map(|(name, fact)| vec![Td::Word(name), Td::Prose(fact)]);
    vec![Block::Table(Table { heading: vec![String::new(); 2], rows: rows.collect() })]
}
