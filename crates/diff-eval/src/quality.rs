//! Everything that is said of a set of samples, and of what it rests.

use crate::{
    Distances, Features, Judge, Memorisation, Replicates, Result, Settings, SpaceId, memorisation,
    pictures::Named,
};
use serde::Serialize;

/// What samples are worth: how near their distribution is to the reference's, how sure and varied a
/// classifier finds them, and whether they are new.
#[derive(Clone, Debug, Serialize)]
pub struct Quality {
    /// In the feature space.
    #[serde(flatten)]
    pub distances: Distances,
    /// In pixel space.
    #[serde(flatten)]
    pub memorisation: Memorisation,
    /// What the numbers rest on.
    pub provenance: Provenance,
    /// Resamples, for intervals of differences.
    #[serde(flatten)]
    pub replicates: Replicates,
}

/// What a measurement rests on.
#[derive(Clone, Debug, Serialize)]
pub struct Provenance {
    /// The feature space.
    pub features: SpaceId,
    /// The pictures judged; none where there are none but the other two.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub samples: Option<PicturesId>,
    /// What they were compared with.
    pub reference: PicturesId,
    /// Pictures nobody trained on.
    pub held_out: PicturesId,
    /// Resamples.
    pub bootstrap: usize,
    /// The seed of resamples and subsets.
    pub seed: u64,
    /// The version that measured.
    pub version: &'static str,
}

/// Pictures by their bytes.
#[derive(Clone, Debug, Serialize)]
pub struct PicturesId {
    /// Where they were read from.
    pub source: String,
    /// SHA-256 of their bytes, `[n, h, w, c]`.
    pub sha256: String,
}

impl Provenance {
    /// Of a measurement in this space, of these pictures, with these settings.
    pub fn new(
        features: &dyn Features,
        samples: Option<&Named>,
        [reference, held_out]: [&Named; 2],
        with: Settings,
    ) -> Self {
        Provenance {
            features: features.id(),
            samples: samples.map(PicturesId::of),
            reference: PicturesId::of(reference),
            held_out: PicturesId::of(held_out),
            bootstrap: with.bootstrap,
            seed: with.seed,
            version: env!("CARGO_PKG_VERSION"),
        }
    }
}

impl PicturesId {
    fn of(named: &Named) -> Self {
        PicturesId { source: named.source.clone(), sha256: named.pictures.sha256() }
    }
}

/// Judges samples of a model that was trained on `reference`.
///
/// # Errors
/// When pictures have another shape than the space takes, there are too few of them, or features
/// are not finite.
pub fn quality(
    features: &dyn Features,
    samples: &Named,
    reference: &Named,
    held_out: &Named,
    with: Settings,
) -> Result<Quality> {
    // The samples first: what is wrong with them should not wait for the reference.
    let seen = features.rows(&samples.pictures)?;
    let judge = Judge::new(features, &reference.pictures)?;
    let (distances, replicates) = judge.judge_seen(&seen, with)?;
    Ok(Quality {
        distances,
        memorisation: memorisation(
            &samples.pictures,
            &reference.pictures,
            &held_out.pictures,
            with.seed,
        )?,
        provenance: Provenance::new(features, Some(samples), [reference, held_out], with),
        replicates,
    })
}
