use super::{Loss, Objective, argument};
use crate::{Result, data::Batch, draws::Draws};
use candle_core::{D, Tensor};
use diff_models::nets::Classifier;
use serde::{Deserialize, Serialize};

/// The options of [`Classification`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClassifierConfig {
    /// Share of the target that is spread evenly over all classes, in [0, 1).
    pub label_smoothing: f64,
}

/// Cross-entropy of a classifier with the labels, averaged over the batch.
///
/// With label smoothing s the target is 1 - s on the label plus s / K on each of the K classes
/// (Szegedy et al., 2016), as in torch.
pub struct Classification {
    label_smoothing: f64,
}

impl Classification {
    /// The objective.
    ///
    /// # Errors
    /// When the smoothing is not in [0, 1).
    pub fn new(config: ClassifierConfig) -> Result<Self> {
        let ClassifierConfig { label_smoothing } = config;
        match (0.0..1.0).contains(&label_smoothing) {
            true => Ok(Classification { label_smoothing }),
            false => {
                Err(argument("objective.label_smoothing", label_smoothing, "a value in [0, 1)"))
            }
        }
    }

    /// What the logits are compared with, shaped like them: `[B, K]`.
    fn targets(&self, logits: &Tensor, labels: &[u32]) -> Result<Tensor> {
        let (rows, classes) = logits.dims2()?;
        if labels.len() != rows {
            let expected = format!("{rows}, one per row");
            return Err(argument("labels", format!("{} values", labels.len()), expected));
        }
        if let Some(label) = labels.iter().find(|label| **label as usize >= classes) {
            return Err(argument("labels", label, format!("classes in 0..{classes}")));
        }
        let each = self.label_smoothing / classes as f64;
        let mut targets = vec![each; rows * classes];
        for (row, label) in targets.chunks_exact_mut(classes).zip(labels) {
            row[*label as usize] += 1.0 - self.label_smoothing;
        }
        Ok(Tensor::from_vec(targets, (rows, classes), logits.device())?.to_dtype(logits.dtype())?)
    }
}

impl Objective for Classification {
    type Model = Classifier;

    fn loss(&mut self, model: &Classifier, batch: &Batch, draws: &dyn Draws) -> Result<Loss> {
        let labels = batch.labels.as_deref().ok_or_else(|| {
            argument("labels", "none", "one per picture, which objective.kind = classifier needs")
        })?;
        let logits = model.forward(&batch.x0, &draws.context(1))?.logits;
        let targets = self.targets(&logits, labels)?;
        let rows = draws.step_rows() as f64;
        let sum = (log_softmax(&logits)? * targets)?.sum_all()?;
        let cross_entropy = (sum * (-1.0 / rows))?;
        let accuracy = Tensor::new(right(&logits, labels)? as f64 / rows, logits.device())?;
        let parts = vec![("cross_entropy", cross_entropy.clone()), ("accuracy", accuracy)];
        Ok(Loss { total: cross_entropy, parts, times: Vec::new() })
    }
}

/// The logarithms of the classes' probabilities, `[B, K]`.
fn log_softmax(logits: &Tensor) -> Result<Tensor> {
    // What is taken off a row cancels out of its gradient.
    let largest = logits.detach().max_keepdim(D::Minus1)?;
    let shifted = logits.broadcast_sub(&largest)?;
    let norm = shifted.exp()?.sum_keepdim(D::Minus1)?.log()?;
    Ok(shifted.broadcast_sub(&norm)?)
}

/// Rows whose largest logit is that of their label.
fn right(logits: &Tensor, labels: &[u32]) -> Result<usize> {
    let chosen = logits.detach().argmax(D::Minus1)?.to_vec1::<u32>()?;
    Ok(chosen.iter().zip(labels).filter(|(chosen, label)| chosen == label).count())
}
