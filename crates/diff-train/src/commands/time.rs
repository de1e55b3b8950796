use super::recipe::Recipe;
use clap::Args;
use diff_core::timing::{Facts, Timing};
use diff_models::{ProfileArgs, device};
use diff_train::run;
use std::path::PathBuf;

#[derive(Args)]
pub(crate) struct TimeArgs {
    #[command(flatten)]
    recipe: Recipe,
    /// Write inputs for `diff-train loss` to this safetensors file first: the pictures, times and
    /// noise of the first step under the simple objective.
    #[arg(long, value_name = "FILE")]
    save_input: Option<PathBuf>,
    /// Where to compute: cpu, cuda or cuda:N.
    #[arg(long, default_value = "cpu")]
    device: String,
    #[command(flatten)]
    timing: Timing,
    #[command(flatten)]
    profile: ProfileArgs,
}

/// Times training steps, one after the other, from the first one on.
pub(crate) fn time(args: &TimeArgs) -> anyhow::Result<()> {
    args.timing.check()?;
    let config = args.recipe.load()?;
    let device = device::open(&args.device)?;
    let mut step = run::steps(&config, &device)?;
    if let Some(path) = &args.save_input {
        run::first_inputs(&config, &device)?.write(path)?;
    }
    let mut timed = || {
        let report = step()?;
        // A device may still be at work when a call returns.
        device.synchronize()?;
        Ok(report)
    };
    args.timing.run(&mut timed, |report| {
        Ok(Facts::from_iter([
            ("step".into(), report.step.into()),
            ("loss".into(), report.loss.into()),
            ("grad_norm".into(), report.grad_norm.into()),
        ]))
    })?;
    args.profile.print(timed)
}
