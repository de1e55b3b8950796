//! Where the pictures of a measurement come from: files, data sets, or a network that makes them.

use crate::{Error, Result, pictures::Pictures};
use candle_core::{DType, Device, Tensor};
use diff_core::config;
use diff_models::{checkpoint::Checkpoint, digest::sha256, pictures as bytes};
use diff_sample::{
    Guidance, ImageSink, Labels, Request, SamplerSpec, generate, sinks::Untransformed,
    source_and_split,
};
use diff_train::data::{DataConfig, Pixels, Report, Stream};
use serde::{Deserialize, Serialize};

/// What begins the name of a network that makes pictures.
const MODEL: &str = "model:";

/// Pictures to be gone through once, in order.
pub struct PictureSource {
    name: String,
    kind: Kind,
}

enum Kind {
    Stored(Box<Stream>),
    Made(Box<Made>),
}

/// Samples of a network, to be drawn while they are measured.
struct Made {
    checkpoint: Checkpoint,
    spec: SamplerSpec,
    request: Request,
    by: MadeBy,
}

/// What made pictures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MadeBy {
    /// SHA-256 of the network's weights.
    pub weights_sha256: String,
    /// How the samples were drawn.
    pub sampler: SamplerSpec,
    /// Their seed.
    pub seed: u64,
}

/// What may be said of samples behind the `?`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Drawing {
    num: usize,
    batch: usize,
    seed: u64,
    sampler: String,
    steps: Option<usize>,
    trajectory: String,
    eta: Option<f64>,
}

impl Default for Drawing {
    fn default() -> Self {
        Drawing {
            num: 1000,
            batch: 64,
            seed: 0,
            sampler: "ddim".into(),
            steps: None,
            trajectory: "linear".into(),
            eta: None,
        }
    }
}

/// A picture and its place.
pub(crate) struct Placed {
    pub(crate) place: u64,
    pub(crate) pixels: Pixels,
}

/// Takes pictures, some at a time.
type Keep<'a> = dyn FnMut(Vec<Placed>) -> Result<()> + Send + 'a;

impl PictureSource {
    /// Opens a source: a folder of pictures, a `.zip`, `.npz`, `.safetensors`, `.parquet` or LMDB file, or
    /// a data set, as [`DataConfig::spelled`] reads it and with `:train` or `:test` behind; or
    /// `model:CHECKPOINT[?num=..&steps=..&sampler=..&eta=..&trajectory=..&seed=..&batch=..]`, a network
    /// whose samples are drawn on `device`, in every class in turn if it knows classes. Nothing is read
    /// or drawn yet.
    ///
    /// # Errors
    /// Names what is unknown, does not open, or is out of range.
    pub fn open(source: &str, device: &Device) -> Result<Self> {
        let kind = match source.strip_prefix(MODEL) {
            Some(rest) => Kind::Made(Box::new(made(source, rest, device)?)),
            None => {
                let (line, split) = source_and_split(source)?;
                let config = DataConfig { split, ..DataConfig::spelled(line)? };
                Kind::Stored(Box::new(Stream::open(&config)?))
            }
        };
        Ok(PictureSource { name: source.into(), kind })
    }

    /// The source, as it was given.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many places there are: pictures, and what is found not to be one.
    ///
    /// # Errors
    /// When the source does not tell.
    pub fn places(&self) -> Result<u64> {
        match &self.kind {
            Kind::Made(made) => Ok(made.request.indices.len() as u64),
            Kind::Stored(stream) => stream.places().ok_or_else(|| {
                Error::Mismatch(format!("{}: does not tell how many pictures it has", self.name))
            }),
        }
    }

    /// What makes the pictures, if a network does.
    pub fn made_by(&self) -> Option<&MadeBy> {
        match &self.kind {
            Kind::Made(made) => Some(&made.by),
            Kind::Stored(_) => None,
        }
    }

    /// What the pictures depend on, as a SHA-256: the bytes they are read from; none of a network's,
    /// which are cheaper to measure than to keep account of.
    ///
    /// # Errors
    /// When the source does not read.
    pub fn content_sha256(&self) -> Result<Option<String>> {
        match &self.kind {
            Kind::Made(_) => Ok(None),
            Kind::Stored(stream) => Ok(Some(stream.content_sha256()?)),
        }
    }

