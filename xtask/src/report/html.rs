//! The report as one page that needs nothing else: style, pictures and drawings are inside.

use super::{Grid, GridRow, Report, ValueTable, base64, text};
use crate::reproduce::Outcome;

const STYLE: &str = include_str!("style.css");

/// The whole page.
pub(crate) fn render(report: &Report) -> String {
    let title = escape(&report.experiment.title);
    let banner = report
        .banner()
        .map(|banner| format!("<p class=\"banner\">{banner}</p>\n"))
        .unwrap_or_default();
    let about = escape(report.experiment.about.trim());
    let sections = [
        ("Samples", samples(report)),
        ("Training", training(report)),
        ("Measured values", values(report)),
        ("Settings", settings(report)),
        ("Wall times", times(report)),
        ("Machine and versions", machine(report)),
    ];
    let sections: String = sections
        .iter()
        .filter(|(_, body)| !body.is_empty())
        .map(|(heading, body)| format!("<section>\n<h2>{heading}</h2>\n{body}</section>\n"))
        .collect();
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
         <header>\n<h1>{title}</h1>\n{banner}<p>{about}</p>\n</header>\n<main>\n{}{sections}\
         </main>\n</body>\n</html>\n",
        missing(report)
    )
}

fn missing(report: &Report) -> String {
    let items: String = report
        .missing()
        .map(|(name, reason)| format!("<b>{}</b><pre>{}</pre>\n", escape(name), escape(reason)))
        .collect();
    if items.is_empty() {
        return items;
    }
    format!(
        "<section>\n<h2>Without a result</h2>\n<div class=\"missing\">\n{items}</div>\n</section>\n"
    )
}

fn samples(report: &Report) -> String {
    let rows: String = report.grids.iter().map(grid_row).collect();
    format!(
        "<p class=\"quiet\">{} images a cell, seed {}; the same place in two grids is the same \
         seed.</p>\n{rows}",
        report.experiment.sample.num, report.experiment.sample.seed
    )
}

fn grid_row(row: &GridRow) -> String {
    let figures: String = row.grids.iter().map(|grid| figure(grid, row.sampler)).collect();
    format!(
        "<h3>{} <span>{}</span></h3>\n<div class=\"grids\">\n{figures}</div>\n",
        escape(row.sampler),
        escape(&row.about)
    )
}

fn figure(grid: &Grid, sampler: &str) -> String {
    let picture = if grid.png.is_empty() {
        "<div class=\"none\">no samples</div>".to_string()
    } else {
        format!(
            "<img alt=\"Samples of {} by {}\" src=\"data:image/png;base64,{}\">",
            escape(grid.model),
            escape(sampler),
            base64::encode(&grid.png)
        )
    };
    let calls = grid.calls.map(|calls| format!(", {calls} network calls")).unwrap_or_default();
    let time = grid.seconds.map(|s| format!(" {}{calls}", text::seconds(s))).unwrap_or_default();
    format!(
        "<figure>{picture}<figcaption><b>{}</b>{time}</figcaption></figure>\n",
        escape(grid.model)
    )
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
    let charts: String = report
        .charts
        .iter()
        .map(|chart| format!("<figure>{}</figure>\n", inline(&chart.svg)))
        .collect();
    format!("{}<div class=\"charts\">\n{charts}</div>\n", table(&heading, &rows))
}

/// An SVG document as an element of a page: from its `<svg` on.
fn inline(svg: &str) -> &str {
    svg.find("<svg").map_or("", |start| &svg[start..])
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

/// A cell of a table.
enum Td {
    /// Never broken over lines.
    Word(String),
    /// Right-aligned.
    Number(String),
    /// Broken where there is no room.
    Prose(String),
}

impl Td {
    fn class(&self) -> &'static str {
        match self {
            Td::Word(_) => "",
            Td::Number(_) => " class=\"number\"",
            Td::Prose(_) => " class=\"wrap\"",
        }
    }

    fn render(&self) -> String {
        let (Td::Word(text) | Td::Number(text) | Td::Prose(text)) = self;
        format!("<td{}>{}</td>", self.class(), escape(text))
    }
}

/// A table that scrolls sideways where it does not fit.
fn table(heading: &[&str], rows: &[Vec<Td>]) -> String {
    let head: String = heading
        .iter()
        .enumerate()
        .map(|(i, name)| {
            let column = rows.first().and_then(|row| row.get(i));
            let class = match column {
                Some(Td::Number(_)) => " class=\"number\"",
                _ => "",
            };
            format!("<th{class} scope=\"col\">{}</th>", escape(name))
        })
        .collect();
    let head = match heading.iter().all(|name| name.is_empty()) {
        true => String::new(),
        false => format!("<thead><tr>{head}</tr></thead>\n"),
    };
    let body: String = rows
        .iter()
        .map(|row| format!("<tr>{}</tr>\n", row.iter().map(Td::render).collect::<String>()))
        .collect();
    format!("<div class=\"scroll\"><table>\n{head}<tbody>\n{body}</tbody>\n</table></div>\n")
}

/// Text as it may stand in an element or in a quoted attribute.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            _ => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_become_markup() {
        assert_eq!(escape(r#"<a b="&">"#), "&lt;a b=&quot;&amp;&quot;&gt;");
        let rows = vec![vec![Td::Number("<1".into())]];
        assert!(table(&["n"], &rows).contains("<td class=\"number\">&lt;1</td>"));
    }

    #[test]
    fn a_drawing_loses_its_xml_declaration() {
        assert_eq!(inline("<?xml version=\"1.0\"?>\n<svg></svg>"), "<svg></svg>");
    }
}
