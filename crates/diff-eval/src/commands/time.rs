use super::{inception::InceptionArgs, metrics::DISTANCES};
use clap::Args;
use diff_core::timing::{Facts, Timing};
use diff_eval::{
    Features, Gaussian, Metric, Moments, Observed, PictureSource, Result, Rows, Seen, Statistics,
    frechet, observe, pictures::Pictures,
};
use diff_sample::sinks::write_npz;
use serde_json::json;
use std::path::PathBuf;

#[derive(Args)]
pub(crate) struct TimeArgs {
    /// Pictures, as `fid` takes them: times reading, decoding, resizing, the network, and adding up mean
    /// and covariance. Without it the network is timed alone, on one batch.
    #[arg(long, value_name = "SOURCE")]
    pictures: Option<String>,
    /// Two files of statistics: times the Fréchet distance of one to the other, and no network.
    #[arg(long, num_args = 2, value_name = "FILE", conflicts_with_all = ["pictures", "weights", "classifier"])]
    statistics: Vec<PathBuf>,
    #[command(flatten)]
    space: InceptionArgs,
    /// The .npz that receives the last features, `features` f8 [N, F], or the `distance` f8 [1].
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    timing: Timing,
}

pub(crate) fn run(args: &TimeArgs) -> anyhow::Result<()> {
    args.timing.check()?;
    if let [one, other] = &args.statistics[..] {
        return distance(
            args,
            &Statistics::read(one)?.gaussian,
            &Statistics::read(other)?.gaussian,
        );
    }
    let features = args.space.open(DISTANCES)?;
    match &args.pictures {
        Some(source) => pass(args, &*features, source),
        None => network(args, &*features),
    }
}

fn distance(args: &TimeArgs, one: &Gaussian, other: &Gaussian) -> anyhow::Result<()> {
    let tell = |value: f64| {
        if let Some(path) = &args.output {
            write_npz(path, &[("distance", "<f8", &[1], &value.to_le_bytes())])?;
        }
        Ok(Facts::from_iter([("distance".into(), json!(value))]))
    };
    args.timing.run(|| Ok(frechet(one, other)?), tell)
}

fn network(args: &TimeArgs, features: &dyn Features) -> anyhow::Result<()> {
    let shape @ [h, w, c] = features.shape().unwrap_or([299, 299, 3]);
    let count = features.batch();
    // Any bytes will do, so long as a peer can make them too.
    let bytes = (0..count * h * w * c).map(|i| (i % 251) as u8).collect();
    let prepared = features.prepare(&Pictures { shape, bytes })?;
    args.timing.run(|| Ok(features.see(&prepared)?), |Seen { features, .. }| tell(args, &features))
}

fn pass(args: &TimeArgs, features: &dyn Features, source: &str) -> anyhow::Result<()> {
    let device = args.space.device()?;
    let work = || {
        let mut kept = Kept { moments: Moments::default(), rows: None };
        observe(&PictureSource::open(source, &device)?, features, &mut kept)?;
        Ok(kept.finish()?)
    };
    args.timing.run(work, |rows| tell(args, &rows))
}

/// Mean and covariance, as for a Fréchet distance, and the rows to show for it.
struct Kept {
    moments: Moments,
    rows: Option<Rows>,
}

impl Metric for Kept {
    type Input = Observed;
    type Output = Rows;

    fn add(&mut self, observed: &Observed) -> Result<()> {
        let rows = observed.seen.features.clone();
        self.moments.add(&rows)?;
        match &mut self.rows {
            Some(kept) => kept.extend(rows)?,
            none => *none = Some(rows),
        }
        Ok(())
    }

    fn merge(&mut self, other: Self) -> Result<()> {
        self.moments.merge(other.moments)?;
        match (&mut self.rows, other.rows) {
            (Some(ours), Some(theirs)) => ours.extend(theirs),
            (ours, theirs) => {
                *ours = ours.take().or(theirs);
                Ok(())
            }
        }
    }

    fn finish(self) -> Result<Rows> {
        self.moments.finish()?;
        self.rows.ok_or_else(|| diff_eval::Error::Mismatch("no pictures".into()))
    }
}

fn tell(args: &TimeArgs, rows: &Rows) -> anyhow::Result<Facts> {
    if let Some(path) = &args.output {
        let bytes: Vec<u8> = rows.iter().flatten().flat_map(|v| v.to_le_bytes()).collect();
        write_npz(path, &[("features", "<f8", &[rows.len(), rows.width()], &bytes)])?;
    }
    Ok(Facts::from_iter([("images".into(), json!(rows.len()))]))
}
