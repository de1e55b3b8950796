//! The sections about the quality of samples: differences, distances, the gap.

use super::{
    Report,
    blocks::{Block, Chart, Table},
    evidence::Measured,
    findings::{self, Difference, SPACES, Score},
    statistics::{Estimate, Spread},
    table::Td,
    text,
};
use crate::reproduce::experiment::{Contrast, MeasureKind, Sampler};
use diff_core::plot::{LineChart, Series};
use serde_json::Value;
use std::collections::BTreeMap;

/// What was asked, answered.
pub(super) fn differences(report: &Report) -> Vec<Block> {
    let experiment = report.experiment;
    let mut blocks = Vec::new();
    for contrast in &experiment.contrasts {
        for (kind, space) in SPACES {
            let all = findings::differences(experiment, &report.evidence, kind);
            let own: Vec<_> = all.iter().filter(|d| std::ptr::eq(d.contrast, contrast)).collect();
            if own.is_empty() {
                continue;
            }
            let heading = format!("{} against {}, {space}", contrast.model, contrast.against);
            blocks.push(Block::Heading(heading, contrast.about.clone()));
            blocks.push(Block::Table(contrast_table(report, contrast, &own, kind)));
        }
    }
    if !blocks.is_empty() {
        let words = "Fréchet distances of both models, their difference with its 95 % interval (of \
                     one training: other samples, drawn pairwise by bootstrap; of several: \
                     Student's t over training seeds), and their ratio beside the published one. \
                     A negative difference means that the first model is better. An interval of \
                     one training says nothing about other training seeds.";
        blocks.insert(0, Block::Quiet(words.into()));
    }
    blocks
}

fn contrast_table(
    report: &Report,
    contrast: &Contrast,
    differences: &[&Difference],
    kind: MeasureKind,
) -> Table {
    let experiment = report.experiment;
    // A published FID is of a network's features: it stands beside those alone.
    let published = |d: &Difference| match kind {
        MeasureKind::Fd => d.published(experiment),
        _ => None,
    };
    let beside = differences.iter().any(|d| published(d).is_some());
    let mut heading = vec!["by", &contrast.model, &contrast.against, "difference", "interval"];
    heading.extend(["verdict", "ratio"]);
    if beside {
        heading.extend(["published ratio", "published"]);
    }
    let mut table = Table::new(heading);
    for d in differences {
        let mut row = vec![
            Td::word(&experiment.samplers[d.sampler].name),
            Td::number(Some(d.model)),
            Td::number(Some(d.against)),
            Td::number(Some(d.difference.value)),
            Td::Number(interval(&d.difference)),
            Td::word(d.verdict()),
            Td::number(Some(d.ratio())),
        ];
        if beside {
            let source = published(d).map(|p| {
                let (value, base) = (text::number(p.value), text::number(p.baseline));
                format!("{}: {value} against {base} ({})", p.metric, p.source)
            });
            row.push(Td::number(published(d).map(|p| p.value / p.baseline)));
            row.push(Td::Prose(source.unwrap_or_default()));
        }
        table.rows.push(row);
    }
    table
}

/// Fréchet distances and classifier scores of everything.
pub(super) fn distances(report: &Report) -> Vec<Block> {
    let experiment = report.experiment;
    let mut blocks = Vec::new();
    for (kind, space) in SPACES {
        let scores = findings::scores(experiment, &report.evidence, kind);
        if scores.iter().all(|score| score.fd.is_none()) {
            continue;
        }
        let heading = format!("Fréchet distance {space}");
        blocks.push(Block::Heading(heading, "lower is better".into()));
        blocks.push(Block::Table(by_sampler(report, &scores, |score| score.fd)));
        blocks.push(Block::Quiet(kind.about().into()));
        let charts = by_steps(report, &scores, kind.name(), space);
        if !charts.is_empty() {
            blocks.push(Block::Charts(charts));
        }
        if kind == MeasureKind::Fd {
            blocks.push(Block::Heading("Classifier score".into(), "higher is better".into()));
            blocks.push(Block::Table(by_sampler(report, &scores, |score| score.cs)));
        }
    }
    for (_, values) in report.evidence.of_kind(experiment, MeasureKind::Fd) {
        blocks.push(Block::Heading(
            "Nearest neighbours".into(),
            "Euclidean distance of pictures, grey levels 0 to 1".into(),
        ));
        blocks.push(Block::Table(neighbours(report, &values)));
        blocks.push(Block::Quiet(
            "Mean distance of a sample to the nearest training picture, to the nearest of as many \
             training pictures as there are held-out ones, and to the nearest held-out one; the \
             share of samples that lie closer to the former than to the latter (one half for a \
             model that memorises nothing), and the share of exact copies."
                .into(),
        ));
    }
    blocks
}

/// Samplers with which a table is still read across.
const MOST_ACROSS: usize = 10;

