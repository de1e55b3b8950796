//! The report as one page that needs nothing else: style, pictures and drawings are inside.

use super::{
    Report,
    blocks::{Block, Shot, Table},
    chart,
    grids::{self, Picture},
    page,
    sections::sections,
    table::table,
    text::escape,
};

/// The whole page.
pub(crate) fn render(report: &Report) -> String {
    let banner = report
        .banner()
        .map(|banner| format!("<p class=\"banner\">{banner}</p>\n"))
        .unwrap_or_default();
    let about = escape(report.experiment.about.trim());
    let sections: Vec<(&str, String)> = sections(report)
        .iter()
        .map(|section| (section.title, section.blocks.iter().map(block).collect()))
        .collect();
    page::render(&report.experiment.title, &format!("{banner}<p>{about}</p>\n"), &sections)
}

fn block(block: &Block) -> String {
    match block {
        Block::Heading(text, aside) if aside.is_empty() => format!("<h3>{}</h3>\n", escape(text)),
        Block::Heading(text, aside) => {
            format!("<h3>{} <span>{}</span></h3>\n", escape(text), escape(aside))
        }
        Block::Text(text) => format!("<p>{}</p>\n", escape(text)),
        Block::Quiet(text) => format!("<p class=\"quiet\">{}</p>\n", escape(text)),
        Block::Table(table) => rows(table),
        Block::Folded(name, table) => {
            let (name, rows) = (escape(name), rows(table));
            format!("<details><summary>{name}</summary>\n{rows}</details>\n")
        }
        Block::Charts(charts) => {
            let figures: String = charts.iter().map(|c| chart::figure(&c.chart)).collect();
            format!("<div class=\"charts\">\n{figures}</div>\n")
        }
        Block::Drawing(_, _, svg) => {
            let svg = svg.find("<svg").map_or("", |start| &svg[start..]);
            format!("<div class=\"charts\">\n<figure class=\"still\">\n{svg}</figure>\n</div>\n")
        }
        Block::Still(still) => format!(
            "<div class=\"grids\">\n<figure><img alt=\"{}\" \
             src=\"data:image/png;base64,{}\"></figure>\n</div>\n",
            escape(&still.alt),
            super::base64::encode(&still.png)
        ),
        Block::Grids(samplers, shots) => flip(samplers, shots),
        Block::Failures(failures) => {
            let items: String = failures
                .iter()
                .map(|(name, reason)| {
                    format!("<b>{}</b><pre>{}</pre>\n", escape(name), escape(reason))
                })
                .collect();
            format!("<div class=\"missing\">\n{items}</div>\n")
        }
    }
}

fn rows(given: &Table) -> String {
    let heading: Vec<&str> = given.heading.iter().map(String::as_str).collect();
    table(&heading, &given.rows)
}

fn flip(samplers: &[(String, String)], shots: &[Shot]) -> String {
    let samplers: Vec<(&str, &str)> =
        samplers.iter().map(|(name, about)| (name.as_str(), about.as_str())).collect();
    let pictures: Vec<Picture> = shots
        .iter()
        .map(|shot| Picture {
            model: &shot.model,
            sampler: &shot.sampler,
            seed: shot.seed,
            png: &shot.png,
            note: shot.note.clone(),
        })
        .collect();
    grids::figure(&samplers, &pictures)
}