    /// Hands all pictures to `keep`, in order; while it works the next ones are read.
    pub(crate) fn run(&self, keep: &mut Keep) -> Result<Report> {
        match &self.kind {
            Kind::Made(made) => made.run(keep),
            Kind::Stored(stream) => stream.run(&mut |some| {
                let placed =
                    |p: diff_train::data::Streamed| Placed { place: p.place, pixels: p.pixels };
                keep(some.into_iter().map(placed).collect())
            }),
        }
    }
}

fn made(source: &str, rest: &str, device: &Device) -> Result<Made> {
    let (spec, keys) = rest.split_once('?').unwrap_or((rest, ""));
    let keys: Vec<String> =
        keys.split('&').filter(|key| !key.is_empty()).map(String::from).collect();
    let drawing: Drawing = config::read("", source, &keys)?;
    let checkpoint = Checkpoint::open(spec, device)?;
    let sampler = SamplerSpec {
        sampler: drawing.sampler,
        steps: drawing.steps,
        trajectory: drawing.trajectory,
        eta: drawing.eta,
        clip: None,
    };
    sampler.check_network(checkpoint.denoiser.architecture().config().second())?;
    let sampler = sampler.resolved(&checkpoint.schedule)?;
    let request = Request {
        indices: (0..drawing.num as u64).collect(),
        batch: drawing.batch,
        seed: drawing.seed,
        shape: checkpoint.image_shape()?,
        labels: checkpoint.classes().map_or(Labels::Unsaid, Labels::all),
        guidance: Guidance::default(),
        dtype: DType::F32,
        device: device.clone(),
    };
    request.check()?;
    let weights_sha256 = checkpoint.source.as_deref().map(sha256).transpose()?.unwrap_or_default();
    let by = MadeBy { weights_sha256, sampler: sampler.clone(), seed: drawing.seed };
    Ok(Made { checkpoint, spec: sampler, request, by })
}

impl Made {
    fn run(&self, keep: &mut Keep) -> Result<Report> {
        let Made { checkpoint, spec, request, .. } = self;
        let sink = Handed { keep, refused: None };
        let mut sink = Untransformed { transform: checkpoint.transform()?, sink };
        let (model, schedule) = (&checkpoint.denoiser, &checkpoint.schedule);
        let done = generate(model, schedule, spec, request, &mut sink, &mut |_| {});
        match (sink.sink.refused, done) {
            (Some(error), _) => Err(error),
            (None, done) => Ok(done.map(|_| Report::default())?),
        }
    }
}

/// Hands samples on, as bytes.
struct Handed<'a, 'b> {
    keep: &'a mut Keep<'b>,
    refused: Option<Error>,
}

impl ImageSink for Handed<'_, '_> {
    fn write(&mut self, indices: &[u64], x: &Tensor) -> diff_sample::Result<()> {
        let pictures = bytes::Pictures::from_tensor(x)?;
        let [_, height, width, channels] = pictures.shape;
        let placed = |(i, place): (usize, &u64)| {
            let bytes = pictures.picture(i).to_vec();
            Placed { place: *place, pixels: Pixels { height, width, channels, bytes } }
        };
        (self.keep)(indices.iter().enumerate().map(placed).collect()).map_err(|error| {
            let message = error.to_string();
            self.refused = Some(error);
            diff_core::Error::argument("samples", message, "pictures to measure").into()
        })
    }

    fn finish(&mut self) -> diff_sample::Result<()> {
        Ok(())
    }
}

/// Pictures that follow each other and are of one size, as one.
pub(crate) fn grouped(pictures: Vec<Placed>) -> Vec<Pictures> {
    let mut groups: Vec<Pictures> = Vec::new();
    for Placed { pixels: Pixels { height, width, channels, bytes }, .. } in pictures {
        let shape = [height, width, channels];
        match groups.last_mut() {
            Some(group) if group.shape == shape => group.bytes.extend(bytes),
            _ => groups.push(Pictures { shape, bytes }),
        }
    }
    groups
}
