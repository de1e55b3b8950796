//! How far a download is: what hf-hub tells, as a bar on stderr and as a sign of life.

use diff_core::progress::Progress;
use hf_hub::progress::{DownloadEvent, ProgressEvent, ProgressHandler};
use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering},
};

#[derive(Default)]
pub(super) struct Meter {
    signs: AtomicU64,
    shown: Mutex<Option<Shown>>,
}

struct Shown {
    bar: Progress,
    /// The file under way.
    name: String,
    /// Bytes of the files before it.
    before: u64,
    /// Its own bytes so far.
    bytes: u64,
}

impl Meter {
    /// Shows a bar over `total` bytes.
    pub(super) fn begin(&self, total: u64) {
        let bar = Progress::new(total.div_ceil(1_000_000), "MB");
        *self.shown() = Some(Shown { bar, name: String::new(), before: 0, bytes: 0 });
    }

    /// The file `name` begins, after `before` bytes of others.
    pub(super) fn file(&self, name: &str, before: u64) {
        if let Some(shown) = &mut *self.shown() {
            (shown.name, shown.before, shown.bytes) = (name.to_string(), before, 0);
        }
    }

    /// Ends the bar.
    pub(super) fn end(&self) {
        if let Some(shown) = self.shown().take() {
            shown.bar.finish();
        }
    }

    /// Something arrived.
    pub(super) fn sign(&self) {
        self.signs.fetch_add(1, Ordering::Relaxed);
    }

    /// How often something arrived.
    pub(super) fn signs(&self) -> u64 {
        self.signs.load(Ordering::Relaxed)
    }

    fn shown(&self) -> MutexGuard<'_, Option<Shown>> {
        // A bar is as good as before when a thread died while drawing it.
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ProgressHandler for Meter {
    fn on_progress(&self, event: &ProgressEvent) {
        let bytes = match event {
            ProgressEvent::Download(DownloadEvent::Progress { files }) => {
                files.iter().map(|file| file.bytes_completed).max()
            }
            // Comes ten times a second while hf-xet works. It counts bytes only once large pieces
            // are whole, and has time limits of its own, so that it works is enough.
            ProgressEvent::Download(DownloadEvent::AggregateProgress {
                bytes_completed, ..
            }) => {
                self.sign();
                Some(*bytes_completed)
            }
            _ => None,
        };
        if let (Some(bytes), Some(shown)) = (bytes, &mut *self.shown()) {
            // The same count may come again; only new bytes are a sign of life.
            if bytes > shown.bytes {
                shown.bytes = bytes;
                self.sign();
            }
            shown.bar.update((shown.before + shown.bytes) as f64 / 1e6, &shown.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hf_hub::progress::{FileProgress, FileStatus};

    #[test]
    fn new_bytes_and_a_working_xet_are_signs_of_life() {
        let meter = Meter::default();
        let signs = |event: DownloadEvent| {
            let before = meter.signs();
            meter.on_progress(&event.into());
            meter.signs() - before
        };
        let file = |bytes_completed| DownloadEvent::Progress {
            files: vec![FileProgress {
                filename: "a".into(),
                bytes_completed,
                total_bytes: 10,
                status: FileStatus::InProgress,
            }],
        };
        assert_eq!(signs(file(1)), 0, "nothing is under way");
        meter.begin(20);
        meter.file("a", 0);
        assert_eq!([file(0), file(4), file(4), file(3), file(10)].map(signs), [0, 1, 0, 0, 1]);
        meter.file("b", 10);
        assert_eq!(signs(file(4)), 1, "another file counts from nothing");
        let xet = DownloadEvent::AggregateProgress {
            bytes_completed: 0,
            total_bytes: 10,
            bytes_per_sec: None,
        };
        assert_eq!([xet.clone(), xet].map(signs), [1, 1]);
        meter.end();
    }
}
