use super::{Task, text, train::WEIGHTS};
use crate::reproduce::experiment::{Sampler, Samples};
use anyhow::{Result, bail};
use diff_core::save::io_error;
use serde_json::Value;
use std::{fs, path::Path};

/// Draws samples from a trained model.
pub(crate) struct DrawSamples {
    /// How.
    pub(crate) sampler: Sampler,
    /// How many, and which.
    pub(crate) samples: Samples,
}

/// The pictures side by side.
pub(crate) const GRID: &str = "samples.png";
/// The pictures as an array.
pub(crate) const ARRAY: &str = "samples.npz";

impl Task for DrawSamples {
    fn binary(&self) -> &'static str {
        "diff-sample"
    }

    fn config(&self) -> Result<String> {
        Ok(serde_json::to_string(&(&self.sampler, &self.samples))?)
    }

    fn keyed_by(&self) -> Option<&'static str> {
        Some(WEIGHTS)
    }

    fn arguments(&self, folder: &Path, input: Option<&Path>) -> Vec<String> {
        let checkpoint = input.unwrap_or(folder).join("run/model");
        let mut pairs = vec![
            ("--checkpoint", text(checkpoint)),
            ("--sampler", self.sampler.sampler.clone()),
            ("--steps", self.sampler.steps.to_string()),
        ];
        if let Some(eta) = self.sampler.eta {
            pairs.push(("--eta", eta.to_string()));
        }
        if let Some(trajectory) = &self.sampler.trajectory {
            pairs.push(("--trajectory", trajectory.clone()));
        }
        pairs.extend([
            ("--num", self.samples.num.to_string()),
            ("--batch", self.samples.batch.to_string()),
            ("--seed", self.samples.seed.to_string()),
            ("--out", text(folder.join(GRID))),
            ("--out", text(folder.join(ARRAY))),
        ]);
        let mut arguments = vec!["generate".to_string()];
        arguments.extend(pairs.into_iter().flat_map(|(flag, value)| [flag.to_string(), value]));
        arguments.push("--json".into());
        arguments
    }

    fn outputs(&self) -> &'static [&'static str] {
        &[GRID, ARRAY]
    }

    fn check(&self, folder: &Path, summary: &Value) -> Result<()> {
        let images = summary.get("images").and_then(Value::as_u64);
        if images != Some(u64::from(self.samples.num)) {
            bail!("expected {} images, diff-sample reports {summary}", self.samples.num);
        }
        for (name, magic) in [(GRID, b"\x89PNG"), (ARRAY, b"PK\x03\x04")] {
            let path = folder.join(name);
            let bytes = fs::read(&path).map_err(io_error(&path, "read"))?;
            if !bytes.starts_with(magic) {
                bail!("{name} is not what its name says ({} bytes)", bytes.len());
            }
        }
        Ok(())
    }
}
