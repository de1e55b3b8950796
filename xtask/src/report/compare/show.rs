//! A comparison as text and as a page.

use super::{
    differences::{self, Comparison, Pair, Row},
    read::Place,
};
use crate::report::{
    page,
    table::{Td, table},
    text::{self, escape},
};

/// A table with a heading.
struct Part {
    heading: &'static str,
    columns: Vec<&'static str>,
    rows: Vec<Vec<Td>>,
}

/// The comparison for a terminal.
pub(super) fn text(comparison: &Comparison) -> String {
    let mut out = lines(comparison).join("\n") + "\n";
    for Part { heading, columns, rows } in
        std::iter::once(values(comparison)).chain(differences(comparison))
    {
        if rows.is_empty() {
            continue;
        }
        out += &format!("\n{heading}\n\n{}", aligned(&columns, &rows));
    }
    out
}

/// The comparison as a page.
pub(super) fn page(comparison: &Comparison) -> String {
    let [a, b] = &comparison.experiments;
    let header: String =
        lines(comparison).iter().map(|line| format!("<p>{}</p>\n", escape(line))).collect();
    let rest = differences(comparison).into_iter();
    let rest = rest.map(|part| (part.heading, table(&part.columns, &part.rows)));
    let sections: Vec<(&str, String)> =
        std::iter::once(("Values", value_tables(comparison))).chain(rest).collect();
    page::render(&format!("{a} and {b}, compared"), &header, &sections)
}

/// What is compared, and the outcome in a sentence.
fn lines(comparison: &Comparison) -> Vec<String> {
    let [files, names] = [&comparison.files, &comparison.experiments];
    let line = |letter: &str, i: usize| format!("{letter}: {} ({})", files[i], names[i]);
    let all = comparison.values.len();
    let differing = comparison.values.iter().filter(|pair| pair.difference != 0.0).count();
    let outcome = match &comparison.identical_apart_from {
        Some(parts) => format!("Identical apart from {}.", parts.join(" and ")),
        None => format!("{differing} of {all} values that both have differ."),
    };
    vec![line("A", 0), line("B", 1), outcome]
}

/// What sets the runs apart beside their values.
fn differences(comparison: &Comparison) -> Vec<Part> {
    let [a, b] = &comparison.only_in;
    let only = a.iter().map(|name| ("A", name)).chain(b.iter().map(|name| ("B", name)));
    let only = only.map(|(run, name)| vec![Td::Word(run.into()), Td::Prose(name.clone())]);
    let others = comparison.others.iter().map(|name| vec![Td::Prose(name.clone())]);
    let differing = |heading, rows: &[Row]| Part {
        heading,
        columns: vec!["", "A", "B"],
        rows: rows.iter().map(cells).collect(),
    };
    let parts = [
        Part { heading: "Only in one", columns: vec!["run", "what"], rows: only.collect() },
        differing("Settings that differ", &comparison.settings),
        differing("Cells that differ", &comparison.cells),
        differing("Versions and machine that differ", &comparison.surroundings),
        Part { heading: "Other differences", columns: vec!["what"], rows: others.collect() },
    ];
    parts.into_iter().filter(|part| !part.rows.is_empty()).collect()
}

fn values(comparison: &Comparison) -> Part {
    let rows = comparison.values.iter().map(|pair| {
        let Place { model, sampler, measure, of } = &pair.place;
        let words = [model, sampler, measure, of].map(|word| Td::Word(word.clone()));
        words.into_iter().chain(numbers(pair)).collect()
    });
    let columns = ["model", "sampler", "measure", "of"].into_iter().chain(NUMBERS).collect();
    Part { heading: "Values", columns, rows: rows.collect() }
}

/// The values in a narrow table a place, for a telephone.
fn value_tables(comparison: &Comparison) -> String {
    let groups = comparison.values.chunk_by(|a, b| a.place == b.place);
    let tables = groups.filter_map(|group| {
        let place = &group.first()?.place;
        let heading = escape(&differences::name(place, None));
        let rows: Vec<Vec<Td>> = group.iter().map(numbers).collect();
        Some(format!("<h3>{heading}</h3>\n{}", table(&NUMBERS, &rows)))
    });
    tables.collect()
}

const NUMBERS: [&str; 5] = ["value", "A", "B", "B - A", "B / A"];

fn numbers(pair: &Pair) -> Vec<Td> {
    let numbers = [Some(pair.a), Some(pair.b), Some(pair.difference), pair.ratio];
    let numbers = numbers.map(|number| Td::Number(text::optional(number)));
    std::iter::once(Td::Word(text::words(&pair.key))).chain(numbers).collect()
}

fn cells(row: &Row) -> Vec<Td> {
    let side = |text: &Option<String>| Td::Prose(text.clone().unwrap_or_else(|| "none".into()));
    vec![Td::Word(row.name.clone()), side(&row.a), side(&row.b)]
}

/// Columns as wide as their widest cell, numbers to the right.
fn aligned(columns: &[&str], rows: &[Vec<Td>]) -> String {
    let length = |text: &str| text.chars().count();
    let widths: Vec<usize> = columns
        .iter()
        .enumerate()
        .map(|(i, name)| {
            let cells = rows.iter().filter_map(|row| row.get(i)).map(|cell| length(cell.text()));
            cells.chain([length(name)]).max().unwrap_or(0)
        })
        .collect();
    let line = |cells: Vec<(&str, bool)>| {
        let padded = cells.into_iter().zip(&widths).map(|((text, right), &width)| match right {
            true => format!("{text:>width$}"),
            false => format!("{text:<width$}"),
        });
        padded.collect::<Vec<_>>().join("  ").trim_end().to_string() + "\n"
    };
    let number = |i: usize| rows.first().and_then(|row| row.get(i)).is_some_and(Td::is_number);
    let head = line(columns.iter().enumerate().map(|(i, name)| (*name, number(i))).collect());
    let body = rows
        .iter()
        .map(|row| line(row.iter().map(|cell| (cell.text(), cell.is_number())).collect()));
    head + &body.collect::<String>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_aligned_by_its_widest_cell() {
        let row = |word: &str, number: &str| vec![Td::Word(word.into()), Td::Number(number.into())];
        let text = aligned(&["name", "n"], &[row("a", "1"), row("longer", "1,000")]);
        assert_eq!(text, "name        n\na           1\nlonger  1,000\n");
    }
}
