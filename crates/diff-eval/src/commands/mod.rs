//! The commands of `diff-eval`, one file each.

mod bench;
mod bounds;
mod gap;
mod illustrate;
mod pixels;

use clap::{Parser, Subcommand};
use diff_core::cli;
use std::process::ExitCode;

/// Judges denoising networks and samples.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Compare plain pixel statistics with a reference: a sanity check, not a measure of quality.
    Pixels(pixels::PixelsArgs),
    /// Measure how prediction errors add up along the sampling of trained networks.
    Gap(gap::GapArgs),
    /// Measure the total gap of trained networks and the bounds of SA-DPM's Theorem 2.
    Bounds(bounds::BoundsArgs),
    /// Draw why errors that agree from step to step matter, on data of which all is known.
    Illustrate(illustrate::IllustrateArgs),
}

/// Parses the command line, runs what it asks for, and says how it went.
pub(crate) fn main() -> ExitCode {
    cli::exit(match Cli::parse().command {
        Command::Pixels(args) => pixels::run(&args),
        Command::Gap(args) => gap::run(&args),
        Command::Bounds(args) => bounds::run(&args),
        Command::Illustrate(args) => illustrate::run(&args),
    })
}
