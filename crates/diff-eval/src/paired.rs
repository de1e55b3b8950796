//! Pictures against what they should be, one by one.

use crate::{
    Account, Error, Interval, Metric, Pair, PairErrors, PictureSource, Result,
    account::Ledger,
    bootstrap::{interval, replicates},
    source::Placed,
};
use candle_core::{Device, Tensor};
use diff_core::progress::Progress;
use rayon::ThreadPoolBuilder;
use serde::Serialize;
use std::{
    sync::mpsc::{Receiver, sync_channel},
    thread,
};

/// How far pictures are from what they should be. Grey levels are in [0, 1].
#[derive(Clone, Debug, Serialize)]
pub struct Paired {
    /// `MSE`.
    pub metric: &'static str,
    /// The mean over pictures and values of the squared difference.
    pub value: f64,
    /// Where it would fall for as many other pictures, 95 times of 100; none without resamples.
    pub interval: Option<Interval>,
    /// The mean over pictures of 10 log10(1 / mse), in decibels; none where one is exactly right.
    pub psnr: Option<f64>,
    /// Where that would fall.
    pub psnr_interval: Option<Interval>,
    /// Pictures that are exactly right.
    pub exact: u64,
    /// What it rests on.
    pub provenance: PairedBasis,
}

/// What a comparison of pairs rests on.
#[derive(Clone, Debug, Serialize)]
pub struct PairedBasis {
    /// The pictures judged.
    pub samples: Account,
    /// What they should be.
    pub reference: Account,
    /// Resamples.
    pub bootstrap: usize,
    /// Their seed.
    pub seed: u64,
    /// The version that measured.
    pub version: &'static str,
}

/// Compares every picture of `samples` with the one at the same place of `reference`; intervals are made
/// of `bootstrap` resamples under `seed`. Memory does not grow with the number of pictures but for one
/// number of each.
///
/// # Errors
/// When one does not read, they have not equally many pictures, or two differ in shape; the place is
/// named.
pub fn paired(
    samples: PictureSource,
    reference: PictureSource,
    (bootstrap, seed): (usize, u64),
) -> Result<Paired> {
    // Threads of its own: those of the samples wait for the reference, and would be waited for.
    let pool = ThreadPoolBuilder::new().build();
    let pool = pool.map_err(|e| Error::Mismatch(format!("no threads to read with: {e}")))?;
    let mut progress = Progress::new(samples.places()?, "pictures");
    let (mut errors, mut ours) = (PairErrors::default(), Ledger::default());
    let (send, receive) = sync_channel(2);
    let (samples, reference) = thread::scope(|scope| {
        let theirs = move || {
            let mut theirs = Ledger::default();
            let report = reference.run(&mut |some| {
                let some = some.into_iter().map(|placed| theirs.enter(placed, KEEP));
                // Nobody listens any more: the other side has its own error, or fewer pictures.
                send.send(some.collect()).map_err(|_| unequal())
            });
            report.map(|report| theirs.close(&reference, report))
        };
        let theirs = scope.spawn(move || pool.install(theirs));
        let mut waiting = Waiting { receive, some: Vec::new().into_iter() };
        let mut short = false;
        let report = samples.run(&mut |some| {
            for placed in some {
                let placed = ours.enter(placed, KEEP);
                let original = waiting.next();
                short = original.is_none();
                errors.add(&pair(placed, original.ok_or_else(unequal)?)?)?;
            }
            progress.update(ours.images() as f64, "compared");
            Ok(())
        });
        let more = report.is_ok() && waiting.next().is_some();
        drop(waiting);
        let theirs = theirs.join().map_err(|_| Error::Mismatch("reading failed".into()))?;
        match (report, theirs) {
            // It ended too early because it does not read.
            (Err(_), Err(error)) if short => Err(error),
            (Err(error), _) => Err(error),
            (Ok(_), _) if more => Err(unequal()),
            (Ok(report), theirs) => Ok((ours.close(&samples, report), theirs?)),
        }
    })?;
    progress.finish();
    let found = errors.finish()?;
    let of = |values: &[f64]| -> Result<(f64, Option<Interval>)> {
        let mean = |weights: &[u32]| -> f64 {
            let sum: f64 = values.iter().zip(weights).map(|(v, w)| v * f64::from(*w)).sum();
            sum / values.len() as f64
        };
        let value = mean(&vec![1; values.len()]);
        let resampled = replicates(values.len(), bootstrap, seed, |weights| Ok(mean(weights)))?;
        Ok((value, interval(value, &resampled)))
    };
    let exact = found.of_picture.iter().filter(|mse| **mse == 0.0).count() as u64;
    let decibels: Vec<f64> = found.of_picture.iter().map(|mse| -10.0 * mse.log10()).collect();
    let (value, range) = of(&found.of_picture)?;
    let psnr = if exact == 0 { Some(of(&decibels)?) } else { None };
    Ok(Paired {
        metric: "MSE",
        value,
        interval: range,
        psnr: psnr.map(|(value, _)| value),
        psnr_interval: psnr.and_then(|(_, range)| range),
        exact,
        provenance: PairedBasis {
            samples,
            reference,
            bootstrap,
            seed,
            version: env!("CARGO_PKG_VERSION"),
        },
    })
}

/// Pictures stay as they are.
const KEEP: Option<[usize; 3]> = Some([0; 3]);

fn unequal() -> Error {
    Error::Mismatch(
        "one set has more pictures than the other: pairs are compared place by place".into(),
    )
}

/// Pictures of the other thread.
struct Waiting {
    receive: Receiver<Vec<Placed>>,
    some: std::vec::IntoIter<Placed>,
}

impl Waiting {
    fn next(&mut self) -> Option<Placed> {
        loop {
            match self.some.next() {
                Some(placed) => return Some(placed),
                None => self.some = self.receive.recv().ok()?.into_iter(),
            }
        }
    }
}

fn pair(found: Placed, original: Placed) -> Result<Pair> {
    let place = found.place;
    let shape = |p: &Placed| [p.pixels.height, p.pixels.width, p.pixels.channels];
    let (ours, theirs) = (shape(&found), shape(&original));
    if place != original.place || ours != theirs {
        let other = original.place;
        return Err(Error::Mismatch(format!(
            "the picture at place {place}, {ours:?} (height, width, channels), has no like: at {other} \
             there is one of {theirs:?}"
        )));
    }
    let tensor = |Placed { pixels, .. }: Placed| -> Result<Tensor> {
        let values: Vec<f32> = pixels.bytes.iter().map(|v| f32::from(*v) / 127.5 - 1.0).collect();
        let shape = (1, pixels.height * pixels.width * pixels.channels);
        Ok(Tensor::from_vec(values, shape, &Device::Cpu)?)
    };
    Ok(Pair { original: tensor(original)?, found: tensor(found)? })
}
