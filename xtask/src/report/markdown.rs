//! The report as Markdown, with its pictures beside it in `files`.

use super::{
    Report,
    blocks::{Block, Shot, Table},
    sections::sections,
};

/// The whole document.
pub(crate) fn render(report: &Report) -> String {
    let mut page = format!("# {}\n\n", report.experiment.title);
    if let Some(banner) = report.banner() {
        page += &format!("> **{banner}.**\n\n");
    }
    page += &format!("{}\n", report.experiment.about.trim());
    for section in sections(report) {
        page += &format!("\n## {}\n", section.title);
        page.extend(section.blocks.iter().map(|given| format!("\n{}", block(given))));
    }
    page
}

fn block(block: &Block) -> String {
    match block {
        Block::Heading(text, aside) if aside.is_empty() => format!("### {text}\n"),
        Block::Heading(text, aside) => format!("### {text} ({aside})\n"),
        Block::Text(text) | Block::Quiet(text) => format!("{text}\n"),
        Block::Table(given) => table(given),
        Block::Folded(name, given) => format!("{name}:\n\n{}", table(given)),
        Block::Charts(charts) => {
            let image = |alt: &str, file: &str| format!("![{alt}](files/{file})\n");
            let images: Vec<String> = charts.iter().map(|c| image(&c.alt, &c.file)).collect();
            images.join("\n")
        }
        Block::Drawing(file, alt, _) => format!("![{alt}](files/{file})\n"),
        Block::Still(still) => format!("![{}](files/{})\n", still.alt, still.file),
        Block::Grids(samplers, shots) => {
            samplers.iter().map(|(name, about)| row_of_grids(name, about, shots)).collect()
        }
        Block::Failures(failures) => failures
            .iter()
            .map(|(name, reason)| format!("- **{name}**: {}\n", reason.replace('\n', "\n  ")))
            .collect(),
    }
}

/// The samples of all models by one sampler.
fn row_of_grids(name: &str, about: &str, shots: &[Shot]) -> String {
    let own: Vec<&Shot> = shots.iter().filter(|shot| shot.sampler == name).collect();
    let picture = |shot: &&Shot| match shot.png.is_empty() {
        true => "no samples".to_string(),
        false => format!("![Samples of {} by {name}](files/{})", shot.model, shot.file),
    };
    let names: Vec<String> = own.iter().map(|shot| shot.model.clone()).collect();
    let rows = [own.iter().map(picture).collect::<Vec<_>>()];
    format!("### {name} ({about})\n\n{}\n", lines(&names, &rows))
}

fn table(given: &Table) -> String {
    let rows: Vec<Vec<String>> = given
        .rows
        .iter()
        .map(|row| row.iter().map(|cell| cell.text().to_string()).collect())
        .collect();
    lines(&given.heading, &rows)
}

/// A Markdown table.
fn lines(heading: &[String], rows: &[Vec<String>]) -> String {
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
        let text = lines(&["a".into()], &[vec!["x|y\nz".into()]]);
        assert_eq!(text, "| a |\n| --- |\n| x\\|y z |\n");
    }
}
