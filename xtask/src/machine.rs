//! What a reader of a report wants to know of the machine it was made on.

use crate::workspace;
use serde::Serialize;
use std::{fs, process::Command, thread};

/// Facts of the machine and of the source.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Machine {
    /// Threads the machine runs at once.
    pub(crate) cores: usize,
    /// The processor's name; empty where the system does not say.
    pub(crate) processor: String,
    /// Memory in GiB; `None` where the system does not say.
    pub(crate) memory_gib: Option<f64>,
    /// Operating system and architecture.
    pub(crate) system: String,
    /// The compiler.
    pub(crate) compiler: String,
    /// The source revision, with a `+` when files differ from it; empty outside git.
    pub(crate) source: String,
}

impl Machine {
    /// This machine.
    pub(crate) fn here() -> Self {
        Self {
            cores: thread::available_parallelism().map_or(1, usize::from),
            processor: processor(),
            memory_gib: field("/proc/meminfo", "MemTotal").and_then(|text| gib(&text)),
            system: system(),
            compiler: first_line("rustc", &["--version"]).unwrap_or_default(),
            source: source().unwrap_or_default(),
        }
    }

    /// The facts as rows of a table.
    pub(crate) fn rows(&self) -> Vec<(&'static str, String)> {
        let memory = self.memory_gib.map(|gib| format!("{gib:.1} GiB")).unwrap_or_default();
        let rows = vec![
            ("Cores", self.cores.to_string()),
            ("Processor", self.processor.clone()),
            ("Memory", memory),
            ("System", self.system.clone()),
            ("Compiler", self.compiler.clone()),
            ("Source", self.source.clone()),
        ];
        rows.into_iter().filter(|(_, value)| !value.is_empty()).collect()
    }
}

/// The processor's name; empty where the system does not say.
pub(crate) fn processor() -> String {
    field("/proc/cpuinfo", "model name").unwrap_or_default()
}

fn system() -> String {
    let name = fs::read_to_string("/etc/os-release").ok().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
        Some(line.trim_matches('"').to_string())
    });
    let name = name.unwrap_or_else(|| std::env::consts::OS.to_string());
    format!("{name}, {}", std::env::consts::ARCH)
}

/// The value of the first `name : value` line of a file of the proc file system.
fn field(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim().to_string())
    })
}

fn gib(text: &str) -> Option<f64> {
    let kib: f64 = text.strip_suffix("kB")?.trim().parse().ok()?;
    Some((kib / 1024.0 / 1024.0 * 10.0).round() / 10.0)
}

fn source() -> Option<String> {
    let revision = first_line("git", &["rev-parse", "--short=12", "HEAD"])?;
    let changed = first_line("git", &["status", "--porcelain", "--untracked-files=no"]);
    Some(if changed.is_some() { revision + "+" } else { revision })
}

/// The first line a command prints in the workspace, if it succeeds and prints any.
fn first_line(program: &str, arguments: &[&str]) -> Option<String> {
    let output =
        Command::new(program).args(arguments).current_dir(workspace::root()).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().next()?.trim();
    (output.status.success() && !line.is_empty()).then(|| line.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_in_gib_and_nonsense_is_nothing() {
        assert_eq!(gib("16777216 kB"), Some(16.0));
        assert_eq!(gib("much"), None);
    }

    #[test]
    fn this_machine_has_cores_and_a_system() {
        let machine = Machine::here();
        assert!(machine.cores >= 1);
        assert!(machine.rows().iter().any(|(name, _)| *name == "System"));
    }
}
