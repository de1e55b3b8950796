use super::{inception::InceptionArgs, metrics::DISTANCES};
use clap::Args;
use diff_core::Error;
use diff_eval::{PictureSource, Statistics, Tap, measures::statistics};
use serde_json::json;
use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

#[derive(Args)]
pub(crate) struct StatsArgs {
    /// Pictures, as `fid` takes them, or statistics that this command made; of several they are those of
    /// all pictures together.
    #[arg(required = true, value_name = "SOURCE")]
    sources: Vec<String>,
    /// Where they go: an .npz with `mu`, `sigma` and `about`.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Of the features that know of places, for sFID.
    #[arg(long)]
    spatial: bool,
    #[command(flatten)]
    space: InceptionArgs,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &StatsArgs) -> anyhow::Result<()> {
    if args.out.extension().is_none_or(|ending| ending != "npz") {
        let given = args.out.display();
        return Err(Error::argument("--out", given, "a file that ends in .npz").into());
    }
    let tap = if args.spatial { Tap::Spatial } else { Tap::Pooled };
    let device = args.space.device()?;
    let pictures = |source: &&String| !Statistics::is_file(source);
    // Statistics that are merged need no network.
    let features = match args.sources.iter().any(|source| pictures(&source)) {
        true => Some(args.space.open(DISTANCES)?),
        false => None,
    };
    let one = |source: &String| match &features {
        Some(features) if pictures(&source) => {
            statistics(&PictureSource::open(source, &device)?, &**features, tap)
        }
        _ => Statistics::read(Path::new(source)),
    };
    let (first, rest) = (one(&args.sources[0])?, &args.sources[1..]);
    let merged = rest.iter().try_fold(first, |all, source| all.merged(one(source)?))?;
    merged.write(&args.out)?;
    let (count, width) = (merged.gaussian.count, merged.gaussian.mean.len());
    let out = args.out.display().to_string();
    let mut stdout = io::stdout().lock();
    match args.json {
        true => {
            writeln!(stdout, "{}", json!({ "out": out, "features": width, "about": merged.about }))?
        }
        false => writeln!(stdout, "{out}: {width} features of {count} pictures")?,
    }
    Ok(())
}
