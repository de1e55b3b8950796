//! `diff-train`: trains denoising networks.

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use diff_core::{cli, config, progress::Progress};
use diff_models::{checkpoint::Checkpoint, device};
use diff_train::{
    config::RunConfig,
    measure::{Inputs, measure},
    run,
};
use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

/// Trains denoising networks.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Train a network and write its run folder.
    Run(RunArgs),
    /// Print the loss and gradient norms of a checkpoint on given inputs.
    Loss(LossArgs),
}

#[derive(Args)]
struct RunArgs {
    /// The configuration, TOML; without it, the defaults.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Override one value, e.g. `train.lr=1e-3`. May be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Print the resolved configuration and what the run would cost; train nothing.
    #[arg(long)]
    dry_run: bool,
    /// Where to compute: cpu, cuda or cuda:N.
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct LossArgs {
    /// The configuration, TOML; only its `[objective]` is used.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Override one value, e.g. `objective.lambda=0.5`. May be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// A checkpoint folder, a run folder, or `hub:org/name`.
    #[arg(long, value_name = "DIR")]
    checkpoint: String,
    /// Safetensors with `x0` [B,C,H,W], `t` [B] (1..=T), `noise` [K,B,C,H,W], optionally `class` [B].
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// Where to compute: cpu, cuda or cuda:N.
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    cli::exit(match Cli::parse().command {
        Command::Run(args) if args.dry_run => dry_run(&args),
        Command::Run(args) => train(&args),
        Command::Loss(args) => loss(&args),
    })
}

fn train(args: &RunArgs) -> anyhow::Result<()> {
    let config: RunConfig = config::load(args.config.as_deref(), &args.set)?;
    let steps = config.train.steps as u64;
    let device = device::open(&args.device)?;
    let mut progress = Progress::new(steps, "steps");
    let summary = run::run(&config, &device, &mut |step, loss| {
        progress.update(step as f64, &format!("loss {loss:.4}"));
    });
    progress.finish();
    let summary = summary?;
    let mut out = io::stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::to_string(&summary)?)?;
    } else {
        let run::Summary { parameters, steps, images, loss, seconds, out: folder } = summary;
        writeln!(out, "{parameters} parameters, {steps} steps, {images} pictures, {seconds:.1} s")?;
        writeln!(out, "loss {loss:.5}; checkpoint in {}", folder.join("model").display())?;
    }
    Ok(())
}

fn dry_run(args: &RunArgs) -> anyhow::Result<()> {
    let config: RunConfig = config::load(args.config.as_deref(), &args.set)?;
    let plan = run::plan(&config, &device::open(&args.device)?)?;
    let mut out = io::stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::to_string(&plan)?)?;
        return Ok(());
    }
    writeln!(out, "{}", run::to_toml(&plan.config)?)?;
    writeln!(out, "# pictures    {}", plan.pictures)?;
    writeln!(out, "# parameters  {}", plan.parameters)?;
    writeln!(out, "# memory      {:.1} MiB and activations", plan.state_bytes as f64 / 1048576.0)?;
    writeln!(out, "# operations  {:.3e} FLOPs", plan.flops)?;
    writeln!(out, "# time        about {:.0} s here", plan.seconds)?;
    Ok(())
}

fn loss(args: &LossArgs) -> anyhow::Result<()> {
    let config: RunConfig = config::load(args.config.as_deref(), &args.set)?;
    let device = device::open(&args.device)?;
    let checkpoint = Checkpoint::open_trainable(&args.checkpoint, &device)?;
    let inputs = Inputs::read(&args.input, &device)?;
    let mut objective = config.objective.build(&checkpoint.schedule)?;
    let measured = measure(&mut objective, &checkpoint.unet, &checkpoint.params, &inputs)
        .with_context(|| args.input.display().to_string())?;
    let mut out = io::stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::to_string(&measured)?)?;
        return Ok(());
    }
    let term = |value: Option<f64>| value.map_or("-".into(), |v| format!("{v:.6}"));
    writeln!(out, "simple  {}", term(measured.simple))?;
    writeln!(out, "sa      {}", term(measured.sa))?;
    writeln!(out, "total   {:.6}", measured.total)?;
    for (name, norm) in &measured.grad_norms {
        writeln!(out, "{norm:14.6e}  {name}")?;
    }
    Ok(())
}
