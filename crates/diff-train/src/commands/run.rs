use super::recipe::Recipe;
use clap::Args;
use diff_core::progress::Progress;
use diff_models::device;
use diff_train::{
    callback::{Callback, Moment, Record},
    config::RunConfig,
    run::{self, Start, Summary},
    stop::Stop,
};
use std::{
    io::{self, Write},
    path::PathBuf,
};

#[derive(Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    recipe: Recipe,
    /// Go on with the run in this folder, from its newest complete checkpoint.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["config", "preset", "init_from"])]
    resume: Option<PathBuf>,
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

/// Trains, or says what training would cost; the exit code tells a run that a signal ended.
pub(crate) fn run(args: &RunArgs) -> anyhow::Result<u8> {
    let config = match &args.resume {
        Some(folder) => run::resumed(folder, &args.recipe.set)?,
        None => args.recipe.load()?,
    };
    if let Some(warning) = config.train.ema.warning(config.train.steps) {
        eprintln!("warning: {warning}");
    }
    if args.dry_run {
        return dry_run(args, &config).map(|()| 0);
    }
    let start = if args.resume.is_some() { Start::Resume } else { Start::Fresh };
    let device = device::open(&args.device)?;
    let stop = Stop::on_signals()?;
    let mut bar = Bar { total: config.train.steps * config.train.batch, progress: None };
    let summary = run::run(&config, start, &device, &stop, &mut [&mut bar]);
    bar.finish();
    let summary = summary?;
    tell(args, &summary)?;
    Ok(summary.stopped_by.map_or(0, |signal| signal.exit_code()))
}

/// The progress bar.
struct Bar {
    total: usize,
    progress: Option<Progress>,
}

impl Bar {
    fn finish(self) {
        if let Some(progress) = self.progress {
            progress.finish();
        }
    }
}

impl Callback for Bar {
    fn after_step(&mut self, moment: &Moment, _: &mut Record) -> diff_train::Result<()> {
        let (total, before) = (self.total as u64, moment.images_before as u64);
        let progress =
            self.progress.get_or_insert_with(|| Progress::resumed(total, "images", before));
        let loss = moment.report.loss;
        progress.update(moment.images as f64, &format!("loss {loss:.4}"));
        Ok(())
    }
}

fn tell(args: &RunArgs, summary: &Summary) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::to_string(summary)?)?;
        return Ok(());
    }
    let Summary { parameters, steps, images, seconds, .. } = summary;
    writeln!(out, "{parameters} parameters, {steps} steps, {images} pictures, {seconds:.1} s")?;
    let loss = summary.loss.map_or("-".into(), |loss| format!("{loss:.5}"));
    let folder = summary.out.display();
    match summary.stopped_by {
        Some(signal) => {
            let name = signal.name();
            writeln!(out, "loss {loss}; stopped by {name}; go on with --resume {folder}")?;
        }
        None => {
            writeln!(out, "loss {loss}; checkpoint in {}", summary.out.join("model").display())?
        }
    }
    Ok(())
}

fn dry_run(args: &RunArgs, config: &RunConfig) -> anyhow::Result<()> {
    let plan = run::plan(config, &device::open(&args.device)?)?;
    let mut out = io::stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::to_string(&plan)?)?;
        return Ok(());
    }
    let mib = |bytes: f64| bytes / 1048576.0;
    writeln!(out, "{}", plan.config.to_toml()?)?;
    writeln!(out, "# pictures    {}, seen {:.1} times", plan.pictures, plan.epochs)?;
    writeln!(out, "# parameters  {}", plan.parameters)?;
    writeln!(out, "# memory      {:.1} MiB and activations", mib(plan.state_bytes as f64))?;
    writeln!(out, "# checkpoint  {:.1} MiB", mib(plan.checkpoint_bytes as f64))?;
    writeln!(out, "# operations  {:.3e} FLOPs", plan.flops)?;
    writeln!(out, "# forward     {:.3e} FLOPs a picture", plan.forward_flops as f64)?;
    writeln!(out, "# time        about {:.0} s here", plan.seconds)?;
    Ok(())
}