/// Models down, samplers across; the other way round where the samplers are many.
fn by_sampler(
    report: &Report,
    scores: &[Score],
    value: impl Fn(&Score) -> Option<Estimate>,
) -> Table {
    let experiment = report.experiment;
    let samplers: Vec<&str> = experiment.samplers.iter().map(|s| s.name.as_str()).collect();
    let models: Vec<&str> = experiment.models.iter().map(|model| model.name.as_str()).collect();
    let cell = |model: &str, s: usize| {
        let score = scores.iter().find(|x| x.model == model && x.sampler == s);
        Td::Number(score.and_then(&value).map(|e| estimate(&e)).unwrap_or_default())
    };
    if samplers.len() > MOST_ACROSS.max(models.len()) {
        let mut table = Table::new(std::iter::once("by").chain(models.iter().copied()));
        table.rows.extend(samplers.iter().enumerate().map(|(s, sampler)| {
            let cells = models.iter().map(|model| cell(model, s));
            std::iter::once(Td::word(sampler)).chain(cells).collect()
        }));
        return table;
    }
    let mut table = Table::new(std::iter::once("model").chain(samplers.iter().copied()));
    table.rows.extend(models.iter().map(|model| {
        let cells = (0..samplers.len()).map(|s| cell(model, s));
        std::iter::once(Td::word(model)).chain(cells).collect()
    }));
    table
}

/// Distance by sampling steps, a chart for every sampler that is run with three numbers or more.
fn by_steps(report: &Report, scores: &[Score], file: &str, space: &str) -> Vec<Chart> {
    let experiment = report.experiment;
    let chart = |(name, members): (String, Vec<usize>)| {
        let line = |model: &str| {
            let own = |score: &&Score| score.model == model && members.contains(&score.sampler);
            let known = scores.iter().filter(own).filter_map(|score| {
                let steps = f64::from(experiment.samplers[score.sampler].steps);
                Some((steps, score.fd?))
            });
            let known: Vec<(f64, Estimate)> = known.collect();
            Series {
                name: model.to_string(),
                points: known.iter().map(|(x, e)| (*x, e.value)).collect(),
                band: known.iter().filter_map(|(x, e)| band(*x, e)).collect(),
            }
        };
        let title = format!("Fréchet distance {space} by sampling steps, {name}");
        let series = experiment.models.iter().map(|model| line(&model.name));
        Chart {
            file: format!("{file}-{}.svg", name.replace([' ', ','], "-")),
            alt: format!("Line chart: {title}"),
            chart: LineChart {
                title,
                x_label: "sampling steps".into(),
                y_label: "Fréchet distance".into(),
                x_log: true,
                y_log: true,
                series: series.filter(|series| !series.points.is_empty()).collect(),
            },
        }
    };
    families(report).into_iter().map(chart).collect()
}

/// Samplers that differ in their steps alone, where there are three or more of them.
pub(super) fn families(report: &Report) -> Vec<(String, Vec<usize>)> {
    let mut families: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (s, sampler) in report.experiment.samplers.iter().enumerate() {
        families.entry(family(sampler)).or_default().push(s);
    }
    families.into_iter().filter(|(_, members)| members.len() > 2).collect()
}

/// An interval of one training as it is; of several, one deviation to both sides.
fn band(x: f64, estimate: &Estimate) -> Option<(f64, f64, f64)> {
    match estimate.spread {
        Spread::Unknown => None,
        Spread::Interval(low, high) => Some((x, low, high)),
        Spread::Seeds(d, _) => Some((x, estimate.value - d, estimate.value + d)),
    }
}

/// What samplers have in common that differ in their steps alone.
fn family(sampler: &Sampler) -> String {
    let eta = sampler.eta.map(|eta| format!(" eta {eta}")).unwrap_or_default();
    let trajectory = sampler.trajectory.as_deref().map(|t| format!(" {t}")).unwrap_or_default();
    format!("{}{eta}{trajectory}", sampler.sampler)
}

fn neighbours(report: &Report, values: &[&Measured]) -> Table {
    const COLUMNS: [&str; 5] =
        ["nn_train", "nn_train_equal", "nn_held_out", "closer_to_train", "copies"];
    let mut table = Table::new([
        "model",
        "by",
        "to train",
        "to as many",
        "to held-out",
        "closer to train",
        "copies",
    ]);
    for value in values {
        let (Some(run), Some(sampler)) = (value.run, value.sampler) else { continue };
        let words =
            [Td::Word(report.name_of(run)), Td::word(&report.experiment.samplers[sampler].name)];
        let numbers = COLUMNS.map(|name| Td::number(value.number(name)));
        table.rows.push(words.into_iter().chain(numbers).collect());
    }
    table
}

