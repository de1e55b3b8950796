//! The run's log: one JSON object a line, appended as the run goes; the source of every curve.

use crate::Result;
use diff_core::save::{self, Output, io_error};
use serde::{Deserialize, Serialize};
use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

/// An open log.
pub struct Log {
    path: PathBuf,
    file: Output,
}

/// A line of the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Line {
    /// Training steps.
    Steps(StepsLine),
    /// A loss on held-out pictures.
    HeldOut(HeldOutLine),
}

/// Means over the steps since the line of its kind before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepsLine {
    /// Optimiser steps taken.
    pub step: usize,
    /// Pictures seen.
    pub images: usize,
    /// Mean loss.
    pub loss: f64,
    /// Mean of every part of the loss.
    pub parts: serde_json::Map<String, serde_json::Value>,
    /// Mean L2 norm of the gradient before clipping.
    pub grad_norm: f64,
    /// Learning rate of the last step.
    pub lr: f64,
    /// Seconds of training since the run began.
    pub seconds: f64,
}

/// The loss of the averaged weights on pictures that are not trained on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HeldOutLine {
    /// Optimiser steps taken.
    pub step: usize,
    /// Pictures seen.
    pub images: usize,
    /// The loss.
    pub held_out: f64,
    /// Every part of it.
    pub held_out_parts: serde_json::Map<String, serde_json::Value>,
    /// Held-out pictures.
    pub pictures: usize,
}

impl Line {
    /// Optimiser steps taken when it was written.
    pub fn step(&self) -> usize {
        match self {
            Line::Steps(line) => line.step,
            Line::HeldOut(line) => line.step,
        }
    }

    /// Seconds of training when it was written, where it tells.
    pub fn seconds(&self) -> Option<f64> {
        match self {
            Line::Steps(line) => Some(line.seconds),
            Line::HeldOut(_) => None,
        }
    }

    /// Its numbers, each with the name of the curve it belongs to.
    pub fn scalars(&self) -> Vec<(String, f64)> {
        let (mut scalars, name, parts) = match self {
            Line::Steps(line) => {
                let own = [("loss", line.loss), ("grad_norm", line.grad_norm), ("lr", line.lr)];
                (own.map(|(name, value)| (name.to_string(), value)).to_vec(), "loss", &line.parts)
            }
            Line::HeldOut(line) => {
                let own = vec![("held_out".to_string(), line.held_out)];
                (own, "held_out", &line.held_out_parts)
            }
        };
        let parts = parts.iter().filter_map(|(part, value)| Some((part, value.as_f64()?)));
        scalars.extend(parts.map(|(part, value)| (format!("{name}/{part}"), value)));
        scalars
    }
}

impl Log {
    /// Starts a new log at `path`.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub fn create(path: &Path) -> Result<Self> {
        let file = Output::create(path).map_err(io_error(path, "create"))?;
        Ok(Log { path: path.to_path_buf(), file })
    }

    /// Goes on with the log at `path` after `step` steps: what was logged beyond them, and a line
    /// that was torn when the writer died, is cut off. Returns the lines that stay.
    ///
    /// # Errors
    /// When the file cannot be read or written, or a line that stays is not a line of a log.
    pub fn resume(path: &Path, step: usize) -> Result<(Self, Vec<Line>)> {
        let bytes = match fs::read(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
            bytes => bytes.map_err(io_error(path, "read"))?,
        };
        let (kept, lines) = keep(&bytes, step).map_err(io_error(path, "read"))?;
        if kept < bytes.len() {
            save::atomic_bytes(path, &bytes[..kept])?;
        }
        let file = Output::append(path).map_err(io_error(path, "open"))?;
        Ok((Log { path: path.to_path_buf(), file }, lines))
    }

    /// Appends a line.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&mut self, line: &Line) -> Result<()> {
        let mut text = serde_json::to_string(line)
            .map_err(|e| io_error(&self.path, "encode")(io::Error::other(e)))?;
        text.push('\n');
        Ok(self.file.write_all(text.as_bytes()).map_err(io_error(&self.path, "append"))?)
    }

    /// Waits until every line is on disk.
    ///
    /// # Errors
    /// The system's.
    pub fn sync(&self) -> Result<()> {
        Ok(self.file.sync().map_err(io_error(&self.path, "sync"))?)
    }
}

