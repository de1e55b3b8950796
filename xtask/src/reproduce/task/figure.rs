use super::{Task, flags, text, train::Trained};
use crate::reproduce::experiment::Figure;
use anyhow::{Result, bail};
use diff_core::save::io_error;
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Draws a figure with a model.
pub(crate) struct DrawFigure {
    /// Which.
    pub(crate) figure: Figure,
    /// The model's weights, which the result is keyed by.
    pub(crate) weights: [Option<&'static str>; 1],
}

/// What a figure leaves.
pub(crate) const FIGURE: &str = "figure.png";

impl DrawFigure {
    /// A figure of a denoiser.
    pub(crate) fn new(figure: &Figure) -> Self {
        DrawFigure { figure: figure.clone(), weights: [Some(Trained::Denoiser.weights())] }
    }
}

impl Task for DrawFigure {
    fn binary(&self) -> &'static str {
        "diff-sample"
    }

    fn config(&self) -> Result<String> {
        Ok(serde_json::to_string(&(self.figure.kind.name(), &self.figure.options))?)
    }

    fn keyed_by(&self) -> &[Option<&'static str>] {
        &self.weights
    }

    fn arguments(&self, folder: &Path, inputs: &[PathBuf]) -> Vec<String> {
        let model = inputs.first().map(PathBuf::as_path).unwrap_or(folder);
        let mut arguments = vec![self.figure.kind.name().to_string()];
        arguments.extend(["--checkpoint".into(), text(model.join("run/model"))]);
        arguments.extend(flags(&self.figure.options));
        arguments.extend(["--out".into(), text(folder.join(FIGURE)), "--json".into()]);
        arguments
    }

    fn outputs(&self) -> Vec<&'static str> {
        vec![FIGURE]
    }

    fn check(&self, folder: &Path, _summary: &Value) -> Result<()> {
        let path = folder.join(FIGURE);
        match fs::read(&path).map_err(io_error(&path, "read"))?.starts_with(b"\x89PNG") {
            true => Ok(()),
            false => bail!("{FIGURE} is no PNG"),
        }
    }

    fn evaluations(&self) -> Option<f64> {
        Some(0.0)
    }
}
