//! The Inception Score (Salimans et al., 2016) as it is published: of parts of the pictures.

use crate::{
    ClassifierScore, Error, Metric, Result, Rows, SplitScores,
    numpy_random::RandomState,
    score::{Answer, scores_of},
};
use serde::Serialize;

/// Which pictures make up a part. Scores of other parts are other numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SplitOrder {
    /// Parts of equal size, of the pictures as NumPy's legacy generator shuffles them: torch-fidelity's.
    Shuffled {
        /// Parts.
        splits: usize,
        /// Seed of the generator.
        seed: u32,
    },
    /// Consecutive parts of so many pictures; the last may be smaller. guided-diffusion's are of 5000.
    Consecutive(usize),
}

impl Default for SplitOrder {
    /// torch-fidelity's: 10 parts, seed 2020.
    fn default() -> Self {
        SplitOrder::Shuffled { splits: 10, seed: 2020 }
    }
}

impl SplitOrder {
    /// The part of every place.
    fn parts(&self, places: usize) -> Result<Vec<u32>> {
        let refused = |name: &str, value: usize, expected: String| {
            Err(diff_core::Error::argument(name, value, expected).into())
        };
        match *self {
            SplitOrder::Shuffled { splits, .. } if !(1..=places).contains(&splits) => {
                refused("splits", splits, format!("1..={places}, the number of pictures"))
            }
            SplitOrder::Consecutive(0) => refused("split size", 0, "at least 1 picture".into()),
            SplitOrder::Shuffled { splits, seed } => {
                let order = RandomState::new(seed).permutation(places as u32);
                let mut parts = vec![0; places];
                for part in 0..splits {
                    let range = part * places / splits..(part + 1) * places / splits;
                    order[range].iter().for_each(|place| parts[*place as usize] = part as u32);
                }
                Ok(parts)
            }
            SplitOrder::Consecutive(size) => Ok((0..places).map(|i| (i / size) as u32).collect()),
        }
    }
}

/// Inception Scores of parts, streaming: what is kept does not grow with the number of pictures but for
/// the number of everyone's part.
#[derive(Clone, Debug, PartialEq)]
pub struct SplitScore {
    part_of: Vec<u32>,
    parts: Vec<ClassifierScore>,
}

impl SplitScore {
    /// Of a source with this many places, in parts of this order.
    ///
    /// # Errors
    /// When there are more parts than places, or none.
    pub fn new(places: usize, order: &SplitOrder) -> Result<Self> {
        let part_of = order.parts(places)?;
        let count = part_of.iter().max().map_or(0, |most| *most as usize + 1);
        Ok(SplitScore { part_of, parts: vec![ClassifierScore::default(); count] })
    }

    /// Takes in logits `[n, classes]` of the pictures at these places.
    ///
    /// # Errors
    /// When there are not as many places as rows, a place is beyond the source's, the number of classes
    /// differs from that of the rows before, or a logit is not finite.
    pub fn add_at(&mut self, places: &[u64], logits: &Rows) -> Result<()> {
        if places.len() != logits.len() {
            let message = format!("{} places for {} rows of logits", places.len(), logits.len());
            return Err(Error::Mismatch(message));
        }
        logits.check_finite()?;
        places
            .iter()
            .zip(logits.iter())
            .try_for_each(|(at, row)| self.take(*at, &Answer::new(row), 1))
    }

    /// Takes in what the classifier says of the picture at this place, `times` times over.
    pub(crate) fn take(&mut self, place: u64, answer: &Answer, times: u32) -> Result<()> {
        let part = usize::try_from(place).ok().and_then(|place| self.part_of.get(place));
        let part = part.ok_or_else(|| {
            let known = self.part_of.len();
            Error::Mismatch(format!("a picture at place {place} of a source of {known}"))
        })?;
        self.parts[*part as usize].take(answer, times)
    }

    /// Takes in what another one has seen of the same source.
    ///
    /// # Errors
    /// When it has other parts, or other classes.
    pub fn merge(&mut self, other: Self) -> Result<()> {
        if self.part_of != other.part_of {
            return Err(Error::Mismatch("scores of other parts of the pictures".into()));
        }
        self.parts.iter_mut().zip(other.parts).try_for_each(|(ours, theirs)| ours.merge(theirs))
    }

    /// The mean score of the parts that a resample drew pictures of; of few pictures it may miss a part.
    pub(crate) fn mean_of_drawn(self) -> Result<f64> {
        let drawn = self.parts.into_iter().filter(|part| !part.is_empty());
        Ok(scores_of(&drawn.map(Metric::finish).collect::<Result<Vec<f64>>>()?).mean)
    }

