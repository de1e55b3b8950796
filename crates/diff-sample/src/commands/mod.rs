//! The commands of the binary, one file each.

mod discrete;
mod generate;
mod list;
mod time;

use candle_core::DType;
use clap::{Args, Parser, Subcommand};
use diff_models::{checkpoint::Checkpoint, device};
use diff_sample::{Clip, Request, SamplerSpec};

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
    /// Steps S, in 1..=T; a list given as the trajectory brings its own [default: 50, or T].
    #[arg(long)]
    steps: Option<usize>,
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
    /// Class of every sample, for class-conditional networks.
    #[arg(long)]
    class: Option<u32>,
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
        let device = device::open(&self.device)?;
        let checkpoint = Checkpoint::open(&self.checkpoint, &device)?;
        let spec = SamplerSpec {
            sampler: self.sampler.clone(),
            steps: self.steps,
            trajectory: self.trajectory.clone(),
            eta: self.eta,
            clip: self.clip,
        };
        let spec = spec.resolved(&checkpoint.schedule)?;
        let request = Request {
            indices: indices(self.num, &self.indices)?,
            batch: self.batch,
            seed: self.seed,
            shape: checkpoint.image_shape()?,
            class: self.class,
            dtype: DType::F32,
            device,
        };
        request.check()?;
        Ok(Prepared { checkpoint, spec, request })
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

fn clip(name: &str) -> Result<Clip, String> {
    let names = Clip::ALL.map(Clip::name).join(", ");
    Clip::ALL.into_iter().find(|c| c.name() == name).ok_or(format!("expected one of {names}"))
}
