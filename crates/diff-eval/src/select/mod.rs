//! Which weights of a run are best: its milestones ranked by the Fréchet distance of a few samples,
//! as SA-DPM chooses its checkpoints (by the FID of 1,000 to 2,000 samples).
//!
//! Every snapshot is sampled from the same noise, so that differences are those of the weights.
//! The best of many is best by a little luck too: judge it anew, with samples of another seed.

mod record;
mod snapshots;

pub use record::{Measured, Terms};

use crate::{Error, Judge, Result, Settings, pictures::Pictures};
use candle_core::{DType, Device, Tensor};
use diff_core::config;
use diff_models::{checkpoint::Checkpoint, digest::sha256, pictures as bytes};
use diff_sample::{
    Guidance, ImageSink, Labels, Request, SamplerSpec, generate, sinks::Untransformed,
};
use diff_train::config::RunConfig;
use record::Record;
use serde::Serialize;
use snapshots::{Snapshot, is_finished, milestones, nothing_to_choose, snapshots};
use std::path::{Path, PathBuf};

/// How snapshots are measured.
#[derive(Clone, Debug)]
pub struct Trial {
    /// How samples are drawn.
    pub sampler: SamplerSpec,
    /// Samples, of indices 0..num, at least 2.
    pub num: usize,
    /// Samples drawn at a time; it changes nothing but speed and memory.
    pub batch: usize,
    /// Seed of samples and resamples.
    pub seed: u64,
    /// Resamples that intervals are made of; 0 for none.
    pub bootstrap: usize,
    /// Where to compute.
    pub device: Device,
}

/// A snapshot and what its samples are worth.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ranked {
    /// The snapshot: its folder in that of the run.
    pub snapshot: String,
    /// Pictures seen in training, where the snapshot tells.
    pub images: Option<u64>,
    /// What was measured.
    #[serde(flatten)]
    pub measured: Measured,
    /// SHA-256 of the weights.
    pub weights_sha256: String,
}

/// What is to be known of a measurement under way.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// So many samples of this snapshot are made.
    Sampled(&'a str, f64),
    /// This one is measured now, or was before.
    Known(&'a Ranked),
}

/// The snapshots of one run.
pub struct Selection<'a> {
    run: PathBuf,
    judge: &'a Judge<'a>,
    trial: Trial,
    reference_sha256: String,
    /// Pictures a step of the run.
    batch: u64,
    record: Record,
    known: Vec<Ranked>,
    /// What the last snapshot was measured on.
    terms: Option<Terms>,
}

impl<'a> Selection<'a> {
    /// The snapshots of the run in folder `run`, judged against a reference with this SHA-256.
    ///
    /// # Errors
    /// When it is no run's folder, has no milestones and will have none, or its `select.json` is
    /// damaged; when fewer than 2 samples are asked for.
    pub fn open(
        run: &Path,
        judge: &'a Judge<'a>,
        reference_sha256: String,
        trial: Trial,
    ) -> Result<Self> {
        if trial.num < 2 {
            return Err(diff_core::Error::argument("num", trial.num, "at least 2").into());
        }
        let config: RunConfig = config::load(Some(&run.join("config.toml")), &[])?;
        if config.save.keep_every == 0 && milestones(run)?.is_empty() {
            return Err(nothing_to_choose(run));
        }
        Ok(Selection {
            run: run.to_path_buf(),
            judge,
            trial,
            reference_sha256,
            batch: config.train.batch as u64,
            record: Record::open(run)?,
            known: Vec::new(),
            terms: None,
        })
    }

    /// Measures what is there and was not measured before. True when the run was finished: nothing
    /// will come after.
    ///
    /// # Errors
    /// When a snapshot does not open, cannot be sampled as asked, or makes pictures that the judge
    /// refuses; when the run is finished and there is nothing to choose from.
    pub fn update(&mut self, hear: &mut dyn FnMut(Event)) -> Result<bool> {
        // Asked first: what appears from here on is seen the next time.
        let finished = is_finished(&self.run);
        for snapshot in snapshots(&self.run)? {
            if self.known.iter().all(|known| known.snapshot != snapshot.name) {
                let ranked = self.rank(&snapshot, hear)?;
                hear(Event::Known(&ranked));
                self.known.push(ranked);
            }
        }
        match finished && milestones(&self.run)?.is_empty() {
            true => Err(nothing_to_choose(&self.run)),
            false => Ok(finished),
        }
    }

