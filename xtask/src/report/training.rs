//! The section about training: what it cost, and its curves.

use super::{
    Report,
    blocks::{Block, Chart, Table},
    curves,
    table::Td,
    text,
};
use crate::reproduce::Finished;
use anyhow::Result;

/// A number of a training's summary.
fn number(done: Option<&Finished>, name: &str) -> Option<f64> {
    done?.record.summary.get(name)?.as_f64()
}

pub(super) fn section(report: &Report) -> Vec<Block> {
    let mut table = Table::new([
        "model",
        "parameters",
        "steps",
        "pictures",
        "last loss",
        "FLOPs",
        "of the first",
        "time",
        "what",
    ]);
    let first = report.evidence.trained.first().and_then(|(_, done)| number(*done, "flops"));
    for (run, done) in &report.evidence.trained {
        let flops = number(*done, "flops");
        table.rows.push(vec![
            Td::Word(report.name_of(*run)),
            Td::number(number(*done, "parameters")),
            Td::number(number(*done, "steps")),
            Td::number(number(*done, "images")),
            Td::number(number(*done, "loss")),
            Td::Number(flops.map(|f| format!("{f:.2e}")).unwrap_or_default()),
            Td::number(flops.zip(first).map(|(flops, first)| flops / first)),
            Td::Number(done.map(|done| text::seconds(done.record.seconds)).unwrap_or_default()),
            Td::Prose(report.experiment.models[run.model].about.clone()),
        ]);
    }
    let mut seeds: Vec<u64> = report.evidence.trained.iter().map(|(run, _)| run.seed).collect();
    seeds.sort_unstable();
    seeds.dedup();
    let seeds = seeds.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
    let mut blocks = vec![Block::Table(table), Block::Text(format!("Training seeds: {seeds}."))];
    if let Some(classifier) = &report.evidence.classifier {
        blocks.extend(about_classifier(*classifier));
    }
    if !report.curves.is_empty() {
        blocks.push(Block::Charts(report.curves.clone()));
    }
    blocks
}

fn about_classifier(done: Option<&Finished>) -> Option<Block> {
    let accuracy = done?.record.summary.pointer("/held_out/accuracy")?.as_f64()?;
    let parameters = number(done, "parameters")?;
    Some(Block::Text(format!(
        "The classifier that samples are judged by has {} parameters and is right on {:.1} % of \
         the held-out pictures.",
        text::number(parameters),
        100.0 * accuracy
    )))
}

/// The loss curves of some trainings.
pub(super) fn charts<'a>(
    trained: impl Iterator<Item = (&'a str, Option<&'a Finished>)>,
) -> Result<Vec<Chart>> {
    let mut logs = Vec::new();
    for (name, done) in trained {
        // A checkpoint that was taken over has no log.
        let log = done.map(|done| done.folder.join("run/log.jsonl"));
        if let Some(log) = log.filter(|log| log.exists()) {
            logs.push((name, curves::read(&log)?));
        }
    }
    Ok(curves::charts(&logs))
}
