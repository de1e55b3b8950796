//! `cargo xtask reproduce`: an experiment's cells, then its report.

mod archive;
mod cell;
mod demand;
mod estimate;
pub(crate) mod experiment;
mod jobs;
pub(crate) mod plan;
pub(crate) mod task;

pub(crate) use cell::{Finished, Outcome};

use crate::{
    report::Report,
    workspace,
    workspace::{BINARIES, Binaries},
};
use anyhow::{Result, bail};
use cell::Bench;
use experiment::Experiment;
use plan::Cell;
use std::{env, path::PathBuf, thread, time::Instant};

/// Trains, samples and measures what an experiment asks for, then writes its report. Cells that
/// are finished already are used again; a training that was interrupted goes on.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// A name from xtask/experiments, or the path of a .toml file.
    #[arg(default_value = "digits")]
    experiment: String,
    /// The experiment `quick`: a minute, and no evidence.
    #[arg(long, conflicts_with_all = ["experiment", "full"])]
    quick: bool,
    /// The experiment `digits-full`: more models, seeds and steps, and many hours.
    #[arg(long, conflicts_with = "experiment")]
    full: bool,
    /// Folder of the cells and the report [default: runs/EXPERIMENT].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Take this checkpoint, a folder or `hub:org/name`, instead of training the experiment's model.
    #[arg(long, value_name = "CHECKPOINT")]
    checkpoint: Option<String>,
    /// Print the plan with its cost, and stop.
    #[arg(long)]
    dry_run: bool,
    /// Change a value of the experiment: `--set config.train.steps=100`.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
    /// Run every cell again, finished or not.
    #[arg(long)]
    force: bool,
    /// Cells run at a time, each on its share of the threads [default: one a thread].
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// Run only the cell of this name, or else those whose name holds this text, and what they start
    /// from; the report shows what there is. May be repeated.
    #[arg(long, value_name = "TEXT")]
    only: Vec<String>,
    /// A file of finished cells, to run an experiment in parts: what it holds is not run again, and what
    /// has been run is put into it, weights and arrays apart. Made if it is not there.
    #[arg(long, value_name = "FILE")]
    cells: Option<PathBuf>,
    /// Take the binaries from a folder instead of building them.
    #[arg(long, value_name = "DIR", hide = true)]
    bin_dir: Option<PathBuf>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let start = Instant::now();
    let name = match (args.quick, args.full) {
        (true, _) => "quick",
        (_, true) => "digits-full",
        _ => &args.experiment,
    };
    let mut experiment = Experiment::load(name, &args.overrides)?;
    if let Some(checkpoint) = &args.checkpoint {
        experiment.take(checkpoint)?;
    }
    let cells = plan::plan(&experiment)?;
    let out = match &args.out {
        Some(out) => out.clone(),
        None => workspace::root().join("runs").join(&experiment.name),
    };
    let out = from_here(out);
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let jobs = args.jobs.unwrap_or(cores);
    if jobs == 0 {
        bail!(diff_core::Error::argument("jobs", 0, "at least 1"));
    }
    let wanted = wanted(&cells, &args.only)?;
    let binaries = match &args.bin_dir {
        Some(folder) => Binaries::in_folder(folder, &BINARIES)?,
        None => Binaries::build(&BINARIES)?,
    };
    if args.dry_run {
        let costs = estimate::estimate(&cells, &binaries)?;
        print!("{}", estimate::describe(&cells, &costs, &out, jobs)?);
        return Ok(());
    }
    let threads = (cores / jobs).max(1);
    let bench = Bench { binaries: &binaries, out: &out, force: args.force, threads };
    if let Some(archive) = &args.cells {
        let taken = archive::unpack(archive, &out.join("cells"))?;
        eprintln!("{}: {taken} cells taken", archive.display());
    }
    let outcomes = jobs::run(&cells, &wanted, &bench, jobs)?;
    let seconds = start.elapsed().as_secs_f64();
    Report::gather(&experiment, &cells, &outcomes, &binaries, seconds)?.write(&out)?;
    println!("{}", out.join("report.html").display());
    if let Some(archive) = &args.cells {
        let pairs = cells.iter().zip(&outcomes);
        archive::pack(archive, pairs.filter_map(|(cell, end)| Some((cell, end.finished()?))))?;
    }
    verdict(&cells, &outcomes)
}

/// A path as it is seen from here, so that what is made does not tell where it was.
fn from_here(path: PathBuf) -> PathBuf {
    let here = env::current_dir().ok();
    let below = here.and_then(|here| path.strip_prefix(here).ok().map(PathBuf::from));
    below.filter(|below| !below.as_os_str().is_empty()).unwrap_or(path)
}

/// Which cells to run: all, or those that `only` names or whose names hold it, with what they start
/// from.
fn wanted(cells: &[Cell], only: &[String]) -> Result<Vec<bool>> {
    let is_name = |part: &String| cells.iter().any(|cell| cell.name == *part);
    let meant = |cell: &Cell, part: &String| match is_name(part) {
        true => cell.name == *part,
        false => cell.name.contains(part),
    };
    let named = |cell: &Cell| only.is_empty() || only.iter().any(|part| meant(cell, part));
    let mut wanted: Vec<bool> = cells.iter().map(named).collect();
    if let Some(part) = only.iter().find(|part| !cells.iter().any(|c| c.name.contains(*part))) {
        bail!(diff_core::Error::argument("only", part, "a part of a cell's name; see --dry-run"));
    }
    // Inputs stand before their cells.
    for i in (0..cells.len()).rev() {
        if wanted[i] {
            cells[i].inputs.iter().for_each(|input| wanted[*input] = true);
        }
    }
    Ok(wanted)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_the_cells_takes_along_what_they_start_from() {
        let cells = plan::plan(&Experiment::load("quick", &[]).unwrap()).unwrap();
        let chosen = |only: &str| -> Vec<&str> {
            let wanted = wanted(&cells, &[only.to_string()]).unwrap();
            let pairs = cells.iter().zip(wanted);
            pairs.filter(|(_, wanted)| *wanted).map(|(cell, _)| cell.name.as_str()).collect()
        };
        assert_eq!(
            chosen("fd-sa2-ddim"),
            ["train-classifier", "train-sa2", "sample-sa2-ddim-10", "fd-sa2-ddim-10"]
        );
        assert_eq!(chosen("gap-sa2"), ["train-sa2", "gap-sa2"]);
        assert_eq!(chosen("train-sa2"), ["train-sa2"]);
        let error = wanted(&cells, &["nothing".to_string()]).unwrap_err().to_string();
        assert!(error.contains("--dry-run"), "{error}");
    }
}
