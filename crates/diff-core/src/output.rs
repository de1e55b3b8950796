//! Where a table goes: text, JSON or CSV on stdout, files for CSV and charts.

use anyhow::Result;
use clap::Args;
use diff_core::{gap::Bounds, plot::LineChart, save, table::Table};
use serde_json::Value;
use std::{
    io::{self, BufWriter, Write},
    path::PathBuf,
};

/// How the result is printed; an aligned table unless --json or --csv says otherwise.
#[derive(Args)]
pub(crate) struct Output {
    /// Print one JSON object in full precision
    #[arg(long, conflicts_with_all = ["csv", "all"])]
    json: bool,
    /// Print CSV in full precision, or write it to PATH
    #[arg(long, value_name = "PATH", num_args = 0..=1)]
    csv: Option<Option<PathBuf>>,
    /// Also write an SVG chart
    #[arg(long, value_name = "PATH")]
    plot: Option<PathBuf>,
    /// Show every row of the table
    #[arg(long)]
    all: bool,
}

impl Output {
    /// Whether stdout gets the table meant for people.
    pub(crate) fn shows_text(&self) -> bool {
        !self.json && self.csv.is_none()
    }

    /// Prints `table` in the form asked for; `about` becomes the JSON object around its columns.
    pub(crate) fn print(
        &self,
        mut about: Value,
        table: &Table,
        chart: impl FnOnce() -> LineChart,
    ) -> Result<()> {
        if let Some(path) = &self.plot {
            save::atomic_bytes(path, chart().to_svg().as_bytes())?;
        }
        let mut out = BufWriter::new(io::stdout().lock());
        match &self.csv {
            Some(Some(path)) => {
                let mut bytes = Vec::new();
                table.write_csv(&mut bytes)?;
                save::atomic_bytes(path, &bytes)?;
            }
            Some(None) => table.write_csv(&mut out)?,
            None if self.json => {
                about["columns"] = table.to_json();
                writeln!(out, "{about}")?;
            }
            None => {
                let shown = table.write_text(&mut out, self.all)?;
                if shown < table.len() {
                    out.flush()?;
                    eprintln!("{shown} of {} rows; --all shows every one", table.len());
                }
            }
        }
        out.flush()?;
        Ok(())
    }

    /// Prints Theorem 2's three quantities for K = 1, 2, ...
    pub(crate) fn print_bounds(&self, bounds: &[Bounds]) -> Result<()> {
        let table = Table::new()
            .whole("K", 1..=bounds.len())
            .real("upper", bounds.iter().map(|b| b.upper))
            .real("sequence_aware", bounds.iter().map(|b| b.sequence_aware))
            .real("lower", bounds.iter().map(|b| b.lower));
        let mut out = BufWriter::new(io::stdout().lock());
        writeln!(out, "\nTheorem 2: upper >= sequence_aware >= lower, one realisation")?;
        table.write_text(&mut out, true)?;
        out.flush()?;
        Ok(())
    }
}
