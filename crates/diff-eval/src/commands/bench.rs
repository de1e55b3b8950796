//! What the commands that measure networks on pictures share.

use clap::Args;
use diff_core::progress::Progress;
use diff_eval::gap::{Bench, Model, Subject};
use diff_models::device;

#[derive(Args)]
pub(crate) struct BenchArgs {
    /// A checkpoint folder, a run folder, or `hub:org/name`; once for every network to compare.
    #[arg(long, required = true, value_name = "SPEC")]
    checkpoint: Vec<String>,
    /// What to call it in results, in the order of the checkpoints [default: its SPEC].
    #[arg(long, value_name = "NAME")]
    name: Vec<String>,
    /// A data set, `SOURCE`, `SOURCE:train` or `SOURCE:test` [default: what the first network was
    /// trained on].
    #[arg(long, value_name = "SOURCE")]
    data: Option<String>,
    /// Where to compute: cpu, cuda or cuda:N.
    #[arg(long, default_value = "cpu")]
    device: String,
}

impl BenchArgs {
    pub(crate) fn open(&self) -> anyhow::Result<Bench> {
        let device = device::open(&self.device)?;
        Ok(Bench::open(&self.checkpoint, &self.name, self.data.as_deref(), &device)?)
    }
}

/// Measures every network of the bench on `num` pictures, one after the other, and shows how far
/// that is.
pub(crate) fn for_every_model<T>(
    bench: &Bench,
    num: u64,
    mut measure: impl FnMut(&Model, &Subject, &mut dyn FnMut(f64)) -> diff_eval::Result<T>,
) -> anyhow::Result<Vec<T>> {
    let mut progress = Progress::new(num.saturating_mul(bench.models.len() as u64), "pictures");
    let mut one = |(i, model): (usize, &Model)| {
        let before = i as f64 * num as f64;
        let measured = measure(model, &bench.subject(model), &mut |done| {
            progress.update(before + done, &model.name);
        });
        measured.map_err(|e| anyhow::Error::from(e).context(format!("measuring {}", model.spec)))
    };
    let measured = bench.models.iter().enumerate().map(&mut one).collect();
    progress.finish();
    measured
}

/// What a result for people says of its pictures.
pub(crate) fn pictures_line(bench: &Bench, num: u64) -> String {
    let (distinct, repeats) = (bench.pictures.len() as u64, bench.pictures.repeats(num));
    match repeats {
        0 => format!("{num} pictures of {} ({distinct} in all)", bench.data),
        _ => format!(
            "{num} pictures: the {distinct} of {} repeat in order, each time with noise of their own",
            bench.data
        ),
    }
}
