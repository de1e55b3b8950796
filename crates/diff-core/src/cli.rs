//! What every binary does with its result: one message on stderr, and the exit code.

use crate::error::Error;
use std::{io, process::ExitCode};

/// Turns a binary's result into its exit code: 0 done, 1 failed, 2 bad usage or configuration.
///
/// A reader that closed our output early (`| head`) is not an error.
pub fn exit(result: anyhow::Result<()>) -> ExitCode {
    let Err(error) = result else { return ExitCode::SUCCESS };
    if error.chain().any(is_broken_pipe) {
        return ExitCode::SUCCESS;
    }
    eprintln!("error: {error:#}");
    ExitCode::from(if error.chain().any(is_usage) { 2 } else { 1 })
}

fn is_usage(error: &(dyn std::error::Error + 'static)) -> bool {
    error.downcast_ref::<Error>().is_some_and(Error::is_usage)
}

fn is_broken_pipe(error: &(dyn std::error::Error + 'static)) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
}
