//! The Inception Score (Salimans et al., 2016).

use super::{Compared, Finding, Measure};
use crate::{
    Error, KeptRows, Needs, Result, SplitScore,
    bootstrap::{interval, resample},
    score::Answer,
};
use rayon::prelude::*;
use serde_json::json;

pub(super) const IS: Measure = Measure {
    name: "is",
    titles: ["IS", "CS"],
    about: "how sure and varied the network's answers are, 1 to the number of classes",
    needs: |settings| {
        (Needs { score: true, logits: settings.bootstrap > 0, ..Needs::default() }, None)
    },
    take,
};

fn take(compared: &Compared) -> Result<Finding> {
    let tallied = &compared.samples.tallied;
    let nothing = || Error::Mismatch("no class probabilities were gathered".into());
    let score = tallied.score.as_ref().ok_or_else(nothing)?;
    let replicates = match &tallied.logits {
        Some(logits) => replicates(logits, compared)?,
        None => Vec::new(),
    };
    let mut finding = Finding { value: score.mean, ..Finding::default() };
    finding.interval = interval(score.mean, &replicates);
    finding.details.insert("deviation".into(), json!(score.deviation));
    finding.details.insert("splits".into(), json!(compared.settings.order));
    Ok(finding)
}

/// Scores of resamples, each in parts as the pictures are.
fn replicates(logits: &KeptRows, compared: &Compared) -> Result<Vec<f64>> {
    let settings = compared.settings;
    let empty = SplitScore::new(compared.samples.tallied.places as usize, &settings.order)?;
    // What the network says of a picture is worked out once for all resamples of a thread.
    let some = |first: usize| -> Result<Vec<f64>> {
        let range = first..settings.bootstrap.min(first + TOGETHER);
        let weights = range.map(|i| resample(logits.len(), logits.len(), settings.seed, i as u64));
        let mut scores: Vec<(Vec<u32>, SplitScore)> = weights.map(|w| (w, empty.clone())).collect();
        for (i, place) in logits.places().iter().enumerate() {
            let row: Vec<f64> = logits.row(i).iter().map(|v| f64::from(*v)).collect();
            let answer = Answer::new(&row);
            for (weights, score) in scores.iter_mut().filter(|(weights, _)| weights[i] > 0) {
                score.take(*place, &answer, weights[i])?;
            }
        }
        scores.into_iter().map(|(_, score)| score.mean_of_drawn()).collect()
    };
    let firsts: Vec<usize> = (0..settings.bootstrap).step_by(TOGETHER).collect();
    Ok(firsts.into_par_iter().map(some).collect::<Result<Vec<_>>>()?.concat())
}

/// Resamples that go through the pictures together.
const TOGETHER: usize = 20;
