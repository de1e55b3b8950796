use super::{Task, text};
use crate::{finite::check_finite, report::curves, reproduce::experiment::flatten};
use anyhow::{Result, bail};
use diff_core::save;
use serde_json::Value;
use std::path::{Path, PathBuf};
use toml::Table;

/// Trains a model, or the classifier.
pub(crate) struct TrainModel {
    /// diff-train's configuration.
    pub(crate) config: Table,
    /// What is trained.
    pub(crate) what: Trained,
}

/// What a training leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trained {
    /// A denoising network.
    Denoiser,
    /// A classifier.
    Classifier,
}

/// The configuration the run is given, relative to the cell's folder.
const CONFIG: &str = "config.toml";

impl Trained {
    /// The weights, relative to a training cell's folder.
    pub(crate) fn weights(self) -> &'static str {
        self.bulky()[0]
    }

    pub(super) fn bulky(self) -> &'static [&'static str] {
        match self {
            Trained::Denoiser => &["run/model/unet/diffusion_pytorch_model.safetensors"],
            Trained::Classifier => &["run/model/model.safetensors"],
        }
    }

    pub(super) fn texts(self) -> &'static [&'static str] {
        match self {
            Trained::Denoiser => &[
                "run/model/unet/config.json",
                "run/model/scheduler/scheduler_config.json",
                "run/model/model_index.json",
            ],
            Trained::Classifier => &["run/model/config.json"],
        }
    }
}

impl Task for TrainModel {
    fn binary(&self) -> &'static str {
        "diff-train"
    }

    fn config(&self) -> Result<String> {
        Ok(serde_json::to_string(&flatten(&self.config))?)
    }

    fn prepare(&self, folder: &Path) -> Result<()> {
        let config = toml::to_string(&self.config)?;
        Ok(save::atomic_bytes(&folder.join(CONFIG), config.as_bytes())?)
    }

    fn arguments(&self, folder: &Path, _inputs: &[PathBuf]) -> Vec<String> {
        vec![
            "run".into(),
            "--config".into(),
            text(folder.join(CONFIG)),
            "--set".into(),
            format!("out={}", toml::Value::String(text(folder.join("run")))),
            "--json".into(),
        ]
    }

    fn resume(&self, folder: &Path) -> Option<Vec<String>> {
        let run = folder.join("run");
        let begun = run.join("checkpoints").is_dir() && run.join(CONFIG).is_file();
        begun.then(|| vec!["run".into(), "--resume".into(), text(run), "--json".into()])
    }

    fn outputs(&self) -> Vec<&'static str> {
        let shared = [self.what.weights(), "run/config.toml", "run/log.jsonl"];
        shared.into_iter().chain(self.what.texts().iter().copied()).collect()
    }

    fn bulky(&self) -> &'static [&'static str] {
        self.what.bulky()
    }

    fn check(&self, folder: &Path, summary: &Value) -> Result<()> {
        check_finite(summary, "")?;
        if summary.get("loss").and_then(Value::as_f64).is_none() {
            bail!("diff-train's summary has no loss: {summary}");
        }
        if let Some(signal) = summary.get("stopped_by") {
            bail!("the training was stopped by {signal}; run again to go on");
        }
        let lines = curves::read(&folder.join("run/log.jsonl"))?;
        if lines.is_empty() {
            bail!("run/log.jsonl has no line");
        }
        Ok(())
    }

    fn evaluations(&self) -> Option<f64> {
        None
    }
}
