//! The rest between turns: all sides are idle then, so that whatever is busy is something else.

use std::{fs, thread, time::Duration};

/// Ticks of all cores, while we rested.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ticks {
    busy: u64,
    all: u64,
}

impl Ticks {
    /// Rests, and adds what the machine did meanwhile.
    pub(super) fn rest(&mut self, pause: Duration) {
        // Threads may wait for more work for a while before they sleep: only the end counts.
        thread::sleep(pause * 2 / 3);
        let before = now();
        thread::sleep(pause / 3);
        if let (Some(before), Some(after)) = (before, now()) {
            self.busy += after.busy.saturating_sub(before.busy);
            self.all += after.all.saturating_sub(before.all);
        }
    }

    /// The share of the machine that other programs used; `None` where the system does not say.
    pub(super) fn share(self) -> Option<f64> {
        (self.all > 0).then(|| self.busy as f64 / self.all as f64)
    }
}

fn now() -> Option<Ticks> {
    ticks(&fs::read_to_string("/proc/stat").ok()?)
}

/// The first line of /proc/stat: user, nice, system, idle, iowait, irq, softirq, steal, and times of
/// guests, which are in user as well.
fn ticks(stat: &str) -> Option<Ticks> {
    let values = stat.lines().next()?.strip_prefix("cpu ")?;
    let values: Vec<u64> =
        values.split_whitespace().take(8).map_while(|v| v.parse().ok()).collect();
    let all = values.iter().sum();
    let idle: u64 = values.get(3..5)?.iter().sum();
    Some(Ticks { busy: all - idle, all })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_idle_is_busy_and_guests_count_once() {
        let found = ticks("cpu  10 1 5 70 10 1 1 2 9 9\ncpu0 1 2 3\n").unwrap();
        assert_eq!((found.busy, found.all), (20, 100));
        assert_eq!(found.share(), Some(0.2));
        assert!(ticks("cpu 1 2 3\n").is_none() && ticks("intr 5\n").is_none());
        assert_eq!(Ticks::default().share(), None);
    }
}
