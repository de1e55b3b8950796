//! The published metrics: one file each, one line each in [`MEASURES`].

mod distance;
mod kernel;
mod manifold;
mod score;
mod side;

pub use side::{Gathered, Identity, Side, statistics};

use crate::{
    Features, Interval, KidSettings, Manifold, Needs, Neighbours, Result, SpaceId, SplitOrder,
};
use diff_core::{Error, config::nearest};
use serde::Serialize;
use serde_json::{Map, Value};
use std::{cell::OnceCell, path::PathBuf};

/// How measures are taken.
#[derive(Clone, Debug)]
pub struct MeasureSettings {
    /// Resamples that intervals are made of; 0 for none, which keeps memory from growing with the number
    /// of pictures where a measure needs no rows.
    pub bootstrap: usize,
    /// The seed of resamples and subsets of our own.
    pub seed: u64,
    /// The parts of the Inception Score.
    pub order: SplitOrder,
    /// The subsets of KID.
    pub kid: KidSettings,
    /// Whose distances are radii of neighbourhoods.
    pub neighbours: Neighbours,
    /// Where statistics of references are kept; none to keep none.
    pub cache: Option<PathBuf>,
}

/// Samples and what they are compared with, gone through.
pub struct Compared<'a> {
    /// The samples.
    pub samples: &'a Gathered,
    /// What they are compared with.
    pub reference: Option<&'a Gathered>,
    /// How.
    pub settings: &'a MeasureSettings,
    /// The feature space.
    pub features: &'a dyn Features,
    /// Where the sets lie, once a measure asked.
    manifold: OnceCell<Manifold>,
}

/// What a measure found.
#[derive(Clone, Debug, Default)]
pub struct Finding {
    /// The number.
    pub value: f64,
    /// Where it would fall for as many other pictures.
    pub interval: Option<Interval>,
    /// What else is known, by name.
    pub details: Map<String, Value>,
    /// What there is to be careful about.
    pub warning: Option<String>,
}

/// A measure.
#[derive(Clone, Copy)]
pub struct Measure {
    /// Its name in commands.
    pub name: &'static str,
    /// Its name in results: in the features of FID, and in any others.
    pub titles: [&'static str; 2],
    /// What it is.
    pub about: &'static str,
    /// What it needs of samples, and of a reference; of none where it takes none.
    pub needs: fn(&MeasureSettings) -> (Needs, Option<Needs>),
    /// Takes it.
    pub take: fn(&Compared) -> Result<Finding>,
}

/// Those there are.
pub const MEASURES: [Measure; 9] = [
    distance::FID,
    distance::SFID,
    distance::FID_INFINITY,
    score::IS,
    kernel::KID,
    manifold::PRECISION,
    manifold::RECALL,
    manifold::DENSITY,
    manifold::COVERAGE,
];

/// A number, and all it rests on.
#[derive(Clone, Debug, Serialize)]
pub struct Measurement {
    /// What it is.
    pub metric: String,
    /// The number.
    pub value: f64,
    /// Where it would fall for as many other pictures, 95 times of 100.
    pub interval: Option<Interval>,
    /// What else is known, by name.
    #[serde(flatten)]
    pub details: Map<String, Value>,
    /// What there is to be careful about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
    /// What it rests on.
    pub provenance: Basis,
}

/// What a measurement rests on.
#[derive(Clone, Debug, Serialize)]
pub struct Basis {
    /// The feature space.
    pub features: SpaceId,
    /// The pictures judged.
    pub samples: Identity,
    /// What they were compared with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<Identity>,
    /// Resamples.
    pub bootstrap: usize,
    /// The seed of resamples and subsets of our own.
    pub seed: u64,
    /// The version that measured.
    pub version: &'static str,
}

/// The measure of this name.
///
/// # Errors
/// When there is none; the nearest name is told.
pub fn measure(name: &str) -> Result<Measure> {
    let known = MEASURES.map(|measure| measure.name);
    MEASURES.into_iter().find(|measure| measure.name == name).ok_or_else(|| {
        let hint = nearest(name, known).map(|n| format!("; did you mean `{n}`?"));
        let expected = format!("{}{}", known.join(", "), hint.unwrap_or_default());
        Error::argument("metric", name, expected).into()
    })
}

/// Takes measures of samples, against a reference where they need one. Pictures are gone through once,
/// whatever is measured.
///
/// # Errors
/// When a reference is missing, or one side does not read, has too few pictures, or is given by
/// statistics that a measure cannot do with, or that are of another feature space.
pub fn take(
    measures: &[Measure],
    (samples, reference): (&Side, Option<&Side>),
    features: &dyn Features,
    settings: &MeasureSettings,
) -> Result<Vec<Measurement>> {
    let (mut ours, mut theirs) = (Needs::default(), None::<Needs>);
    for measure in measures {
        let (of_samples, of_reference) = (measure.needs)(settings);
        ours = ours.or(of_samples);
        if let Some(needs) = of_reference {
            if reference.is_none() {
                let expected = format!("something to compare with, for {}", measure.name);
                return Err(Error::argument("reference", "nothing", expected).into());
            }
            theirs = Some(theirs.unwrap_or_default().or(needs));
        }
    }
    // What a side cannot give is said before any picture is looked at.
    samples.check(ours, features)?;
    let reference = reference.zip(theirs);
    reference.iter().try_for_each(|(side, needs)| side.check(*needs, features))?;
    let samples = samples.gather(ours, features, settings, None)?;
    let cache = settings.cache.as_deref();
    let reference =
        reference.map(|(side, needs)| side.gather(needs, features, settings, cache)).transpose()?;
    let (samples, reference) = (&samples, reference.as_ref());
    let compared = Compared { samples, reference, settings, features, manifold: OnceCell::new() };
    measures.iter().map(|measure| measured(measure, &compared)).collect()
}

fn measured(measure: &Measure, compared: &Compared) -> Result<Measurement> {
    let Compared { samples, reference, settings, features, .. } = compared;
    let Finding { value, interval, details, warning } = (measure.take)(compared)?;
    let [published, other] = measure.titles;
    let metric = match features.is_inception() {
        true => published.to_string(),
        false => format!("{other}-{}", features.name()),
    };
    let compares = (measure.needs)(settings).1.is_some();
    let provenance = Basis {
        features: features.id(),
        samples: samples.identity.clone(),
        reference: reference.filter(|_| compares).map(|reference| reference.identity.clone()),
        bootstrap: settings.bootstrap,
        seed: settings.seed,
        version: env!("CARGO_PKG_VERSION"),
    };
    Ok(Measurement { metric, value, interval, details, warning, provenance })
}
