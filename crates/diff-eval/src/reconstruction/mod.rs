//! What is lost on the way from a picture to its latent and back (DDIM, section 5.4 and table 2).

mod error;

pub use error::{Pair, PairError, PairErrors};

use crate::{Metric, Result, bootstrap, gap::Subject};
use diff_core::{Error, Schedule};
use diff_sample::{
    CleanPictures, Guidance, Labels, Outcome, Request, SamplerSpec, generate_from,
    latents::{Encoding, Start, encode},
    sinks::{Kept, Untransformed},
};
use serde::Serialize;
use std::collections::BTreeMap;

/// The numbers of steps of DDIM's table 2.
pub const STEPS: [usize; 7] = [10, 20, 50, 100, 200, 500, 1000];

/// What is measured.
#[derive(Clone, Debug, PartialEq)]
pub struct ReconstructionRequest {
    /// Pictures, the first of the data set; at least 1.
    pub num: u64,
    /// Pictures a network call serves at most, at least 1. Changes nothing but speed and memory.
    pub batch: usize,
    /// `ddim` or `pf-euler`, both ways.
    pub sampler: String,
    /// The numbers of steps, each in 1..=T.
    pub steps: Vec<usize>,
    /// The times visited, up and down: a name that [`diff_core::trajectory::resolve`] knows.
    pub trajectory: String,
    /// Which time a picture is taken to be at.
    pub start: Start,
    /// Resamples of the pictures that intervals are made of; 0 for none.
    pub bootstrap: usize,
    /// Their seed.
    pub seed: u64,
}

/// What came back after so many steps up and down.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Reconstruction {
    /// S.
    pub steps: usize,
    /// The mean over pictures and dimensions of ((x_rec - x_0) / 2)^2, without clipping.
    pub mse: f64,
    /// Lower end of its interval (see [`interval`](crate::interval)); none without resamples.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mse_low: Option<f64>,
    /// Upper end of its interval.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mse_high: Option<f64>,
    /// The mean over pictures of 10 log10(1 / mse), in decibels.
    pub psnr: f64,
    /// Network evaluations a picture, up and down.
    pub evaluations: usize,
}

impl ReconstructionRequest {
    /// Refuses values out of range.
    ///
    /// # Errors
    /// Names the value and its range.
    pub fn check(&self, schedule: &Schedule, pictures: &CleanPictures) -> Result<()> {
        let there = pictures.len() as u64;
        if !(1..=there).contains(&self.num) {
            let expected = format!("1..={there}, the pictures there are");
            return Err(Error::argument("num", self.num, expected).into());
        }
        if self.batch == 0 {
            return Err(Error::argument("batch", 0, "at least 1 picture").into());
        }
        if self.steps.is_empty() {
            return Err(Error::argument("steps", "nothing", "at least one number").into());
        }
        for steps in &self.steps {
            self.encoding(*steps).end(schedule)?;
        }
        Ok(())
    }

    fn encoding(&self, steps: usize) -> Encoding {
        let spec = SamplerSpec {
            sampler: self.sampler.clone(),
            steps: Some(steps),
            trajectory: self.trajectory.clone(),
            eta: None,
            clip: None,
        };
        Encoding { spec, start: self.start }
    }
}

/// Encodes pictures and decodes their latents again, for every number of steps. `progress` hears how many
/// pictures are done, each number of steps counting by its work.
///
/// # Errors
/// Values out of range, pictures without the labels that the network needs, predictions that are not
/// finite.
pub fn reconstruct(
    subject: &Subject,
    pictures: &CleanPictures,
    request: &ReconstructionRequest,
    progress: &mut dyn FnMut(f64),
) -> Result<Vec<Reconstruction>> {
    request.check(subject.schedule, pictures)?;
    let all = request.steps.iter().sum::<usize>() as f64;
    let (mut before, mut found) = (0.0, Vec::with_capacity(request.steps.len()));
    for steps in &request.steps {
        let share = *steps as f64 / all;
        let mut told = |done: f64| progress(before * request.num as f64 + share * done);
        found.push(with_steps(subject, pictures, request, *steps, &mut told)?);
        before += share;
    }
    Ok(found)
}

