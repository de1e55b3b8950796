use crate::Result;
use diff_core::save::io_error;
use serde::Serialize;
use std::{
    fs::File,
    io::Write,
    path::{Path, PathBuf},
};

/// The run's log: one JSON object a line, appended and flushed line by line.
pub struct Log {
    path: PathBuf,
    file: File,
}

/// A line of the log; means run over the steps since the line before.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
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
    /// Learning rate.
    pub lr: f64,
    /// Seconds since the run began.
    pub seconds: f64,
}

impl Log {
    /// Starts a new log at `path`.
    pub fn create(path: &Path) -> Result<Self> {
        let file = File::create(path).map_err(io_error(path, "create"))?;
        Ok(Log { path: path.to_path_buf(), file })
    }

    /// Appends a line.
    pub fn write(&mut self, line: &Line) -> Result<()> {
        let mut text = serde_json::to_string(line)
            .map_err(|e| io_error(&self.path, "encode")(std::io::Error::other(e)))?;
        text.push('\n');
        Ok(self.file.write_all(text.as_bytes()).map_err(io_error(&self.path, "append"))?)
    }
}

/// Means over the steps of a line.
#[derive(Default)]
pub(crate) struct Means {
    count: usize,
    loss: f64,
    grad_norm: f64,
    parts: Vec<(&'static str, f64)>,
}

impl Means {
    pub(crate) fn add(&mut self, loss: f64, grad_norm: f64, parts: &[(&'static str, f64)]) {
        self.count += 1;
        self.loss += loss;
        self.grad_norm += grad_norm;
        if self.parts.is_empty() {
            self.parts = parts.to_vec();
        } else {
            self.parts.iter_mut().zip(parts).for_each(|(sum, part)| sum.1 += part.1);
        }
    }

    /// The line of these means; the sums start again from nothing.
    pub(crate) fn take(&mut self, step: usize, batch: usize, lr: f64, seconds: f64) -> Line {
        let Means { count, loss, grad_norm, parts } = std::mem::take(self);
        let mean = |sum: f64| sum / count.max(1) as f64;
        let parts = parts.into_iter().map(|(name, sum)| (name.to_string(), mean(sum).into()));
        Line {
            step,
            images: step * batch,
            loss: mean(loss),
            parts: parts.collect(),
            grad_norm: mean(grad_norm),
            lr,
            seconds,
        }
    }
}
