//! Where the pictures of a command go, and what it says of them.

use candle_core::Tensor;
use clap::Args;
use diff_core::progress::Progress;
use diff_sample::{
    ImageSink, Outcome,
    sinks::{self, Form, Tee},
};
use serde_json::{Value, json};
use std::{
    io::{self, Write},
    path::PathBuf,
    time::Instant,
};

#[derive(Args)]
pub(super) struct OutputArgs {
    /// Where to: .png (a grid), .npz, or a folder of pictures. May be repeated.
    #[arg(long, required = true, value_name = "PATH")]
    out: Vec<PathBuf>,
    /// Add the values before clamping and rounding to .npz, as `raw` [N,C,H,W].
    #[arg(long)]
    f32: bool,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// How pictures are laid out where they share a sheet.
#[derive(Clone, Copy, Default)]
pub(super) struct Sheet {
    pub(super) count: usize,
    /// The first so many are shown; all of them where there is no number.
    pub(super) shown: Option<usize>,
    /// None: as near to a square as can be.
    pub(super) columns: Option<usize>,
}

impl OutputArgs {
    /// Opens everything pictures go to.
    pub(super) fn open(&self, sheet: Sheet, provenance: &Value) -> anyhow::Result<Tee> {
        let provenance = provenance.to_string();
        let form = Form {
            count: sheet.count,
            grid: sheet.shown,
            columns: sheet.columns,
            provenance: &provenance,
            raw: self.f32,
        };
        Ok(Tee(self.out.iter().map(|path| sinks::open(path, form)).collect::<Result<_, _>>()?))
    }

    /// Writes rows of pictures, each `[N, C, H, W]` in [-1, 1]; they are numbered row by row.
    pub(super) fn write(sink: &mut Tee, rows: &[Tensor]) -> anyhow::Result<()> {
        let mut next = 0;
        for row in rows {
            let count = row.dim(0)? as u64;
            let indices: Vec<u64> = (next..next + count).collect();
            sink.write(&indices, row)?;
            next += count;
        }
        Ok(sink.finish()?)
    }

    /// Says what was done: `also` joins the JSON object, `lines` follow the text.
    pub(super) fn report(
        &self,
        (outcome, seconds): (Outcome, f64),
        also: Value,
        lines: &[String],
    ) -> anyhow::Result<()> {
        let mut out = io::stdout().lock();
        let Outcome { images, network_calls, evaluations } = outcome;
        if !self.json {
            writeln!(out, "{images} pictures, {network_calls} network calls, {seconds:.2} s")?;
            lines.iter().try_for_each(|line| writeln!(out, "{line}"))?;
            return Ok(());
        }
        let mut report = json!({
            "images": images,
            "network_calls": network_calls,
            "evaluations": evaluations,
            "seconds": seconds,
            "out": self.out,
        });
        if let (Some(report), Value::Object(also)) = (report.as_object_mut(), also) {
            report.extend(also);
        }
        writeln!(out, "{report}")?;
        Ok(())
    }
}

/// Does `work` under a progress bar over so many pictures, and times it.
pub(super) fn timed<T>(
    pictures: usize,
    work: impl FnOnce(&mut dyn FnMut(f64)) -> diff_sample::Result<T>,
) -> anyhow::Result<(T, f64)> {
    let mut progress = Progress::new(pictures as u64, "pictures");
    let started = Instant::now();
    let done = work(&mut |done| progress.update(done, ""));
    progress.finish();
    Ok((done?, started.elapsed().as_secs_f64()))
}

/// The costs of two runs together.
pub(super) fn sum(a: Outcome, b: Outcome) -> Outcome {
    Outcome {
        images: a.images + b.images,
        network_calls: a.network_calls + b.network_calls,
        evaluations: a.evaluations + b.evaluations,
    }
}
