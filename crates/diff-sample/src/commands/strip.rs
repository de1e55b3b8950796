use super::{
    Prepared, SampleArgs,
    output::{OutputArgs, Sheet, timed},
};
use candle_core::Tensor;
use clap::Args;
use diff_sample::{Frame, nearest_times};
use serde_json::json;

#[derive(Args)]
pub(crate) struct StripArgs {
    #[command(flatten)]
    sample: SampleArgs,
    /// Times to look at, 0 for the finished picture; each is taken for the nearest that is visited.
    #[arg(long, value_delimiter = ',', required = true, value_name = "TIMES")]
    times: Vec<usize>,
    #[command(flatten)]
    output: OutputArgs,
}

/// Shows samples on their way: for each a row of x_t and a row of predicted pictures, a column a time.
pub(crate) fn strip(args: &StripArgs) -> anyhow::Result<()> {
    let prepared = args.sample.prepare()?;
    let mut provenance = args.sample.provenance(&prepared)?;
    provenance["times"] = json!(args.times);
    let Prepared { checkpoint, spec, request } = &prepared;
    let transform = checkpoint.transform()?;
    let (model, schedule) = (&checkpoint.denoiser, &checkpoint.schedule);
    // Refused before any file is made.
    let shown = nearest_times(&args.times, spec, schedule)?;
    let (count, columns) = (request.indices.len(), shown.len());
    let sheet = Sheet { count: 2 * count * columns, columns: Some(columns), ..Sheet::default() };
    let mut sink = args.output.open(sheet, &provenance)?;
    let ((frames, outcome), seconds) = timed(count, |progress| {
        diff_sample::strip(model, schedule, spec, request, &args.times, progress)
    })?;
    let row = |sample: usize, of: fn(&Frame) -> &Tensor| -> anyhow::Result<Tensor> {
        let cells: Result<Vec<Tensor>, _> = frames.iter().map(|f| of(f).get(sample)).collect();
        Ok(transform.inverse(&Tensor::stack(&cells?, 0)?)?)
    };
    let mut rows = Vec::with_capacity(2 * count);
    for sample in 0..count {
        rows.push(row(sample, |frame| &frame.x)?);
        rows.push(row(sample, |frame| &frame.x0)?);
    }
    OutputArgs::write(&mut sink, &rows)?;
    let names: Vec<String> = shown.iter().map(usize::to_string).collect();
    let line = format!("x_t above, predicted x_0 below, at t = {}", names.join(", "));
    args.output.report((outcome, seconds), json!({"times": shown}), &[line])
}
