use super::bench::{BenchArgs, for_every_model, pictures_line};
use clap::Args;
use diff_core::{Error, ReverseVariance, save, trajectory};
use diff_eval::{
    gap::{Bench, Model},
    likelihood::{Bounded, Likelihood, LikelihoodRequest, Summary, chart, csv, measure, summary},
};
use serde_json::{Map, Value, json};
use std::{
    io::{self, Write},
    path::PathBuf,
};

#[derive(Args)]
pub(crate) struct LikelihoodArgs {
    #[command(flatten)]
    bench: BenchArgs,
    /// Pictures, in the order of the data set [default: all].
    #[arg(long)]
    num: Option<u64>,
    /// Times S that are visited, in 1..=T [default: all T].
    #[arg(long)]
    steps: Option<usize>,
    /// linear, quadratic, trailing, a peer's list (bao-linear, ...) or times 1,10,100.
    #[arg(long, default_value = "linear", value_name = "NAME")]
    trajectory: String,
    /// The variance of the reverse process: small, large or learned [default: the network's own
    /// where it has one, else small].
    #[arg(long, value_parser = variance)]
    variance: Option<ReverseVariance>,
    /// Leave the predicted clean picture as it is, instead of clipping it to [-1, 1].
    #[arg(long)]
    unclipped: bool,
    /// Seed of the noise and of resamples.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Resamples of the pictures that intervals are made of; 0 for none.
    #[arg(long, default_value_t = 200, value_name = "N")]
    bootstrap: usize,
    /// Pictures at a time.
    #[arg(long, default_value_t = 100)]
    batch: usize,
    /// Also write the term of every time.
    #[arg(long, value_name = "PATH")]
    csv: Option<PathBuf>,
    /// Also write a chart of them.
    #[arg(long, value_name = "PATH")]
    svg: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

fn variance(name: &str) -> Result<ReverseVariance, String> {
    let known = ReverseVariance::ALL.map(ReverseVariance::name).join(", ");
    let find = ReverseVariance::ALL.into_iter().find(|v| v.name() == name);
    find.ok_or(format!("expected one of {known}"))
}

/// What was measured of one network.
struct Found<'a> {
    model: &'a Model,
    variance: ReverseVariance,
    summary: Summary,
}

pub(crate) fn run(args: &LikelihoodArgs) -> anyhow::Result<()> {
    let bench = args.bench.open()?;
    let common = request(args, &bench)?;
    let own = |model: &Model| variance_of(args, model);
    let variances = bench.models.iter().map(own).collect::<diff_core::Result<Vec<_>>>()?;
    let measured = for_every_model(&bench, common.num, |model, subject, progress| {
        let request = LikelihoodRequest { variance: own(model)?, ..common.clone() };
        measure(subject, &bench.pictures, &request, progress)
    })?;
    let names = bench.models.iter().map(|model| model.name.clone());
    let measured: Vec<(String, Likelihood)> = names.zip(measured).collect();
    let mut found = Vec::new();
    for (i, (model, variance)) in bench.models.iter().zip(variances).enumerate() {
        let against = (i > 0).then_some(&measured[0].1);
        let summary = summary(&measured[i].1, against, args.bootstrap, args.seed)?;
        found.push(Found { model, variance, summary });
    }
    let mut out = io::stdout().lock();
    match args.json {
        true => writeln!(out, "{}", report(args, &bench, &common, &found, &measured))?,
        false => write!(out, "{}", table(&bench, &common, &found))?,
    }
    out.flush()?;
    if let Some(path) = &args.csv {
        save::atomic_bytes(path, csv(&measured).as_bytes())?;
    }
    if let Some(path) = &args.svg {
        save::atomic_bytes(path, chart(&measured).to_svg().as_bytes())?;
    }
    Ok(())
}

