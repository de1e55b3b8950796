use super::{Task, text};
use crate::{finite::check_finite, report::curves, reproduce::experiment::flatten};
use anyhow::{Result, bail};
use diff_core::save;
use serde_json::Value;
use std::path::Path;
use toml::Table;

/// Trains a model.
pub(crate) struct TrainModel {
    /// diff-train's configuration.
    pub(crate) config: Table,
}

/// The weights, relative to a training cell's folder.
pub(crate) const WEIGHTS: &str = "run/model/unet/diffusion_pytorch_model.safetensors";

impl Task for TrainModel {
    fn binary(&self) -> &'static str {
        "diff-train"
    }

    fn config(&self) -> Result<String> {
        Ok(serde_json::to_string(&flatten(&self.config))?)
    }

    fn prepare(&self, folder: &Path) -> Result<()> {
        let config = toml::to_string(&self.config)?;
        Ok(save::atomic_bytes(&folder.join("config.toml"), config.as_bytes())?)
    }

    fn arguments(&self, folder: &Path, _input: Option<&Path>) -> Vec<String> {
        vec![
            "run".into(),
            "--config".into(),
            text(folder.join("config.toml")),
            "--set".into(),
            format!("out={}", toml::Value::String(text(folder.join("run")))),
            "--json".into(),
        ]
    }

    fn outputs(&self) -> &'static [&'static str] {
        &[
            WEIGHTS,
            "run/model/unet/config.json",
            "run/model/scheduler/scheduler_config.json",
            "run/model/model_index.json",
            "run/config.toml",
            "run/log.jsonl",
        ]
    }

    fn check(&self, folder: &Path, summary: &Value) -> Result<()> {
        check_finite(summary, "")?;
        if summary.get("loss").and_then(Value::as_f64).is_none() {
            bail!("diff-train's summary has no loss: {summary}");
        }
        let lines = curves::read(&folder.join("run/log.jsonl"))?;
        if lines.is_empty() {
            bail!("run/log.jsonl has no line");
        }
        Ok(())
    }
}
