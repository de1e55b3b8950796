//! Where the workspace is, and how its binaries are built.

use anyhow::{Context, Result, bail};
use std::{
    collections::BTreeMap,
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The binaries an experiment is made of, each named like its crate.
pub(crate) const BINARIES: [&str; 4] = ["diff-models", "diff-train", "diff-sample", "diff-eval"];

/// The folder of the workspace's `Cargo.toml`.
pub(crate) fn root() -> PathBuf {
    // Cargo sets the variable when it runs us; the compiled-in value serves a bare call.
    let xtask = env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    xtask.parent().map_or_else(|| xtask.clone(), Path::to_path_buf)
}

/// The cargo that runs us, or the one on the path.
pub(crate) fn cargo() -> OsString {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// Binaries of the workspace: paths and what each answers to `--version`.
pub(crate) struct Binaries {
    paths: BTreeMap<String, PathBuf>,
    versions: BTreeMap<String, String>,
}

impl Binaries {
    /// Builds them in the profile this program was built in.
    pub(crate) fn build(names: &[&str]) -> Result<Self> {
        let mut command = Command::new(cargo());
        command.current_dir(root()).args(["build", "--bins", "--message-format=json"]);
        for name in names {
            command.args(["-p", name]);
        }
        if let Some(profile) = profile() {
            command.args(["--profile", &profile]);
        }
        let output = command
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .context("running cargo build")?;
        if !output.status.success() {
            bail!("the binaries did not build ({})", output.status);
        }
        Self::new(executables(&String::from_utf8_lossy(&output.stdout)), names)
    }

    /// Takes them from a folder.
    pub(crate) fn in_folder(folder: &Path, names: &[&str]) -> Result<Self> {
        let paths = names.iter().map(|name| (name.to_string(), folder.join(name)));
        Self::new(paths.collect(), names)
    }

    fn new(paths: BTreeMap<String, PathBuf>, names: &[&str]) -> Result<Self> {
        let mut versions = BTreeMap::new();
        for name in names {
            let path = paths.get(*name).with_context(|| format!("cargo built no binary {name}"))?;
            versions.insert(name.to_string(), version(path)?);
        }
        Ok(Self { paths, versions })
    }

    /// The executable called `name`.
    pub(crate) fn path(&self, name: &str) -> Result<&Path> {
        self.paths.get(name).map(PathBuf::as_path).with_context(|| format!("no binary {name}"))
    }

    /// What `name` answers to `--version`.
    pub(crate) fn version(&self, name: &str) -> &str {
        self.versions.get(name).map_or("", String::as_str)
    }

    /// All answers to `--version`, by binary.
    pub(crate) fn versions(&self) -> &BTreeMap<String, String> {
        &self.versions
    }
}

fn version(binary: &Path) -> Result<String> {
    let output = Command::new(binary)
        .arg("--version")
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("running {}", binary.display()))?;
    if !output.status.success() {
        bail!("{} --version: {}", binary.display(), output.status);
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_string())
}

/// The profile of this program, where it is not the default one: its folder below `target`.
fn profile() -> Option<String> {
    let executable = env::current_exe().ok()?;
    match executable.parent()?.file_name()?.to_str()? {
        "debug" | "deps" => None,
        name => Some(name.to_string()),
    }
}

/// What cargo calls the profile that binaries are built in.
pub(crate) fn profile_name() -> String {
    profile().unwrap_or_else(|| "dev".into())
}

/// The executables in cargo's stream of build messages.
fn executables(messages: &str) -> BTreeMap<String, PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter_map(|message| {
            let name = message.pointer("/target/name")?.as_str()?.to_string();
            let path = message.get("executable")?.as_str()?;
            Some((name, PathBuf::from(path)))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executables_are_read_from_cargo_messages_and_libraries_are_not() {
        let messages = concat!(
            r#"{"reason":"compiler-artifact","target":{"name":"diff_eval"},"executable":null}"#,
            "\nnot json\n",
            r#"{"reason":"compiler-artifact","target":{"name":"diff-eval"},"executable":"/t/diff-eval"}"#,
        );
        let got = executables(messages);
        assert_eq!(
            got.into_iter().collect::<Vec<_>>(),
            [("diff-eval".to_string(), PathBuf::from("/t/diff-eval"))]
        );
    }

    #[test]
    fn the_root_holds_this_crate() {
        assert!(root().join("xtask/Cargo.toml").is_file());
    }
}
