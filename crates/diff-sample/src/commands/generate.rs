use super::{
    Prepared, SampleArgs,
    output::{OutputArgs, Sheet, timed},
};
use clap::Args;
use diff_sample::{Starts, drawn, generate_from, sinks::Untransformed};
use serde_json::{Value, json};

#[derive(Args)]
pub(crate) struct GenerateArgs {
    #[command(flatten)]
    sample: SampleArgs,
    /// Show only the first N pictures on a .png [default: all].
    #[arg(long, value_name = "N")]
    grid: Option<usize>,
    #[command(flatten)]
    output: OutputArgs,
}

/// Makes pictures and writes them.
pub(crate) fn generate(args: &GenerateArgs) -> anyhow::Result<()> {
    // Refused before any file is made.
    let prepared = args.sample.prepare()?;
    if args.grid == Some(0) {
        return Err(diff_core::Error::argument("grid", 0, "at least 1 picture").into());
    }
    let count = prepared.request.indices.len();
    // Classes in turn stand below each other.
    let period = prepared.request.labels.period().filter(|period| *period > 1);
    let columns = period.map(|period| period.min(count));
    let sheet = Sheet { count, shown: args.grid, columns };
    let provenance = args.sample.provenance(&prepared)?;
    let starts = |indices: &[u64]| drawn(&prepared.request, indices);
    make(&prepared, &starts, (&args.output, sheet), &provenance)
}

/// Makes pictures from these latents and writes them.
pub(super) fn make(
    prepared: &Prepared,
    starts: &Starts,
    (output, sheet): (&OutputArgs, Sheet),
    provenance: &Value,
) -> anyhow::Result<()> {
    let Prepared { checkpoint, spec, request } = prepared;
    let transform = checkpoint.transform()?;
    let mut sink = Untransformed { transform, sink: output.open(sheet, provenance)? };
    let (model, schedule) = (&checkpoint.denoiser, &checkpoint.schedule);
    let done = timed(sheet.count, |progress| {
        generate_from(model, schedule, spec, request, starts, &mut sink, progress)
    })?;
    output.report(done, json!({}), &[])
}
