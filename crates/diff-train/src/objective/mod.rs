//! What is minimised: one file an objective, one line each in [`ObjectiveConfig`].

mod bound;
mod categorical;
mod classifier;
mod hybrid;
mod sa;
mod simple;
mod vlb;

pub use categorical::{CategoricalBound, CategoricalConfig, CategoricalLoss};
pub use classifier::{Classification, ClassifierConfig};
pub use hybrid::{Hybrid, HybridConfig};
pub use sa::{NoiseMode, SaConfig, SequenceAware, Window};
pub use simple::{Simple, SimpleConfig};
pub use vlb::{Vlb, VlbConfig};

use crate::{Error, Result, data::Batch, draws::Draws};
use candle_core::{DType, Tensor};
use diff_core::{ReverseVariance, Schedule, discrete::CategoricalProcess};
use diff_models::{
    Condition, Context, Denoiser, Second,
    categorical::Categorizer,
    diffuse,
    nets::{Classifier, SecondType},
};
use serde::{Deserialize, Serialize};

/// A training objective over models of some kind.
pub trait Objective: Send {
    /// What it trains.
    type Model: ?Sized + Send;

    /// The loss of a batch, or its share of the loss of the step it is part of, under draws of time
    /// steps and noise.
    fn loss(&mut self, model: &Self::Model, batch: &Batch, draws: &dyn Draws) -> Result<Loss>;

    /// Called when the optimiser has stepped, for objectives that write something back.
    fn after_step(&mut self, _model: &Self::Model, _batch: &Batch) -> Result<()> {
        Ok(())
    }

    /// What has to be saved to resume.
    fn state(&self) -> Vec<(String, Tensor)> {
        Vec::new()
    }

    /// Takes back what [`Objective::state`] gave.
    fn restore(&mut self, _state: &[(String, Tensor)]) -> Result<()> {
        Ok(())
    }
}

/// A loss and what it is made of.
pub struct Loss {
    /// The scalar that is differentiated: this part's share of the step's loss.
    pub total: Tensor,
    /// Named scalars; an objective's terms before they are weighted, shares as well.
    pub parts: Vec<(&'static str, Tensor)>,
    /// The paper times of the rows at hand, for error messages; none where there are no times.
    pub times: Vec<i64>,
}

/// The objective section of a configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum ObjectiveConfig {
    /// L_simple.
    Simple(SimpleConfig),
    /// L_simple + lambda L_sa.
    Sa(SaConfig),
    /// L_vlb.
    Vlb(VlbConfig),
    /// L_simple + lambda L_vlb, with a learned variance.
    Hybrid(HybridConfig),
    /// Cross-entropy with the labels.
    Classifier(ClassifierConfig),
    /// The bound of a categorical process.
    Categorical(CategoricalConfig),
}

impl Default for ObjectiveConfig {
    fn default() -> Self {
        ObjectiveConfig::Simple(SimpleConfig {})
    }
}

/// Objectives over noise predictors.
pub type NoiseObjective = Box<dyn Objective<Model = dyn Denoiser>>;
/// Objectives over classifiers.
pub type ClassifierObjective = Box<dyn Objective<Model = Classifier>>;
/// Objectives over networks that tell the levels of pixels.
pub type CategoricalObjective = Box<dyn Objective<Model = dyn Categorizer>>;

impl ObjectiveConfig {
    /// The kinds that denoisers are trained on.
    pub(crate) const DENOISING: &str = "simple, sa, vlb or hybrid";

