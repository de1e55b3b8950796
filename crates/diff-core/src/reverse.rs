//! The variance of the reverse process p(x_s | x_t).

use crate::{posterior::Step, schedule::Schedule};
use serde::{Deserialize, Serialize};

/// Which variance the reverse process has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReverseVariance {
    /// beta~_{s|t}, that of the posterior (DDPM, section 3.2).
    #[default]
    Small,
    /// beta_{t|s}, that of the forward step (DDPM, section 3.2).
    Large,
    /// What the network says, between the two (improved DDPM, equation 15).
    Learned,
}

impl ReverseVariance {
    /// Every one.
    pub const ALL: [ReverseVariance; 3] =
        [ReverseVariance::Small, ReverseVariance::Large, ReverseVariance::Learned];

    /// What the user types.
    pub fn name(self) -> &'static str {
        match self {
            ReverseVariance::Small => "small",
            ReverseVariance::Large => "large",
            ReverseVariance::Learned => "learned",
        }
    }
}

/// The ends of the range that a learned variance lies in: ln Sigma = u ln beta_{t|s} +
/// (1 - u) ln beta~_{s|t} with u = (v + 1) / 2, where v is the network's output, not clamped
/// (improved DDPM, equation 15; guided-diffusion).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LogRange {
    /// ln beta~_{s|t}.
    pub small: f64,
    /// ln beta_{t|s}.
    pub large: f64,
}

impl LogRange {
    /// The range of a step with 0 < s < t.
    pub fn of(step: &Step) -> Self {
        LogRange { small: step.beta_tilde().ln(), large: step.beta().ln() }
    }

    /// The range of any step of `schedule`, s < t.
    ///
    /// Onto clean data beta~ is 0. There, from t = 1, beta~_{1|2} stands in for it
    /// (guided-diffusion); from a later time both ends are ln(1 - alpha_bar_t)
    /// (Extended-Analytic-DPM).
    pub fn new(schedule: &Schedule, step: &Step) -> Self {
        let inner = LogRange::of(step);
        match (step.s, step.t) {
            (0, 1) => LogRange { small: schedule.log_beta_tilde(1), ..inner },
            (0, _) => LogRange { small: inner.large, ..inner },
            _ => inner,
        }
    }

    /// The range of the step from t in 1..=T to t - 1.
    pub fn at(schedule: &Schedule, t: usize) -> Self {
        let (small, large) = (schedule.log_beta_tilde(t), schedule.beta(t).ln());
        LogRange { small, large }
    }

    /// (a, b) with ln Sigma = a v + b.
    pub fn affine(self) -> (f64, f64) {
        (0.5 * (self.large - self.small), 0.5 * (self.large + self.small))
    }

    /// ln of a variance that is not learned. The last step, onto clean data, has the small one
    /// whichever it is (guided-diffusion; Extended-Analytic-DPM), for its decoder's sake.
    pub fn fixed(self, variance: ReverseVariance, is_last: bool) -> Option<f64> {
        match variance {
            ReverseVariance::Small => Some(self.small),
            ReverseVariance::Large if is_last => Some(self.small),
            ReverseVariance::Large => Some(self.large),
            ReverseVariance::Learned => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::ScheduleSpec;

    #[test]
    fn ranges_are_those_of_the_posterior_and_the_forward_step() {
        let schedule = Schedule::new(&ScheduleSpec::default()).unwrap();
        for (s, t) in [(1, 2), (499, 500), (999, 1000)] {
            let (step, whole) =
                (LogRange::new(&schedule, &schedule.step(s, t)), LogRange::at(&schedule, t));
            assert!((step.small - whole.small).abs() < 1e-9, "{t}");
            assert!((step.large - whole.large).abs() < 1e-9, "{t}");
            assert!(step.small < step.large);
        }
        // beta~_{1|112} of the linear schedule.
        let skip = LogRange::new(&schedule, &schedule.step(1, 112)).small.exp();
        assert!((skip / 9.993_087_60e-5 - 1.0).abs() < 1e-8);
    }

    #[test]
    fn onto_clean_data_something_stands_in_for_no_variance() {
        let schedule = Schedule::new(&ScheduleSpec::default()).unwrap();
        let first = LogRange::new(&schedule, &schedule.step(0, 1));
        assert!((first.small.exp() / 5.453_19e-5 - 1.0).abs() < 1e-5);
        assert!((first.large - 1e-4_f64.ln()).abs() < 1e-9);
        let jump = LogRange::new(&schedule, &schedule.step(0, 100));
        assert!((jump.small.exp() / (1.0 - 0.897_018_146) - 1.0).abs() < 1e-8);
        assert_eq!(jump.small, jump.large);
        for variance in [ReverseVariance::Small, ReverseVariance::Large] {
            assert_eq!(first.fixed(variance, true), Some(first.small));
        }
        assert_eq!(first.fixed(ReverseVariance::Large, false), Some(first.large));
        assert_eq!(first.fixed(ReverseVariance::Learned, true), None);
    }

    #[test]
    fn the_networks_output_runs_from_minus_one_to_one() {
        let range = LogRange { small: -9.0, large: -4.0 };
        let (a, b) = range.affine();
        assert_eq!((b - a, a + b), (range.small, range.large));
    }
}
