//! `fid`, `is`, `kid`, `pr` and `all`: the published metrics.

use super::inception::{HowArgs, InceptionArgs, NeighbourArgs, SplitArgs, SubsetArgs};
use clap::Args;
use diff_eval::measures::{MEASURES, Measure, MeasureSettings, Measurement, Side, measure, take};
use serde_json::json;
use std::io::{self, Write};

#[derive(Args)]
pub(crate) struct FidArgs {
    #[command(flatten)]
    sides: SidesArgs,
    #[command(flatten)]
    space: InceptionArgs,
    #[command(flatten)]
    how: HowArgs,
    /// Take sFID: the distance of features that know of places.
    #[arg(long, conflicts_with = "infinity")]
    spatial: bool,
    /// Extrapolate to infinitely many pictures, from subsets of the samples.
    #[arg(long)]
    infinity: bool,
}

#[derive(Args)]
pub(crate) struct IsArgs {
    /// Pictures to judge.
    #[arg(value_name = "SAMPLES")]
    samples: String,
    #[command(flatten)]
    splits: SplitArgs,
    #[command(flatten)]
    space: InceptionArgs,
    #[command(flatten)]
    how: HowArgs,
}

#[derive(Args)]
pub(crate) struct KidArgs {
    #[command(flatten)]
    sides: SidesArgs,
    #[command(flatten)]
    subsets: SubsetArgs,
    #[command(flatten)]
    space: InceptionArgs,
    #[command(flatten)]
    how: HowArgs,
}

#[derive(Args)]
pub(crate) struct PrArgs {
    #[command(flatten)]
    sides: SidesArgs,
    #[command(flatten)]
    neighbours: NeighbourArgs,
    #[command(flatten)]
    space: InceptionArgs,
    #[command(flatten)]
    how: HowArgs,
}

#[derive(Args)]
pub(crate) struct AllArgs {
    #[command(flatten)]
    sides: SidesArgs,
    /// Only these, by name: fid, sfid, fid-infinity, is, kid, precision, recall, density, coverage.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    metrics: Vec<String>,
    #[command(flatten)]
    splits: SplitArgs,
    #[command(flatten)]
    subsets: SubsetArgs,
    #[command(flatten)]
    neighbours: NeighbourArgs,
    #[command(flatten)]
    space: InceptionArgs,
    #[command(flatten)]
    how: HowArgs,
}

#[derive(Args)]
struct SidesArgs {
    /// Pictures to judge: a folder, a .zip, .npz, .safetensors or .parquet file, a data set, or
    /// `model:CHECKPOINT?num=50000&steps=50`, which draws them.
    #[arg(value_name = "SAMPLES")]
    samples: String,
    /// Pictures to compare with, or an .npz with their `mu` and `sigma`.
    #[arg(value_name = "REFERENCE")]
    reference: String,
}

/// The package whose Inception most published distances were taken with.
pub(super) const DISTANCES: &str = "pytorch-fid";
/// The package that the other measures were.
const OTHERS: &str = "torch-fidelity";

pub(crate) fn fid(args: &FidArgs) -> anyhow::Result<()> {
    let name = match (args.spatial, args.infinity) {
        (true, _) => "sfid",
        (_, true) => "fid-infinity",
        _ => "fid",
    };
    let sides = (&args.sides.samples[..], Some(&args.sides.reference[..]));
    let job = Job {
        measures: vec![measure(name)?],
        named: true,
        sides,
        space: &args.space,
        mode: DISTANCES,
    };
    one(&job, &args.how, args.how.settings()?)
}

pub(crate) fn is(args: &IsArgs) -> anyhow::Result<()> {
    let settings = MeasureSettings { order: args.splits.order(), ..args.how.settings()? };
    let measures = vec![measure("is")?];
    let job = Job {
        measures,
        named: true,
        sides: (&args.samples, None),
        space: &args.space,
        mode: OTHERS,
    };
    one(&job, &args.how, settings)
}

