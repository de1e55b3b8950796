//! The commands of the binary, one file each.

mod consistency;
mod decode;
mod discrete;
mod encode;
mod generate;
mod interpolate;
mod list;
mod output;
mod shift;
mod strip;
mod time;

use candle_core::DType;
use clap::{Args, Parser, Subcommand};
use diff_models::{checkpoint::Checkpoint, device, digest::sha256};
use diff_sample::{Clip, Guidance, Labels, Request, SamplerSpec};
use serde_json::{Value, json};

/// Samples from denoising networks.
#[derive(Parser)]
#[command(version)]
pub(crate) struct Cli {
    #[command(flatten)]
    compute: diff_models::ComputeArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make pictures with a trained network.
    Generate(Box<generate::GenerateArgs>),
    /// Make pictures with a trained network over grey levels.
    Discrete(Box<discrete::DiscreteArgs>),
    /// Take pictures to their latents: a deterministic sampler run upwards.
    Encode(Box<encode::EncodeArgs>),
    /// Make pictures from latents that were encoded.
    Decode(Box<decode::DecodeArgs>),
    /// Make pictures from latents between others, on a line or in a grid of four corners.
    Interpolate(Box<interpolate::InterpolateArgs>),
    /// Make pictures from the same latents in several numbers of steps.
    Consistency(Box<consistency::ConsistencyArgs>),
    /// Show samples at several times of their making, and what the network takes them for.
    Strip(Box<strip::StripArgs>),
    /// Make pictures from the same latents with a number added to all values of them.
    Shift(Box<shift::ShiftArgs>),
    /// Time the making of pictures; none are written.
    Time(Box<time::TimeArgs>),
    /// Print every sampler with its source and cost.
    List,
}

impl Cli {
    /// Runs the command.
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        self.compute.start()?;
        match &self.command {
            Command::Generate(args) => generate::generate(args),
            Command::Discrete(args) => discrete::discrete(args),
            Command::Encode(args) => encode::encode(args),
            Command::Decode(args) => decode::decode(args),
            Command::Interpolate(args) => interpolate::interpolate(args),
            Command::Consistency(args) => consistency::consistency(args),
            Command::Strip(args) => strip::strip(args),
            Command::Shift(args) => shift::shift(args),
            Command::Time(args) => time::time(args),
            Command::List => list::list(),
        }
    }
}

/// What to sample, from what, and how.
#[derive(Args)]
struct SampleArgs {
    /// A checkpoint folder, a run folder, or `hub:org/name`.
    #[arg(long, value_name = "DIR")]
    checkpoint: String,
    /// ddim, ddpm, dpmpp-2m, heun ..: `diff-sample list` shows all.
    #[arg(long, default_value = "ddim")]
    sampler: String,
    /// Steps S, in 1..=T, for `consistency` several; a list given as the trajectory brings its own
    /// [default: 50, or T].
    #[arg(long, value_delimiter = ',')]
    steps: Vec<usize>,
    /// Noise of DDIM: 0 deterministic, 1 DDPM.
    #[arg(long)]
    eta: Option<f64>,
    /// linear, quadratic, trailing, a peer's list (ddim-uniform, bao-linear, ...) or times 1,10,100.
    #[arg(long, default_value = "linear", value_name = "NAME")]
    trajectory: String,
    /// What is done to the predicted clean image [default: the sampler's own policy].
    #[arg(long, value_parser = clip)]
    clip: Option<Clip>,
    /// How many pictures: samples 0..N.
    #[arg(long, conflicts_with = "indices")]
    num: Option<u64>,
    /// Which samples instead, e.g. 17,42: the same pictures as in a run with --num.
    #[arg(long, value_delimiter = ',')]
    indices: Vec<u64>,
    /// Pictures made at a time.
    #[arg(long, default_value_t = 64)]
    batch: usize,
    /// Seed of latents and step noise.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Classes of the samples in turn, for networks that know classes: 3; 0,3,5; all; random; or none,
    /// the null label [default: all].
    #[arg(long, visible_alias = "classes", value_name = "CLASSES")]
    class: Option<String>,
    /// w of (1 + w) eps(class) - w eps(null): 0 for the class alone.
    #[arg(long, default_value_t = 0.0, allow_negative_numbers = true, value_name = "W")]
    guidance: f64,
    /// Guide only at paper times FIRST to LAST.
    #[arg(long, value_delimiter = ',', num_args = 1, value_name = "FIRST,LAST")]
    guidance_interval: Vec<usize>,
    /// Share of the guided prediction that is brought back to the deviation of the unguided one.
    #[arg(long, default_value_t = 0.0, value_name = "SHARE")]
    guidance_rescale: f64,
    /// Where to compute: cpu, cuda or cuda:N.
    #[arg(long, default_value = "cpu")]
    device: String,
}

/// What can be sampled at once: all arguments are checked.
struct Prepared {
    checkpoint: Checkpoint,
    spec: SamplerSpec,
    request: Request,
}

impl SampleArgs {
    fn prepare(&self) -> anyhow::Result<Prepared> {
        let prepared = self.open(self.one_number_of_steps()?)?;
        prepared.making(self.indices()?)
    }

