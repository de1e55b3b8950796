//! Published tables, and the same cells of ours beside them.

use super::{
    Report,
    blocks::{Block, Table},
    findings,
    quality::estimate,
    statistics::{Estimate, rank_correlation},
    table::Td,
    text,
};
use crate::reproduce::experiment::{Answer, MeasureKind, PublishedTable};

/// Every published table that the experiment answers.
pub(super) fn tables(report: &Report) -> Vec<Block> {
    let mut blocks = Vec::new();
    for table in &report.experiment.tables {
        blocks.push(Block::Heading(table.title.clone(), table.source.clone()));
        let ours = values(report, table);
        blocks.push(Block::Table(side_by_side(table, &ours)));
        let pairs: Vec<(f64, f64)> = table
            .rows
            .iter()
            .zip(&ours)
            .flat_map(|(row, ours)| ours.iter().zip(&row.published))
            .filter_map(|(ours, published)| Some(((*ours)?.value, *published)))
            .filter(|(_, published)| published.is_finite())
            .collect();
        let mut words = format!(
            "Ours is {}, the published number {}. They are not the same quantity, so what can be \
             compared is their order.",
            table.ours, table.metric
        );
        if let Some(correlation) = rank_correlation(&pairs) {
            words += &format!(
                " Spearman's rank correlation over the {} cells: {}.",
                pairs.len(),
                text::number(correlation)
            );
        }
        blocks.push(Block::Quiet(words));
        blocks.extend((!table.about.is_empty()).then(|| Block::Quiet(table.about.clone())));
    }
    blocks
}

/// Ours, row by row; none where there is no result.
fn values(report: &Report, table: &PublishedTable) -> Vec<Vec<Option<Estimate>>> {
    let experiment = report.experiment;
    let scores = findings::scores(experiment, &report.evidence, MeasureKind::Fd);
    let value = |cell: &String| match experiment.answer(cell)? {
        Answer::Distance { model, sampler } => {
            let name = &experiment.models[model].name;
            scores.iter().find(|s| s.model == *name && s.sampler == sampler)?.fd
        }
        Answer::Number { measure, field } => {
            let of = |value: &&super::evidence::Measured| {
                value.measure == measure && value.run.is_none_or(|run| run.model == 0)
            };
            let own = report.evidence.values.iter().filter(of);
            let bound = |value: &super::evidence::Measured, end: &str| {
                value.number(&format!("{field}_{end}"))
            };
            let read = |value: &super::evidence::Measured| {
                let interval = bound(value, "low").zip(bound(value, "high"));
                Some((value.number(field)?, interval))
            };
            Estimate::over(&own.filter_map(read).collect::<Vec<_>>())
        }
    };
    table.rows.iter().map(|row| row.cells.iter().map(value).collect()).collect()
}

fn side_by_side(table: &PublishedTable, ours: &[Vec<Option<Estimate>>]) -> Table {
    let columns = table.columns.iter().map(String::as_str);
    let mut page = Table::new(["", "whose"].into_iter().chain(columns));
    for (row, ours) in table.rows.iter().zip(ours) {
        let own = ours.iter().map(|e| Td::Number(e.map(|e| estimate(&e)).unwrap_or_default()));
        let published = row.published.iter().map(|p| Td::number(p.is_finite().then_some(*p)));
        page.rows.push([Td::word(&row.name), Td::word("ours")].into_iter().chain(own).collect());
        let heads = [Td::word(""), Td::word("published")];
        page.rows.push(heads.into_iter().chain(published).collect());
    }
    page
}
