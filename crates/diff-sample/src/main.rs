//! `diff-sample`: samples from denoising networks.

mod commands;

use clap::Parser as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    diff_core::cli::exit(commands::Cli::parse().run())
}
