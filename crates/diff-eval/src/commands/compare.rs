use clap::Args;
use diff_eval::{PictureSource, paired};
use diff_models::device;
use std::io::{self, Write};

#[derive(Args)]
pub(crate) struct CompareArgs {
    /// Pictures to judge, as `fid` takes them.
    #[arg(value_name = "SAMPLES")]
    samples: String,
    /// What they should be: as many pictures, in the same order.
    #[arg(value_name = "REFERENCE")]
    reference: String,
    /// Resamples that intervals are made of; 0 for none.
    #[arg(long, default_value_t = 200, value_name = "N")]
    bootstrap: usize,
    /// Seed of resamples.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Where a `model:` draws its samples: cpu, cuda or cuda:N.
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &CompareArgs) -> anyhow::Result<()> {
    let device = device::open(&args.device)?;
    let open = |source: &str| PictureSource::open(source, &device);
    let (samples, reference) = (open(&args.samples)?, open(&args.reference)?);
    let found = paired(samples, reference, (args.bootstrap, args.seed))?;
    let mut out = io::stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::to_string(&found)?)?;
        return Ok(());
    }
    let range = |interval: Option<diff_eval::Interval>| {
        interval.map(|i| format!(" [{:.4e}, {:.4e}]", i.low, i.high)).unwrap_or_default()
    };
    writeln!(out, "{:<26} {}", "pictures", found.provenance.samples.images)?;
    writeln!(out, "{:<26} {:.4e}{}", found.metric, found.value, range(found.interval))?;
    match found.psnr {
        Some(psnr) => {
            let range = found.psnr_interval.map(|i| format!(" [{:.3}, {:.3}]", i.low, i.high));
            writeln!(out, "{:<26} {psnr:.3} dB{}", "PSNR", range.unwrap_or_default())?;
        }
        None => writeln!(out, "{:<26} {} of them exactly right", "PSNR", found.exact)?,
    }
    Ok(())
}
