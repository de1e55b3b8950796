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
            ProgressEvent::Download(DownloadEvent::AggregateProgress {
                bytes_completed, ..
            }) => Some(*bytes_completed),
            _ => None,
        };
        if let (Some(bytes), Some(shown)) = (bytes, &mut *self.shown()) {
            // Some events come by the clock; only bytes are a sign of life.
            if bytes != shown.bytes {
                shown.bytes = bytes;
                self.sign();
            }
            shown.bar.update((shown.before + bytes) as f64 / 1e6, &shown.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_bytes_are_a_sign_of_life() {
        let meter = Meter::default();
        let told = |bytes_completed| {
            let event = DownloadEvent::AggregateProgress {
                bytes_completed,
                total_bytes: 10,
                bytes_per_sec: None,
            };
            meter.on_progress(&event.into());
            meter.signs()
        };
        assert_eq!(told(1), 0, "nothing is under way");
        meter.begin(10);
        meter.file("a", 0);
        assert_eq!([told(0), told(4), told(4), told(10)], [0, 1, 1, 2]);
        meter.end();
    }
}
