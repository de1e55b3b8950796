use super::{
    Prepared, SampleArgs,
    output::{OutputArgs, Sheet, sum, timed},
};
use candle_core::Tensor;
use clap::Args;
use diff_core::Error;
use diff_sample::{
    Outcome, drawn, generate_from,
    latents::{self, Shift},
    sinks::{Kept, Untransformed},
};
use serde_json::json;

#[derive(Args)]
pub(crate) struct ShiftArgs {
    #[command(flatten)]
    sample: SampleArgs,
    /// What is added to every value of the latents: a row of pictures each.
    #[arg(
        long,
        value_delimiter = ',',
        allow_hyphen_values = true,
        default_value = "-0.5,-0.25,0,0.25,0.5",
        value_name = "NUMBERS"
    )]
    by: Vec<f64>,
    #[command(flatten)]
    output: OutputArgs,
}

/// Makes pictures from the same latents, shifted: a row a shift, a column a latent.
pub(crate) fn shift(args: &ShiftArgs) -> anyhow::Result<()> {
    if let Some(by) = args.by.iter().find(|by| !by.is_finite()) {
        return Err(Error::argument("by", by, "finite numbers").into());
    }
    let prepared = args.sample.open(args.sample.one_number_of_steps()?)?.deterministic()?;
    let prepared = prepared.making(args.sample.indices()?)?;
    let mut provenance = args.sample.provenance(&prepared)?;
    provenance["by"] = json!(args.by);
    let Prepared { checkpoint, spec, request } = &prepared;
    let (model, schedule) = (&checkpoint.denoiser, &checkpoint.schedule);
    let columns = request.indices.len();
    let sheet =
        Sheet { count: columns * args.by.len(), columns: Some(columns), ..Sheet::default() };
    let mut sink = args.output.open(sheet, &provenance)?;
    let transform = checkpoint.transform()?;
    let mut cost = Outcome::default();
    let mut make = |by: f64, progress: &mut dyn FnMut(f64)| -> diff_sample::Result<Tensor> {
        let starts = |indices: &[u64]| Ok(drawn(request, indices)?.affine(1.0, by)?);
        let mut kept = Untransformed { transform, sink: Kept::default() };
        let before = cost.images as f64;
        let mut update = |done: f64| progress(before + done);
        let made = generate_from(model, schedule, spec, request, &starts, &mut kept, &mut update)?;
        cost = sum(cost, made);
        Ok(kept.sink.take()?.1)
    };
    let ((plain, rows), seconds) = timed(columns * (args.by.len() + 1), |progress| {
        let plain = make(0.0, progress)?;
        let rows = args.by.iter().map(|by| make(*by, progress)).collect::<Result<Vec<_>, _>>()?;
        Ok((plain, rows))
    })?;
    OutputArgs::write(&mut sink, &rows)?;
    let shifts = args.by.iter().zip(&rows).map(|(by, row)| latents::shift(*by, &plain, row));
    let shifts: Vec<Shift> = shifts.collect::<Result<_, _>>()?;
    let line = |s: &Shift| format!("{:>+8.3}: mean change {:+.4}, rms {:.4}", s.by, s.mean, s.rms);
    let lines: Vec<String> = shifts.iter().map(line).collect();
    args.output.report((cost, seconds), json!({"shifts": shifts}), &lines)
}
