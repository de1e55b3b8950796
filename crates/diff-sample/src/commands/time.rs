use super::{Prepared, SampleArgs};
use clap::Args;
use diff_core::timing::{Facts, Timing};
use diff_sample::{
    ImageSink, generate,
    sinks::{Kept, NpzSink, Untransformed},
};
use std::path::PathBuf;

#[derive(Args)]
pub(crate) struct TimeArgs {
    #[command(flatten)]
    sample: SampleArgs,
    /// The .npz that receives the last pictures, with their values before clamping and rounding.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    timing: Timing,
}

/// Times `generate`, all of it but the writing.
pub(crate) fn time(args: &TimeArgs) -> anyhow::Result<()> {
    args.timing.check()?;
    let Prepared { checkpoint, spec, request } = args.sample.prepare()?;
    let transform = checkpoint.transform()?;
    let make = || {
        let mut sink = Untransformed { transform, sink: Kept::default() };
        let (model, schedule) = (&checkpoint.denoiser, &checkpoint.schedule);
        let outcome = generate(model, schedule, &spec, &request, &mut sink, &mut |_| ())?;
        // A device may still be at work when a call returns.
        request.device.synchronize()?;
        Ok((outcome, sink.sink))
    };
    args.timing.run(make, |(outcome, kept)| {
        if let Some(path) = &args.output {
            let mut sink = NpzSink::create(path, outcome.images, "", true)?;
            let (indices, x) = kept.take()?;
            sink.write(&indices, &x)?;
            sink.finish()?;
        }
        Ok(Facts::from_iter([
            ("images".into(), outcome.images.into()),
            ("network_calls".into(), outcome.network_calls.into()),
        ]))
    })
}
