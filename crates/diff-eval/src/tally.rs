//! What one pass over pictures gathers, for all that is measured.

use crate::{
    Error, Gaussian, KeptRows, Metric, Moments, Observed, Result, SplitOrder, SplitScore,
    SplitScores,
};

/// What is to be gathered.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Needs {
    /// Mean and covariance of the features.
    pub pooled: bool,
    /// Mean and covariance of the features that know of places.
    pub spatial: bool,
    /// Class probabilities, added up part by part.
    pub score: bool,
    /// Every row of features.
    pub rows: bool,
    /// Every row of features that know of places.
    pub spatial_rows: bool,
    /// Every row of logits.
    pub logits: bool,
}

impl Needs {
    /// What one of both needs.
    pub fn or(self, other: Needs) -> Self {
        Needs {
            pooled: self.pooled || other.pooled,
            spatial: self.spatial || other.spatial,
            score: self.score || other.score,
            rows: self.rows || other.rows,
            spatial_rows: self.spatial_rows || other.spatial_rows,
            logits: self.logits || other.logits,
        }
    }

    /// True where moments are enough.
    pub fn only_moments(self) -> bool {
        !(self.score || self.rows || self.spatial_rows || self.logits)
    }
}

/// Gathers what is needed. Moments and scores do not grow with the number of pictures; rows do: 4 bytes
/// a number.
#[derive(Clone, Debug)]
pub struct Tally {
    needs: Needs,
    places: u64,
    pooled: Moments,
    spatial: Moments,
    score: Option<SplitScore>,
    rows: KeptRows,
    spatial_rows: KeptRows,
    logits: KeptRows,
}

/// What a pass came to; nothing where it was not needed.
#[derive(Clone, Debug, Default)]
pub struct Tallied {
    /// How many places the source had.
    pub places: u64,
    /// Of the features.
    pub pooled: Option<Gaussian>,
    /// Of the features that know of places.
    pub spatial: Option<Gaussian>,
    /// The Inception Score of parts.
    pub score: Option<SplitScores>,
    /// Features, in the order of the source.
    pub rows: Option<KeptRows>,
    /// Features that know of places, in the order of the source.
    pub spatial_rows: Option<KeptRows>,
    /// Logits, in the order of the source.
    pub logits: Option<KeptRows>,
}

impl Tally {
    /// Gathers `needs` of a source with this many places, scores in parts of this order.
    ///
    /// # Errors
    /// When there are more parts than places.
    pub fn new(needs: Needs, places: u64, order: &SplitOrder) -> Result<Self> {
        Ok(Tally {
            needs,
            places,
            pooled: Moments::default(),
            spatial: Moments::default(),
            score: needs.score.then(|| SplitScore::new(places as usize, order)).transpose()?,
            rows: KeptRows::default(),
            spatial_rows: KeptRows::default(),
            logits: KeptRows::default(),
        })
    }
}

impl Metric for Tally {
    type Input = Observed;
    type Output = Tallied;

    fn add(&mut self, observed: &Observed) -> Result<()> {
        let Observed { places, seen } = observed;
        if self.needs.pooled {
            self.pooled.add(&seen.features)?;
        }
        if self.needs.spatial || self.needs.spatial_rows {
            let nothing = || Error::Mismatch("this feature space knows nothing of places".into());
            let rows = seen.spatial.as_ref().ok_or_else(nothing)?;
            if self.needs.spatial {
                self.spatial.add(rows)?;
            }
            if self.needs.spatial_rows {
                self.spatial_rows.add_at(places, rows)?;
            }
        }
        if let Some(score) = &mut self.score {
            score.add_at(places, &seen.logits)?;
        }
        if self.needs.rows {
            self.rows.add_at(places, &seen.features)?;
        }
        if self.needs.logits {
            self.logits.add_at(places, &seen.logits)?;
        }
        Ok(())
    }

    fn merge(&mut self, other: Self) -> Result<()> {
        self.pooled.merge(other.pooled)?;
        self.spatial.merge(other.spatial)?;
        if let (Some(ours), Some(theirs)) = (&mut self.score, other.score) {
            ours.merge(theirs)?;
        }
        self.rows.merge(other.rows)?;
        self.spatial_rows.merge(other.spatial_rows)?;
        self.logits.merge(other.logits)
    }

    fn finish(self) -> Result<Tallied> {
        let Needs { pooled, spatial, rows, spatial_rows, logits, .. } = self.needs;
        Ok(Tallied {
            places: self.places,
            pooled: pooled.then(|| self.pooled.finish()).transpose()?,
            spatial: spatial.then(|| self.spatial.finish()).transpose()?,
            score: self.score.map(SplitScore::finish).transpose()?,
            rows: rows.then(|| self.rows.sorted()),
            spatial_rows: spatial_rows.then(|| self.spatial_rows.sorted()),
            logits: logits.then(|| self.logits.sorted()),
        })
    }
}
