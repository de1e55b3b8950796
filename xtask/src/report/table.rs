//! Tables of a page.

use super::text::escape;

/// A cell of a table.
pub(crate) enum Td {
    /// Never broken over lines.
    Word(String),
    /// Right-aligned.
    Number(String),
    /// Broken where there is no room.
    Prose(String),
}

impl Td {
    /// A word.
    pub(crate) fn word(text: impl ToString) -> Self {
        Td::Word(text.to_string())
    }

    /// A number that may be missing.
    pub(crate) fn number(value: Option<f64>) -> Self {
        Td::Number(super::text::optional(value))
    }

    /// Its text.
    pub(crate) fn text(&self) -> &str {
        let (Td::Word(text) | Td::Number(text) | Td::Prose(text)) = self;
        text
    }

    fn class(&self) -> &'static str {
        match self {
            Td::Word(_) => "",
            Td::Number(_) => " class=\"number\"",
            Td::Prose(_) => " class=\"wrap\"",
        }
    }

    /// Whether it is right-aligned.
    pub(crate) fn is_number(&self) -> bool {
        matches!(self, Td::Number(_))
    }

    fn render(&self) -> String {
        format!("<td{}>{}</td>", self.class(), escape(self.text()))
    }
}

/// Columns from which on the first one stays in sight while the others scroll.
const WIDE: usize = 4;

/// A table that scrolls sideways where it does not fit; a heading of nothing but empty names is
/// left out.
pub(crate) fn table(heading: &[&str], rows: &[Vec<Td>]) -> String {
    let head: String = heading
        .iter()
        .enumerate()
        .map(|(i, name)| {
            let column = rows.first().and_then(|row| row.get(i));
            let class = if column.is_some_and(Td::is_number) { " class=\"number\"" } else { "" };
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
    let class = if heading.len() >= WIDE { " class=\"wide\"" } else { "" };
    format!("<div class=\"scroll\"><table{class}>\n{head}<tbody>\n{body}</tbody>\n</table></div>\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_become_markup() {
        let rows = vec![vec![Td::Number("<1".into())]];
        assert!(table(&["n"], &rows).contains("<td class=\"number\">&lt;1</td>"));
    }
}
