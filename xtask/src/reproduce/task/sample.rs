use super::{Task, text, train::Trained};
use crate::reproduce::experiment::{Sampler, Samples};
use anyhow::{Result, bail};
use diff_core::save::io_error;
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Draws samples from a trained model.
pub(crate) struct DrawSamples {
    /// How.
    pub(crate) sampler: Sampler,
    /// How many, and which.
    pub(crate) samples: Samples,
    /// The model's weights, which the result is keyed by.
    pub(crate) weights: [Option<&'static str>; 1],
}

/// The first pictures side by side.
pub(crate) const GRID: &str = "samples.png";
/// All pictures as an array.
pub(crate) const ARRAY: &str = "samples.npz";

impl DrawSamples {
    /// Samples of a denoiser.
    pub(crate) fn new(sampler: &Sampler, samples: &Samples) -> Self {
        let weights = [Some(Trained::Denoiser.weights())];
        DrawSamples { sampler: sampler.clone(), samples: samples.clone(), weights }
    }
}

impl Task for DrawSamples {
    fn binary(&self) -> &'static str {
        "diff-sample"
    }

    fn config(&self) -> Result<String> {
        Ok(serde_json::to_string(&(&self.sampler, &self.samples))?)
    }

    fn keyed_by(&self) -> &[Option<&'static str>] {
        &self.weights
    }

    fn arguments(&self, folder: &Path, inputs: &[PathBuf]) -> Vec<String> {
        let model = inputs.first().map(PathBuf::as_path).unwrap_or(folder);
        let mut pairs = vec![
            ("--checkpoint", text(model.join("run/model"))),
            ("--sampler", self.sampler.sampler.clone()),
            ("--steps", self.sampler.steps.to_string()),
        ];
        if let Some(eta) = self.sampler.eta {
            pairs.push(("--eta", eta.to_string()));
        }
        if let Some(trajectory) = &self.sampler.trajectory {
            pairs.push(("--trajectory", trajectory.clone()));
        }
        if let Some(class) = &self.sampler.class {
            pairs.push(("--class", class.clone()));
        }
        if let Some(guidance) = self.sampler.guidance {
            pairs.push(("--guidance", guidance.to_string()));
        }
        pairs.extend([
            ("--num", self.samples.num.to_string()),
            ("--batch", self.samples.batch.to_string()),
            ("--seed", self.samples.seed.to_string()),
            ("--grid", self.samples.grid.to_string()),
            ("--out", text(folder.join(GRID))),
            ("--out", text(folder.join(ARRAY))),
        ]);
        let mut arguments = vec!["generate".to_string()];
        arguments.extend(pairs.into_iter().flat_map(|(flag, value)| [flag.to_string(), value]));
        arguments.push("--json".into());
        arguments
    }

    fn outputs(&self) -> Vec<&'static str> {
        vec![GRID, ARRAY]
    }

    fn bulky(&self) -> &'static [&'static str] {
        &[ARRAY]
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

    fn evaluations(&self) -> Option<f64> {
        // Guidance asks twice.
        let asked =
            if self.sampler.guidance.is_some_and(|weight| weight != 0.0) { 2.0 } else { 1.0 };
        Some(asked * f64::from(self.samples.num) * f64::from(self.sampler.steps))
    }
}