/// The length of the head of `bytes` that holds whole lines up to `step`, and these lines.
fn keep(bytes: &[u8], step: usize) -> io::Result<(usize, Vec<Line>)> {
    let mut kept = 0;
    let mut lines = Vec::new();
    for (number, text) in bytes.split_inclusive(|b| *b == b'\n').enumerate() {
        let last = kept + text.len() == bytes.len();
        match serde_json::from_slice::<Line>(text) {
            Ok(line) if text.ends_with(b"\n") && line.step() <= step => lines.push(line),
            // Lines are in order: all that follow are beyond `step` too.
            Ok(_) => break,
            Err(_) if last => break,
            Err(e) => return Err(io::Error::other(format!("line {}: {e}", number + 1))),
        }
        kept += text.len();
    }
    Ok((kept, lines))
}

/// Means over the steps of a line, as far as they have come.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Means {
    count: usize,
    loss: f64,
    grad_norm: f64,
    parts: Vec<(String, f64)>,
}

impl Means {
    pub(crate) fn add(&mut self, loss: f64, grad_norm: f64, parts: &[(&'static str, f64)]) {
        self.count += 1;
        self.loss += loss;
        self.grad_norm += grad_norm;
        if self.parts.is_empty() {
            self.parts = parts.iter().map(|(name, part)| (name.to_string(), *part)).collect();
        } else {
            self.parts.iter_mut().zip(parts).for_each(|(sum, part)| sum.1 += part.1);
        }
    }

    /// The line of these means; the sums start again from nothing.
    pub(crate) fn take(&mut self, step: usize, images: usize, lr: f64, seconds: f64) -> StepsLine {
        let Means { count, loss, grad_norm, parts } = std::mem::take(self);
        let mean = |sum: f64| sum / count.max(1) as f64;
        let parts = parts.into_iter().map(|(name, sum)| (name, mean(sum).into())).collect();
        let (loss, grad_norm) = (mean(loss), mean(grad_norm));
        StepsLine { step, images, loss, parts, grad_norm, lr, seconds }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(step: usize) -> Line {
        let mut means = Means::default();
        means.add(step as f64 / 3.0, 1.0, &[("simple", 0.1)]);
        Line::Steps(means.take(step, 4 * step, 1e-3, 0.5))
    }

    fn held_out(step: usize) -> Line {
        let held_out_parts = serde_json::Map::new();
        Line::HeldOut(HeldOutLine {
            step,
            images: 4 * step,
            held_out: 1.0,
            held_out_parts,
            pictures: 9,
        })
    }

    #[test]
    fn a_resumed_log_keeps_what_the_checkpoint_knows_and_drops_the_torn_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.jsonl");
        let mut log = Log::create(&path).unwrap();
        for line in [line(10), held_out(10), line(20), line(30)] {
            log.write(&line).unwrap();
        }
        drop(log);
        let whole = fs::read(&path).unwrap();
        // Torn at every byte: the lines that are whole stay, and nothing is made of the rest.
        for length in 0..=whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            let (mut log, lines) = Log::resume(&path, 20).unwrap();
            let complete = whole[..length].iter().filter(|b| **b == b'\n').count();
            assert_eq!(lines.len(), complete.min(3), "cut at {length}");
            log.write(&line(40)).unwrap();
            let text = fs::read_to_string(&path).unwrap();
            assert_eq!(text.lines().count(), complete.min(3) + 1);
            assert_eq!(
                serde_json::from_str::<Line>(text.lines().last().unwrap()).unwrap(),
                line(40)
            );
        }
    }

    #[test]
    fn a_log_that_is_none_is_refused_and_a_missing_one_starts_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.jsonl");
        assert!(Log::resume(&path, 5).unwrap().1.is_empty());
        fs::write(&path, "not json\n{}\n").unwrap();
        let error = Log::resume(&path, 5).map(|_| ()).unwrap_err();
        let error = format!("{:#}", anyhow::Error::from(error));
        assert!(error.contains("log.jsonl") && error.contains("line 1"), "{error}");
    }

    #[test]
    fn means_survive_json_to_the_last_bit() {
        let mut means = Means::default();
        means.add(0.1, 1.0 / 3.0, &[("simple", 1e-300)]);
        means.add(0.2, 1e10 / 7.0, &[("simple", 2.0 / 3.0)]);
        let text = serde_json::to_string(&means).unwrap();
        assert_eq!(serde_json::from_str::<Means>(&text).unwrap(), means);
    }
}
