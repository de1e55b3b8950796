//! Running the program on stand-ins of the binaries (`tests/fake`).

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};
use tempfile::TempDir;

/// A place to run the quick experiment again and again.
pub(crate) struct Place(TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        Place(tempfile::tempdir().unwrap())
    }

    /// Where the report goes.
    pub(crate) fn out(&self) -> PathBuf {
        self.0.path().join("out folder")
    }

    /// Where the stand-ins write down how they were called.
    pub(crate) fn calls_file(&self) -> PathBuf {
        self.0.path().join("calls")
    }

    pub(crate) fn run(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_xtask"))
            .args(["reproduce", "--quick", "--bin-dir"])
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fake"))
            .arg("--out")
            .arg(self.out())
            .args(arguments)
            .current_dir(self.0.path())
            .env("FAKE_CALLS", self.calls_file())
            .envs(environment.iter().copied())
            .output()
            .unwrap()
    }

    /// A file of the report.
    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.out().join(name)).unwrap()
    }
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
