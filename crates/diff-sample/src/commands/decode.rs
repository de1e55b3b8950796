use super::{
    Prepared, SampleArgs,
    generate::make,
    output::{OutputArgs, Sheet},
};
use clap::Args;
use diff_sample::latents::Latents;
use serde_json::json;
use std::path::{Path, PathBuf};

#[derive(Args)]
pub(crate) struct DecodeArgs {
    #[command(flatten)]
    sample: SampleArgs,
    /// A file that `encode` wrote; --num and --indices choose of its latents [default: all].
    #[arg(long, value_name = "FILE")]
    latents: PathBuf,
    #[command(flatten)]
    output: OutputArgs,
}

/// Makes pictures from latents in a file.
pub(crate) fn decode(args: &DecodeArgs) -> anyhow::Result<()> {
    let prepared = args.sample.open(args.sample.one_number_of_steps()?)?.deterministic()?;
    let latents = read(&args.latents, &args.sample, &prepared)?;
    let there = &latents.about.indices;
    let prepared = prepared.making(args.sample.among(there, "latents of the file")?)?;
    let mut provenance = args.sample.provenance(&prepared)?;
    provenance["latents"] = json!(latents.about.provenance);
    let request = &prepared.request;
    let starts = |indices: &[u64]| latents.rows(indices, request.dtype, &request.device);
    let sheet = Sheet { count: request.indices.len(), ..Sheet::default() };
    make(&prepared, &starts, (&args.output, sheet), &provenance)
}

/// Latents that the network and the trajectory can start from.
pub(super) fn read(
    path: &Path,
    sample: &SampleArgs,
    prepared: &Prepared,
) -> anyhow::Result<Latents> {
    sample.classes_said(prepared)?;
    let latents = Latents::read(path)?;
    let timesteps = prepared.checkpoint.schedule.timesteps();
    let top =
        prepared.spec.times(&prepared.checkpoint.schedule)?.last().copied().unwrap_or(timesteps);
    latents.check(prepared.request.shape, timesteps, top)?;
    Ok(latents)
}
