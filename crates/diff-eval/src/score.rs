//! How sure a classifier is of every picture, and how varied its answers are.

use crate::{Error, Metric, Result, features::Rows};

/// Sums that a classifier score is made of: mergeable, in f64.
///
/// The score is exp(mean over x of KL(p(y|x) || p(y))), the formula of the Inception Score
/// (Salimans et al., 2016) with whatever classifier gave the logits: 1 when its answers do not
/// depend on the picture, the number of classes when it is sure of every picture and each class is
/// as frequent as any other.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClassifierScore {
    count: u64,
    /// Sum of p(y|x) over pictures, `[classes]`.
    answers: Vec<f64>,
    /// Sum over pictures of the sum over classes of p ln p.
    certainty: f64,
}

/// What a classifier says of one picture.
pub(crate) struct Answer {
    /// p(y|x), `[classes]`.
    shares: Vec<f64>,
    /// The sum over classes of p ln p.
    certainty: f64,
}

impl Answer {
    /// The answer of these logits, which are finite.
    pub(crate) fn new(logits: &[f64]) -> Self {
        let most = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let mut shares: Vec<f64> = logits.iter().map(|v| (v - most).exp()).collect();
        let sum: f64 = shares.iter().sum();
        let log_sum = sum.ln();
        let mut certainty = 0.0;
        for (share, logit) in shares.iter_mut().zip(logits) {
            *share /= sum;
            certainty += *share * (logit - most - log_sum);
        }
        Answer { shares, certainty }
    }
}

impl ClassifierScore {
    /// Takes logits `[n, classes]` in, row i `weights[i]` times over, as a resample does.
    ///
    /// # Errors
    /// When there are not as many weights as rows, the number of classes differs from that of the
    /// rows before, or a logit is not finite.
    pub fn add_weighted(&mut self, logits: &Rows, weights: &[u32]) -> Result<()> {
        if weights.len() != logits.len() {
            let message = format!("{} weights for {} rows of logits", weights.len(), logits.len());
            return Err(Error::Mismatch(message));
        }
        logits.check_finite()?;
        for (row, weight) in logits.iter().zip(weights).filter(|(_, weight)| **weight > 0) {
            self.take(&Answer::new(row), *weight)?;
        }
        Ok(())
    }

    /// True before anything was taken in.
    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Takes an answer in, `times` times over.
    pub(crate) fn take(&mut self, answer: &Answer, times: u32) -> Result<()> {
        self.agree(answer.shares.len())?;
        let weight = f64::from(times);
        self.answers.iter_mut().zip(&answer.shares).for_each(|(sum, p)| *sum += weight * p);
        self.certainty += weight * answer.certainty;
        self.count += u64::from(times);
        Ok(())
    }

    fn agree(&mut self, classes: usize) -> Result<()> {
        if self.answers.is_empty() {
            self.answers = vec![0.0; classes];
        }
        match self.answers.len() {
            known if known == classes => Ok(()),
            known => {
                let message = format!("logits of {classes} classes among logits of {known}");
                Err(Error::Mismatch(message))
            }
        }
    }
}

impl Metric for ClassifierScore {
    type Input = Rows;
    type Output = f64;

    fn add(&mut self, logits: &Rows) -> Result<()> {
        self.add_weighted(logits, &vec![1; logits.len()])
    }

    fn merge(&mut self, other: Self) -> Result<()> {
        if other.count == 0 {
            return Ok(());
        }
        self.agree(other.answers.len())?;
        self.answers.iter_mut().zip(&other.answers).for_each(|(a, b)| *a += b);
        self.certainty += other.certainty;
        self.count += other.count;
        Ok(())
    }

    fn finish(self) -> Result<f64> {
        if self.count == 0 {
            return Err(Error::Mismatch("no logits to take a classifier score of".into()));
        }
        let n = self.count as f64;
        let shares = self.answers.iter().map(|sum| sum / n);
        let marginal: f64 = shares.filter(|p| *p > 0.0).map(|p| p * p.ln()).sum();
        Ok((self.certainty / n - marginal).exp())
    }
}

/// The classifier score of all logits `[n, classes]` at once.
///
/// # Errors
/// When there is none, or a logit is not finite.
pub fn classifier_score(logits: &Rows) -> Result<f64> {
    let mut score = ClassifierScore::default();
    score.add(logits)?;
    score.finish()
}

/// The classifier score of logits of which row i counts `weights[i]` times.
///
/// # Errors
/// As [`ClassifierScore::add_weighted`]; when all weights are 0.
pub fn weighted_score(logits: &Rows, weights: &[u32]) -> Result<f64> {
    let mut score = ClassifierScore::default();
    score.add_weighted(logits, weights)?;
    score.finish()
}

/// Scores of parts. They are lower than the score of all pictures at once, the more so
/// the smaller the parts, and to be compared with other scores of parts of that size only.
#[derive(Clone, Debug, PartialEq)]
pub struct SplitScores {
    /// Mean over the parts.
    pub mean: f64,
    /// Standard deviation over the parts (squares divided by their number).
    pub deviation: f64,
}