fn with_steps(
    subject: &Subject,
    pictures: &CleanPictures,
    request: &ReconstructionRequest,
    steps: usize,
    progress: &mut dyn FnMut(f64),
) -> Result<Reconstruction> {
    let encoding = request.encoding(steps);
    let (mut errors, mut evaluations) = (PairErrors::default(), 0);
    let mut done = 0.0;
    for (class, numbers) in by_class(subject, pictures, request.num)? {
        for part in numbers.chunks(request.batch) {
            let mut told = |share: f64| progress(done + share);
            let way = Way { subject, pictures, encoding: &encoding, class };
            let (pair, cost) = way.there_and_back(part, &mut told)?;
            errors.add(&pair)?;
            evaluations += cost;
            done += part.len() as f64;
        }
    }
    let found = errors.finish()?;
    let rows = &found.of_picture;
    let mean = |weights: &[u32]| {
        let sum: f64 = rows.iter().zip(weights).map(|(row, w)| row * f64::from(*w)).sum();
        Ok(sum / rows.len() as f64)
    };
    let replicates = bootstrap::replicates(rows.len(), request.bootstrap, request.seed, mean)?;
    let range = bootstrap::interval(found.mse, &replicates);
    Ok(Reconstruction {
        steps,
        mse: found.mse,
        mse_low: range.map(|range| range.low),
        mse_high: range.map(|range| range.high),
        psnr: found.psnr,
        evaluations: evaluations / rows.len(),
    })
}

/// The pictures 0..num by what the network is told of them: their class, or nothing.
fn by_class(
    subject: &Subject,
    pictures: &CleanPictures,
    num: u64,
) -> Result<BTreeMap<Option<u32>, Vec<u64>>> {
    if !subject.labelled {
        return Ok(BTreeMap::from([(None, (0..num).collect())]));
    }
    let mut groups: BTreeMap<Option<u32>, Vec<u64>> = BTreeMap::new();
    for (number, label) in (0..).zip(pictures.labels(0..num)?) {
        groups.entry(Some(label)).or_default().push(number);
    }
    Ok(groups)
}

struct Way<'a> {
    subject: &'a Subject<'a>,
    pictures: &'a CleanPictures,
    encoding: &'a Encoding,
    class: Option<u32>,
}

impl Way<'_> {
    /// The pictures with these numbers, as one batch, and the evaluations that it took.
    fn there_and_back(
        &self,
        numbers: &[u64],
        progress: &mut dyn FnMut(f64),
    ) -> Result<(Pair, usize)> {
        let Subject { denoiser, schedule, dtype, device, .. } = self.subject;
        let request = Request {
            indices: numbers.to_vec(),
            batch: numbers.len(),
            seed: 0,
            shape: self.pictures.shape(),
            labels: self.class.map_or(Labels::Unsaid, |class| Labels::InTurn(vec![Some(class)])),
            guidance: Guidance::default(),
            dtype: *dtype,
            device: device.clone(),
        };
        let x = self.pictures.tensor(numbers, *dtype, device)?;
        let clean = |_: &[u64]| Ok(x.clone());
        let mut up = Kept::default();
        let encoding = self.encoding;
        let mut told = |done: f64| progress(0.5 * done);
        let Outcome { evaluations: on_the_way_up, .. } =
            encode(*denoiser, schedule, encoding, &request, &clean, &mut up, &mut told)?;
        let (_, latents) = up.take()?;
        let starts = |_: &[u64]| Ok(latents.clone());
        let transform = self.pictures.transform();
        let mut down = Untransformed { transform, sink: Kept::default() };
        let mut told = |done: f64| progress(0.5 * (numbers.len() as f64 + done));
        let spec = &encoding.spec;
        let Outcome { evaluations, .. } =
            generate_from(*denoiser, schedule, spec, &request, &starts, &mut down, &mut told)?;
        let (_, found) = down.sink.take()?;
        let pair = Pair { original: transform.inverse(&x)?, found };
        Ok((pair, on_the_way_up + evaluations))
    }
}
