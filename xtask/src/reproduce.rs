//! `cargo xtask reproduce`: an experiment's cells, then its report.

mod cell;
pub(crate) mod experiment;
pub(crate) mod plan;
pub(crate) mod task;

pub(crate) use cell::{Finished, Outcome};

use crate::{report::Report, workspace, workspace::Binaries};
use anyhow::{Result, bail};
use experiment::Experiment;
use plan::Cell;
use std::{
    path::{Path, PathBuf},
    time::Instant,
};

/// Trains, samples and measures what an experiment asks for, then writes its report. Cells that
/// are finished already are used again.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// A name from xtask/experiments, or the path of a .toml file.
    #[arg(default_value = "digits")]
    experiment: String,
    /// The experiment `quick`: a minute, and no evidence.
    #[arg(long, conflicts_with = "experiment")]
    quick: bool,
    /// Folder of the cells and the report [default: runs/EXPERIMENT].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print the plan and stop.
    #[arg(long)]
    dry_run: bool,
    /// Change a value of the experiment: `--set config.train.steps=100`.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
    /// Run every cell again, finished or not.
    #[arg(long)]
    force: bool,
    /// Take the binaries from a folder instead of building them.
    #[arg(long, value_name = "DIR", hide = true)]
    bin_dir: Option<PathBuf>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let start = Instant::now();
    let name = if args.quick { "quick" } else { &args.experiment };
    let experiment = Experiment::load(name, &args.overrides)?;
    let cells = plan::plan(&experiment)?;
    let out = match &args.out {
        Some(out) => out.clone(),
        None => workspace::root().join("runs").join(&experiment.name),
    };
    if args.dry_run {
        print!("{}", describe(&cells, &out)?);
        return Ok(());
    }
    let binaries = match &args.bin_dir {
        Some(folder) => Binaries::in_folder(folder)?,
        None => Binaries::build()?,
    };
    let outcomes = run_cells(&cells, &binaries, &out, args.force)?;
    let seconds = start.elapsed().as_secs_f64();
    Report::gather(&experiment, &cells, &outcomes, &binaries, seconds)?.write(&out)?;
    println!("{}", out.join("report.html").display());
    verdict(&cells, &outcomes)
}

fn run_cells(cells: &[Cell], binaries: &Binaries, out: &Path, force: bool) -> Result<Vec<Outcome>> {
    let mut outcomes: Vec<Outcome> = Vec::with_capacity(cells.len());
    let digits = cells.len().to_string().len();
    for (i, cell) in cells.iter().enumerate() {
        let label = format!("[{:>digits$}/{}] {:<32}", i + 1, cells.len(), cell.name);
        let outcome = match cell.input.map(|input| &outcomes[input]) {
            Some(Outcome::Done(input)) => {
                cell::run(cell, Some(input), binaries, out, force, &label)?
            }
            Some(_) => Outcome::Skipped(format!(
                "it starts from {}, which is missing",
                cells[cell.input.unwrap_or(i)].name
            )),
            None => cell::run(cell, None, binaries, out, force, &label)?,
        };
        match &outcome {
            Outcome::Done(done) if done.reused => eprintln!("{label} {:>8}", "reused"),
            Outcome::Done(done) => eprintln!("{label} {:>6.1} s", done.record.seconds),
            Outcome::Failed(reason) => eprintln!("{label} {:>8}: {reason}", "FAILED"),
            Outcome::Skipped(reason) => eprintln!("{label} {:>8}: {reason}", "skipped"),
        }
        outcomes.push(outcome);
    }
    Ok(outcomes)
}

/// An error that names the cells without a result, if there are any.
fn verdict(cells: &[Cell], outcomes: &[Outcome]) -> Result<()> {
    let named = |wanted: fn(&Outcome) -> bool| -> Vec<&str> {
        let pairs = cells.iter().zip(outcomes);
        pairs.filter(|(_, outcome)| wanted(outcome)).map(|(cell, _)| cell.name.as_str()).collect()
    };
    let failed = named(|outcome| matches!(outcome, Outcome::Failed(_)));
    let skipped = named(|outcome| matches!(outcome, Outcome::Skipped(_)));
    if failed.is_empty() && skipped.is_empty() {
        return Ok(());
    }
    let mut message = format!("failed: {}", failed.join(", "));
    if !skipped.is_empty() {
        message += &format!("; skipped for want of them: {}", skipped.join(", "));
    }
    bail!(message)
}

/// The plan, as the commands it comes to.
fn describe(cells: &[Cell], out: &Path) -> Result<String> {
    let folder = |cell: &Cell| out.join("cells").join(format!("{}-KEY", cell.name));
    let mut text = String::new();
    for (i, cell) in cells.iter().enumerate() {
        let input = cell.input.map(|input| folder(&cells[input]));
        let arguments = cell.task.arguments(&folder(cell), input.as_deref());
        text += &format!("{}. {}\n", i + 1, cell.name);
        text += &format!("   {} {}\n", cell.task.binary(), arguments.join(" "));
        if cell.input.is_none() {
            text += &format!("   {}\n", cell.task.config()?);
        }
    }
    Ok(text)
}