    /// All that is known, best first.
    ///
    /// # Errors
    /// When that is nothing yet.
    pub fn ranking(&self) -> Result<Vec<Ranked>> {
        if self.known.is_empty() {
            return Err(self.nothing_yet());
        }
        let mut ranking = self.known.clone();
        ranking.sort_by(|a, b| a.measured.fd.total_cmp(&b.measured.fd));
        Ok(ranking)
    }

    /// What the measurements depend on besides the weights; the same for all.
    ///
    /// # Errors
    /// When nothing was measured yet.
    pub fn terms(&self) -> Result<&Terms> {
        self.terms.as_ref().ok_or_else(|| self.nothing_yet())
    }

    fn nothing_yet(&self) -> Error {
        Error::File {
            path: self.run.clone(),
            message: "the first milestone has not been reached; --watch waits for it".into(),
        }
    }

    fn rank(&mut self, snapshot: &Snapshot, hear: &mut dyn FnMut(Event)) -> Result<Ranked> {
        let folder = self.run.join(&snapshot.name);
        let checkpoint = Checkpoint::open(&folder.display().to_string(), &self.trial.device)?;
        let weights_sha256 = checkpoint.source.as_deref().map(sha256).transpose()?;
        let weights_sha256 = weights_sha256.unwrap_or_default();
        let second = checkpoint.denoiser.architecture().config().second();
        self.trial.sampler.check_network(second)?;
        let terms = self.terms_of(self.trial.sampler.resolved(&checkpoint.schedule)?);
        let measured = match self.record.find(&weights_sha256, &terms) {
            Some(measured) => measured.clone(),
            None => {
                let [c, h, w] = checkpoint.image_shape()?;
                self.judge.features().check_shape([h, w, c])?;
                let pictures = sample(&checkpoint, &self.trial, &mut |done| {
                    hear(Event::Sampled(&snapshot.name, done));
                })?;
                let Trial { bootstrap, seed, .. } = self.trial;
                let with = Settings { bootstrap, seed, splits: 1 };
                let measured = Measured::from(self.judge.judge(&pictures, with)?.0);
                self.record.add(&weights_sha256, &terms, &measured)?;
                measured
            }
        };
        self.terms = Some(terms);
        let steps = checkpoint.metadata.get("diff.steps").and_then(|s| s.parse::<u64>().ok());
        let images = snapshot.images.or(steps.map(|steps| steps * self.batch));
        Ok(Ranked { snapshot: snapshot.name.clone(), images, measured, weights_sha256 })
    }

    fn terms_of(&self, sampler: SamplerSpec) -> Terms {
        Terms {
            metric: self.judge.metric(),
            classifier_sha256: self.judge.features().id().weights_sha256,
            reference_sha256: self.reference_sha256.clone(),
            sampler,
            num: self.trial.num,
            seed: self.trial.seed,
            bootstrap: self.trial.bootstrap,
            version: env!("CARGO_PKG_VERSION").into(),
        }
    }
}

/// Keeps samples as bytes.
#[derive(Default)]
struct Collected(Option<Pictures>);

impl ImageSink for Collected {
    fn write(&mut self, _: &[u64], x: &Tensor) -> diff_sample::Result<()> {
        let bytes::Pictures { shape: [_, h, w, c], bytes } = bytes::Pictures::from_tensor(x)?;
        let empty = || Pictures { shape: [h, w, c], bytes: Vec::new() };
        self.0.get_or_insert_with(empty).bytes.extend(bytes);
        Ok(())
    }

    fn finish(&mut self) -> diff_sample::Result<()> {
        Ok(())
    }
}

fn sample(
    checkpoint: &Checkpoint,
    trial: &Trial,
    progress: &mut dyn FnMut(f64),
) -> Result<Pictures> {
    let request = Request {
        indices: (0..trial.num as u64).collect(),
        batch: trial.batch,
        seed: trial.seed,
        shape: checkpoint.image_shape()?,
        labels: checkpoint.classes().map_or(Labels::Unsaid, Labels::all),
        guidance: Guidance::default(),
        dtype: DType::F32,
        device: trial.device.clone(),
    };
    let mut sink = Untransformed { transform: checkpoint.transform()?, sink: Collected::default() };
    let (model, schedule) = (&checkpoint.denoiser, &checkpoint.schedule);
    generate(model, schedule, &trial.sampler, &request, &mut sink, progress)?;
    sink.sink.0.ok_or_else(|| Error::Mismatch("no samples were made".into()))
}
