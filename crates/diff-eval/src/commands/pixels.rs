use clap::Args;
use diff_eval::{compare, pictures::read};
use std::io::{self, Write};

#[derive(Args)]
pub(crate) struct PixelsArgs {
    /// Pictures to judge: an .npz with `arr_0` (u8, NHWC), or a data set.
    #[arg(long, value_name = "SOURCE")]
    samples: String,
    /// What to compare with: `digits:train`, `digits:test`, or an .npz.
    #[arg(long, value_name = "SOURCE")]
    reference: String,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &PixelsArgs) -> anyhow::Result<()> {
    let report = compare(&read(&args.samples)?, &read(&args.reference)?)?;
    let mut out = io::stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::to_string(&report)?)?;
        return Ok(());
    }
    writeln!(
        out,
        "pictures               {} ({} in the reference)",
        report.images, report.reference_images
    )?;
    writeln!(out, "mean grey level        {:.4}", report.mean)?;
    writeln!(out, "deviation              {:.4}", report.std)?;
    writeln!(out, "mean pictures, rms     {:.4}", report.mean_image_rms)?;
    writeln!(out, "deviations, rms        {:.4}", report.std_image_rms)?;
    Ok(())
}
