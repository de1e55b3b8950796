use serde::{Deserialize, Serialize};
use std::f64::consts::PI;

/// How the learning rate goes down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decay {
    /// It stays. Every document trains like this; SA-DPM's code builds a cosine schedule and
    /// never steps it.
    #[default]
    Constant,
    /// Half a cosine, from the full rate after the warm-up to 0 at the run's end.
    Cosine,
}

/// The learning rate of every step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// The full rate.
    pub lr: f64,
    /// Steps over which it rises in equal parts; step 1 takes the first part, not 0.
    pub warmup: usize,
    /// How it goes down after that.
    pub decay: Decay,
    /// Steps of the whole run.
    pub steps: usize,
}

impl Rate {
    /// The rate of step `step`, counted from 0.
    pub fn at(&self, step: usize) -> f64 {
        if step < self.warmup {
            return self.lr * (step + 1) as f64 / self.warmup as f64;
        }
        match self.decay {
            Decay::Constant => self.lr,
            Decay::Cosine => {
                let length = (self.steps.saturating_sub(self.warmup)).max(1);
                let done = ((step - self.warmup) as f64 / length as f64).min(1.0);
                self.lr * 0.5 * (1.0 + (PI * done).cos())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_rises_stays_or_falls_as_asked() {
        let constant = Rate { lr: 2e-4, warmup: 4, decay: Decay::Constant, steps: 100 };
        let warm: Vec<f64> = (0..6).map(|s| constant.at(s) / 2e-4).collect();
        assert_eq!(warm, [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]);
        assert_eq!(Rate { warmup: 0, ..constant }.at(0), 2e-4);
        let cosine = Rate { warmup: 0, decay: Decay::Cosine, ..constant };
        assert_eq!(cosine.at(0), 2e-4);
        assert!((cosine.at(50) - 1e-4).abs() < 1e-18);
        assert!((1..100).all(|s| cosine.at(s) < cosine.at(s - 1) && cosine.at(s) > 0.0));
        let both = Rate { decay: Decay::Cosine, ..constant };
        assert_eq!((both.at(3), both.at(4)), (2e-4, 2e-4));
    }
}
