use clap::Args;
use diff_core::{config, progress::Progress};
use diff_models::device;
use diff_train::{config::RunConfig, run};
use std::{
    io::{self, Write},
    path::PathBuf,
};

#[derive(Args)]
pub(crate) struct RunArgs {
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

/// Trains, or says what training would cost.
pub(crate) fn run(args: &RunArgs) -> anyhow::Result<()> {
    if args.dry_run { dry_run(args) } else { train(args) }
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
