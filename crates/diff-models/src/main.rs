//! `diff-models`: looks into checkpoints, runs and times them, and makes fresh ones.

use candle_core::Device;
use clap::{Args, Parser, Subcommand};
use diff_core::{
    Schedule, ScheduleKind, ScheduleSpec, cli, config,
    timing::{Facts, Timing},
};
use diff_models::{
    ComputeArgs, ForwardInputs, ProfileArgs,
    checkpoint::Checkpoint,
    device, forward_file,
    nets::{Architecture, Catalogue},
    write_prediction,
};
use serde::Serialize;
use std::{
    fmt::Display,
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
    /// List the kinds of networks, their options, and the networks that have names.
    Nets {
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Make a checkpoint with fresh weights.
    Init {
        #[command(flatten)]
        network: NetworkArgs,
        /// Where the weights are drawn.
        #[arg(long, default_value_t = 0)]
        seed: u64,
        /// The folder to write.
        #[arg(long)]
        out: PathBuf,
    },
    /// Write a checkpoint, in whatever layout it is, as a folder of our own: f32, safetensors.
    Copy {
        /// A checkpoint folder, a run folder, or `hub:org/name`.
        checkpoint: String,
        /// The folder to write.
        #[arg(long)]
        out: PathBuf,
        /// Print what it is as one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Make a checkpoint of the weights of a file that comes without a configuration, as the
    /// repositories of the papers publish them.
    Import {
        /// A safetensors file, or a state dict or training checkpoint of PyTorch.
        #[arg(long, value_name = "FILE")]
        weights: PathBuf,
        #[command(flatten)]
        network: NetworkArgs,
        /// The folder to write.
        #[arg(long)]
        out: PathBuf,
    },
}

#[derive(Args)]
struct NetworkArgs {
    /// A network that has a name (`diff-models nets` lists them).
    #[arg(long, value_name = "NAME", conflicts_with = "config")]
    preset: Option<String>,
    /// TOML with the `kind` of the network and its options (`diff-models nets` lists them); the DDPM
    /// network for CIFAR-10 if neither this nor a name is given.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Overrides an option: key=value.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
    /// The kind of the forward process.
    #[arg(long, value_name = "KIND", default_value_t = ScheduleKind::Linear)]
    schedule: ScheduleKind,
    /// Time steps of the forward process.
    #[arg(long, value_name = "T", default_value_t = 1000)]
    timesteps: usize,
}

impl NetworkArgs {
    fn architecture(&self) -> anyhow::Result<Architecture> {
        let preset = match (&self.config, &self.preset) {
            (Some(path), _) => return Ok(config::load(Some(path), &self.overrides)?),
            (None, Some(name)) => Architecture::preset(name)?,
            (None, None) => Architecture::default(),
        };
        let origin = self.preset.as_deref().unwrap_or("configuration");
        Ok(config::read(&config::text(&preset)?, origin, &self.overrides)?)
    }

    fn schedule(&self) -> anyhow::Result<Schedule> {
        let (kind, timesteps) = (self.schedule, self.timesteps);
        Ok(Schedule::new(&ScheduleSpec { kind, timesteps, ..ScheduleSpec::default() })?)
    }
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
        Command::Inspect { checkpoint, json } => {
            print(&Checkpoint::open(&checkpoint, &Device::Cpu)?.summary(), json)
        }
        Command::Forward { checkpoint, input, output, device } => {
            Ok(forward_file(&checkpoint, &input, &output, &device::open(&device)?)?)
        }
        Command::Time(args) => time(&args),
        Command::Nets { json } => print(&Catalogue::new()?, json),
        Command::Init { network, seed, out } => {
            let (architecture, schedule) = (network.architecture()?, network.schedule()?);
            save(&Checkpoint::init(&architecture, schedule, seed, &Device::Cpu)?, &out)
        }
        Command::Copy { checkpoint, out, json } => {
            let checkpoint = Checkpoint::open(&checkpoint, &Device::Cpu)?;
            save(&checkpoint, &out)?;
            if json { print(&checkpoint.summary(), json) } else { Ok(()) }
        }
        Command::Import { weights, network, out } => {
            let (architecture, schedule) = (network.architecture()?, network.schedule()?);
            save(&Checkpoint::import(&weights, &architecture, schedule, &Device::Cpu)?, &out)
        }
    }
}

/// As one JSON object, or in words.
fn print(facts: &(impl Serialize + Display), json: bool) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    if json {
        serde_json::to_writer(&mut out, facts)?;
        writeln!(out)?;
    } else {
        write!(out, "{facts}")?;
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

fn save(checkpoint: &Checkpoint, out: &Path) -> anyhow::Result<()> {
    Ok(checkpoint.write(out, &checkpoint.params.tensors())?)
}
