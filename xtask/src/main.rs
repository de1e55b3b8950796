//! The project's chores: experiments and their reports, benchmarks, and continuous integration.
//!
//! Light on purpose: it links no tensor library and drives the other crates by their binaries.

mod bench;
mod ci;
mod finite;
mod golden;
mod list;
mod machine;
mod process;
mod python;
mod readme;
mod report;
mod reproduce;
mod scratch;
mod workspace;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version, about)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Train, sample and measure what an experiment asks for, then write its report.
    Reproduce(reproduce::Args),
    /// List the experiments.
    List(list::Args),
    /// Compare the results of two runs.
    Report(report::compare::Args),
    /// Time our binaries against PyTorch and diffusers on the same weights.
    Bench(bench::Args),
    /// Make the golden fixtures anew with the peers' code, and compare them with those committed.
    Golden(golden::Args),
    /// Run every check that a change must pass, and print the seconds each one took.
    Ci,
}

fn main() -> ExitCode {
    let result = match Args::parse().command {
        Command::Reproduce(args) => reproduce::run(&args),
        Command::List(args) => list::run(&args),
        Command::Report(args) => report::compare::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Golden(args) => golden::run(&args),
        Command::Ci => ci::run(),
    };
    diff_core::cli::exit(result)
}
