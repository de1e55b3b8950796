//! Columns of numbers and their three forms: aligned text for people, CSV and JSON in full
//! precision for programs.

use crate::plot::Series;
use serde_json::{Map, Value};
use std::io::{self, Write};

/// Named columns of one length.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    columns: Vec<(&'static str, Values)>,
}

#[derive(Clone, Debug, PartialEq)]
enum Values {
    Whole(Vec<usize>),
    Real(Vec<f64>),
}

/// Tables up to this long are shown whole.
const READABLE_ROWS: usize = 24;

impl Table {
    /// A table without columns.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a column of whole numbers. Columns of a table have equally many values.
    pub fn whole(mut self, name: &'static str, values: impl IntoIterator<Item = usize>) -> Self {
        self.columns.push((name, Values::Whole(values.into_iter().collect())));
        self
    }

    /// Adds a column of real numbers.
    pub fn real(mut self, name: &'static str, values: impl IntoIterator<Item = f64>) -> Self {
        self.columns.push((name, Values::Real(values.into_iter().collect())));
        self
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.columns.iter().map(|(_, values)| values.len()).min().unwrap_or(0)
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The column `name` against the column `x`, for a chart; empty if either is missing.
    pub fn series(&self, x: &str, name: &str) -> Series {
        let find = |name: &str| self.columns.iter().find(|(n, _)| *n == name).map(|(_, v)| v);
        let points = match (find(x), find(name)) {
            (Some(x), Some(y)) => (0..self.len()).map(|i| (x.real(i), y.real(i))).collect(),
            _ => Vec::new(),
        };
        Series { name: name.to_string(), points, ..Series::default() }
    }

    /// `{"name": [values]}`; values that JSON has no number for are null.
    pub fn to_json(&self) -> Value {
        let list = |values: &Values| match values {
            Values::Whole(values) => values.iter().map(|v| Value::from(*v)).collect(),
            Values::Real(values) => values.iter().map(|v| Value::from(*v)).collect(),
        };
        let map: Map<String, Value> = self
            .columns
            .iter()
            .map(|(name, v)| (name.to_string(), Value::Array(list(v))))
            .collect();
        Value::Object(map)
    }

    /// Writes a header and every row, in the shortest digits that read back exactly; `inf` and
    /// `NaN` as such.
    ///
    /// # Errors
    ///
    /// The writer's.
    pub fn write_csv(&self, out: &mut impl Write) -> io::Result<()> {
        let names: Vec<&str> = self.columns.iter().map(|(name, _)| *name).collect();
        writeln!(out, "{}", names.join(","))?;
        for row in 0..self.len() {
            let cells: Vec<String> = self.columns.iter().map(|(_, v)| v.exact(row)).collect();
            writeln!(out, "{}", cells.join(","))?;
        }
        Ok(())
    }

    /// Writes right-aligned columns of six significant digits. Of a long table only a readable
    /// selection of rows unless `all`; returns how many rows were written.
    ///
    /// # Errors
    ///
    /// The writer's.
    pub fn write_text(&self, out: &mut impl Write, all: bool) -> io::Result<usize> {
        let rows = if all { (0..self.len()).collect() } else { readable(self.len()) };
        let columns: Vec<Vec<String>> = self
            .columns
            .iter()
            .map(|(name, values)| {
                let cells = rows.iter().map(|&row| values.short(row));
                std::iter::once(name.to_string()).chain(cells).collect()
            })
            .collect();
        let widths: Vec<usize> =
            columns.iter().map(|cells| cells.iter().map(String::len).max().unwrap_or(0)).collect();
        for line in 0..=rows.len() {
            let cells: Vec<String> = columns
                .iter()
                .zip(&widths)
                .map(|(cells, width)| format!("{:>width$}", cells[line]))
                .collect();
            writeln!(out, "{}", cells.join("  "))?;
        }
        Ok(rows.len())
    }
}

impl Values {
    fn len(&self) -> usize {
        match self {
            Values::Whole(values) => values.len(),
            Values::Real(values) => values.len(),
        }
    }

    fn real(&self, row: usize) -> f64 {
        match self {
            Values::Whole(values) => values[row] as f64,
            Values::Real(values) => values[row],
        }
    }

