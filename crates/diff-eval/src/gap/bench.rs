//! Networks that are compared, and the pictures they are measured on.

use super::{CleanPictures, Subject};
use crate::Result;
use candle_core::{DType, Device};
use diff_core::{Error, Schedule};
use diff_models::{checkpoint::Checkpoint, digest::sha256, nets::SecondType, pictures::Transform};
use diff_sample::{CleanData, source::picture_shape};

/// A network under a name.
#[derive(Clone, Debug)]
pub struct Model {
    /// What it is called in results.
    pub name: String,
    /// Where it came from, as the user gave it.
    pub spec: String,
    /// The SHA-256 of its weights' file.
    pub weights_sha256: Option<String>,
    checkpoint: Checkpoint,
}

/// Networks of one schedule for pictures of one shape, and pictures for all of them.
#[derive(Clone, Debug)]
pub struct Bench {
    /// The networks.
    pub models: Vec<Model>,
    /// The pictures.
    pub pictures: CleanPictures,
    /// Where the pictures came from, as `SOURCE:SPLIT`.
    pub data: String,
    /// The SHA-256 over their shape, pixels, labels and indices.
    pub data_sha256: String,
    /// The forward process of all the networks.
    pub schedule: Schedule,
    device: Device,
}

impl Bench {
    /// Opens checkpoints (paths, or `hub:org/name`) under `names`, or under what they were opened
    /// by where no names are given; and `source` (`SOURCE`, `SOURCE:train`, `SOURCE:test`), or the
    /// data that the first network was trained on.
    ///
    /// How a source is prepared is told by the first network's training ([`CleanData::open`]).
    ///
    /// # Errors
    /// Names that are not one a checkpoint, checkpoints of different schedules, picture shapes or
    /// transforms (both are named), data that are not known or do not fit, and files that do not
    /// open.
    pub fn open(
        specs: &[String],
        names: &[String],
        source: Option<&str>,
        device: &Device,
    ) -> Result<Self> {
        let names = checked_names(specs, names)?;
        let open = |(spec, name): (&String, &String)| Model::open(spec, name, device);
        let models: Vec<Model> = specs.iter().zip(&names).map(open).collect::<Result<_>>()?;
        let Some((first, others)) = models.split_first() else {
            return Err(Error::argument("checkpoint", "nothing", "at least one").into());
        };
        let made_for = first.made_for()?;
        for other in others {
            check_alike((first, &made_for), other)?;
        }
        let CleanData { pictures, name, sha256 } =
            CleanData::open(&first.checkpoint, &first.spec, source)?;
        let schedule = first.checkpoint.schedule.clone();
        let device = device.clone();
        Ok(Bench { models, pictures, data: name, data_sha256: sha256, schedule, device })
    }

    /// A network as something to be measured.
    pub fn subject<'a>(&'a self, model: &'a Model) -> Subject<'a> {
        let checkpoint = &model.checkpoint;
        Subject {
            denoiser: &checkpoint.denoiser,
            schedule: &checkpoint.schedule,
            labelled: checkpoint.classes().is_some(),
            dtype: DType::F32,
            device: self.device.clone(),
        }
    }
}

/// What a network takes.
struct MadeFor {
    shape: [usize; 3],
    transform: Transform,
}

impl Model {
    /// Whether it says its own variance.
    pub fn learns_variance(&self) -> bool {
        self.checkpoint.denoiser.architecture().config().second() == SecondType::Range
    }

    fn open(spec: &str, name: &str, device: &Device) -> Result<Self> {
        let checkpoint = Checkpoint::open(spec, device)?;
        let weights_sha256 = checkpoint.source.as_deref().map(sha256).transpose()?;
        Ok(Model { name: name.into(), spec: spec.into(), weights_sha256, checkpoint })
    }

    fn made_for(&self) -> Result<MadeFor> {
        let shape = picture_shape(&self.checkpoint, &self.spec)?;
        Ok(MadeFor { shape, transform: self.checkpoint.transform()? })
    }
}

fn checked_names(specs: &[String], names: &[String]) -> Result<Vec<String>> {
    let refuse =
        |value: String, expected: &str| Err(Error::argument("name", value, expected).into());
    if !names.is_empty() && names.len() != specs.len() {
        let given = format!("{} for {} checkpoints", names.len(), specs.len());
        return refuse(given, "no --name, or one for every --checkpoint");
    }
    let names = if names.is_empty() { specs } else { names };
    for (i, name) in names.iter().enumerate() {
        if name.is_empty() || name == "t" {
            return refuse(format!("`{name}`"), "a name, other than `t`, which is the time");
        }
        if names[..i].contains(name) {
            return refuse(name.clone(), "a different --name for every checkpoint");
        }
    }
    Ok(names.to_vec())
}

fn check_alike((first, made_for): (&Model, &MadeFor), other: &Model) -> Result<()> {
    let theirs = other.made_for()?;
    let (a, b) = (&first.checkpoint.schedule, &other.checkpoint.schedule);
    let difference = if a.timesteps() != b.timesteps() {
        format!("T = {}, of {} T = {}", b.timesteps(), first.spec, a.timesteps())
    } else if let Some(t) = (1..=a.timesteps()).find(|&t| !same(a.alpha_bar(t), b.alpha_bar(t))) {
        let (a, b) = (a.alpha_bar(t), b.alpha_bar(t));
        format!("another schedule: alpha_bar({t}) = {b}, of {} {a}", first.spec)
    } else if theirs.shape != made_for.shape {
        format!("pictures of {:?}, of {} {:?}", theirs.shape, first.spec, made_for.shape)
    } else if theirs.transform != made_for.transform {
        let (a, b) = (made_for.transform, theirs.transform);
        format!("pictures transformed by {b:?}, of {} {a:?}", first.spec)
    } else {
        return Ok(());
    };
    let given = format!("{}: {difference}", other.spec);
    Err(Error::argument("checkpoint", given, "networks for the same process and pictures").into())
}

/// Equal but for the rounding of files that give betas in decimals.
fn same(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-9 * a.abs().max(b.abs())
}
