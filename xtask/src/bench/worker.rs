//! A program that works when it is asked to: the other side of `diff_core::timing`.

use crate::process::{command_line, tail};
use anyhow::{Context, Result, bail};
use diff_core::save::io_error;
use serde_json::{Map, Value};
use std::{
    fs::File,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

/// What a worker says in a line.
pub(super) type Answer = Map<String, Value>;

/// A worker that is ready.
pub(super) struct Worker {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    log: PathBuf,
}

impl Worker {
    /// Starts `command`, whose messages go to the file `log`, and waits until it says that it is
    /// ready, and what else there is to say then.
    pub(super) fn start(command: &mut Command, log: &Path) -> Result<(Self, Answer)> {
        let line = command_line(command);
        let mut messages = File::create(log).map_err(io_error(log, "create"))?;
        writeln!(messages, "$ {line}").map_err(io_error(log, "write"))?;
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(messages);
        let mut child = command.spawn().with_context(|| format!("running {line}"))?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let output = BufReader::new(output.context("a child without stdout")?);
        let mut worker = Worker { child, input, output, log: log.to_path_buf() };
        let ready = worker.read()?;
        if ready.get("ready") != Some(&Value::Bool(true)) {
            bail!("expected a line that says ready, got {}", Value::Object(ready));
        }
        Ok((worker, ready))
    }

    /// Has the work done once.
    pub(super) fn turn(&mut self) -> Result<Answer> {
        // A worker that has ended tells why when its answer is read.
        let asked = self.input.as_mut().map(|input| input.write_all(b"\n"));
        let answer = self.read()?;
        asked.transpose().context("asking a worker")?;
        match answer.get("seconds").and_then(Value::as_f64) {
            Some(seconds) if seconds > 0.0 => Ok(answer),
            _ => bail!("expected a line with seconds, got {}", Value::Object(answer)),
        }
    }

    /// Lets it end, which must go well.
    pub(super) fn end(mut self) -> Result<()> {
        self.input = None;
        let status = self.child.wait().context("waiting for a worker")?;
        match status.success() {
            true => Ok(()),
            false => bail!("{status}: {}", tail(&self.log, 1)),
        }
    }

    fn read(&mut self) -> Result<Answer> {
        let mut line = String::new();
        self.output.read_line(&mut line).context("reading from a worker")?;
        if line.is_empty() {
            let status = self.child.wait().context("waiting for a worker")?;
            bail!("ended with {status}: {}", tail(&self.log, 1));
        }
        serde_json::from_str(&line).with_context(|| format!("not a JSON object: {}", line.trim()))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Of no account where it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hands a started worker to `then`.
    fn with<T>(script: &str, then: impl FnOnce(Worker, Answer) -> Result<T>) -> Result<T> {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        let log = folder.path().join("log");
        let (worker, ready) = Worker::start(command.args(["-c", script]), &log)?;
        then(worker, ready)
    }

    #[test]
    fn a_worker_works_once_a_turn_and_ends_when_nothing_more_is_asked() {
        let script = r#"echo '{"ready":true,"loss":2}'; n=0
            while read -r _; do n=$((n+1)); echo "{\"seconds\":0.5,\"n\":$n}"; done"#;
        let ended = with(script, |mut worker, ready| {
            assert_eq!(ready["loss"], 2);
            assert_eq!(worker.turn()?["n"], 1);
            assert_eq!(worker.turn()?["n"], 2);
            worker.end()
        });
        ended.unwrap();
    }

    #[test]
    fn whatever_a_worker_does_wrong_is_told() {
        let error = |script: &str| {
            let turned = with(script, |mut worker, _| {
                worker.turn()?;
                worker.end()
            });
            format!("{:#}", turned.unwrap_err())
        };
        assert!(error("echo torch is missing >&2; exit 3").contains("torch is missing"));
        assert!(error("echo hello; read -r _").contains("not a JSON object: hello"));
        assert!(error(r#"echo '{"a":1}'"#).contains("says ready"));
        let ready = r#"echo '{"ready":true}'; read -r _; "#;
        assert!(
            error(&format!("{ready} echo out of memory >&2; exit 1")).contains("out of memory")
        );
        assert!(error(&format!("{ready} echo '{{}}'")).contains("with seconds"));
        assert!(error(&format!("{ready} echo '{{\"seconds\":1}}'; exit 4")).contains("4"));
    }
}
