use super::{Prepared, SampleArgs, output::timed};
use clap::Args;
use diff_sample::{
    CleanData,
    latents::{About, Encoding, Latents, Start, encode as encode_all},
    sinks::Kept,
};
use serde_json::json;
use std::{
    io::{self, Write},
    path::PathBuf,
};

#[derive(Args)]
pub(crate) struct EncodeArgs {
    #[command(flatten)]
    sample: SampleArgs,
    /// A data set, a folder or an archive of pictures: `SOURCE`, `SOURCE:train` or `SOURCE:test`; --num and
    /// --indices choose of its pictures [default: all of what the network was trained on].
    #[arg(long, value_name = "SOURCE")]
    data: Option<String>,
    /// clean: a first step takes pictures to the first time; first: they are taken to be at it.
    #[arg(long, default_value = "clean")]
    start: Start,
    /// The safetensors file that receives the latents.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Takes pictures to their latents and writes those.
pub(crate) fn encode(args: &EncodeArgs) -> anyhow::Result<()> {
    let prepared = args.sample.open(args.sample.one_number_of_steps()?)?;
    args.sample.classes_said(&prepared)?;
    let encoding = Encoding { spec: prepared.spec.clone(), start: args.start };
    let time = encoding.end(&prepared.checkpoint.schedule)?;
    let spec = &args.sample.checkpoint;
    let data = CleanData::open(&prepared.checkpoint, spec, args.data.as_deref())?;
    let there: Vec<u64> = (0..data.pictures.len() as u64).collect();
    let indices = args.sample.among(&there, &format!("pictures of {}", data.name))?;
    let prepared = prepared.making(indices)?;
    let mut provenance = args.sample.provenance(&prepared)?;
    provenance["start"] = json!(args.start);
    provenance["data"] = json!(data.name);
    provenance["data_sha256"] = json!(data.sha256);
    let Prepared { checkpoint, request, .. } = &prepared;
    let pictures = |i: &[u64]| data.pictures.tensor(i, request.dtype, &request.device);
    let mut kept = Kept::default();
    let (model, schedule) = (&checkpoint.denoiser, &checkpoint.schedule);
    let (outcome, seconds) = timed(request.indices.len(), |progress| {
        encode_all(model, schedule, &encoding, request, &pictures, &mut kept, progress)
    })?;
    let (indices, values) = kept.take()?;
    let values = values.to_device(&candle_core::Device::Cpu)?;
    let about = About { indices, timesteps: schedule.timesteps(), time, provenance };
    Latents { values, about }.write(&args.out)?;
    let mut out = io::stdout().lock();
    let calls = outcome.network_calls;
    if !args.json {
        let count = outcome.images;
        writeln!(out, "{count} latents at t = {time}, {calls} network calls, {seconds:.2} s")?;
        return Ok(());
    }
    let report = json!({
        "images": outcome.images,
        "network_calls": calls,
        "evaluations": outcome.evaluations,
        "time": time,
        "seconds": seconds,
        "out": args.out,
    });
    writeln!(out, "{report}")?;
    Ok(())
}
