//! The binaries as a user runs them.

#![cfg(test)]

mod classes;
mod classifier;
mod discrete;
mod disk;
mod errors;
mod latents;
mod likelihood;
mod loss;
mod metrics;
mod pipeline;
mod resume;
mod shipped;
mod time;
mod train;

use serde_json::Value;
use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::OnceLock,
};
use tempfile::TempDir;

/// The folder of the binaries, brought up to date once.
fn binaries() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let packages = ["diff-core", "diff-models", "diff-train", "diff-sample", "diff-eval"];
        let mut command = Command::new(env!("CARGO"));
        command.current_dir(root).args(["build", "--quiet", "--bins"]);
        command.args(packages.iter().flat_map(|name| ["-p", *name]));
        assert!(command.status().unwrap().success(), "the binaries do not build");
        let own = std::env::current_exe().unwrap();
        own.parent().unwrap().parent().unwrap().to_path_buf()
    })
}

/// Runs `line` (words separated by spaces; `%` stands for `folder`).
fn run(folder: &Path, line: &str) -> Output {
    run_with(folder, line, &[])
}

fn run_with(folder: &Path, line: &str, variables: &[(&str, &str)]) -> Output {
    let folder = folder.to_str().unwrap();
    let mut words = line.split_whitespace().map(|word| word.replace('%', folder));
    let program = binaries().join(words.next().unwrap());
    Command::new(program).args(words).envs(variables.iter().copied()).output().unwrap()
}

/// The JSON object a command prints, which must be all of its output.
fn json(folder: &Path, line: &str) -> Value {
    let output = run(folder, line);
    let messages = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}: {messages}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{line}: {e}"))
}

const TINY: &str = r#"
[network]
kind = "ddpm"
resolution = 8
in_channels = 1
out_channels = 1
channels = 8
multipliers = [1, 2]
blocks = 1
attention_resolutions = [4]
dropout = 0.1
norm_groups = 4

[train]
steps = 12
batch = 8
lr = 2e-3
ema = 0.9
log_every = 5
"#;

/// A folder with `tiny.toml` and the run `base` it describes.
fn trained() -> &'static Path {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("tiny.toml"), TINY).unwrap();
        json(folder.path(), "diff-train run --config %/tiny.toml --set out=%/base --json");
        folder
    });
    folder.path()
}

/// An array of an `.npz` as f64, and its shape.
fn array(path: &Path, name: &str) -> (Vec<usize>, Vec<f64>) {
    let arrays = candle_core::npy::NpzTensors::new(path).unwrap();
    let array = arrays.get(name).unwrap().unwrap_or_else(|| panic!("no {name}"));
    let values = array.to_dtype(candle_core::DType::F64).unwrap().flatten_all().unwrap();
    (array.dims().to_vec(), values.to_vec1().unwrap())
}