pub(crate) fn kid(args: &KidArgs) -> anyhow::Result<()> {
    let settings = MeasureSettings { kid: args.subsets.settings(), ..args.how.settings()? };
    let sides = (&args.sides.samples[..], Some(&args.sides.reference[..]));
    let job = Job {
        measures: vec![measure("kid")?],
        named: true,
        sides,
        space: &args.space,
        mode: OTHERS,
    };
    one(&job, &args.how, settings)
}

pub(crate) fn pr(args: &PrArgs) -> anyhow::Result<()> {
    let mut settings = args.how.settings()?;
    args.neighbours.apply(&mut settings);
    let names = ["precision", "recall", "density", "coverage"];
    let measures = names.into_iter().map(measure).collect::<Result<_, _>>()?;
    let sides = (&args.sides.samples[..], Some(&args.sides.reference[..]));
    let job = Job { measures, named: true, sides, space: &args.space, mode: OTHERS };
    several(&job, &args.how, settings)
}

pub(crate) fn all(args: &AllArgs) -> anyhow::Result<()> {
    let mut settings = args.how.settings()?;
    settings.order = args.splits.order();
    settings.kid = args.subsets.settings();
    args.neighbours.apply(&mut settings);
    let measures = match args.metrics.is_empty() {
        true => MEASURES.to_vec(),
        false => args.metrics.iter().map(|name| measure(name)).collect::<Result<_, _>>()?,
    };
    let sides = (&args.sides.samples[..], Some(&args.sides.reference[..]));
    let named = !args.metrics.is_empty();
    let job = Job { measures, named, sides, space: &args.space, mode: OTHERS };
    several(&job, &args.how, settings)
}

/// What is to be measured.
struct Job<'a> {
    measures: Vec<Measure>,
    /// Whether they were asked for by name; of all those there are, some may not be possible.
    named: bool,
    sides: (&'a str, Option<&'a str>),
    space: &'a InceptionArgs,
    mode: &'a str,
}

impl Job<'_> {
    fn run(&self, settings: &MeasureSettings) -> anyhow::Result<Vec<Measurement>> {
        let device = self.space.device()?;
        let open = |source: &str| Side::open(source, &device);
        // What is cheap to find wrong comes first.
        let samples = open(self.sides.0)?;
        let reference = self.sides.1.map(open).transpose()?;
        let features = self.space.open(self.mode)?;
        let possible =
            |measure: &&Measure| self.named || measure.name != "sfid" || features.knows_places();
        let measures: Vec<Measure> = self.measures.iter().filter(possible).copied().collect();
        Ok(take(&measures, (&samples, reference.as_ref()), &*features, settings)?)
    }
}

fn one(job: &Job, how: &HowArgs, settings: MeasureSettings) -> anyhow::Result<()> {
    let found = job.run(&settings)?;
    match (how.json, &found[..]) {
        (true, [one]) => writeln!(io::stdout(), "{}", serde_json::to_string(one)?)?,
        _ => print(&found)?,
    }
    Ok(())
}

fn several(job: &Job, how: &HowArgs, settings: MeasureSettings) -> anyhow::Result<()> {
    let found = job.run(&settings)?;
    match how.json {
        true => writeln!(io::stdout(), "{}", json!({ "measurements": found }))?,
        false => print(&found)?,
    }
    Ok(())
}

fn print(found: &[Measurement]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for Measurement { metric, value, interval, details, warning, .. } in found {
        let range = interval.map(|i| format!(" [{}, {}]", digits(i.low), digits(i.high)));
        let spread = details.get("deviation").and_then(|d| d.as_f64());
        let spread = spread.map(|d| format!(", deviation {}", digits(d))).unwrap_or_default();
        writeln!(out, "{metric:<26} {}{}{spread}", digits(*value), range.unwrap_or_default())?;
        if let Some(warning) = warning {
            eprintln!("warning: {metric}: {warning}");
        }
    }
    Ok(())
}

/// A number of any size.
fn digits(value: f64) -> String {
    match value.abs() {
        size if size > 0.0 && size < 0.01 => format!("{value:.4e}"),
        _ => format!("{value:.5}"),
    }
}