/// The accumulated gap of every model: its end, and its course.
pub(super) fn gap(report: &Report) -> Vec<Block> {
    let mut blocks = Vec::new();
    for (measure, values) in report.evidence.of_kind(report.experiment, MeasureKind::Gap) {
        let options = measure.options.iter().map(|(k, v)| format!("{k} {v}"));
        let aside = options.collect::<Vec<_>>().join(", ");
        blocks.push(Block::Heading(measure.name().to_string(), aside));
        blocks.push(Block::Table(gap_ends(report, &values)));
        let charts = [("l2", "accumulated gap, l2"), ("velocity", "growth of the gap, per step")]
            .into_iter()
            .filter_map(|(scalar, label)| gap_chart(report, measure.name(), scalar, label, &values))
            .collect();
        blocks.push(Block::Charts(charts));
    }
    if !blocks.is_empty() {
        blocks.insert(0, Block::Quiet(MeasureKind::Gap.about().into()));
    }
    for (measure, values) in report.evidence.of_kind(report.experiment, MeasureKind::Bounds) {
        let options = measure.options.iter().map(|(k, v)| format!("{k} {v}"));
        let aside = options.collect::<Vec<_>>().join(", ");
        blocks.push(Block::Heading(measure.name().to_string(), aside));
        blocks.push(Block::Table(bounds(report, &values)));
        blocks.push(Block::Quiet(MeasureKind::Bounds.about().into()));
    }
    for (name, svg) in &report.drawings {
        blocks.push(Block::Heading(name.clone(), String::new()));
        let alt = "Paths of one sample with errors that agree and with errors that alternate";
        blocks.push(Block::Drawing(format!("{name}.svg"), alt.into(), svg.clone()));
        blocks.push(Block::Quiet(MeasureKind::Illustrate.about().into()));
    }
    blocks
}

/// Theorem 2's numbers, a row a model and a window.
fn bounds(report: &Report, values: &[&Measured]) -> Table {
    let mut table =
        Table::new(["model", "total gap", "L_theta", "K", "upper", "L_sa", "lower", "holds"]);
    for value in values {
        let (Some(run), Some(done)) = (value.run, value.done) else { continue };
        let Some(checkpoint) = done.record.summary.pointer("/checkpoints/0") else { continue };
        let number = |of: &Value, name: &str| Td::number(of.get(name).and_then(Value::as_f64));
        for window in checkpoint.get("bounds").and_then(Value::as_array).into_iter().flatten() {
            let holds = window.get("hold").and_then(Value::as_bool).unwrap_or(false);
            table.rows.push(vec![
                Td::Word(report.name_of(run)),
                number(checkpoint, "gap_l2"),
                number(checkpoint, "loss"),
                number(window, "window"),
                number(window, "upper"),
                number(window, "sequence_aware"),
                number(window, "lower"),
                Td::word(if holds { "yes" } else { "no" }),
            ]);
        }
    }
    table
}

fn gap_ends(report: &Report, values: &[&Measured]) -> Table {
    const SCALARS: [&str; 5] = ["l2", "rms", "bias", "mean", "official"];
    let mut table = Table::new(std::iter::once("model").chain(SCALARS).chain(["ratio of l2"]));
    let first = values.iter().find_map(|value| value.numbers().get("l2_final").copied());
    for value in values {
        let Some(run) = value.run else { continue };
        let numbers = value.numbers();
        let of = |scalar: &str| numbers.get(format!("{scalar}_final").as_str()).copied();
        let ends = SCALARS.map(|scalar| Td::number(of(scalar)));
        let ratio = of("l2").zip(first).map(|(end, first)| end / first);
        let row = std::iter::once(Td::Word(report.name_of(run))).chain(ends);
        table.rows.push(row.chain([Td::number(ratio)]).collect());
    }
    table
}

fn gap_chart(
    report: &Report,
    name: &str,
    scalar: &str,
    label: &str,
    values: &[&Measured],
) -> Option<Chart> {
    let line = |value: &&Measured| {
        let curves = value.done?.record.summary.get("curves")?;
        let list = |value: &Value| -> Option<Vec<f64>> {
            value.as_array()?.iter().map(Value::as_f64).collect()
        };
        let (t, y) = (list(curves.get("t")?)?, list(curves.get("model")?.get(scalar)?)?);
        let start = t.first().copied()?;
        let points = t.iter().zip(y).map(|(t, y)| (start - t, y)).collect();
        Some(Series { name: report.name_of(value.run?), points, ..Series::default() })
    };
    let series: Vec<Series> = values.iter().filter_map(line).collect();
    let title = format!("{name}: {label}");
    (!series.is_empty()).then(|| Chart {
        file: format!("{name}-{scalar}.svg"),
        alt: format!("Line chart: {title}, by steps taken"),
        chart: LineChart {
            title,
            x_label: "steps taken, from the start down to t = 2".into(),
            y_label: scalar.into(),
            series,
            ..LineChart::default()
        },
    })
}

/// A number with what is known of its sureness.
pub(super) fn estimate(estimate: &Estimate) -> String {
    let value = text::number(estimate.value);
    match estimate.spread {
        Spread::Unknown => value,
        Spread::Interval(low, high) => {
            format!("{value} [{}, {}]", text::number(low), text::number(high))
        }
        Spread::Seeds(deviation, count) => {
            format!("{value} ± {} (n = {count})", text::number(deviation))
        }
    }
}

fn interval(estimate: &Estimate) -> String {
    let ends = estimate.interval().map(|(low, high)| (text::number(low), text::number(high)));
    ends.map(|(low, high)| format!("[{low}, {high}]")).unwrap_or_default()
}