    /// All but which samples.
    fn open(&self, steps: Option<usize>) -> anyhow::Result<Prepared> {
        let device = device::open(&self.device)?;
        let checkpoint = Checkpoint::open(&self.checkpoint, &device)?;
        let spec = SamplerSpec {
            sampler: self.sampler.clone(),
            steps,
            trajectory: self.trajectory.clone(),
            eta: self.eta,
            clip: self.clip,
        };
        let spec = spec.resolved(&checkpoint.schedule)?;
        spec.check_network(checkpoint.denoiser.architecture().config().second())?;
        let request = Request {
            indices: Vec::new(),
            batch: self.batch,
            seed: self.seed,
            shape: checkpoint.image_shape()?,
            labels: Labels::parse(self.class.as_deref(), checkpoint.classes())?,
            guidance: self.guidance(&checkpoint)?,
            dtype: DType::F32,
            device,
        };
        Ok(Prepared { checkpoint, spec, request })
    }

    fn one_number_of_steps(&self) -> anyhow::Result<Option<usize>> {
        match self.steps.as_slice() {
            [] => Ok(None),
            [steps] => Ok(Some(*steps)),
            several => {
                let several: Vec<String> = several.iter().map(usize::to_string).collect();
                let expected = "one number; `consistency` takes several";
                Err(diff_core::Error::argument("steps", several.join(","), expected).into())
            }
        }
    }

    /// What is stored with what is made.
    fn provenance(&self, prepared: &Prepared) -> anyhow::Result<Value> {
        Ok(json!({
            "checkpoint": self.checkpoint,
            "weights_sha256": prepared.weights_sha256()?,
            "sampler": prepared.spec,
            "seed": self.seed,
            "class": self.class,
            "guidance": prepared.request.guidance,
            "version": env!("CARGO_PKG_VERSION"),
        }))
    }

    /// Which of the samples there are: those asked for, or all.
    fn among(&self, there: &[u64], what: &str) -> anyhow::Result<Vec<u64>> {
        let refuse = |name: &str, value: u64| {
            let expected = format!("among the {} {what}", there.len());
            Err(diff_core::Error::argument(name, value, expected).into())
        };
        match (self.num, self.indices.iter().find(|i| !there.contains(i))) {
            (Some(n), _) if n > there.len() as u64 => refuse("num", n),
            (Some(n), _) => Ok(there[..n as usize].to_vec()),
            (None, Some(index)) => refuse("indices", *index),
            (None, None) if self.indices.is_empty() => Ok(there.to_vec()),
            (None, None) => Ok(self.indices.clone()),
        }
    }

    fn indices(&self) -> anyhow::Result<Vec<u64>> {
        indices(self.num, &self.indices)
    }

    /// Refuses to guess which classes pictures have that are there already: taken in turn, as new
    /// samples are, they would be others'.
    fn classes_said(&self, prepared: &Prepared) -> anyhow::Result<()> {
        match (&self.class, prepared.checkpoint.classes()) {
            (None, Some(_)) => {
                let expected = "the classes of the pictures by their index: --class 3, or 0,3,5";
                Err(diff_core::Error::argument("class", "nothing", expected).into())
            }
            _ => Ok(()),
        }
    }

    fn guidance(&self, checkpoint: &Checkpoint) -> anyhow::Result<Guidance> {
        let interval = match self.guidance_interval.as_slice() {
            [] => None,
            [first, last] => Some([*first, *last]),
            other => {
                let given = format!("{} times", other.len());
                return Err(diff_core::Error::argument("guidance-interval", given, "two").into());
            }
        };
        let guidance = Guidance { weight: self.guidance, interval, rescale: self.guidance_rescale };
        guidance.check(checkpoint.classes(), checkpoint.schedule.timesteps())?;
        Ok(guidance)
    }
}

/// Samples 0..`num`, or those that are `listed`.
fn indices(num: Option<u64>, listed: &[u64]) -> anyhow::Result<Vec<u64>> {
    match (num, listed.is_empty()) {
        (Some(n), _) => Ok((0..n).collect()),
        (None, false) => Ok(listed.to_vec()),
        (None, true) => {
            Err(diff_core::Error::argument("num", "nothing", "--num N or --indices I,J").into())
        }
    }
}

impl Prepared {
    /// The same for these samples.
    fn making(mut self, indices: Vec<u64>) -> anyhow::Result<Self> {
        self.request.indices = indices;
        self.request.check()?;
        Ok(self)
    }

    /// Refuses noise beside the latents: what is looked at then is not what they make.
    fn deterministic(self) -> anyhow::Result<Self> {
        match self.spec.adds_noise()? {
            false => Ok(self),
            true => {
                let SamplerSpec { sampler, eta, .. } = &self.spec;
                let given =
                    eta.map_or(sampler.clone(), |eta| format!("{sampler} with eta = {eta}"));
                let expected = "a sampler without noise, as the latents alone should decide";
                Err(diff_core::Error::argument("sampler", given, expected).into())
            }
        }
    }

    /// The SHA-256 of the weights' file.
    fn weights_sha256(&self) -> anyhow::Result<Option<String>> {
        Ok(self.checkpoint.source.as_deref().map(sha256).transpose()?)
    }
}

fn clip(name: &str) -> Result<Clip, String> {
    let names = Clip::ALL.map(Clip::name).join(", ");
    Clip::ALL.into_iter().find(|c| c.name() == name).ok_or(format!("expected one of {names}"))
}
