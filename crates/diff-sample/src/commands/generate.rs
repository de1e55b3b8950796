use super::{Prepared, SampleArgs};
use clap::Args;
use diff_core::progress::Progress;
use diff_models::digest::sha256;
use diff_sample::sinks::{self, Form, Tee, Untransformed};
use serde_json::json;
use std::{
    io::{self, Write},
    path::PathBuf,
    time::Instant,
};

#[derive(Args)]
pub(crate) struct GenerateArgs {
    #[command(flatten)]
    sample: SampleArgs,
    /// Where to: .png (a grid), .npz, or a folder of pictures. May be repeated.
    #[arg(long, required = true, value_name = "PATH")]
    out: Vec<PathBuf>,
    /// Show only the first N pictures on a .png [default: all].
    #[arg(long, value_name = "N")]
    grid: Option<usize>,
    /// Add the values before clamping and rounding to .npz, as `raw` [N,C,H,W].
    #[arg(long)]
    f32: bool,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Makes pictures and writes them.
pub(crate) fn generate(args: &GenerateArgs) -> anyhow::Result<()> {
    // Refused before any file is made.
    let Prepared { checkpoint, spec, request } = args.sample.prepare()?;
    let transform = checkpoint.transform()?;
    let provenance = json!({
        "checkpoint": args.sample.checkpoint,
        "weights_sha256": checkpoint.source.as_deref().map(sha256).transpose()?,
        "sampler": spec,
        "seed": args.sample.seed,
        "class": args.sample.class,
        "guidance": request.guidance,
        "version": env!("CARGO_PKG_VERSION"),
    })
    .to_string();
    let total = request.indices.len();
    if args.grid == Some(0) {
        return Err(diff_core::Error::argument("grid", 0, "at least 1 picture").into());
    }
    let form = Form {
        count: total,
        grid: args.grid,
        columns: request
            .labels
            .period()
            .filter(|period| *period > 1)
            .map(|period| period.min(total)),
        provenance: &provenance,
        raw: args.f32,
    };
    let open = |path: &PathBuf| sinks::open(path, form);
    let sink = Tee(args.out.iter().map(open).collect::<Result<_, _>>()?);
    let mut sink = Untransformed { transform, sink };
    let mut progress = Progress::new(total as u64, "pictures");
    let started = Instant::now();
    let (model, schedule) = (&checkpoint.denoiser, &checkpoint.schedule);
    let mut update = |done: f64| progress.update(done, "");
    let outcome = diff_sample::generate(model, schedule, &spec, &request, &mut sink, &mut update);
    progress.finish();
    let outcome = outcome?;
    let seconds = started.elapsed().as_secs_f64();
    let mut out = io::stdout().lock();
    if args.json {
        let report = json!({
            "images": outcome.images,
            "network_calls": outcome.network_calls,
            "evaluations": outcome.evaluations,
            "seconds": seconds,
            "out": args.out,
        });
        writeln!(out, "{report}")?;
    } else {
        let calls = outcome.network_calls;
        writeln!(out, "{} pictures, {calls} network calls, {seconds:.2} s", outcome.images)?;
    }
    Ok(())
}