    fn exact(&self, row: usize) -> String {
        match self {
            Values::Whole(values) => values[row].to_string(),
            // `{:e}` keeps tiny numbers short; both forms read back exactly.
            Values::Real(values) if is_plain(values[row]) => values[row].to_string(),
            Values::Real(values) => format!("{:e}", values[row]),
        }
    }

    fn short(&self, row: usize) -> String {
        match self {
            Values::Whole(values) => values[row].to_string(),
            Values::Real(values) => significant(values[row]),
        }
    }
}

fn is_plain(value: f64) -> bool {
    value == 0.0 || !value.is_finite() || (1e-4..1e6).contains(&value.abs())
}

/// Six significant digits, as a plain decimal where that is short.
fn significant(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return value.to_string();
    }
    if !is_plain(value) {
        return format!("{value:.5e}");
    }
    // The exponent after rounding: 0.00999999999 prints as 0.0100000.
    let scientific = format!("{value:.5e}");
    let exponent = scientific.rsplit('e').next().and_then(|e| e.parse::<i32>().ok()).unwrap_or(0);
    let decimals = (5 - exponent).max(0) as usize;
    format!("{value:.decimals$}")
}

/// All rows of a short table; of a long one the first three, the last, and evenly spaced ones.
fn readable(rows: usize) -> Vec<usize> {
    if rows <= READABLE_ROWS {
        return (0..rows).collect();
    }
    let mut chosen = vec![0, 1, 2];
    chosen.extend((1..=20).map(|i| i * rows / 20 - 1).filter(|row| *row > 2));
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rows: usize) -> Table {
        Table::new().whole("t", 1..=rows).real("x", (1..=rows).map(|t| 1.0 / t as f64))
    }

    fn text(table: &Table, all: bool) -> (Vec<String>, usize) {
        let mut out = Vec::new();
        let rows = table.write_text(&mut out, all).unwrap();
        (String::from_utf8(out).unwrap().lines().map(str::to_string).collect(), rows)
    }

    #[test]
    fn text_is_aligned_and_selects_rows_of_long_tables() {
        let (lines, rows) = text(&table(3), false);
        assert_eq!(lines, ["t         x", "1   1.00000", "2  0.500000", "3  0.333333"]);
        assert_eq!(rows, 3);
        let (lines, rows) = text(&table(1000), false);
        assert!(rows <= READABLE_ROWS && lines.len() == rows + 1);
        assert!(lines[1].contains("   1  ") && lines[rows].contains("1000  "));
        assert_eq!(text(&table(1000), true).1, 1000);
        assert_eq!(text(&Table::new(), false).1, 0);
    }

    #[test]
    fn csv_reads_back_exactly() {
        let values = [1.0 / 3.0, 1e-300, 4e20, -0.0, f64::INFINITY, 123456.789, f64::MIN_POSITIVE];
        let mut out = Vec::new();
        Table::new().real("x", values).write_csv(&mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some("x"));
        let back: Vec<u64> = lines.map(|l| l.parse::<f64>().unwrap().to_bits()).collect();
        assert_eq!(back, values.map(f64::to_bits));
        assert!(text.lines().all(|line| line.len() < 26), "{text}");
    }

    #[test]
    fn json_has_null_for_what_is_not_a_number() {
        let table = Table::new().whole("t", [1, 2]).real("x", [f64::INFINITY, 0.1]);
        assert_eq!(table.to_json().to_string(), r#"{"t":[1,2],"x":[null,0.1]}"#);
    }

    #[test]
    fn six_significant_digits() {
        for (value, want) in [
            (0.000123456789, "0.000123457"),
            (12345.6789, "12345.7"),
            (999999.9, "1000000"),
            (0.009_999_999_999, "0.0100000"),
            (1e-5, "1.00000e-5"),
            (-2.5e7, "-2.50000e7"),
            (f64::INFINITY, "inf"),
        ] {
            assert_eq!(significant(value), want);
        }
    }

    #[test]
    fn a_series_is_one_column_against_another() {
        assert_eq!(table(2).series("t", "x").points, [(1.0, 1.0), (2.0, 0.5)]);
        assert!(table(2).series("t", "y").points.is_empty());
    }
}
