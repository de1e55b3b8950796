//! One pass over pictures: whatever is measured sees each of them once.

use crate::{
    Features, Metric, PictureSource, Result, Seen,
    account::{Account, Ledger},
    source::{Placed, grouped},
};
use candle_core::Tensor;
use diff_core::progress::Progress;
use std::mem;

/// What a network made of some pictures, and which those are.
#[derive(Clone, Debug)]
pub struct Observed {
    /// The place of each in its source.
    pub places: Vec<u64>,
    /// Rows, one a picture.
    pub seen: Seen,
}

/// Shows all pictures of `source` to `features` and the outcome to `metric`; progress goes to stderr.
/// Memory does not grow with the number of pictures unless `metric` does.
///
/// # Errors
/// When the source does not read or has no pictures, or one of the others refuses them.
pub fn observe<M>(
    source: &PictureSource,
    features: &dyn Features,
    metric: &mut M,
) -> Result<Account>
where
    M: Metric<Input = Observed> + Send,
{
    let mut progress = Progress::new(source.places().unwrap_or(0), "pictures");
    let mut ledger = Ledger::default();
    let mut pass = Pass { features, metric, places: Vec::new(), prepared: Vec::new() };
    let report = source.run(&mut |pictures| {
        let pictures = pictures.into_iter().map(|placed| ledger.enter(placed, features.shape()));
        pass.take(pictures.collect())?;
        progress.update(ledger.images() as f64, "seen");
        Ok(())
    })?;
    pass.flush(1)?;
    progress.finish();
    Ok(ledger.close(source, report))
}

struct Pass<'a, M> {
    features: &'a dyn Features,
    metric: &'a mut M,
    places: Vec<u64>,
    /// Pictures that wait for a whole batch.
    prepared: Vec<Tensor>,
}

impl<M: Metric<Input = Observed>> Pass<'_, M> {
    fn take(&mut self, pictures: Vec<Placed>) -> Result<()> {
        self.places.extend(pictures.iter().map(|placed| placed.place));
        for group in grouped(pictures) {
            self.prepared.push(self.features.prepare(&group)?);
        }
        self.flush(self.features.batch())
    }

    /// Looks at whole batches of what waits, until fewer than `least` pictures do.
    fn flush(&mut self, least: usize) -> Result<()> {
        if self.places.len() < least || self.places.is_empty() {
            return Ok(());
        }
        let waiting = match mem::take(&mut self.prepared) {
            mut one if one.len() == 1 => one.swap_remove(0),
            several => Tensor::cat(&several, 0)?,
        };
        let batch = self.features.batch();
        let mut done = 0;
        while self.places.len() - done >= least && done < self.places.len() {
            let count = batch.min(self.places.len() - done);
            let seen = self.features.see(&waiting.narrow(0, done, count)?.contiguous()?)?;
            let places = self.places[done..done + count].to_vec();
            self.metric.add(&Observed { places, seen })?;
            done += count;
        }
        self.places.drain(..done);
        if !self.places.is_empty() {
            let rest = self.places.len();
            self.prepared.push(waiting.narrow(0, done, rest)?.contiguous()?);
        }
        Ok(())
    }
}
