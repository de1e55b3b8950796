//! What real pictures score, which is what the numbers of samples are to be read against.

use crate::{
    Features, FrechetReference, Gaussian, Interval, Judge, Provenance, Result, Settings,
    bootstrap::{interval, resample},
    classifier_score,
    features::{Rows, Seen},
    judge::warning,
    mean_distance, nearest,
    pictures::Named,
};
use serde::Serialize;

/// What held-out pictures score, and what a model would that only gives training pictures back.
#[derive(Clone, Debug, Serialize)]
pub struct Floor {
    /// What distances are called.
    pub metric: String,
    /// Pictures of the reference, which the classifier was trained on.
    pub reference_images: usize,
    /// Pictures held out.
    pub held_out_images: usize,
    /// Fréchet distance of the held-out pictures to the reference. Part of it is that they are no
    /// more than they are, part that the classifier knows the pictures it was trained on.
    pub fd_held_out: f64,
    /// Lower end of its interval.
    pub fd_held_out_low: Option<f64>,
    /// Upper end of its interval.
    pub fd_held_out_high: Option<f64>,
    /// Pictures that the memoriser gives.
    pub memoriser_images: usize,
    /// Fréchet distance of that many pictures of the reference, drawn with replacement, to all of
    /// it: the mean over the draws. A model below this is no better for it.
    pub fd_memoriser: f64,
    /// Where 95 of 100 draws lie: lower end.
    pub fd_memoriser_low: Option<f64>,
    /// Upper end.
    pub fd_memoriser_high: Option<f64>,
    /// Classifier score of the reference.
    pub cs_train: f64,
    /// Classifier score of the held-out pictures.
    pub cs_held_out: f64,
    /// Share of the reference that the classifier takes for what it is; none without labels.
    pub accuracy_train: Option<f64>,
    /// The same of the held-out pictures.
    pub accuracy_held_out: Option<f64>,
    /// Mean distance of the held-out pictures to their nearest in the reference, as
    /// [`Memorisation`](crate::Memorisation) measures it.
    pub nn_held_out_train: f64,
    /// What there is to be careful about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
    /// What the numbers rest on.
    pub provenance: Provenance,
}

/// Measures the reference and held-out pictures themselves; the memoriser gives `images` pictures,
/// `with.bootstrap` times (once for 0).
///
/// # Errors
/// When `images` is below 2, pictures have another shape than the space takes, there are too few of
/// them, or features are not finite.
pub fn floor(
    features: &dyn Features,
    reference: &Named,
    held_out: &Named,
    images: usize,
    with: Settings,
) -> Result<Floor> {
    if images < 2 {
        return Err(diff_core::Error::argument("num", images, "at least 2 pictures").into());
    }
    let train = features.rows(&reference.pictures)?;
    let test = features.rows(&held_out.pictures)?;
    let moments = Gaussian::of(&train.features)?;
    let (own, _) = Judge::against(features, &moments)?.judge_seen(&test, with)?;
    let (fd_memoriser, range) = memoriser(&train.features, &moments, images, with)?;
    Ok(Floor {
        metric: own.metric,
        reference_images: reference.pictures.len(),
        held_out_images: own.images,
        fd_held_out: own.fd,
        fd_held_out_low: own.fd_low,
        fd_held_out_high: own.fd_high,
        memoriser_images: images,
        fd_memoriser,
        fd_memoriser_low: range.map(|range| range.low),
        fd_memoriser_high: range.map(|range| range.high),
        cs_train: classifier_score(&train.logits)?,
        cs_held_out: own.cs,
        accuracy_train: accuracy(&train, reference),
        accuracy_held_out: accuracy(&test, held_out),
        nn_held_out_train: mean_distance(&nearest(&held_out.pictures, &reference.pictures)?),
        warning: warning(own.images.min(images) as u64, moments.count, features.width()),
        provenance: Provenance::new(features, None, [reference, held_out], with),
    })
}

fn memoriser(
    rows: &Rows,
    moments: &Gaussian,
    images: usize,
    with: Settings,
) -> Result<(f64, Option<Interval>)> {
    let reference = FrechetReference::new(moments)?;
    let draw = |i: u64| {
        let gaussian = Gaussian::weighted(rows, &resample(rows.len(), images, with.seed, i))?;
        Ok(reference.distance(&gaussian)?.value())
    };
    let draws = (0..with.bootstrap.max(1) as u64).map(draw).collect::<Result<Vec<f64>>>()?;
    let mean = draws.iter().sum::<f64>() / draws.len() as f64;
    Ok((mean, if with.bootstrap == 0 { None } else { interval(mean, &draws) }))
}

/// Share of the pictures whose greatest logit is that of their label.
fn accuracy(seen: &Seen, pictures: &Named) -> Option<f64> {
    let labels = pictures.labels.as_ref()?;
    let right = seen.logits.iter().zip(labels).filter(|(row, label)| {
        let greatest = row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
        greatest.is_some_and(|(class, _)| class == **label as usize)
    });
    Some(right.count() as f64 / labels.len() as f64)
}