    /// Its name in a configuration.
    pub fn kind(&self) -> &'static str {
        match self {
            ObjectiveConfig::Simple(_) => "simple",
            ObjectiveConfig::Sa(_) => "sa",
            ObjectiveConfig::Vlb(_) => "vlb",
            ObjectiveConfig::Hybrid(_) => "hybrid",
            ObjectiveConfig::Classifier(_) => "classifier",
            ObjectiveConfig::Categorical(_) => "categorical",
        }
    }

    /// Whether it is one for denoisers.
    pub(crate) fn denoises(&self) -> bool {
        !matches!(self, ObjectiveConfig::Classifier(_) | ObjectiveConfig::Categorical(_))
    }

    /// Builds the objective of a denoiser under a schedule.
    ///
    /// # Errors
    /// When a value is out of its range, or the objective is not one for denoisers.
    pub fn build(&self, schedule: &Schedule) -> Result<NoiseObjective> {
        Ok(match self {
            ObjectiveConfig::Simple(_) => Box::new(Simple::new(schedule.clone())),
            ObjectiveConfig::Sa(config) => {
                Box::new(SequenceAware::new(config.clone(), schedule.clone())?)
            }
            ObjectiveConfig::Vlb(config) => Box::new(Vlb::new(*config, schedule.clone())?),
            ObjectiveConfig::Hybrid(config) => Box::new(Hybrid::new(*config, schedule.clone())?),
            ObjectiveConfig::Classifier(_) | ObjectiveConfig::Categorical(_) => {
                return Err(argument("objective.kind", self.kind(), Self::DENOISING));
            }
        })
    }

    /// Builds the objective of a classifier.
    ///
    /// # Errors
    /// When a value is out of its range, or the objective is not one for classifiers.
    pub fn build_classifier(&self) -> Result<ClassifierObjective> {
        match self {
            ObjectiveConfig::Classifier(config) => Ok(Box::new(Classification::new(*config)?)),
            _ => Err(argument("objective.kind", self.kind(), "classifier")),
        }
    }

    /// The options of the objective of a network over levels.
    ///
    /// # Errors
    /// When the objective is another one.
    pub fn categorical(&self) -> Result<&CategoricalConfig> {
        match self {
            ObjectiveConfig::Categorical(config) => Ok(config),
            _ => Err(argument("objective.kind", self.kind(), "categorical")),
        }
    }

    /// Builds the objective of a network over levels under a process.
    ///
    /// # Errors
    /// When the objective is not one for such networks.
    pub fn build_categorical(&self, process: &CategoricalProcess) -> Result<CategoricalObjective> {
        Ok(Box::new(CategoricalBound::new(*self.categorical()?, process.clone())?))
    }

    /// Rows the network sees for each picture of a batch.
    pub fn rows_per_picture(&self) -> usize {
        match self {
            ObjectiveConfig::Sa(config) => config.window_steps(),
            ObjectiveConfig::Simple(_)
            | ObjectiveConfig::Vlb(_)
            | ObjectiveConfig::Hybrid(_)
            | ObjectiveConfig::Classifier(_)
            | ObjectiveConfig::Categorical(_) => 1,
        }
    }

    /// Whether it takes the bound's decoder, and so pictures of evenly spaced grey levels.
    pub(crate) fn takes_grey_levels(&self) -> bool {
        matches!(self, ObjectiveConfig::Vlb(_) | ObjectiveConfig::Hybrid(_))
    }

    /// Refuses a denoiser whose second output the objective would not train, or lacks.
    ///
    /// # Errors
    /// Names the setting, what it would take, and why.
    pub fn check_output(&self, second: SecondType) -> Result<()> {
        let learns = match self {
            ObjectiveConfig::Simple(_) | ObjectiveConfig::Sa(_) => false,
            ObjectiveConfig::Vlb(config) => config.variance == ReverseVariance::Learned,
            ObjectiveConfig::Hybrid(_) => true,
            ObjectiveConfig::Classifier(_) | ObjectiveConfig::Categorical(_) => return Ok(()),
        };
        let (name, value) = match self {
            ObjectiveConfig::Vlb(config) => ("objective.variance", config.variance.name()),
            _ => ("objective.kind", self.kind()),
        };
        match (learns, second == SecondType::Range) {
            (true, false) => {
                let expected = "an objective without a learned variance, or a network with one, \
                                such as network.kind = adm with learn_sigma = true";
                Err(argument(name, value, expected))
            }
            (false, true) => {
                let expected = "hybrid, or vlb with variance = learned: nothing else trains the \
                                learned variance that this network has";
                Err(argument(name, value, expected))
            }
            _ => Ok(()),
        }
    }
}

/// What a network call is made of: `[N, C, H, W]` pictures and noise, N paper times.
struct Rows<'a> {
    x0: &'a Tensor,
    eps: &'a Tensor,
    times: &'a [i64],
    condition: &'a Condition,
}

/// eps - f(x_t, t) for x_t = sqrt(abar_t) x_0 + sqrt(1-abar_t) eps, `[N, C, H, W]`, and the second
/// block of the output.
///
/// A time below 1 belongs to a masked term: its input is clean (abar = 1), its network time that
/// of t = 1.
fn predicted(
    model: &dyn Denoiser,
    schedule: &Schedule,
    rows: Rows,
    context: &Context,
) -> Result<(Tensor, Second)> {
    let level = |t: i64| schedule.alpha_bar(t as usize);
    let noisy: Vec<f64> = rows.times.iter().map(|t| level((*t).max(0))).collect();
    let known: Vec<f64> = rows.times.iter().map(|t| level((*t).max(1))).collect();
    let times: Vec<f64> = rows.times.iter().map(|t| (*t).max(1) as f64).collect();
    let x = diffuse(rows.x0, rows.eps, &noisy)?;
    let prediction = model.forward(&x, &times, rows.condition, context)?;
    Ok(((rows.eps - prediction.eps(&x, &known)?)?, prediction.second))
}

/// The first of what [`predicted`] gives.
fn residual(
    model: &dyn Denoiser,
    schedule: &Schedule,
    rows: Rows,
    context: &Context,
) -> Result<Tensor> {
    Ok(predicted(model, schedule, rows, context)?.0)
}

/// The times of a whole step, checked to belong to the `rows` at hand.
fn step_times(draws: &dyn Draws, rows: usize, low: i64, high: i64) -> Result<Vec<i64>> {
    let (times, part) = (draws.times(low, high)?, draws.part());
    if part.len() != rows || part.end > times.len() {
        let expected = format!("{rows} times, one per row of x0");
        return Err(argument("t", format!("{} values", part.len()), expected));
    }
    Ok(times)
}

/// What the network is told of the rows at hand.
fn condition(batch: &Batch, draws: &dyn Draws) -> Condition {
    Condition { class: batch.labels.as_ref().map(|labels| draws.labels(labels)), image: None }
}

/// Squares summed over C, H, W: `[B]`.
fn squares(x: &Tensor) -> Result<Tensor> {
    Ok(x.sqr()?.flatten_from(1)?.sum(1)?)
}

/// A host scalar.
pub(crate) fn scalar(x: &Tensor) -> Result<f64> {
    Ok(x.to_dtype(DType::F64)?.to_scalar::<f64>()?)
}

fn argument(name: &str, value: impl ToString, expected: impl Into<String>) -> Error {
    diff_core::Error::argument(name, value, expected).into()
}
