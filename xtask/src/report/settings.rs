//! The training settings, as the runs resolved them: what all models share, and what differs.

use crate::reproduce::{
    Finished,
    experiment::{Experiment, flatten},
};
use anyhow::{Context, Result};
use diff_core::save::io_error;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};
use toml::{Table, Value};

/// Settings by dotted key.
#[derive(Default)]
pub(crate) struct Settings {
    /// Settings with one value.
    pub(crate) shared: Vec<(String, String)>,
    /// Settings with a value for every model, empty where a model has none.
    pub(crate) differing: Vec<(String, Vec<String>)>,
}

impl Settings {
    /// The settings of all models; of one that was not trained, those the experiment gives it.
    pub(crate) fn gather(experiment: &Experiment, trained: &[Option<&Finished>]) -> Result<Self> {
        let mut models = Vec::new();
        for (model, done) in experiment.models.iter().zip(trained) {
            let table = match done {
                // Of a model that was not trained here all that is known is where it came from.
                Some(_) if model.checkpoint.is_some() => {
                    let checkpoint = model.checkpoint.iter().cloned().map(Value::String);
                    checkpoint.map(|value| ("checkpoint".to_string(), value)).collect()
                }
                Some(done) => resolved(done)?,
                None => experiment.config_of(model, 0)?,
            };
            models.push(flatten(&table));
        }
        Ok(Self::compare(&models))
    }

    fn compare(models: &[BTreeMap<String, String>]) -> Self {
        // The run folder is an address, and seeds are listed with the models.
        let setting = |key: &&String| !["out", "seed"].contains(&key.as_str());
        let keys: BTreeSet<&String> =
            models.iter().flat_map(BTreeMap::keys).filter(setting).collect();
        let mut settings = Settings::default();
        for key in keys {
            let of = |model: &BTreeMap<String, String>| model.get(key).cloned().unwrap_or_default();
            let values: Vec<String> = models.iter().map(of).collect();
            if values.iter().all(|value| *value == values[0]) {
                settings.shared.extend(values.into_iter().next().map(|v| (key.clone(), v)));
            } else {
                settings.differing.push((key.clone(), values));
            }
        }
        settings
    }
}

fn resolved(done: &Finished) -> Result<Table> {
    let path = done.folder.join("run/config.toml");
    let text = fs::read_to_string(&path).map_err(io_error(&path, "read"))?;
    text.parse().with_context(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_shared_only_when_every_model_has_the_same() {
        let a = flatten(&"seed = 0\nlr = 1\nout = 'a'\n[o]\nkind = 'simple'".parse().unwrap());
        let b =
            flatten(&"seed = 1\nlr = 1\nout = 'b'\n[o]\nkind = 'sa'\nsteps = 2".parse().unwrap());
        let settings = Settings::compare(&[a, b]);
        assert_eq!(settings.shared, [("lr".into(), "1".into())]);
        let keys: Vec<_> = settings.differing.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys, ["o.kind", "o.steps"]);
        assert_eq!(settings.differing[1].1, ["", "2"]);
    }
}
