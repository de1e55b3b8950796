//! `diff-train`: trains denoising networks.

mod commands;

use clap::Parser as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    diff_core::cli::exit_with(commands::Cli::parse().run())
}
