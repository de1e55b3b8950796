use super::space::{SpaceArgs, part, range};
use clap::Args;
use diff_eval::{Quality, Settings, pictures::Named, quality};
use std::io::{self, Write};

#[derive(Args)]
pub(crate) struct FdArgs {
    /// Pictures to judge: an .npz with `arr_0` (u8, NHWC), or a data set.
    #[arg(long, value_name = "SOURCE")]
    samples: String,
    #[command(flatten)]
    space: SpaceArgs,
    /// Pictures nobody trained on [default: NAME:test, NAME the classifier's data set].
    #[arg(long, value_name = "SOURCE")]
    held_out: Option<String>,
    /// Resamples that intervals are made of; 0 for none.
    #[arg(long, default_value_t = 200, value_name = "N")]
    bootstrap: usize,
    /// Seed of resamples and subsets.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Also take the classifier score of so many consecutive parts, with mean and deviation.
    #[arg(long, default_value_t = 1, value_name = "N")]
    splits: usize,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &FdArgs) -> anyhow::Result<()> {
    let features = args.space.open()?;
    let samples = Named::read(&args.samples)?;
    let reference = args.space.reference(&features)?;
    let held_out = part(&features, args.held_out.as_deref(), ("held-out", "test"))?;
    let with = Settings { bootstrap: args.bootstrap, seed: args.seed, splits: args.splits };
    let report = quality(&features, &samples, &reference, &held_out, with)?;
    let mut out = io::stdout().lock();
    match args.json {
        true => writeln!(out, "{}", serde_json::to_string(&report)?)?,
        false => print(&mut out, &report)?,
    }
    Ok(())
}

fn print(out: &mut impl Write, report: &Quality) -> io::Result<()> {
    let (found, pixels) = (&report.distances, &report.memorisation);
    let (images, reference) = (found.images, found.reference_images);
    let mut line = |name: &str, value: String| writeln!(out, "{name:<26} {value}");
    line("pictures", format!("{images} ({reference} in the reference)"))?;
    line(&found.metric, format!("{:.4}{}", found.fd, range(found.fd_low, found.fd_high)))?;
    line("  of which the means", format!("{:.4}", found.fd_mean_term))?;
    line("classifier score", format!("{:.4}{}", found.cs, range(found.cs_low, found.cs_high)))?;
    if let (Some(mean), Some(deviation)) = (found.cs_split_mean, found.cs_split_deviation) {
        line("  of parts", format!("{mean:.4}, deviation {deviation:.4}"))?;
    }
    line("nearest training picture", format!("{:.4}", pixels.to_train))?;
    line("  of an equal number", format!("{:.4}", pixels.to_train_equal))?;
    line("nearest held-out picture", format!("{:.4}", pixels.to_held_out))?;
    line("nearer to training", format!("{:.1} %", 100.0 * pixels.closer_to_train))?;
    line("copies", format!("{:.1} %", 100.0 * pixels.copies))?;
    if let Some(warning) = &found.warning {
        eprintln!("warning: {warning}");
    }
    Ok(())
}
