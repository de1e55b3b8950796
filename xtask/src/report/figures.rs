//! Figures drawn with a model, and what of them is a number.

use super::{
    Report,
    blocks::{Block, Still, Table},
    table::Td,
    text,
};
use crate::reproduce::{Finished, experiment::FigureKind};
use diff_core::plot::{LineChart, Series};
use serde_json::Value;

/// Every figure with a result.
pub(super) fn section(report: &Report) -> Vec<Block> {
    let mut blocks = Vec::new();
    for (run, figure, done, png) in &report.figures {
        let figure = &report.experiment.figures[*figure];
        let words = |value: &toml::Value| value.as_str().map_or(value.to_string(), String::from);
        let options = figure.options.iter().map(|(k, v)| format!("{k} {}", words(v)));
        let aside = format!("{}: {}", report.name_of(*run), options.collect::<Vec<_>>().join(", "));
        blocks.push(Block::Heading(figure.name().to_string(), aside));
        let file = format!("{}-{}.png", figure.name(), report.name_of(*run));
        let alt = format!("{} of {}", figure.name(), report.name_of(*run));
        blocks.push(Block::Still(Still { file, alt, png: png.clone() }));
        blocks.push(Block::Quiet(figure.about.clone()));
        blocks.extend(numbers(figure.kind, done).map(Block::Table));
    }
    blocks
}

/// The single numbers of the entries of a summary's list.
fn numbers(kind: FigureKind, done: &Finished) -> Option<Table> {
    let entries = done.record.summary.get(kind.rows()?)?.as_array()?;
    let fields = entries.first()?.as_object()?.iter();
    let names: Vec<&String> =
        fields.filter(|(_, value)| value.is_number()).map(|(name, _)| name).collect();
    let words: Vec<String> = names.iter().map(|name| text::words(name)).collect();
    let mut table = Table::new(words.iter().map(String::as_str));
    for entry in entries {
        let number = |name: &&String| Td::number(entry.get(name.as_str()).and_then(Value::as_f64));
        table.rows.push(names.iter().map(number).collect());
    }
    Some(table)
}

/// Seconds a picture by sampling steps, a line for every way to sample with three numbers of steps or
/// more.
pub(super) fn wall_time(report: &Report, families: &[(String, Vec<usize>)]) -> Option<LineChart> {
    let experiment = report.experiment;
    let point = |sampler: usize| {
        let own = |(_, by, done): &(_, usize, Option<&Finished>)| {
            (*by == sampler).then_some((*done)?.record.summary.get("seconds")?.as_f64()?)
        };
        let seconds = report.evidence.samples.iter().find_map(own)?;
        let steps = f64::from(experiment.samplers[sampler].steps);
        Some((steps, seconds / f64::from(experiment.sample.num)))
    };
    let line = |(name, members): &(String, Vec<usize>)| Series {
        name: name.clone(),
        points: members.iter().filter_map(|sampler| point(*sampler)).collect(),
        ..Series::default()
    };
    let series: Vec<Series> = families.iter().map(line).collect();
    series.iter().any(|series| series.points.len() > 2).then(|| LineChart {
        title: "Wall time by sampling steps".into(),
        x_label: "sampling steps".into(),
        y_label: "seconds a picture".into(),
        x_log: true,
        y_log: true,
        series,
    })
}
