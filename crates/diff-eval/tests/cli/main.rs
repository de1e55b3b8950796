//! `diff-eval` as a user runs it, with a small untrained classifier.

#![cfg(test)]

mod quality;
mod select;

use candle_core::Device;
use diff_models::{checkpoint::ClassifierCheckpoint, nets::ClassifierSpec};
use serde_json::Value;
use std::{
    path::Path,
    process::{Command, Output},
    sync::OnceLock,
};
use tempfile::TempDir;

/// `diff-eval` with `line` (words separated by spaces; `%` stands for `folder`).
fn command(folder: &Path, line: &str) -> Command {
    let folder = folder.to_str().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_diff-eval"));
    command.args(line.split_whitespace().map(|word| word.replace('%', folder)));
    command
}

fn run(folder: &Path, line: &str) -> Output {
    command(folder, line).output().unwrap()
}

/// The JSON object a command prints, which must be all of its output.
fn json(folder: &Path, line: &str) -> Value {
    let output = run(folder, line);
    let messages = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}: {messages}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{line}: {e}"))
}

/// What a command that must fail says, and its exit code.
fn refused(folder: &Path, line: &str) -> (String, Option<i32>) {
    let output = run(folder, line);
    assert!(!output.status.success() && output.stdout.is_empty(), "{line}: {output:?}");
    (String::from_utf8(output.stderr).unwrap(), output.status.code())
}

/// A folder with the classifier `judge` of 8 x 8 digits, and `nameless`, which does not say so.
fn judges() -> &'static Path {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let spec = ClassifierSpec { channels: 8, ..ClassifierSpec::new(8, 1, 10) };
        let mut checkpoint = ClassifierCheckpoint::init(spec, 1, &Device::Cpu).unwrap();
        let weights: Vec<_> = checkpoint.params.tensors().into_iter().collect();
        checkpoint.write(&folder.path().join("nameless"), &weights).unwrap();
        checkpoint.metadata.insert("diff.data".into(), "digits".into());
        checkpoint.write(&folder.path().join("judge"), &weights).unwrap();
        folder
    });
    folder.path()
}
