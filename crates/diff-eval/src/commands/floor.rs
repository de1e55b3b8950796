use super::space::{SpaceArgs, part, range};
use clap::Args;
use diff_eval::{Floor, Settings, floor};
use std::io::{self, Write};

#[derive(Args)]
pub(crate) struct FloorArgs {
    #[command(flatten)]
    space: SpaceArgs,
    /// Pictures nobody trained on [default: NAME:test, NAME the classifier's data set].
    #[arg(long, value_name = "SOURCE")]
    held_out: Option<String>,
    /// Pictures a memorising model gives: as many as the samples to compare with.
    #[arg(long, default_value_t = 1000)]
    num: usize,
    /// Resamples, and draws of the memoriser; 0 for one draw and no intervals.
    #[arg(long, default_value_t = 200, value_name = "N")]
    bootstrap: usize,
    /// Seed of resamples and draws.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &FloorArgs) -> anyhow::Result<()> {
    let features = args.space.open()?;
    let reference = args.space.reference(&features)?;
    let held_out = part(&features, args.held_out.as_deref(), ("held-out", "test"))?;
    let with = Settings { bootstrap: args.bootstrap, seed: args.seed, splits: 1 };
    let report = floor(&features, &reference, &held_out, args.num, with)?;
    let mut out = io::stdout().lock();
    match args.json {
        true => writeln!(out, "{}", serde_json::to_string(&report)?)?,
        false => print(&mut out, &report)?,
    }
    Ok(())
}

fn print(out: &mut impl Write, report: &Floor) -> io::Result<()> {
    let (reference, held_out) = (report.reference_images, report.held_out_images);
    let mut line = |name: String, value: String| writeln!(out, "{name:<34} {value}");
    line("pictures".into(), format!("{held_out} held out ({reference} in the reference)"))?;
    let metric = &report.metric;
    let of_held_out = range(report.fd_held_out_low, report.fd_held_out_high);
    line(format!("{metric}, held out"), format!("{:.4}{of_held_out}", report.fd_held_out))?;
    let of_memoriser = range(report.fd_memoriser_low, report.fd_memoriser_high);
    line(
        format!("{metric}, {} remembered", report.memoriser_images),
        format!("{:.4}{of_memoriser}", report.fd_memoriser),
    )?;
    line("classifier score, training".into(), format!("{:.4}", report.cs_train))?;
    line("classifier score, held out".into(), format!("{:.4}", report.cs_held_out))?;
    for (name, share) in
        [("training", report.accuracy_train), ("held out", report.accuracy_held_out)]
    {
        if let Some(share) = share {
            line(format!("accuracy, {name}"), format!("{:.2} %", 100.0 * share))?;
        }
    }
    line("held out to nearest training".into(), format!("{:.4}", report.nn_held_out_train))?;
    if let Some(warning) = &report.warning {
        eprintln!("warning: {warning}");
    }
    Ok(())
}