/// What is asked of every network but for its variance, checked.
fn request(args: &LikelihoodArgs, bench: &Bench) -> anyhow::Result<LikelihoodRequest> {
    let timesteps = bench.schedule.timesteps();
    let listed = args.trajectory.starts_with(|c: char| c.is_ascii_digit());
    let steps = match args.steps {
        Some(steps) => steps,
        None if listed => args.trajectory.split(',').count(),
        None => timesteps,
    };
    let request = LikelihoodRequest {
        times: trajectory::resolve(&args.trajectory, steps, &bench.schedule)?,
        variance: ReverseVariance::default(),
        num: args.num.unwrap_or(bench.pictures.len() as u64),
        batch: args.batch,
        seed: args.seed,
        clip: !args.unclipped,
    };
    request.check(&bench.schedule, &bench.pictures)?;
    Ok(request)
}

/// The variance that was asked for, or the network's own.
fn variance_of(args: &LikelihoodArgs, model: &Model) -> diff_core::Result<ReverseVariance> {
    match (args.variance, model.learns_variance()) {
        (Some(ReverseVariance::Learned), false) => {
            let expected = format!("small or large: {} does not say its variance", model.spec);
            Err(Error::argument("variance", "learned", expected))
        }
        (Some(variance), _) => Ok(variance),
        (None, true) => Ok(ReverseVariance::Learned),
        (None, false) => Ok(ReverseVariance::Small),
    }
}

fn report(
    args: &LikelihoodArgs,
    bench: &Bench,
    request: &LikelihoodRequest,
    found: &[Found],
    measured: &[(String, Likelihood)],
) -> Value {
    let checkpoint = |found: &Found| {
        let mut object = Map::new();
        object.insert("name".into(), json!(found.model.name));
        object.insert("checkpoint".into(), json!(found.model.spec));
        object.insert("weights_sha256".into(), json!(found.model.weights_sha256));
        object.insert("variance".into(), json!(found.variance));
        for (name, Bounded { value, interval }) in found.summary.named() {
            object.insert(name.into(), json!(value));
            object.insert(format!("{name}_low"), json!(interval.map(|i| i.low)));
            object.insert(format!("{name}_high"), json!(interval.map(|i| i.high)));
        }
        Value::Object(object)
    };
    let mut terms = Map::new();
    terms.insert("t".into(), json!(request.times));
    terms.extend(measured.iter().map(|(name, found)| (name.clone(), json!(found.terms))));
    json!({
        "num": request.num,
        "steps": request.times.len(),
        "trajectory": args.trajectory,
        "clip": request.clip,
        "seed": request.seed,
        "bootstrap": args.bootstrap,
        "data": bench.data,
        "data_sha256": bench.data_sha256,
        "timesteps": bench.schedule.timesteps(),
        "checkpoints": found.iter().map(checkpoint).collect::<Vec<_>>(),
        "terms": terms,
    })
}

/// A line a network.
fn table(bench: &Bench, request: &LikelihoodRequest, found: &[Found]) -> String {
    let (steps, timesteps) = (request.times.len(), bench.schedule.timesteps());
    let mut out = format!(
        "{}, {steps} of {timesteps} times\nbits per dimension, with 95 % intervals over pictures\n\n",
        pictures_line(bench, request.num),
    );
    let names = found.iter().map(|found| found.model.name.chars().count());
    let name_width = names.max().unwrap_or(0);
    out += &" ".repeat(name_width);
    out += &format!("  {:8}  {:>24}", "variance", "bits/dim");
    for part in ["prior", "transitions", "decoder"] {
        out += &format!("  {part:>11}");
    }
    out += &format!("  {:>25}\n", "above the first");
    for Found { model, variance, summary } in found {
        let Summary { total, prior, transitions, decoder, above } = summary;
        out += &format!("{:<name_width$}  {:8}  {:>24}", model.name, variance.name(), shown(total));
        for part in [prior, transitions, decoder] {
            out += &format!("  {:>11.4}", part.value);
        }
        out += &format!("  {:>25}\n", above.as_ref().map_or("-".into(), shown));
    }
    out
}

fn shown(bounded: &Bounded) -> String {
    let Bounded { value, interval } = bounded;
    let interval = interval.map(|i| format!(" [{:.3}, {:.3}]", i.low, i.high));
    format!("{value:.4}{}", interval.unwrap_or_default())
}
