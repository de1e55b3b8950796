//! An experiment: what to train, sample and measure. Read from a TOML file.

mod check;
mod figure;
mod find;
mod measure;
mod published;
mod tables;

pub(crate) use figure::{Figure, FigureKind};
use find::find;
pub(crate) use find::{folder, list};
pub(crate) use measure::{Measure, MeasureKind, Taken};
pub(crate) use published::{Answer, Published, PublishedTable};
pub(crate) use tables::flatten;

use super::plan::Run;
use anyhow::{Result, bail};
use diff_core::{Error, config};
use serde::{Deserialize, Serialize};
use tables::merge;
use toml::{Table, Value};

/// A file of `xtask/experiments`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Experiment {
    /// The file's name without its ending.
    #[serde(skip)]
    pub(crate) name: String,
    /// Heading of the report.
    pub(crate) title: String,
    /// What is asked, in a paragraph.
    pub(crate) about: String,
    /// Whether its numbers may be read as results; otherwise the report says that they may not.
    pub(crate) evidence: bool,
    /// The training configuration that the models share, in diff-train's own terms.
    pub(crate) config: Table,
    /// Training seeds of every model that names none of its own; without any, `config.seed`.
    #[serde(default)]
    pub(crate) seeds: Vec<u64>,
    /// The network whose features samples are judged by.
    #[serde(default)]
    pub(crate) classifier: Option<Classifier>,
    /// What is trained.
    pub(crate) models: Vec<Model>,
    /// How every model is sampled.
    pub(crate) samplers: Vec<Sampler>,
    /// What every sampler is asked for.
    pub(crate) sample: Samples,
    /// What is measured.
    #[serde(default)]
    pub(crate) measures: Vec<Measure>,
    /// Which models are held against which.
    #[serde(default)]
    pub(crate) contrasts: Vec<Contrast>,
    /// What a document says about the same question.
    #[serde(default)]
    pub(crate) published: Vec<Published>,
    /// What is drawn with every model's first training.
    #[serde(default)]
    pub(crate) figures: Vec<Figure>,
    /// Published tables, and which cells answer theirs.
    #[serde(default)]
    pub(crate) tables: Vec<PublishedTable>,
}

/// The classifier, in diff-train's own terms.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Classifier {
    /// Its training configuration.
    pub(crate) config: Table,
}

/// A model to train.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Model {
    /// Its name in cells and tables.
    pub(crate) name: String,
    /// What sets it apart, in a line.
    #[serde(default)]
    pub(crate) about: String,
    /// Multiplies `config.train.steps`.
    #[serde(default = "one")]
    pub(crate) times_steps: u32,
    /// Its training seeds, where they are not the experiment's.
    #[serde(default)]
    pub(crate) seeds: Vec<u64>,
    /// The samplers it is sampled by, where they are not all.
    #[serde(default)]
    pub(crate) samplers: Vec<String>,
    /// What differs from the shared configuration.
    #[serde(default)]
    pub(crate) config: Table,
    /// A checkpoint to take instead of training one: a folder, or `hub:org/name`.
    #[serde(default)]
    pub(crate) checkpoint: Option<String>,
}

/// A way to sample.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sampler {
    /// Its name in cells and tables.
    pub(crate) name: String,
    /// diff-sample's name of the sampler.
    pub(crate) sampler: String,
    /// Sampling steps.
    pub(crate) steps: u32,
    /// Stochasticity, where the sampler has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) eta: Option<f64>,
    /// The sub-sequence of time steps; diff-sample's default where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) trajectory: Option<String>,
    /// Classes of the samples as diff-sample takes them, for networks that know classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) class: Option<String>,
    /// The weight of guidance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) guidance: Option<f64>,
    /// The training seeds whose models it samples, where they are not all. It changes no sample.
    #[serde(default, skip_serializing)]
    pub(crate) seeds: Vec<u64>,
}

