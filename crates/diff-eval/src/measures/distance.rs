//! Fréchet distances of Inception's features: FID (Heusel et al., 2017), sFID (Nash et al., 2021), and
//! FID with infinitely many pictures (Chong and Forsyth, 2020).

use super::{Compared, Finding, Gathered, Identity, Measure, MeasureSettings};
use crate::{
    Error, FrechetReference, Gaussian, KeptRows, Needs, Result, Tallied,
    bootstrap::{interval, resample},
    fid_infinity,
    judge::warning,
};
use rayon::prelude::*;
use serde_json::json;

pub(super) const FID: Measure = Measure {
    name: "fid",
    titles: ["FID", "FD"],
    about: "Fréchet distance of the features' means and covariances",
    needs: |settings| {
        let pooled = Needs { pooled: true, ..Needs::default() };
        (Needs { rows: settings.bootstrap > 0, ..pooled }, Some(pooled))
    },
    take: |compared| {
        let sides = both(compared, |tallied| tallied.pooled.as_ref())?;
        distance(compared, sides, compared.samples.tallied.rows.as_ref())
    },
};

pub(super) const SFID: Measure = Measure {
    name: "sfid",
    titles: ["sFID", "sFD"],
    about: "Fréchet distance of features that know of places",
    needs: |settings| {
        let spatial = Needs { spatial: true, ..Needs::default() };
        (Needs { spatial_rows: settings.bootstrap > 0, ..spatial }, Some(spatial))
    },
    take: |compared| {
        let sides = both(compared, |tallied| tallied.spatial.as_ref())?;
        distance(compared, sides, compared.samples.tallied.spatial_rows.as_ref())
    },
};

/// It has no interval: the line is drawn through [`POINTS`](crate::POINTS) distances, and one for every
/// resample would take as many times the work of all others together.
pub(super) const FID_INFINITY: Measure = Measure {
    name: "fid-infinity",
    titles: ["FID-infinity", "FD-infinity"],
    about: "FID of infinitely many pictures, extrapolated from subsets",
    needs: |_| {
        let pooled = Needs { pooled: true, ..Needs::default() };
        (Needs { rows: true, ..pooled }, Some(pooled))
    },
    take: |compared| {
        let [samples, reference] = both(compared, |tallied| tallied.pooled.as_ref())?;
        let rows = kept(compared.samples)?;
        let to = FrechetReference::new(reference)?;
        let found = fid_infinity(rows, &to, compared.settings.seed)?;
        let mut finding = finding(compared, found.value, [samples, reference]);
        finding.details.insert("points".into(), json!(found.points));
        Ok(finding)
    },
};

/// The moments of both sides.
fn both<'a>(
    compared: &Compared<'a>,
    which: fn(&'a Tallied) -> Option<&'a Gaussian>,
) -> Result<[&'a Gaussian; 2]> {
    let reference = compared.reference.map(|reference| &reference.tallied);
    let nothing = || Error::Mismatch("a Fréchet distance takes the moments of two sets".into());
    match (which(&compared.samples.tallied), reference.and_then(which)) {
        (Some(samples), Some(reference)) => Ok([samples, reference]),
        _ => Err(nothing()),
    }
}

/// The distance, with an interval where rows of the samples were kept.
fn distance(
    compared: &Compared,
    sides: [&Gaussian; 2],
    rows: Option<&KeptRows>,
) -> Result<Finding> {
    let to = FrechetReference::new(sides[1])?;
    let found = to.distance(sides[0])?;
    let replicates = match rows.filter(|_| compared.settings.bootstrap > 0) {
        Some(rows) => replicates(rows, &to, compared.settings)?,
        None => Vec::new(),
    };
    let mut finding = finding(compared, found.value(), sides);
    finding.interval = interval(found.value(), &replicates);
    finding.details.insert("mean_term".into(), json!(found.mean_term));
    Ok(finding)
}

/// The rows of a side.
pub(super) fn kept(side: &Gathered) -> Result<&KeptRows> {
    let nothing = || Error::Mismatch("no rows of features were kept".into());
    side.tallied.rows.as_ref().ok_or_else(nothing)
}

fn finding(compared: &Compared, value: f64, [samples, reference]: [&Gaussian; 2]) -> Finding {
    let unknown = |side: &Gathered| match &side.identity {
        Identity::Statistics { file, pictures: None, .. } => Some(format!(
            "{file} does not say which features and which resizing its statistics are of"
        )),
        _ => None,
    };
    let counts = [samples, reference].map(|gaussian| gaussian.count);
    let known = |count: u64| if count == 0 { u64::MAX } else { count };
    let few = warning(known(counts[0]), known(counts[1]), samples.mean.len());
    let sides = [Some(compared.samples), compared.reference];
    let warnings: Vec<String> =
        few.into_iter().chain(sides.into_iter().flatten().filter_map(unknown)).collect();
    let mut details = serde_json::Map::new();
    details.insert("images".into(), count(counts[0]));
    details.insert("reference_images".into(), count(counts[1]));
    let warning = (!warnings.is_empty()).then(|| warnings.join("; "));
    Finding { value, interval: None, details, warning }
}

/// A number of pictures; null where it is not known.
fn count(images: u64) -> serde_json::Value {
    if images == 0 { serde_json::Value::Null } else { json!(images) }
}

/// Distances of resamples.
fn replicates(
    rows: &KeptRows,
    to: &FrechetReference,
    settings: &MeasureSettings,
) -> Result<Vec<f64>> {
    let one = |i: u64| {
        let weights = resample(rows.len(), rows.len(), settings.seed, i);
        Ok(to.distance(&rows.gaussian(&weights)?)?.value())
    };
    (0..settings.bootstrap as u64).into_par_iter().map(one).collect()
}
