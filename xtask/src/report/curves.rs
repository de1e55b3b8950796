//! Training logs, and the loss curves drawn from them.

use crate::finite::check_finite;
use anyhow::{Context, Result};
use diff_core::{
    plot::{LineChart, Series},
    save::io_error,
};
use serde::Deserialize;
use serde_json::Value;
use std::{collections::BTreeMap, fs, path::Path};

/// What the report takes from a line of `log.jsonl`.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Line {
    step: u64,
    loss: f64,
    #[serde(default)]
    parts: BTreeMap<String, f64>,
}

/// A drawing with a name for its file and words for those who do not see it.
pub(crate) struct Chart {
    /// File name.
    pub(crate) file: String,
    /// What it shows.
    pub(crate) alt: String,
    /// The drawing.
    pub(crate) drawing: LineChart,
}

/// Reads the lines of a log that are about training steps; a number that is not finite is an error
/// naming its line.
pub(crate) fn read(path: &Path) -> Result<Vec<Line>> {
    let text = fs::read_to_string(path).map_err(io_error(path, "read"))?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let read = lines.map(|(i, line)| {
        let value: Value = serde_json::from_str(line)?;
        let steps = value.get("held_out").is_none();
        check_finite(&value, "")
            .and_then(|()| Ok(if steps { Some(serde_json::from_value(value)?) } else { None }))
            .with_context(|| format!("{} line {}", path.display(), i + 1))
    });
    read.filter_map(Result::transpose).collect()
}

/// One chart to compare the models by the term they share, and one chart a model of all of its
/// loss.
pub(crate) fn charts(logs: &[(&str, Vec<Line>)]) -> Vec<Chart> {
    let mut charts = Vec::new();
    if logs.len() > 1 {
        let series = logs.iter().map(|(name, lines)| Series {
            name: name.to_string(),
            points: smooth(&points(lines, simple)),
            ..Series::default()
        });
        charts.push(chart("loss.svg", "Simple loss of every model, smoothed", series.collect()));
    }
    for (name, lines) in logs {
        let raw = points(lines, |line| line.loss);
        let smoothed =
            Series { name: "smoothed".into(), points: smooth(&raw), ..Series::default() };
        let series =
            vec![Series { name: "as logged".into(), points: raw, ..Series::default() }, smoothed];
        charts.push(chart(&format!("loss-{name}.svg"), &format!("Loss of {name}"), series));
    }
    charts
}

fn chart(file: &str, title: &str, series: Vec<Series>) -> Chart {
    let drawing = LineChart {
        title: title.to_string(),
        x_label: "step".into(),
        y_label: "loss".into(),
        x_log: false,
        y_log: true,
        series,
    };
    let alt = format!("Line chart: {title}, by training step");
    Chart { file: file.to_string(), alt, drawing }
}

/// The noise-prediction error, which every objective logs and which alone compares between them.
fn simple(line: &Line) -> f64 {
    line.parts.get("simple").copied().unwrap_or(line.loss)
}

fn points(lines: &[Line], value: impl Fn(&Line) -> f64) -> Vec<(f64, f64)> {
    lines.iter().map(|line| (line.step as f64, value(line))).collect()
}

/// Means over a window of about a tenth of the points around each point, narrower at the ends.
fn smooth(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let reach = points.len() / 20;
    let mean = |at: usize| {
        let reach = reach.min(at).min(points.len() - 1 - at);
        let part = &points[at - reach..=at + reach];
        (points[at].0, part.iter().map(|p| p.1).sum::<f64>() / part.len() as f64)
    };
    (0..points.len()).map(mean).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(text: &str) -> Result<Vec<Line>> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.jsonl");
        fs::write(&path, text).unwrap();
        read(&path)
    }

    #[test]
    fn a_number_that_is_not_finite_is_named_with_its_line() {
        let text = "{\"step\":1,\"loss\":2.0}\n{\"step\":2,\"loss\":null}\n";
        let error = format!("{:#}", log(text).unwrap_err());
        assert!(error.contains("line 2") && error.contains("loss"), "{error}");
        assert!(log("{\"step\":1,\"loss\":NaN}").is_err());
    }

    #[test]
    fn models_are_compared_by_the_term_they_share() {
        let lines = log(r#"{"step":1,"loss":9.0,"parts":{"simple":4.0,"sa":5.0}}"#).unwrap();
        assert_eq!(points(&lines, simple), [(1.0, 4.0)]);
        let names: Vec<_> =
            charts(&[("a", lines.clone()), ("b", lines)]).into_iter().map(|c| c.file).collect();
        assert_eq!(names, ["loss.svg", "loss-a.svg", "loss-b.svg"]);
    }

    #[test]
    fn smoothing_keeps_straight_lines_and_evens_out_the_rest() {
        let line: Vec<_> = (0..100).map(|i| (i as f64, i as f64)).collect();
        assert_eq!(smooth(&line), line);
        let spike: Vec<_> = (0..100).map(|i| (i as f64, f64::from(i == 50))).collect();
        assert_eq!(smooth(&spike)[50].1, 1.0 / 11.0);
        assert_eq!(smooth(&spike)[44].1, 0.0);
        assert!(smooth(&[]).is_empty());
    }
}
