//! One pass over pictures: whatever is measured sees each of them once.

use crate::{
    Features, Metric, PictureSource, Result, Seen,
    source::{MadeBy, Placed, grouped},
};
use candle_core::Tensor;
use diff_core::progress::Progress;
use diff_train::data::{Fault, Pixels, Report};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{collections::BTreeMap, mem};

/// What a network made of some pictures, and which those are.
#[derive(Clone, Debug)]
pub struct Observed {
    /// The place of each in its source.
    pub places: Vec<u64>,
    /// Rows, one a picture.
    pub seen: Seen,
}

/// Pictures that were measured, and what was decided about those that are not plain.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Account {
    /// Where they are from, as it was given.
    pub source: String,
    /// Pictures measured.
    pub images: u64,
    /// SHA-256 of their bytes in order, each `[h, w, c]`.
    pub sha256: String,
    /// Pictures left out, by reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub left_out: BTreeMap<Fault, u64>,
    /// Files that are no pictures by their names.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub ignored: u64,
    /// Pictures that became plain RGB of 8 bits, by what they were: grey, palette, 16-bit, CMYK, alpha.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub converted: BTreeMap<String, u64>,
    /// Pictures by height and width; of more than [`SIZES`] sizes the rest is `others`.
    pub sizes: BTreeMap<String, u64>,
    /// What made them, if a network did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_by: Option<MadeBy>,
}

/// Sizes that are told apart.
pub const SIZES: usize = 8;

fn is_zero(count: &u64) -> bool {
    *count == 0
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
    let mut pass = Pass {
        features,
        metric,
        hasher: Sha256::new(),
        account: Account::default(),
        grey: 0,
        places: Vec::new(),
        prepared: Vec::new(),
    };
    let Report { ignored, bad, decided, .. } = {
        let pass = &mut pass;
        let progress = &mut progress;
        let report = source.run(&mut |pictures| {
            pass.take(pictures)?;
            progress.update(pass.account.images as f64, "seen");
            Ok(())
        })?;
        if let Some(warning) = report.warning() {
            eprintln!("{}: {warning}", source.name());
        }
        report
    };
    pass.flush(1)?;
    progress.finish();
    let Pass { hasher, account, grey, .. } = pass;
    let mut converted = decided;
    if grey > 0 {
        *converted.entry("grey".into()).or_default() += grey;
    }
    Ok(Account {
        source: source.name().into(),
        sha256: hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect(),
        left_out: bad,
        ignored,
        converted,
        made_by: source.made_by().cloned(),
        ..account
    })
}

struct Pass<'a, M> {
    features: &'a dyn Features,
    metric: &'a mut M,
    hasher: Sha256,
    account: Account,
    /// Grey pictures that were repeated into three channels here.
    grey: u64,
    places: Vec<u64>,
    /// Pictures that wait for a whole batch.
    prepared: Vec<Tensor>,
}

impl<M: Metric<Input = Observed>> Pass<'_, M> {
    fn take(&mut self, pictures: Vec<Placed>) -> Result<()> {
        let mut pixels = Vec::with_capacity(pictures.len());
        for Placed { place, pixels: picture } in pictures {
            self.hasher.update(&picture.bytes);
            self.account.images += 1;
            self.count_size(&picture);
            self.places.push(place);
            pixels.push(match (self.features.shape(), picture.channels) {
                (None, 1) => {
                    self.grey += 1;
                    let bytes = picture.bytes.iter().flat_map(|grey| [*grey; 3]).collect();
                    Pixels { channels: 3, bytes, ..picture }
                }
                _ => picture,
            });
        }
        for group in grouped(pixels) {
            self.prepared.push(self.features.prepare(&group)?);
        }
        self.flush(self.features.batch())
    }

    fn count_size(&mut self, picture: &Pixels) {
        let (height, width) = (picture.height, picture.width);
        let name = format!("{height} x {width}");
        let sizes = &mut self.account.sizes;
        let name = match sizes.len() < SIZES || sizes.contains_key(&name) {
            true => name,
            false => "others".into(),
        };
        *sizes.entry(name).or_default() += 1;
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