/// Scores of `splits` consecutive parts: part i is the rows i n / splits .. (i+1) n / splits.
///
/// # Errors
/// When there is no part or an empty one, or a logit is not finite.
pub fn split_scores(logits: &Rows, splits: usize) -> Result<SplitScores> {
    let n = logits.len();
    if !(1..=n).contains(&splits) {
        let expected = format!("1..={n}, the number of pictures");
        return Err(diff_core::Error::argument("splits", splits, expected).into());
    }
    let part = |i: usize| {
        let indices: Vec<usize> = (i * n / splits..(i + 1) * n / splits).collect();
        classifier_score(&logits.select(&indices))
    };
    let scores = (0..splits).map(part).collect::<Result<Vec<f64>>>()?;
    Ok(scores_of(&scores))
}

/// Mean and deviation of the scores of parts, at least one.
pub(crate) fn scores_of(scores: &[f64]) -> SplitScores {
    let n = scores.len() as f64;
    let mean = scores.iter().sum::<f64>() / n;
    let variance = scores.iter().map(|s| (s - mean) * (s - mean)).sum::<f64>() / n;
    SplitScores { mean, deviation: variance.sqrt() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logits(rows: &[&[f64]]) -> Rows {
        Rows::new(rows[0].len(), rows.concat()).unwrap()
    }

    fn near(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-14 * b, "{a} {b}");
    }

    /// The logits of a classifier that is sure of one of three classes.
    fn sure(classes: &[usize]) -> Rows {
        let values =
            classes.iter().flat_map(|c| (0..3).map(move |i| if i == *c { 900.0 } else { 0.0 }));
        Rows::new(3, values.collect()).unwrap()
    }

    #[test]
    fn indifference_is_one_and_balanced_certainty_the_number_of_classes() {
        near(classifier_score(&logits(&[&[0.3; 5], &[-7.0; 5]])).unwrap(), 1.0);
        near(classifier_score(&sure(&[0, 1, 2, 2, 1, 0])).unwrap(), 3.0);
        near(classifier_score(&sure(&[0, 1, 0, 1])).unwrap(), 2.0);
        near(classifier_score(&sure(&[1; 4])).unwrap(), 1.0);
    }

    #[test]
    fn two_pictures_of_two_classes_by_hand() {
        // p = (3/4, 1/4) and (1/4, 3/4) against (1/2, 1/2): KL = 3/4 ln 3/2 + 1/4 ln 1/2.
        let rows = logits(&[&[3f64.ln(), 0.0], &[0.0, 3f64.ln()]]);
        let expected = (0.75 * 1.5f64.ln() + 0.25 * 0.5f64.ln()).exp();
        near(classifier_score(&rows).unwrap(), expected);
        // What is added to all logits of a row changes nothing.
        let moved = logits(&[&[3f64.ln() + 1e3, 1e3], &[-1e3, 3f64.ln() - 1e3]]);
        assert!((classifier_score(&moved).unwrap() - expected).abs() < 1e-12);
    }

    #[test]
    fn merged_is_one_pass_and_a_weight_is_a_row_that_comes_again() {
        let rows = logits(&[&[0.1, 2.0, -1.0], &[3.0, 0.2, 0.5], &[0.0, 0.0, 4.0]]);
        let part = |indices: &[usize]| {
            let mut score = ClassifierScore::default();
            score.add(&rows.select(indices)).unwrap();
            score
        };
        let mut merged = part(&[2, 1]);
        merged.merge(part(&[0])).unwrap();
        merged.merge(ClassifierScore::default()).unwrap();
        near(merged.finish().unwrap(), classifier_score(&rows).unwrap());
        let repeated = classifier_score(&rows.select(&[0, 0, 2])).unwrap();
        near(weighted_score(&rows, &[2, 0, 1]).unwrap(), repeated);
    }

    #[test]
    fn splits_are_consecutive_and_their_deviation_is_theirs() {
        let scores = split_scores(&sure(&[0, 1, 2, 0, 0, 0]), 2).unwrap();
        near(scores.mean, 2.0);
        near(scores.deviation, 1.0);
        near(split_scores(&sure(&[0, 1, 2]), 1).unwrap().mean, 3.0);
        for splits in [0, 4] {
            let error = split_scores(&sure(&[0, 1, 2]), splits).unwrap_err().to_string();
            assert!(error.contains("splits") && error.contains("1..=3"), "{error}");
        }
    }

    #[test]
    fn nothing_other_classes_and_infinities_are_refused() {
        assert!(ClassifierScore::default().finish().is_err());
        let mut score = ClassifierScore::default();
        score.add(&sure(&[0])).unwrap();
        let error = score.add(&logits(&[&[1.0, 2.0]])).unwrap_err().to_string();
        assert!(error.contains("2 classes among logits of 3"), "{error}");
        assert!(score.add_weighted(&sure(&[0]), &[]).is_err());
        assert!(classifier_score(&logits(&[&[1.0, f64::NAN]])).is_err());
        assert!(weighted_score(&sure(&[0]), &[0]).is_err());
    }
}
