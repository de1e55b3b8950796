//! Progress on stderr: a bar on a terminal, a plain line every ten seconds elsewhere.

use indicatif::{ProgressBar, ProgressStyle};
use std::{
    io::IsTerminal,
    time::{Duration, Instant},
};

/// How far a piece of work is.
pub struct Progress {
    bar: Option<ProgressBar>,
    total: u64,
    before: u64,
    unit: &'static str,
    started: Instant,
    spoken: Instant,
}

const SILENCE: Duration = Duration::from_secs(10);

impl Progress {
    /// `total` units of work, called `unit` (a plural).
    pub fn new(total: u64, unit: &'static str) -> Self {
        Self::resumed(total, unit, 0)
    }

    /// [`Progress::new`] for work of which `done` was done before: rate and time left are those of
    /// what is done from now on.
    pub fn resumed(total: u64, unit: &'static str, done: u64) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let template = "{bar:30} {pos}/{len} {msg} {per_sec} ETA {eta}";
            let style = ProgressStyle::with_template(template);
            ProgressBar::new(total)
                .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
                .with_position(done)
        });
        if let Some(bar) = &bar {
            bar.reset_eta();
        }
        let now = Instant::now();
        Progress { bar, total, before: done, unit, started: now, spoken: now }
    }

    /// Reports that `done` units are done; `note` says what is worth knowing besides.
    pub fn update(&mut self, done: f64, note: &str) {
        if let Some(bar) = &self.bar {
            bar.set_position(done as u64);
            bar.set_message(format!("{} {note}", self.unit));
        } else if self.spoken.elapsed() >= SILENCE {
            self.spoken = Instant::now();
            let rate = (done - self.before as f64) / self.started.elapsed().as_secs_f64();
            let left = (self.total as f64 - done) / rate.max(1e-9);
            let (total, unit) = (self.total, self.unit);
            eprintln!("{done:.0}/{total} {unit} {note} {rate:.1}/s, {left:.0} s left");
        }
    }

    /// Ends the bar; whatever is printed next starts on its own line.
    pub fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}
