use clap::Args;
use diff_eval::{compare, pictures::read, pixel_distance};
use serde_json::json;
use std::io::{self, Write};

#[derive(Args)]
pub(crate) struct PixelsArgs {
    /// Pictures to judge: an .npz with `arr_0` (u8, NHWC), or a data set.
    #[arg(long, value_name = "SOURCE")]
    samples: String,
    /// What to compare with: an .npz, or a data set, `digits:train`,
    /// `cifar10?resolution=16&resize=box:test`.
    #[arg(long, value_name = "SOURCE")]
    reference: String,
    /// Resamples that the interval of the distance is made of; 0 for none.
    #[arg(long, default_value_t = 0, value_name = "N")]
    bootstrap: usize,
    /// Seed of the resamples.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &PixelsArgs) -> anyhow::Result<()> {
    let (samples, reference) = (read(&args.samples)?, read(&args.reference)?);
    let report = compare(&samples, &reference)?;
    let distance = pixel_distance(&samples, &reference, args.bootstrap, args.seed)?;
    let mut out = io::stdout().lock();
    if args.json {
        let mut object = json!(report);
        if let (Some(fields), Some(distance)) = (object.as_object_mut(), &distance) {
            let distance = json!(distance);
            fields.insert("metric".into(), "FD-pixels".into());
            fields.extend(
                distance.as_object().into_iter().flatten().map(|(k, v)| (k.clone(), v.clone())),
            );
        }
        writeln!(out, "{object}")?;
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
    if let Some(distance) = distance {
        let range = distance.fd_low.zip(distance.fd_high);
        let range = range.map(|(low, high)| format!(" [{low:.4}, {high:.4}]")).unwrap_or_default();
        writeln!(out, "FD-pixels              {:.4}{range}", distance.fd)?;
    }
    Ok(())
}