/// How many samples, and which.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Samples {
    /// Images a cell.
    pub(crate) num: u32,
    /// Images at once; the pictures do not depend on it.
    pub(crate) batch: u32,
    /// Seed of the samples, the same for every model.
    pub(crate) seed: u64,
    /// The first so many are shown.
    pub(crate) grid: u32,
}

/// Two models to be compared.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Contrast {
    /// The model that is claimed to be better.
    pub(crate) model: String,
    /// The model it is held against.
    pub(crate) against: String,
    /// What their difference tells.
    pub(crate) about: String,
}

fn one() -> u32 {
    1
}

impl Sampler {
    /// What it does, in a line.
    pub(crate) fn about(&self) -> String {
        let mut about = format!("{}, {} steps", self.sampler, self.steps);
        if let Some(eta) = self.eta {
            about += &format!(", eta {eta}");
        }
        if let Some(trajectory) = &self.trajectory {
            about += &format!(", {trajectory} time steps");
        }
        if let Some(class) = &self.class {
            about += &format!(", class {class}");
        }
        if let Some(guidance) = self.guidance {
            about += &format!(", guidance {guidance}");
        }
        about
    }
}

impl Experiment {
    /// Reads an experiment by its name or by the path of its file, and applies overrides.
    pub(crate) fn load(name: &str, overrides: &[String]) -> Result<Self> {
        let path = find(name)?;
        let mut experiment: Experiment = config::load(Some(&path), overrides)?;
        experiment.name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        check::check(&experiment)?;
        Ok(experiment)
    }

    /// Puts a checkpoint in the place of the experiment's model.
    pub(crate) fn take(&mut self, checkpoint: &str) -> Result<()> {
        let [model] = self.models.as_mut_slice() else {
            let expected =
                format!("an experiment with one model; {} has {}", self.name, self.models.len());
            bail!(Error::argument("checkpoint", checkpoint, expected));
        };
        model.checkpoint = Some(checkpoint.into());
        Ok(())
    }

    /// The training seeds of a model, one at least.
    pub(crate) fn seeds_of(&self, model: &Model) -> Vec<u64> {
        let own = |seeds: &[u64]| (!seeds.is_empty()).then(|| seeds.to_vec());
        let shared = self.config.get("seed").and_then(Value::as_integer).unwrap_or(0);
        own(&model.seeds).or_else(|| own(&self.seeds)).unwrap_or_else(|| vec![shared as u64])
    }

    /// Whether any model is trained from more than one seed.
    pub(crate) fn many_seeds(&self) -> bool {
        self.models.iter().any(|model| self.seeds_of(model).len() > 1)
    }

    /// A model's name, with its training seed where there are several.
    pub(crate) fn name_of(&self, run: Run) -> String {
        let name = &self.models[run.model].name;
        match self.many_seeds() {
            true => format!("{name}-s{}", run.seed),
            false => name.clone(),
        }
    }

    /// Places of the samplers of a model under a seed.
    pub(crate) fn samplers_of(&self, run: Run) -> impl Iterator<Item = usize> {
        let named = &self.models[run.model].samplers;
        let wanted = move |s: &usize| {
            let Sampler { name, seeds, .. } = &self.samplers[*s];
            (named.is_empty() || named.contains(name))
                && (seeds.is_empty() || seeds.contains(&run.seed))
        };
        (0..self.samplers.len()).filter(wanted)
    }

    /// The training configuration of a model under a seed.
    pub(crate) fn config_of(&self, model: &Model, seed: u64) -> Result<Table> {
        let mut config = self.config.clone();
        merge(&mut config, &model.config);
        config.insert("seed".into(), Value::Integer(seed as i64));
        if model.times_steps > 1 {
            let steps = config.get_mut("train").and_then(|train| train.get_mut("steps"));
            let Some(Value::Integer(steps)) = steps else {
                bail!(Error::argument(
                    format!("models.{}.times_steps", model.name),
                    model.times_steps,
                    "config.train.steps, a whole number, to multiply"
                ));
            };
            *steps = steps.saturating_mul(i64::from(model.times_steps));
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests;
