//! What every binary does with its result: one message on stderr, and the exit code.

use crate::error::Error;
use std::{io, process::ExitCode};

/// Turns a binary's result into its exit code: 0 done, 1 failed, 2 bad usage or configuration.
///
/// A reader that closed our output early (`| head`) is not an error.
pub fn exit(result: anyhow::Result<()>) -> ExitCode {
    exit_with(result.map(|()| 0))
}

/// [`exit`] for a binary that may end with a code of its own: 130 or 143 when a signal ended it
/// and nothing was lost.
pub fn exit_with(result: anyhow::Result<u8>) -> ExitCode {
    let error = match result {
        Ok(code) => return ExitCode::from(code),
        Err(error) => error,
    };
    if error.chain().any(is_broken_pipe) {
        return ExitCode::SUCCESS;
    }
    eprintln!("error: {}", message(&error));
    ExitCode::from(if error.chain().any(is_usage) { 2 } else { 1 })
}

/// An error and its causes in one line. A cause that its effect already quotes is not repeated.
fn message(error: &anyhow::Error) -> String {
    let mut parts: Vec<String> = Vec::new();
    for cause in error.chain().map(ToString::to_string) {
        if !parts.last().is_some_and(|last| last.contains(&cause)) {
            parts.push(cause);
        }
    }
    parts.join(": ")
}

fn is_usage(error: &(dyn std::error::Error + 'static)) -> bool {
    error.downcast_ref::<Error>().is_some_and(Error::is_usage)
}

fn is_broken_pipe(error: &(dyn std::error::Error + 'static)) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Wrapper(#[from] Error);

    #[test]
    fn wrapped_errors_are_told_once_and_keep_their_exit_code() {
        let usage = anyhow::Error::from(Wrapper(Error::argument("eta", 2, "[0, 1]")));
        let usage = usage.context("sampling");
        assert_eq!(message(&usage), "sampling: eta = 2: expected [0, 1]");
        assert!(usage.chain().any(is_usage));
        let source = io::Error::new(io::ErrorKind::NotFound, "gone");
        let world = Error::Io { path: "a/b".into(), action: "read", source };
        let world = anyhow::Error::from(Wrapper(world));
        assert_eq!(message(&world), "a/b: cannot read: gone");
        assert!(!world.chain().any(is_usage));
    }
}
