//! `diff-sample`: samples from denoising networks.

use candle_core::DType;
use clap::{Args, Parser, Subcommand};
use diff_core::{cli, progress::Progress};
use diff_models::{checkpoint::Checkpoint, device, digest::sha256};
use diff_sample::{
    Clip, Request, SamplerSpec, generate, image_shape,
    samplers::SAMPLERS,
    sinks::{self, Form, Tee, Untransformed},
};
use serde_json::json;
use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
    time::Instant,
};

/// Samples from denoising networks.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make pictures with a trained network.
    Generate(Box<GenerateArgs>),
    /// Print every sampler with its source and cost.
    List,
}

#[derive(Args)]
struct GenerateArgs {
    /// A checkpoint folder, a run folder, or `hub:org/name`.
    #[arg(long, value_name = "DIR")]
    checkpoint: String,
    /// ddpm, ddpm-large, ddim or sigma-hat; see `diff-sample list`.
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
    /// Where to: .png (a grid), .npz, or a folder of pictures. May be repeated.
    #[arg(long, required = true, value_name = "PATH")]
    out: Vec<PathBuf>,
    /// Show only the first N pictures on a .png [default: all].
    #[arg(long, value_name = "N")]
    grid: Option<usize>,
    /// Add the values before clamping and rounding to .npz, as `raw` [N,C,H,W].
    #[arg(long)]
    f32: bool,
    /// Where to compute: cpu, cuda or cuda:N.
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

fn clip(name: &str) -> Result<Clip, String> {
    let names = Clip::ALL.map(Clip::name).join(", ");
    Clip::ALL.into_iter().find(|c| c.name() == name).ok_or(format!("expected one of {names}"))
}

fn main() -> ExitCode {
    cli::exit(match Cli::parse().command {
        Command::Generate(args) => run(&args),
        Command::List => list(),
    })
}

fn run(args: &GenerateArgs) -> anyhow::Result<()> {
    let device = device::open(&args.device)?;
    let checkpoint = Checkpoint::open(&args.checkpoint, &device)?;
    let spec = SamplerSpec {
        sampler: args.sampler.clone(),
        steps: args.steps,
        trajectory: args.trajectory.clone(),
        eta: args.eta,
        clip: args.clip,
    };
    // Refused before any file is made.
    let spec = spec.resolved(&checkpoint.schedule)?;
    let request = Request {
        indices: indices(args)?,
        batch: args.batch,
        seed: args.seed,
        shape: image_shape(&checkpoint)?,
        class: args.class,
        dtype: DType::F32,
        device,
    };
    request.check()?;
    let transform = checkpoint.transform()?;
    let provenance = json!({
        "checkpoint": args.checkpoint,
        "weights_sha256": checkpoint.source.as_deref().map(sha256).transpose()?,
        "sampler": spec,
        "seed": args.seed,
        "class": args.class,
        "version": env!("CARGO_PKG_VERSION"),
    })
    .to_string();
    let total = request.indices.len();
    if args.grid == Some(0) {
        return Err(diff_core::Error::argument("grid", 0, "at least 1 picture").into());
    }
    let form = Form { count: total, grid: args.grid, provenance: &provenance, raw: args.f32 };
    let open = |path: &PathBuf| sinks::open(path, form);
    let sink = Tee(args.out.iter().map(open).collect::<Result<_, _>>()?);
    let mut sink = Untransformed { transform, sink };
    let mut progress = Progress::new(total as u64, "pictures");
    let started = Instant::now();
    let model = &checkpoint.unet;
    let outcome = generate(model, &checkpoint.schedule, &spec, &request, &mut sink, &mut |done| {
        progress.update(done, "");
    });
    progress.finish();
    let outcome = outcome?;
    let seconds = started.elapsed().as_secs_f64();
    let mut out = io::stdout().lock();
    if args.json {
        let report = json!({
            "images": outcome.images,
            "network_calls": outcome.network_calls,
            "evaluations": outcome.evaluations,
            "seconds": seconds,
            "out": args.out,
        });
        writeln!(out, "{report}")?;
    } else {
        let calls = outcome.network_calls;
        writeln!(out, "{} pictures, {calls} network calls, {seconds:.2} s", outcome.images)?;
    }
    Ok(())
}

fn indices(args: &GenerateArgs) -> anyhow::Result<Vec<u64>> {
    match (args.num, args.indices.is_empty()) {
        (Some(n), _) => Ok((0..n).collect()),
        (None, false) => Ok(args.indices.clone()),
        (None, true) => {
            Err(diff_core::Error::argument("num", "nothing", "--num N or --indices I,J").into())
        }
    }
}

fn list() -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{:<11} {:<10} {:<12} what it does", "sampler", "calls/step", "stochastic")?;
    for s in SAMPLERS {
        let stochastic = match (s.stochastic, s.takes_eta) {
            (true, true) => "if eta > 0",
            (true, false) => "yes",
            (false, _) => "no",
        };
        writeln!(out, "{:<11} {:<10} {:<12} {}", s.name, s.calls_per_step, stochastic, s.summary)?;
        writeln!(out, "{:<35} source: {}", "", s.source)?;
    }
    Ok(())
}
