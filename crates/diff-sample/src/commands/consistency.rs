use super::{
    Prepared, SampleArgs,
    output::{OutputArgs, Sheet, sum, timed},
};
use clap::Args;
use diff_core::Error;
use diff_sample::{
    Outcome, SamplerSpec, generate,
    latents::distances_to_last,
    sinks::{Kept, Untransformed},
};
use serde_json::json;

#[derive(Args)]
pub(crate) struct ConsistencyArgs {
    #[command(flatten)]
    sample: SampleArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// Makes pictures from the same latents in several numbers of steps: a row a number, a column a latent.
pub(crate) fn consistency(args: &ConsistencyArgs) -> anyhow::Result<()> {
    let steps = &args.sample.steps;
    if steps.len() < 2 || !steps.is_sorted_by(|a, b| a < b) {
        let given = steps.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
        let expected = "two or more numbers that increase, as in 10,20,50";
        return Err(Error::argument("steps", given, expected).into());
    }
    let prepared = args.sample.open(steps.first().copied())?.deterministic()?;
    let prepared = prepared.making(args.sample.indices()?)?;
    let mut provenance = args.sample.provenance(&prepared)?;
    provenance["steps"] = json!(steps);
    let Prepared { checkpoint, spec, request } = &prepared;
    let (model, schedule) = (&checkpoint.denoiser, &checkpoint.schedule);
    let with =
        |steps: &usize| SamplerSpec { steps: Some(*steps), ..spec.clone() }.resolved(schedule);
    let specs: Vec<SamplerSpec> = steps.iter().map(with).collect::<Result<_, _>>()?;
    let columns = request.indices.len();
    let total = columns * specs.len();
    let sheet = Sheet { count: total, columns: Some(columns), shown: None };
    let mut sink = args.output.open(sheet, &provenance)?;
    let transform = checkpoint.transform()?;
    let ((rows, outcome), seconds) = timed(total, |progress| {
        let (mut rows, mut cost) = (Vec::new(), Outcome::default());
        for spec in &specs {
            let mut kept = Untransformed { transform, sink: Kept::default() };
            let before = cost.images as f64;
            let mut update = |done: f64| progress(before + done);
            cost = sum(cost, generate(model, schedule, spec, request, &mut kept, &mut update)?);
            rows.push(kept.sink.take()?.1);
        }
        Ok((rows, cost))
    })?;
    OutputArgs::write(&mut sink, &rows)?;
    let distances = distances_to_last(&rows)?;
    let last = steps[steps.len() - 1];
    let found = steps.iter().zip(&distances);
    let also = found.clone().map(|(s, d)| json!({"steps": s, "mean_square": d}));
    let also = json!({"consistency": also.collect::<Vec<_>>(), "to_steps": last});
    let line = |(steps, distance): (&usize, &f64)| {
        format!("{steps:>6} steps: mean squared distance to {last} steps {distance:.6}")
    };
    args.output.report((outcome, seconds), also, &found.map(line).collect::<Vec<_>>())
}
