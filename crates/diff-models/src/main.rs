//! `diff-models`: looks into checkpoints, runs and times them, and makes fresh ones.

use candle_core::Device;
use clap::{Args, Parser, Subcommand};
use diff_core::{
    Schedule, ScheduleSpec, cli, config,
    timing::{Facts, Timing},
};
use diff_models::{
    ComputeArgs, ForwardInputs, ProfileArgs, checkpoint::Checkpoint, device, forward_file,
    nets::DdpmSpec, write_prediction,
};
use std::{
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
};

/// Denoising networks and their checkpoints.
///
/// CHECKPOINT is a folder (as diffusers writes it, or a run), a state dict of ermongroup/ddim, or
/// hub:org/name[@revision].
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(flatten)]
    compute: ComputeArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show a checkpoint's configuration, tensors and forward process.
    Inspect {
        /// The checkpoint.
        checkpoint: String,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Run the network once on tensors from a file.
    ///
    /// INPUT holds x [B,C,H,W], network_time [B] (counted from 0) and, where the network takes
    /// them, class [B] and image; OUTPUT receives prediction [B,C,H,W].
    Forward {
        /// The checkpoint.
        #[arg(long)]
        checkpoint: String,
        /// A safetensors file.
        #[arg(long)]
        input: PathBuf,
        /// The safetensors file to write.
        #[arg(long)]
        output: PathBuf,
        /// Where to compute: cpu, cuda or cuda:N.
        #[arg(long, default_value = "cpu")]
        device: String,
    },
    /// Time the network: one forward pass, as `forward` does it.
    Time(TimeArgs),
    /// Make a checkpoint with fresh weights.
    Init {
        /// TOML with the network's DDPM terms (resolution, channels, multipliers, ...); the
        /// CIFAR-10 network if absent.
        #[arg(long)]
        config: Option<PathBuf>,
        /// Overrides a key of the configuration: key=value.
        #[arg(long = "set")]
        overrides: Vec<String>,
        /// Where the weights are drawn.
        #[arg(long, default_value_t = 0)]
        seed: u64,
        /// The folder to write.
        #[arg(long)]
        out: PathBuf,
    },
}

#[derive(Args)]
struct TimeArgs {
    /// The checkpoint.
    #[arg(long)]
    checkpoint: String,
    /// A safetensors file as `forward` takes it; drawn inputs if absent.
    #[arg(long, conflicts_with_all = ["batch", "seed"])]
    input: Option<PathBuf>,
    /// Rows of drawn inputs.
    #[arg(long, default_value_t = 8, value_name = "B")]
    batch: usize,
    /// Where inputs are drawn: x is what `diff-sample` starts from under this seed.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Write the inputs to this safetensors file first.
    #[arg(long, value_name = "FILE")]
    save_input: Option<PathBuf>,
    /// The safetensors file that receives the last prediction.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Where to compute: cpu, cuda or cuda:N.
    #[arg(long, default_value = "cpu")]
    device: String,
    #[command(flatten)]
    timing: Timing,
    #[command(flatten)]
    profile: ProfileArgs,
}

fn main() -> ExitCode {
    cli::exit(run(Cli::parse()))
}

fn run(args: Cli) -> anyhow::Result<()> {
    args.compute.start()?;
    match args.command {
        Command::Inspect { checkpoint, json } => inspect(&checkpoint, json),
        Command::Forward { checkpoint, input, output, device } => {
            Ok(forward_file(&checkpoint, &input, &output, &device::open(&device)?)?)
        }
        Command::Time(args) => time(&args),
        Command::Init { config, overrides, seed, out } => {
            init(config.as_deref(), &overrides, seed, &out)
        }
    }
}

fn inspect(checkpoint: &str, json: bool) -> anyhow::Result<()> {
    let summary = Checkpoint::open(checkpoint, &Device::Cpu)?.summary();
    let mut out = std::io::stdout().lock();
    if json {
        serde_json::to_writer(&mut out, &summary)?;
        writeln!(out)?;
    } else {
        write!(out, "{summary}")?;
    }
    Ok(())
}

fn time(args: &TimeArgs) -> anyhow::Result<()> {
    args.timing.check()?;
    let device = device::open(&args.device)?;
    let checkpoint = Checkpoint::open(&args.checkpoint, &device)?;
    let inputs = match &args.input {
        Some(path) => ForwardInputs::read(path, &device)?,
        None => ForwardInputs::drawn(&checkpoint, args.batch, args.seed, &device)?,
    };
    if let Some(path) = &args.save_input {
        inputs.write(path)?;
    }
    let forward = || {
        let prediction = inputs.predict(&checkpoint)?;
        // A device may still be at work when a call returns.
        device.synchronize()?;
        Ok(prediction)
    };
    args.timing.run(forward, |prediction| {
        if let Some(path) = &args.output {
            write_prediction(path, prediction)?;
        }
        Ok(Facts::new())
    })?;
    args.profile.print(forward)
}

fn init(file: Option<&Path>, overrides: &[String], seed: u64, out: &Path) -> anyhow::Result<()> {
    let spec: DdpmSpec = config::load(file, overrides)?;
    let schedule = Schedule::new(&ScheduleSpec::default())?;
    let config = spec.config()?;
    let checkpoint = Checkpoint::init(config, schedule, seed, &Device::Cpu)?;
    Ok(checkpoint.write(out, &checkpoint.params.tensors())?)
}
