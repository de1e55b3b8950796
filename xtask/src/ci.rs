//! Continuous integration: every check a change must pass, in the order that fails soonest.

use crate::{readme, workspace};
use anyhow::{Context, Result, bail};
use diff_core::save::io_error;
use std::{
    env,
    ffi::OsStr,
    fs,
    path::Path,
    process::{self, Command, Stdio},
    time::Instant,
};

/// A named check.
struct Stage {
    name: &'static str,
    run: Command,
}

/// Runs the stages until one fails, then prints the seconds each one took.
pub(crate) fn run() -> Result<()> {
    let root = workspace::root();
    let readme = root.join("README.md");
    let text = fs::read_to_string(&readme).map_err(io_error(&readme, "read"))?;
    let out = env::temp_dir().join(format!("diff-ci-{}", process::id()));
    let mut times = Vec::new();
    install_components()?;
    install_browser();
    let result = run_stages(stages(&root, &text, &out)?, &mut times);
    // The pictures of a passing run are of no use to anyone; a failed run's logs are.
    if result.is_ok() && out.exists() {
        fs::remove_dir_all(&out).map_err(io_error(&out, "remove"))?;
    }
    eprint!("{}", table(&times));
    result
}

fn stages(root: &Path, readme: &str, out: &Path) -> Result<Vec<Stage>> {
    let reproduce = format!("{} --out '{}'", readme::command(readme, "reproduce")?, out.display());
    let mut docs = cargo(&["doc", "--workspace", "--no-deps"]);
    docs.env("RUSTDOCFLAGS", "-D warnings");
    let clippy = cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]);
    let mut stages = vec![
        Stage { name: "format", run: cargo(&["fmt", "--all", "--check"]) },
        Stage { name: "clippy", run: clippy },
        Stage { name: "docs", run: docs },
        Stage { name: "test", run: shell(readme::command(readme, "test")?) },
        Stage { name: "reproduce", run: shell(&reproduce) },
    ];
    for stage in &mut stages {
        stage.run.current_dir(root);
    }
    Ok(stages)
}

fn run_stages(stages: Vec<Stage>, times: &mut Vec<(&'static str, f64)>) -> Result<()> {
    for Stage { name, mut run } in stages {
        eprintln!("== {name}: {}", crate::process::command_line(&run));
        let start = Instant::now();
        let status = run.stdin(Stdio::null()).status().with_context(|| format!("stage {name}"))?;
        times.push((name, start.elapsed().as_secs_f64()));
        if !status.success() {
            bail!("stage {name} failed ({status})");
        }
    }
    Ok(())
}

fn table(times: &[(&str, f64)]) -> String {
    let total: f64 = times.iter().map(|(_, seconds)| seconds).sum();
    let rows = times.iter().copied().chain([("total", total)]);
    let rows: String = rows.map(|(name, s)| format!("{name:<12}{s:>9.1}\n")).collect();
    format!("\n{:<12}{:>9}\n{rows}", "stage", "seconds")
}

/// Adds rustfmt and clippy where a toolchain came without them.
fn install_components() -> Result<()> {
    for (component, subcommand) in [("rustfmt", "fmt"), ("clippy", "clippy")] {
        if succeeds(cargo(&[subcommand, "--version"])) {
            continue;
        }
        let mut rustup = Command::new("rustup");
        rustup.args(["component", "add", component]);
        if !succeeds(rustup) {
            bail!(
                "the Rust toolchain has no {component} and `rustup component add {component}` \
                 did not add it: install it, then run again"
            );
        }
    }
    Ok(())
}

/// The browsers that the tests of the report look for; see `tests/browser.rs`.
const BROWSERS: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "chrome"];

/// Adds a browser where there is none and the system lets us; otherwise says that the report will
/// not be tried in one.
fn install_browser() {
    let there = |name| succeeds(program(name, &["--version"]));
    if env::var_os("CHROME").is_some() || BROWSERS.into_iter().any(there) {
        return;
    }
    let update = ["update", "-qq"];
    let install = ["install", "-qq", "-y", "--no-install-recommends", "chromium"];
    let apt = |arguments: &[&str]| {
        let mut command = program("apt-get", arguments);
        command.env("DEBIAN_FRONTEND", "noninteractive");
        succeeds(command)
    };
    let installed = is_root() && apt(&update) && apt(&install);
    if !installed {
        eprintln!(
            "no browser, and none could be installed (that takes root and apt-get): the report \
             is not tried in one"
        );
    }
}

fn is_root() -> bool {
    let output = program("id", &["-u"]).output();
    output.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

fn succeeds(mut command: Command) -> bool {
    command.stdin(Stdio::null()).stdout(Stdio::null()).status().is_ok_and(|s| s.success())
}

fn program(name: impl AsRef<OsStr>, arguments: &[&str]) -> Command {
    let mut command = Command::new(name);
    command.args(arguments);
    command
}

fn cargo(arguments: &[&str]) -> Command {
    program(workspace::cargo(), arguments)
}

fn shell(line: &str) -> Command {
    program("sh", &["-c", line])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_failure_stops_and_is_named_and_timed() {
        let stages = ["true", "exit 4", "true"].into_iter().zip(["one", "two", "three"]);
        let stages = stages.map(|(line, name)| Stage { name, run: shell(line) }).collect();
        let mut times = Vec::new();
        let error = run_stages(stages, &mut times).unwrap_err().to_string();
        assert!(error.contains("two"), "{error}");
        assert_eq!(times.iter().map(|t| t.0).collect::<Vec<_>>(), ["one", "two"]);
    }

    #[test]
    fn the_stages_run_the_commands_of_the_readme() {
        let text = fs::read_to_string(workspace::root().join("README.md")).unwrap();
        let stages = stages(Path::new("."), &text, Path::new("/tmp/x y")).unwrap();
        let lines: Vec<_> = stages.iter().map(|s| crate::process::command_line(&s.run)).collect();
        let promised = readme::command(&text, "test").unwrap();
        assert!(lines.iter().any(|line| line == &format!("sh -c '{promised}'")), "{lines:?}");
        let last = stages[4].run.get_args().last().unwrap().to_string_lossy().into_owned();
        assert_eq!(last, "cargo xtask reproduce --quick --out '/tmp/x y'");
    }

    #[test]
    fn the_table_adds_up() {
        let text = table(&[("format", 1.25), ("clippy", 2.5)]);
        assert!(text.contains("clippy") && text.lines().last().unwrap().ends_with("3.8"), "{text}");
    }
}