    /// The scores.
    ///
    /// # Errors
    /// When a part has no picture.
    pub fn finish(self) -> Result<SplitScores> {
        let scores = self.parts.into_iter().map(Metric::finish).collect::<Result<Vec<f64>>>()?;
        Ok(scores_of(&scores))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::split_scores;

    fn logits(n: usize) -> Rows {
        Rows::new(4, (0..4 * n).map(|i| 3.0 * (i as f64 * 1.7).sin()).collect()).unwrap()
    }

    fn scored(order: &SplitOrder, places: &[u64], logits: &Rows) -> SplitScores {
        let mut score = SplitScore::new(logits.len(), order).unwrap();
        score.add_at(places, logits).unwrap();
        score.finish().unwrap()
    }

    #[test]
    fn shuffled_parts_are_consecutive_parts_of_the_permutation() {
        let (n, rows) = (23, logits(23));
        let places: Vec<u64> = (0..n as u64).collect();
        let order = RandomState::new(9).permutation(n as u32);
        let order: Vec<usize> = order.into_iter().map(|i| i as usize).collect();
        let expected = split_scores(&rows.select(&order), 5).unwrap();
        let found = scored(&SplitOrder::Shuffled { splits: 5, seed: 9 }, &places, &rows);
        assert!((found.mean - expected.mean).abs() < 1e-13);
        assert!((found.deviation - expected.deviation).abs() < 1e-13);
        let other = scored(&SplitOrder::Shuffled { splits: 5, seed: 10 }, &places, &rows);
        assert!((found.mean - other.mean).abs() > 1e-6, "another shuffle makes other parts");
    }

    #[test]
    fn neither_order_nor_shards_change_a_score() {
        let (n, rows) = (40, logits(40));
        let order = SplitOrder::Shuffled { splits: 4, seed: 1 };
        let places: Vec<u64> = (0..n as u64).collect();
        let whole = scored(&order, &places, &rows);
        let turned: Vec<usize> = (0..n).rev().collect();
        let turned_places: Vec<u64> = places.iter().rev().copied().collect();
        let back = scored(&order, &turned_places, &rows.select(&turned));
        let mut parts = SplitScore::new(n, &order).unwrap();
        parts.add_at(&places[25..], &rows.select(&(25..40).collect::<Vec<_>>())).unwrap();
        let mut rest = SplitScore::new(n, &order).unwrap();
        rest.add_at(&places[..25], &rows.select(&(0..25).collect::<Vec<_>>())).unwrap();
        parts.merge(rest).unwrap();
        for other in [back, parts.finish().unwrap()] {
            assert!((whole.mean - other.mean).abs() < 1e-12);
            assert!((whole.deviation - other.deviation).abs() < 1e-12);
        }
    }

    #[test]
    fn consecutive_parts_end_with_a_smaller_one() {
        let rows = logits(7);
        let places: Vec<u64> = (0..7).collect();
        let found = scored(&SplitOrder::Consecutive(3), &places, &rows);
        let part = |range: std::ops::Range<usize>| {
            crate::classifier_score(&rows.select(&range.collect::<Vec<_>>())).unwrap()
        };
        let expected = scores_of(&[part(0..3), part(3..6), part(6..7)]);
        assert!((found.mean - expected.mean).abs() < 1e-13);
        assert!((found.deviation - expected.deviation).abs() < 1e-13);
    }

    #[test]
    fn impossible_parts_and_foreign_pictures_are_refused() {
        let error = |order| SplitScore::new(5, &order).unwrap_err().to_string();
        assert!(error(SplitOrder::Shuffled { splits: 6, seed: 0 }).contains("1..=5"));
        assert!(error(SplitOrder::Shuffled { splits: 0, seed: 0 }).contains("splits = 0"));
        assert!(error(SplitOrder::Consecutive(0)).contains("at least 1"));
        let mut score = SplitScore::new(5, &SplitOrder::Consecutive(3)).unwrap();
        let error = score.add_at(&[5], &logits(1)).unwrap_err().to_string();
        assert!(error.contains("place 5 of a source of 5"), "{error}");
        score.add_at(&[0], &logits(1)).unwrap();
        assert!(score.add_at(&[0, 1], &logits(1)).is_err());
        let other = SplitScore::new(5, &SplitOrder::Consecutive(4)).unwrap();
        assert!(score.clone().merge(other).is_err());
        // Nothing of the second part was seen: no score, but for a resample, of which it is left out.
        assert!(score.clone().finish().is_err());
        assert!((score.mean_of_drawn().unwrap() - 1.0).abs() < 1e-12);
    }
}
