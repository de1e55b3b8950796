//! `diff-eval`: judges denoising networks and samples.

mod commands;

use std::process::ExitCode;

fn main() -> ExitCode {
    commands::main()
}
