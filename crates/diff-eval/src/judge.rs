//! Samples against a reference in a feature space.

use crate::{
    ClassifierScore, Features, FrechetReference, Gaussian, Interval, Metric, Result,
    bootstrap::{interval, replicates},
    features::Seen,
    pictures::Pictures,
    score::{split_scores, weighted_score},
};
use serde::Serialize;

/// What a judgement rests on besides the pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Resamples that intervals are made of; 0 for no intervals.
    pub bootstrap: usize,
    /// The seed of resamples and subsets.
    pub seed: u64,
    /// Parts the classifier score is also taken of; 1 for the score of all pictures alone.
    pub splits: usize,
}

/// Distances and scores of a set of pictures, and where those of another set of as many would fall
/// (see [`interval`]).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Distances {
    /// What `fd` is called: `FD-` and the name of the space. FID is the name of one other space.
    pub metric: String,
    /// Pictures judged.
    pub images: usize,
    /// Pictures of the reference.
    pub reference_images: u64,
    /// Fréchet distance of the features to those of the reference, in their squared units. It falls
    /// with the number of pictures and is to be compared at equal numbers only.
    pub fd: f64,
    /// Lower end of its interval; none without resamples.
    pub fd_low: Option<f64>,
    /// Upper end of its interval.
    pub fd_high: Option<f64>,
    /// The part of `fd` that is the squared distance of the means.
    pub fd_mean_term: f64,
    /// Classifier score of all pictures at once, 1 to the number of classes; see
    /// [`ClassifierScore`].
    pub cs: f64,
    /// Lower end of its interval.
    pub cs_low: Option<f64>,
    /// Upper end of its interval.
    pub cs_high: Option<f64>,
    /// Mean of the scores of consecutive parts, where they were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cs_split_mean: Option<f64>,
    /// Their standard deviation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cs_split_deviation: Option<f64>,
    /// What there is to be careful about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
}

/// Statistics of resamples. Replicate i of two sets with equal numbers of pictures and equal seeds
/// draws the same indices.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Replicates {
    /// Fréchet distances.
    #[serde(rename = "fd_replicates")]
    pub fd: Vec<f64>,
    /// Classifier scores.
    #[serde(rename = "cs_replicates")]
    pub cs: Vec<f64>,
}

/// A feature space with a reference in it.
pub struct Judge<'a> {
    features: &'a dyn Features,
    reference: FrechetReference,
    reference_images: u64,
}

impl<'a> Judge<'a> {
    /// Judges against the features of `reference`.
    ///
    /// # Errors
    /// When the space refuses the pictures, or there are fewer than 2.
    pub fn new(features: &'a dyn Features, reference: &Pictures) -> Result<Self> {
        Self::against(features, &Gaussian::of(&features.rows(reference)?.features)?)
    }

    /// Judges against a reference whose moments are known.
    ///
    /// # Errors
    /// When they are not finite.
    pub fn against(features: &'a dyn Features, reference: &Gaussian) -> Result<Self> {
        let reference_images = reference.count;
        Ok(Judge { features, reference: FrechetReference::new(reference)?, reference_images })
    }

    /// What distances are called: `FD-` and the name of the space.
    pub fn metric(&self) -> String {
        format!("FD-{}", self.features.name())
    }

    /// The space.
    pub fn features(&self) -> &dyn Features {
        self.features
    }

    /// Judges pictures.
    ///
    /// # Errors
    /// When the space refuses the pictures, there are fewer than 2 or fewer than parts, or features
    /// are not finite.
    pub fn judge(&self, pictures: &Pictures, with: Settings) -> Result<(Distances, Replicates)> {
        self.judge_seen(&self.features.rows(pictures)?, with)
    }

    /// [`Judge::judge`] for pictures that went through the network already.
    ///
    /// # Errors
    /// As [`Judge::judge`].
    pub fn judge_seen(&self, seen: &Seen, with: Settings) -> Result<(Distances, Replicates)> {
        let images = seen.features.len();
        let distance = self.reference.distance(&Gaussian::of(&seen.features)?)?;
        let mut score = ClassifierScore::default();
        score.add(&seen.logits)?;
        let cs = score.finish()?;
        let splits = match with.splits {
            1 => None,
            splits => Some(split_scores(&seen.logits, splits)?),
        };
        let resampled = self.resampled(seen, with)?;
        let low_high = |i: Option<Interval>| (i.map(|i| i.low), i.map(|i| i.high));
        let (fd_low, fd_high) = low_high(interval(distance.value(), &resampled.fd));
        let (cs_low, cs_high) = low_high(interval(cs, &resampled.cs));
        let distances = Distances {
            metric: self.metric(),
            images,
            reference_images: self.reference_images,
            fd: distance.value(),
            fd_low,
            fd_high,
            fd_mean_term: distance.mean_term,
            cs,
            cs_low,
            cs_high,
            cs_split_mean: splits.as_ref().map(|s| s.mean),
            cs_split_deviation: splits.as_ref().map(|s| s.deviation),
            warning: warning(images as u64, self.reference_images, self.features.width()),
        };
        Ok((distances, resampled))
    }

    fn resampled(&self, seen: &Seen, with: Settings) -> Result<Replicates> {
        let images = seen.features.len();
        let of = |statistic: &dyn Fn(&[u32]) -> Result<f64>| {
            replicates(images, with.bootstrap, with.seed, statistic)
        };
        Ok(Replicates {
            fd: of(&|weights| {
                let gaussian = Gaussian::weighted(&seen.features, weights)?;
                Ok(self.reference.distance(&gaussian)?.value())
            })?,
            cs: of(&|weights| weighted_score(&seen.logits, weights))?,
        })
    }
}

/// A covariance of too few pictures is flat in some directions, and the distance says so.
pub(crate) fn warning(images: u64, reference_images: u64, width: usize) -> Option<String> {
    let fewest = images.min(reference_images);
    (fewest <= width as u64).then(|| {
        format!(
            "{fewest} pictures span at most {} of {width} feature dimensions: \
             compare this distance only with those of equally many pictures",
            fewest.saturating_sub(1)
        )
    })
}
