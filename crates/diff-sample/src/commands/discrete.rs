use super::{
    indices,
    output::{OutputArgs, Sheet, timed},
};
use clap::{Args, ValueEnum};
use diff_core::discrete::Stay;
use diff_models::{checkpoint::CategoricalCheckpoint, device, digest::sha256};
use diff_sample::{
    discrete::{self, Last, Request, Spec},
    samplers::DEFAULT_STEPS,
};
use serde_json::json;

#[derive(Args)]
pub(crate) struct DiscreteArgs {
    /// A checkpoint folder, a run folder, or `hub:org/name`, of a network over levels.
    #[arg(long, value_name = "DIR")]
    checkpoint: String,
    /// Steps S, in 1..=T; a list given as the trajectory brings its own [default: 50, or T].
    #[arg(long)]
    steps: Option<usize>,
    /// How much a step keeps of x_t, in [0, 1] of the most: 0 draws every pixel afresh, 1 is DDIM's end.
    #[arg(long, default_value_t = 1.0)]
    rho: f64,
    /// linear, quadratic, trailing or times that end at T, 10,20,50.
    #[arg(long, default_value = "linear", value_name = "NAME")]
    trajectory: String,
    /// What the last step makes of the probabilities: a draw, or the likeliest level.
    #[arg(long, value_enum, default_value_t = LastArg::Draw)]
    last: LastArg,
    /// How many pictures: samples 0..N.
    #[arg(long, conflicts_with = "indices")]
    num: Option<u64>,
    /// Which samples instead, e.g. 17,42: the same pictures as in a run with --num.
    #[arg(long, value_delimiter = ',')]
    indices: Vec<u64>,
    /// Pictures made at a time.
    #[arg(long, default_value_t = 64)]
    batch: usize,
    /// Seed of all draws.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Where to compute: cpu, cuda or cuda:N.
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Show only the first N pictures on a .png [default: all].
    #[arg(long, value_name = "N")]
    grid: Option<usize>,
    #[command(flatten)]
    output: OutputArgs,
}

/// [`Last`] as it is typed.
#[derive(Clone, Copy, ValueEnum)]
enum LastArg {
    Draw,
    Argmax,
}

/// What can be sampled at once: all arguments are checked.
struct Prepared {
    checkpoint: CategoricalCheckpoint,
    spec: Spec,
    request: Request,
}

impl DiscreteArgs {
    fn prepare(&self) -> anyhow::Result<Prepared> {
        let device = device::open(&self.device)?;
        let stay = Stay::new(self.rho)?;
        let checkpoint = CategoricalCheckpoint::open(&self.checkpoint, &device)?;
        let listed = self.trajectory.starts_with(|c: char| c.is_ascii_digit());
        let steps = match self.steps {
            Some(steps) => steps,
            None if listed => self.trajectory.split(',').count(),
            None => DEFAULT_STEPS.min(checkpoint.process().timesteps()),
        };
        let last = match self.last {
            LastArg::Draw => Last::Draw,
            LastArg::Argmax => Last::Argmax,
        };
        let spec = Spec { steps, trajectory: self.trajectory.clone(), stay, last };
        spec.plan(checkpoint.process())?;
        let request = Request {
            indices: indices(self.num, &self.indices)?,
            batch: self.batch,
            seed: self.seed,
            size: checkpoint.network.spec().size()?,
            device,
        };
        request.check()?;
        if self.grid == Some(0) {
            return Err(diff_core::Error::argument("grid", 0, "at least 1 picture").into());
        }
        Ok(Prepared { checkpoint, spec, request })
    }
}

/// Makes pictures out of levels and writes them.
pub(crate) fn discrete(args: &DiscreteArgs) -> anyhow::Result<()> {
    // Refused before any file is made.
    let Prepared { checkpoint, spec, request } = args.prepare()?;
    let provenance = json!({
        "checkpoint": args.checkpoint,
        "weights_sha256": checkpoint.source.as_deref().map(sha256).transpose()?,
        "sampler": spec,
        "seed": args.seed,
        "version": env!("CARGO_PKG_VERSION"),
    });
    let sheet = Sheet { count: request.indices.len(), shown: args.grid, columns: None };
    let mut sink = args.output.open(sheet, &provenance)?;
    let (network, process) = (&checkpoint.network, checkpoint.process());
    let done = timed(sheet.count, |progress| {
        discrete::generate(network, process, &spec, &request, &mut sink, progress)
    })?;
    args.output.report(done, json!({}), &[])
}
