use super::bench::{BenchArgs, for_every_model, pictures_line};
use clap::Args;
use diff_core::save;
use diff_eval::gap::{Bench, GapCurves, GapRequest, Model, Scalar, chart, csv, measure};
use serde_json::{Map, Value, json};
use std::{
    io::{self, Write},
    path::PathBuf,
};

#[derive(Args)]
pub(crate) struct GapArgs {
    #[command(flatten)]
    bench: BenchArgs,
    /// Where trajectories start, in 2..=T; they are measured down to t = 2.
    #[arg(long, default_value_t = 300, value_name = "T0")]
    start: usize,
    /// Trajectories: one a picture, in the order of the data set.
    #[arg(long, default_value_t = 2000)]
    num: u64,
    /// Noise of the sampler's steps: 1 as in the paper, 0 for the deterministic sampler.
    #[arg(long, default_value_t = 1.0)]
    eta: f64,
    /// Seed of starting noise and step noise.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Pictures at a time.
    #[arg(long, default_value_t = 100)]
    batch: usize,
    /// Also write every scalar at every time.
    #[arg(long, value_name = "PATH")]
    csv: Option<PathBuf>,
    /// Also write a chart.
    #[arg(long, value_name = "PATH")]
    svg: Option<PathBuf>,
    /// What the chart shows: l2, rms, bias, mean, official, velocity or step.
    #[arg(long, default_value = "l2", value_parser = scalar)]
    scalar: Scalar,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

fn scalar(name: &str) -> Result<Scalar, String> {
    let names = Scalar::ALL.map(Scalar::name).join(", ");
    Scalar::ALL.into_iter().find(|s| s.name() == name).ok_or(format!("expected one of {names}"))
}

pub(crate) fn run(args: &GapArgs) -> anyhow::Result<()> {
    let request = GapRequest {
        start: args.start,
        num: args.num,
        batch: args.batch,
        eta: args.eta,
        seed: args.seed,
    };
    let bench = args.bench.open()?;
    request.check(bench.schedule.timesteps())?;
    let curves = for_every_model(&bench, args.num, |_, subject, progress| {
        measure(subject, &bench.pictures, &request, progress)
    })?;
    let names = bench.models.iter().map(|model| model.name.clone());
    let measured: Vec<(String, GapCurves)> = names.zip(curves).collect();
    let mut out = io::stdout().lock();
    match args.json {
        true => writeln!(out, "{}", report(&bench, &request, &measured))?,
        false => write!(out, "{}", table(&bench, &request, &measured))?,
    }
    out.flush()?;
    if let Some(path) = &args.csv {
        save::atomic_bytes(path, csv(&measured).as_bytes())?;
    }
    if let Some(path) = &args.svg {
        let chart = chart(&measured, args.scalar, &request);
        save::atomic_bytes(path, chart.to_svg().as_bytes())?;
    }
    Ok(())
}

fn report(bench: &Bench, request: &GapRequest, measured: &[(String, GapCurves)]) -> Value {
    let checkpoint = |(model, (_, curves)): (&Model, &(String, GapCurves))| {
        json!({
            "name": model.name,
            "checkpoint": model.spec,
            "weights_sha256": model.weights_sha256,
            "l2_final": curves.last(Scalar::L2),
            "rms_final": curves.last(Scalar::Rms),
            "bias_final": curves.last(Scalar::Bias),
            "mean_final": curves.last(Scalar::Mean),
            "official_final": curves.last(Scalar::Official),
            "velocity_final": curves.last(Scalar::Velocity),
            "l2_max": curves.max(Scalar::L2),
        })
    };
    let mut lines = Map::new();
    lines.insert("t".into(), json!((2..=request.start).rev().collect::<Vec<_>>()));
    for (name, curves) in measured {
        let scalars = Scalar::ALL.map(|s| (s.name().to_string(), json!(curves.curve(s))));
        lines.insert(name.clone(), Value::Object(scalars.into_iter().collect()));
    }
    let repeats = bench.pictures.repeats(request.num);
    json!({
        "start": request.start,
        "num": request.num,
        "pictures": request.num - repeats,
        "repeats": repeats,
        "eta": request.eta,
        "seed": request.seed,
        "data": bench.data,
        "data_sha256": bench.data_sha256,
        "timesteps": bench.schedule.timesteps(),
        "checkpoints": bench.models.iter().zip(measured).map(checkpoint).collect::<Vec<_>>(),
        "curves": lines,
    })
}

/// The gap at t = 2, a line a network.
fn table(bench: &Bench, request: &GapRequest, measured: &[(String, GapCurves)]) -> String {
    let mut out = format!(
        "{}, from t = {} down to 2, eta = {}\nthe gap at t = 2, and the largest l2 on the way\n\n",
        pictures_line(bench, request.num),
        request.start,
        request.eta
    );
    let name_width = measured.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    out += &" ".repeat(name_width);
    for scalar in Scalar::ALL {
        out += &format!("  {:>10}", scalar.name());
    }
    out += &format!("  {:>10}  {:>9}\n", "l2 max", "l2/first");
    let first = measured.first().map(|(_, curves)| curves.last(Scalar::L2));
    for (name, curves) in measured {
        out += &format!("{name:<name_width$}");
        for scalar in Scalar::ALL {
            out += &format!("  {:>10.3e}", curves.last(scalar));
        }
        let ratio = first.map_or(f64::NAN, |first| curves.last(Scalar::L2) / first);
        out += &format!("  {:>10.3e}  {ratio:>9.3}\n", curves.max(Scalar::L2));
    }
    out
}
