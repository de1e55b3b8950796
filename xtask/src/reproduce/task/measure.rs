use super::{Task, sample::ARRAY, text};
use crate::{finite::check_finite, reproduce::experiment::Measure};
use anyhow::{Result, bail};
use serde_json::Value;
use std::path::Path;

/// Measures samples against a reference.
pub(crate) struct MeasureSamples {
    /// What to measure.
    pub(crate) measure: Measure,
    /// How many samples there are.
    pub(crate) images: u32,
}

impl Task for MeasureSamples {
    fn binary(&self) -> &'static str {
        "diff-eval"
    }

    fn config(&self) -> Result<String> {
        Ok(serde_json::to_string(&self.measure)?)
    }

    fn arguments(&self, folder: &Path, input: Option<&Path>) -> Vec<String> {
        vec![
            self.measure.kind.name().into(),
            "--samples".into(),
            text(input.unwrap_or(folder).join(ARRAY)),
            "--reference".into(),
            self.measure.reference.clone(),
            "--json".into(),
        ]
    }

    fn outputs(&self) -> &'static [&'static str] {
        &[]
    }

    fn check(&self, _folder: &Path, summary: &Value) -> Result<()> {
        check_finite(summary, "")?;
        let images = summary.get("images").and_then(Value::as_u64);
        if images != Some(u64::from(self.images)) {
            bail!("expected {} images to be measured, diff-eval reports {summary}", self.images);
        }
        Ok(())
    }
}
