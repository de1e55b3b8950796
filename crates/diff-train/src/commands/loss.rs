use anyhow::Context as _;
use clap::Args;
use diff_core::config;
use diff_models::{checkpoint::Checkpoint, device};
use diff_train::{
    config::RunConfig,
    measure::{Inputs, measure},
};
use std::{
    io::{self, Write},
    path::PathBuf,
};

#[derive(Args)]
pub(crate) struct LossArgs {
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

/// Measures the loss of given inputs.
pub(crate) fn loss(args: &LossArgs) -> anyhow::Result<()> {
    let config: RunConfig = config::load(args.config.as_deref(), &args.set)?;
    let device = device::open(&args.device)?;
    let checkpoint = Checkpoint::open_trainable(&args.checkpoint, &device)?;
    let second = checkpoint.denoiser.architecture().config().second();
    config.objective.check_output(second)?;
    let inputs = Inputs::read(&args.input, &device)?;
    let mut objective = config.objective.build(&checkpoint.schedule)?;
    let measured = measure(&mut objective, &checkpoint.denoiser, &checkpoint.params, &inputs)
        .with_context(|| args.input.display().to_string())?;
    let mut out = io::stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::to_string(&measured)?)?;
        return Ok(());
    }
    let term = |value: Option<f64>| value.map_or("-".into(), |v| format!("{v:.6}"));
    writeln!(out, "simple  {}", term(measured.simple))?;
    writeln!(out, "sa      {}", term(measured.sa))?;
    writeln!(out, "vlb     {}", term(measured.vlb))?;
    writeln!(out, "total   {:.6}", measured.total)?;
    for (name, norm) in &measured.grad_norms {
        writeln!(out, "{norm:14.6e}  {name}")?;
    }
    Ok(())
}
