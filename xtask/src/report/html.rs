//! The report as one page that needs nothing else: style, pictures and drawings are inside.

use super::{
    GridRow, Report, ValueTable, chart,
    grids::{self, Picture},
    page,
    table::{Td, table},
    text::{self, escape},
};
use crate::reproduce::Outcome;

/// The whole page.
pub(crate) fn render(report: &Report) -> String {
    let banner = report
        .banner()
        .map(|banner| format!("<p class=\"banner\">{banner}</p>\n"))
        .unwrap_or_default();
    let about = escape(report.experiment.about.trim());
    let sections = [
        ("Without a result", missing(report)),
        ("Samples", samples(report)),
        ("Training", training(report)),
        ("Measured values", values(report)),
        ("Settings", settings(report)),
        ("Wall times", times(report)),
        ("Machine and versions", machine(report)),
    ];
    page::render(&report.experiment.title, &format!("{banner}<p>{about}</p>\n"), &sections)
}

fn missing(report: &Report) -> String {
    let items: String = report
        .missing()
        .map(|(name, reason)| format!("<b>{}</b><pre>{}</pre>\n", escape(name), escape(reason)))
        .collect();
    if items.is_empty() { items } else { format!("<div class=\"missing\">\n{items}</div>\n") }
}

fn samples(report: &Report) -> String {
    let samplers: Vec<(&str, &str)> =
        report.grids.iter().map(|row| (row.sampler, row.about.as_str())).collect();
    let seed = report.experiment.sample.seed;
    let pictures: Vec<Picture> = report.grids.iter().flat_map(|row| pictures(row, seed)).collect();
    format!(
        "<p class=\"quiet\">{} images a cell, seed {seed}; the same place in two grids is the same \
         seed.</p>\n{}",
        report.experiment.sample.num,
        grids::figure(&samplers, &pictures)
    )
}

fn pictures<'a>(row: &'a GridRow, seed: u64) -> impl Iterator<Item = Picture<'a>> {
    row.grids.iter().map(move |grid| {
        let calls = grid.calls.map(|calls| format!(", {calls} network calls")).unwrap_or_default();
        let note = grid.seconds.map(|s| text::seconds(s) + &calls).unwrap_or_default();
        Picture { model: grid.model, sampler: row.sampler, seed, png: &grid.png, note }
    })
}

fn training(report: &Report) -> String {
    let rows: Vec<Vec<Td>> = report
        .models
        .iter()
        .map(|model| {
            vec![
                Td::Word(model.name.to_string()),
                Td::Number(text::optional(model.number("parameters"))),
                Td::Number(text::optional(model.number("steps"))),
                Td::Number(text::optional(model.number("loss"))),
                Td::Number(model.seconds.map(text::seconds).unwrap_or_default()),
                Td::Prose(model.about.to_string()),
            ]
        })
        .collect();
    let heading = ["model", "parameters", "steps", "last loss", "time", "what"];
    let charts: String = report.charts.iter().map(|chart| chart::figure(&chart.drawing)).collect();
    format!("{}<div class=\"charts\">\n{charts}</div>\n", table(&heading, &rows))
}

fn values(report: &Report) -> String {
    report.values.iter().map(value_table).collect()
}

fn value_table(values: &ValueTable) -> String {
    let columns = values.columns();
    let words: Vec<String> = columns.iter().map(|name| text::words(name)).collect();
    let heading: Vec<&str> =
        ["model", "sampler"].into_iter().chain(words.iter().map(String::as_str)).collect();
    let rows: Vec<Vec<Td>> = values
        .rows
        .iter()
        .map(|row| {
            let words = [row.model, row.sampler].map(|word| Td::Word(word.to_string()));
            let numbers = columns.iter().map(|name| text::optional(row.values.get(name).copied()));
            words.into_iter().chain(numbers.map(Td::Number)).collect()
        })
        .collect();
    format!(
        "<h3>{} <span>against {}</span></h3>\n{}<p class=\"quiet\">{}</p>\n",
        values.kind.name(),
        escape(values.reference),
        table(&heading, &rows),
        escape(values.kind.about())
    )
}

fn settings(report: &Report) -> String {
    let mut body = String::new();
    if !report.settings.differing.is_empty() {
        let mut heading = vec!["setting"];
        heading.extend(report.models.iter().map(|model| model.name));
        let rows: Vec<Vec<Td>> = report
            .settings
            .differing
            .iter()
            .map(|(key, values)| {
                std::iter::once(key).chain(values).cloned().map(Td::Word).collect()
            })
            .collect();
        body += &table(&heading, &rows);
    }
    let rows: Vec<Vec<Td>> = report
        .settings
        .shared
        .iter()
        .map(|(key, value)| vec![Td::Word(key.clone()), Td::Word(value.clone())])
        .collect();
    let shared = table(&["setting", "all models"], &rows);
    body + &format!("<details open><summary>What all models share</summary>\n{shared}</details>\n")
}

fn times(report: &Report) -> String {
    let rows: Vec<Vec<Td>> = report
        .cells
        .iter()
        .map(|row| {
            let time = match row.outcome {
                Outcome::Done(done) => text::seconds(done.record.seconds),
                Outcome::Failed(_) => "failed".to_string(),
                Outcome::Skipped(_) => "skipped".to_string(),
            };
            let reused = row.outcome.finished().is_some_and(|done| done.reused);
            let from = if reused { "an earlier run" } else { "" };
            vec![Td::Word(row.name.to_string()), Td::Number(time), Td::Word(from.to_string())]
        })
        .collect();
    let cells = table(&["cell", "time", "reused from"], &rows);
    format!("<p>{}</p>\n{cells}", escape(&report.time_line()))
}

fn machine(report: &Report) -> String {
    let facts = report.machine.rows().into_iter().map(|(name, fact)| (name.to_string(), fact));
    let versions = report.versions.iter().map(|(name, version)| (name.clone(), version.clone()));
    let rows: Vec<Vec<Td>> =
        facts.chain(versions).map(|(name, fact)| vec![Td::Word(name), Td::Prose(fact)]).collect();
    table(&["", ""], &rows)
}
