//! The commands of `diff-eval`, one file each.

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
}

/// Parses the command line, runs what it asks for, and says how it went.
pub(crate) fn main() -> ExitCode {
    cli::exit(match Cli::parse().command {
        Command::Pixels(args) => pixels::run(&args),
    })
}
