//! Running one command: its output to files, its time.

use anyhow::{Context, Result, bail};
use diff_core::save::io_error;
use std::{
    fs::{self, File},
    io::Write,
    path::Path,
    process::{Command, ExitStatus, Stdio},
    time::Instant,
};

/// How a command ended.
pub(crate) struct Ended {
    /// Its exit status.
    pub(crate) status: ExitStatus,
    /// Wall time.
    pub(crate) seconds: f64,
}

/// Runs `command` with stdout going to one file and stderr to another, below its command line.
pub(crate) fn run_logged(command: &mut Command, stdout: &Path, log: &Path) -> Result<Ended> {
    let mut log_file = File::create(log).map_err(io_error(log, "create"))?;
    writeln!(log_file, "$ {}", command_line(command)).map_err(io_error(log, "write"))?;
    let out = File::create(stdout).map_err(io_error(stdout, "create"))?;
    let start = Instant::now();
    let status = command
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(log_file)
        .status()
        .with_context(|| format!("running {}", command.get_program().to_string_lossy()))?;
    Ok(Ended { status, seconds: start.elapsed().as_secs_f64() })
}

/// What a command prints, if it succeeds.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let line = command_line(command);
    let output = command.output().with_context(|| format!("running {line}"))?;
    if !output.status.success() {
        bail!("{line}: {}: {}", output.status, last_line(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The last line that says something.
pub(crate) fn last_line(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    text.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default().to_string()
}

/// A command as one would type it.
pub(crate) fn command_line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| quoted(&word.to_string_lossy())).collect::<Vec<_>>().join(" ")
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_string()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// The last `count` lines of a log that say something.
pub(crate) fn tail(log: &Path, count: usize) -> String {
    let text = fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let text = text.unwrap_or_default();
    let lines: Vec<&str> = text.lines().skip(1).filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_a_shell_would_split_are_quoted() {
        let mut command = Command::new("a/b-c");
        command.args(["--set", "k=v", "two words", "it's", ""]);
        assert_eq!(command_line(&command), r"a/b-c --set k=v 'two words' 'it'\''s' ''");
    }

    #[test]
    fn output_is_split_into_files_and_the_status_kept() {
        let dir = tempfile::tempdir().unwrap();
        let (out, log) = (dir.path().join("out"), dir.path().join("log"));
        let mut command = Command::new("sh");
        command.args(["-c", "echo data; echo one >&2; echo two >&2; exit 3"]);
        let ended = run_logged(&mut command, &out, &log).unwrap();
        assert_eq!(ended.status.code(), Some(3));
        assert_eq!(fs::read_to_string(out).unwrap(), "data\n");
        assert_eq!(tail(&log, 1), "two");
        assert!(fs::read_to_string(&log).unwrap().starts_with("$ sh -c "));
    }
}
