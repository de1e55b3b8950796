//! A case: everybody is started, warmed up and compared; then they take turns.

use super::{
    Bench,
    case::{Case, Kind, Side},
    peer::Variant,
    rest::Ticks,
    result::{Measured, Times},
    worker::{Answer, Worker},
};
use anyhow::{Context, Result};
use diff_core::timing::median;
use serde_json::Value;
use std::path::PathBuf;

/// A side under way, or why it is not.
struct Running {
    times: Times,
    worker: Option<Worker>,
    variant: Option<Variant>,
}

/// Measures a case. A peer that fails is reported; ours must not.
pub(super) fn measure(case: &Case, bench: &Bench) -> Result<Measured> {
    let sides = case.sides(bench)?;
    let names: Vec<&str> = sides.iter().map(|side| side.name.as_str()).collect();
    eprintln!("{}: starting {}", case.name(), names.join("; "));
    let peers = case.kind != Kind::Sequence;
    let mut running: Vec<Running> = Vec::new();
    let mut expected = None;
    for (i, side) in sides.into_iter().enumerate() {
        if i == 1 && peers {
            // Ours has written the inputs by now.
            expected = case.expected(bench)?;
        }
        let log = bench.folder.join(format!("{}-{}-{i}.log", case.kind.name(), case.batch));
        running.push(Running::warm(side, log, expected)?);
    }
    let mut ticks = Ticks::default();
    for round in 1..=bench.repeats {
        eprintln!("{}: round {round} of {}", case.name(), bench.repeats);
        for side in &mut running {
            ticks.rest(bench.pause);
            side.turn(|_, _| ())?;
        }
    }
    let times = running.into_iter().map(Running::end).collect::<Result<_>>()?;
    let busy = ticks.share();
    Ok(Measured { busy, ..Measured::new(case.kind.name(), case.batch, times, peers) })
}

impl Running {
    /// Starts a side and has it work once, which does not count.
    fn warm(mut side: Side, log: PathBuf, expected: Option<(f64, f64)>) -> Result<Self> {
        let exact = side.variant.is_some_and(Variant::is_exact);
        let times = Times { name: side.name, exact, ..Times::default() };
        let mut running = Running { times, worker: None, variant: side.variant };
        match Worker::start(&mut side.command, &log) {
            Ok((worker, ready)) => {
                running.worker = Some(worker);
                running.compare_step(&ready, expected);
            }
            Err(error) => running.fail(error)?,
        }
        running.turn(|times, answer| {
            let error =
                answer.get("relative_error").map(|error| error.as_f64().unwrap_or(f64::NAN));
            times.errors.extend(error.map(|error| ("output".to_string(), error)));
        })?;
        running.times.seconds.clear();
        Ok(running)
    }

    /// Notes how far loss and gradient norm are from ours.
    fn compare_step(&mut self, ready: &Answer, expected: Option<(f64, f64)>) {
        let Some((loss, norm)) = expected else { return };
        for (name, ours) in [("loss", loss), ("grad_norm", norm)] {
            if let Some(theirs) = ready.get(name) {
                let error = (theirs.as_f64().unwrap_or(f64::NAN) - ours).abs() / ours.abs();
                self.times.errors.insert(name.into(), error);
            }
        }
    }

    /// Has it work once, if it still can.
    fn turn(&mut self, hear: impl FnOnce(&mut Times, &Answer)) -> Result<()> {
        let Some(worker) = &mut self.worker else { return Ok(()) };
        match worker.turn() {
            Err(error) => self.fail(error),
            Ok(answer) => {
                self.times.seconds.extend(answer.get("seconds").and_then(Value::as_f64));
                self.times.peak_rss_bytes = answer.get("peak_rss_bytes").and_then(Value::as_u64);
                hear(&mut self.times, &answer);
                Ok(())
            }
        }
    }

    /// Gives up a peer; an error if it is ours.
    fn fail(&mut self, error: anyhow::Error) -> Result<()> {
        if self.variant.is_none() {
            return Err(error).with_context(|| self.times.name.clone());
        }
        let reason = format!("{error:#}");
        eprintln!("{} failed: {reason}", self.times.name);
        self.worker = None;
        self.times = Times {
            name: std::mem::take(&mut self.times.name),
            failed: Some(reason),
            ..Times::default()
        };
        Ok(())
    }

    fn end(mut self) -> Result<Times> {
        if let Some(Err(error)) = self.worker.take().map(Worker::end) {
            self.fail(error)?;
        }
        self.times.median_seconds = median(&self.times.seconds);
        Ok(self.times)
    }
}
