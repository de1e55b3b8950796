use super::{Task, flags, sample::ARRAY, text, train::Trained};
use crate::{
    finite::check_finite,
    reproduce::experiment::{Measure, MeasureKind, Taken},
};
use anyhow::{Result, bail};
use serde_json::Value;
use std::path::{Path, PathBuf};
use toml::Value as Toml;

/// Measures samples, a model or the classifier.
pub(crate) struct Measuring {
    /// What to measure.
    pub(crate) measure: Measure,
    /// How many samples there are to measure.
    pub(crate) images: u32,
    /// The weights that the result is keyed by; of samples the key of their cell is enough.
    keyed_by: Vec<Option<&'static str>>,
}

/// What an illustration leaves.
pub(crate) const DRAWING: &str = "illustration.svg";

impl Measuring {
    /// The measure, on `images` samples where it is taken of samples.
    pub(crate) fn new(measure: &Measure, images: u32) -> Self {
        let own = match measure.kind.taken() {
            Taken::Samples => Some(None),
            Taken::Model => Some(Some(Trained::Denoiser.weights())),
            Taken::Classifier | Taken::Nothing => None,
        };
        let judge = measure.kind.judges().then(|| Some(Trained::Classifier.weights()));
        let keyed_by = own.into_iter().chain(judge).collect();
        Measuring { measure: measure.clone(), images, keyed_by }
    }
}

impl Task for Measuring {
    fn binary(&self) -> &'static str {
        "diff-eval"
    }

    fn config(&self) -> Result<String> {
        Ok(serde_json::to_string(&(self.measure.kind.name(), &self.measure.options))?)
    }

    fn keyed_by(&self) -> &[Option<&'static str>] {
        &self.keyed_by
    }

    /// The classifier stands last among the inputs.
    fn arguments(&self, folder: &Path, inputs: &[PathBuf]) -> Vec<String> {
        let kind = self.measure.kind;
        let mut arguments = vec![kind.name().to_string()];
        let mut flag = |name: &str, value: String| {
            arguments.extend([format!("--{name}"), value]);
        };
        let mut inputs = inputs.iter();
        match kind.taken() {
            Taken::Samples => {
                let samples = inputs.next().map_or(folder, PathBuf::as_path);
                flag("samples", text(samples.join(ARRAY)));
            }
            Taken::Model => {
                let model = inputs.next().map_or(folder, PathBuf::as_path);
                flag("checkpoint", text(model.join("run/model")));
            }
            Taken::Classifier | Taken::Nothing => {}
        }
        if kind.judges() {
            let classifier = inputs.next().map_or(folder, PathBuf::as_path);
            flag("classifier", text(classifier.join("run/model")));
        }
        arguments.extend(flags(&self.measure.options));
        let mut flag = |name: &str, value: String| {
            arguments.extend([format!("--{name}"), value]);
        };
        match kind {
            MeasureKind::Gap | MeasureKind::Bounds | MeasureKind::Reconstruction => {
                flag("name", "model".into());
            }
            MeasureKind::Illustrate => flag("svg", text(folder.join(DRAWING))),
            MeasureKind::Pixels | MeasureKind::Fd | MeasureKind::Floor => {}
        }
        arguments.push("--json".into());
        arguments
    }

    fn outputs(&self) -> Vec<&'static str> {
        match self.measure.kind {
            MeasureKind::Illustrate => vec![DRAWING],
            _ => Vec::new(),
        }
    }

    fn check(&self, _folder: &Path, summary: &Value) -> Result<()> {
        check_finite(&known(summary), "")?;
        let images = summary.get("images").and_then(Value::as_u64);
        if self.measure.kind.taken() == Taken::Samples && images != Some(u64::from(self.images)) {
            bail!("expected {} images to be measured, diff-eval reports {summary}", self.images);
        }
        Ok(())
    }

    fn evaluations(&self) -> Option<f64> {
        let of = |name: &str| self.measure.whole(name).unwrap_or(0) as f64;
        Some(match self.measure.kind {
            MeasureKind::Gap => of("num") * (of("start") - 1.0).max(0.0),
            MeasureKind::Bounds => of("num") * 999.0,
            MeasureKind::Reconstruction => {
                let steps = self.measure.options.get("steps").and_then(Toml::as_str);
                let each = steps.into_iter().flat_map(|list| list.split(','));
                2.0 * of("num") * each.filter_map(|s| s.trim().parse::<f64>().ok()).sum::<f64>()
            }
            _ => 0.0,
        })
    }
}

/// A summary without the intervals that were not asked for, and accuracies nobody can tell.
fn known(summary: &Value) -> Value {
    let mut known = summary.clone();
    let optional =
        |name: &str| name.ends_with("_low") || name.ends_with("_high") || name.contains("accuracy");
    if let Some(fields) = known.as_object_mut() {
        fields.retain(|name, value| !(value.is_null() && optional(name)));
    }
    known
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_interval_may_be_missing_and_a_value_may_not() {
        let measure = Measure {
            kind: MeasureKind::Floor,
            name: None,
            options: Default::default(),
            seeds: Vec::new(),
        };
        let task = Measuring::new(&measure, 0);
        let folder = Path::new("");
        assert!(task.check(folder, &json!({"fd_held_out": 1.0, "fd_held_out_low": null})).is_ok());
        let error = task.check(folder, &json!({"fd_held_out": null})).unwrap_err().to_string();
        assert!(error.contains("fd_held_out"), "{error}");
    }
}
