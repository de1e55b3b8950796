//! The report as Markdown, with its pictures beside it in `files`.

use super::{Report, ValueTable, text};
use crate::reproduce::Outcome;

/// The whole document.
pub(crate) fn render(report: &Report) -> String {
    let mut page = format!("# {}\n\n", report.experiment.title);
    if let Some(banner) = report.banner() {
        page += &format!("> **{banner}.**\n\n");
    }
    page += &format!("{}\n", report.experiment.about.trim());
    let sections = [
        ("Without a result", missing(report)),
        ("Samples", samples(report)),
        ("Training", training(report)),
        ("Measured values", values(report)),
        ("Settings", settings(report)),
        ("Wall times", times(report)),
        ("Machine and versions", machine(report)),
    ];
    for (heading, body) in sections.iter().filter(|(_, body)| !body.is_empty()) {
        page += &format!("\n## {heading}\n\n{body}");
    }
    page
}

fn missing(report: &Report) -> String {
    report
        .missing()
        .map(|(name, reason)| format!("- **{name}**: {}\n", reason.replace('\n', "\n  ")))
        .collect()
}

fn samples(report: &Report) -> String {
    let mut body = format!(
        "{} images a cell, seed {}; the same place in two grids is the same seed.\n",
        report.experiment.sample.num, report.experiment.sample.seed
    );
    for row in &report.grids {
        body += &format!("\n### {} ({})\n\n", row.sampler, row.about);
        let names: Vec<String> = row.grids.iter().map(|grid| grid.model.to_string()).collect();
        let pictures: Vec<String> = row
            .grids
            .iter()
            .map(|grid| match grid.png.is_empty() {
                true => "no samples".to_string(),
                false => {
                    format!("![Samples of {} by {}](files/{})", grid.model, row.sampler, grid.file)
                }
            })
            .collect();
        body += &table(&names, &[pictures]);
    }
    body
}

fn training(report: &Report) -> String {
    let rows: Vec<Vec<String>> = report
        .models
        .iter()
        .map(|model| {
            vec![
                model.name.to_string(),
                model.about.to_string(),
                text::optional(model.number("parameters")),
                text::optional(model.number("steps")),
                text::optional(model.number("loss")),
                model.seconds.map(text::seconds).unwrap_or_default(),
            ]
        })
        .collect();
    let heading = ["model", "what", "parameters", "steps", "last loss", "time"];
    let mut body = table(&heading.map(String::from), &rows);
    for chart in &report.charts {
        body += &format!("\n![{}](files/{})\n", chart.alt, chart.file);
    }
    body
}

fn values(report: &Report) -> String {
    report.values.iter().map(value_table).collect::<Vec<_>>().join("\n")
}

fn value_table(values: &ValueTable) -> String {
    let columns = values.columns();
    let mut heading = ["model", "sampler"].map(String::from).to_vec();
    heading.extend(columns.iter().map(|name| text::words(name)));
    let rows: Vec<Vec<String>> = values
        .rows
        .iter()
        .map(|row| {
            let words = [row.model, row.sampler].map(String::from);
            let numbers = columns.iter().map(|name| text::optional(row.values.get(name).copied()));
            words.into_iter().chain(numbers).collect()
        })
        .collect();
    let (name, about) = (values.kind.name(), values.kind.about());
    let table = table(&heading, &rows);
    format!("### {name} against {}\n\n{table}\n{about}\n", values.reference)
}

fn settings(report: &Report) -> String {
    let mut body = String::new();
    if !report.settings.differing.is_empty() {
        let mut heading = vec!["setting".to_string()];
        heading.extend(report.models.iter().map(|model| model.name.to_string()));
        let rows: Vec<Vec<String>> = report
            .settings
            .differing
            .iter()
            .map(|(key, values)| [std::slice::from_ref(key), values].concat())
            .collect();
        body += &(table(&heading, &rows) + "\n");
    }
    let rows: Vec<Vec<String>> =
        report.settings.shared.iter().map(|(k, v)| vec![k.clone(), v.clone()]).collect();
    body + &table(&["setting", "all models"].map(String::from), &rows)
}

fn times(report: &Report) -> String {
    let rows: Vec<Vec<String>> = report
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
            vec![row.name.to_string(), time, from.to_string()]
        })
        .collect();
    let heading = ["cell", "time", "reused from"].map(String::from);
    format!("{}\n\n{}", report.time_line(), table(&heading, &rows))
}

fn machine(report: &Report) -> String {
    let mut rows: Vec<Vec<String>> =
        report.machine.rows().into_iter().map(|(k, v)| vec![k.to_string(), v]).collect();
    rows.extend(report.versions.iter().map(|(k, v)| vec![k.clone(), v.clone()]));
    table(&["", ""].map(String::from), &rows)
}

/// A Markdown table.
fn table(heading: &[String], rows: &[Vec<String>]) -> String {
    let cell = |text: &String| text.replace('|', "\\|").replace('\n', " ");
    let line =
        |row: &[String]| format!("| {} |\n", row.iter().map(cell).collect::<Vec<_>>().join(" | "));
    let rule = format!("|{}\n", " --- |".repeat(heading.len()));
    line(heading) + &rule + &rows.iter().map(|row| line(row)).collect::<String>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_or_a_line_break_does_not_break_a_table() {
        let text = table(&["a".into()], &[vec!["x|y\nz".into()]]);
        assert_eq!(text, "| a |\n| --- |\n| x\\|y z |\n");
    }
}
