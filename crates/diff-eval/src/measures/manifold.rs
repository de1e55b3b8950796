//! Whether samples lie where pictures lie, and the other way round: precision and recall (Kynkäänniemi
//! et al., 2019), density and coverage (Naeem et al., 2020).

use super::{Compared, Finding, Measure, MeasureSettings, distance::kept};
use crate::{Error, Manifold, Needs, Result, Share, manifold};
use serde_json::json;

fn rows(_: &MeasureSettings) -> (Needs, Option<Needs>) {
    let rows = Needs { rows: true, ..Needs::default() };
    (rows, Some(rows))
}

pub(super) const PRECISION: Measure = Measure {
    name: "precision",
    titles: ["precision", "precision"],
    about: "share of the samples that lie among the pictures of the reference",
    needs: rows,
    take: |compared| {
        let neighbours = compared.settings.neighbours.precise;
        Ok(finding(compared, &found(compared)?.precision, neighbours))
    },
};

pub(super) const RECALL: Measure = Measure {
    name: "recall",
    titles: ["recall", "recall"],
    about: "share of the reference's pictures that lie among the samples",
    needs: rows,
    take: |compared| {
        let neighbours = compared.settings.neighbours.precise;
        Ok(finding(compared, &found(compared)?.recall, neighbours))
    },
};

pub(super) const DENSITY: Measure = Measure {
    name: "density",
    titles: ["density", "density"],
    about: "how many neighbourhoods of the reference a sample lies in, 1 where it is as dense",
    needs: rows,
    take: |compared| {
        let neighbours = compared.settings.neighbours.dense;
        Ok(finding(compared, &found(compared)?.density, neighbours))
    },
};

pub(super) const COVERAGE: Measure = Measure {
    name: "coverage",
    titles: ["coverage", "coverage"],
    about: "share of the reference's neighbourhoods that hold a sample",
    needs: rows,
    take: |compared| {
        let neighbours = compared.settings.neighbours.dense;
        Ok(finding(compared, &found(compared)?.coverage, neighbours))
    },
};

/// All four at once, for whichever comes first.
fn found<'a>(compared: &'a Compared) -> Result<&'a Manifold> {
    if let Some(known) = compared.manifold.get() {
        return Ok(known);
    }
    let nothing = || Error::Mismatch("neighbours are looked for in two sets".into());
    let (samples, reference) = (kept(compared.samples)?, compared.reference.ok_or_else(nothing)?);
    let found = manifold(samples, kept(reference)?, compared.settings.neighbours)?;
    Ok(compared.manifold.get_or_init(|| found))
}

fn finding(compared: &Compared, share: &Share, neighbours: usize) -> Finding {
    let MeasureSettings { bootstrap, seed, .. } = compared.settings;
    let mut finding = Finding {
        value: share.value(),
        interval: share.interval(*bootstrap, *seed),
        ..Finding::default()
    };
    finding.details.insert("neighbours".into(), json!(neighbours));
    finding
}
