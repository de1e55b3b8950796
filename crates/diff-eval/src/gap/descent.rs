//! The generalised step from t to t - 1 (DDIM, equation 12), x_0 not clipped:
//! x_{t-1} = sqrt(abar_{t-1}) x0hat + sqrt(1 - abar_{t-1} - sigma^2) eps + sigma z with
//! sigma = eta sqrt(btilde_t).

use diff_core::Schedule;

/// Stands in for an alpha_bar_T of 0, as everywhere.
const LEAST_ALPHA_BAR: f64 = 1e-12;

/// The step's coefficients.
#[derive(Clone, Copy, Debug)]
pub(super) struct Descent {
    signal: f64,
    noise: f64,
    signal_below: f64,
    direction: f64,
    sigma: f64,
}

impl Descent {
    /// The step from t in 1..=T, eta in [0, 1].
    pub(super) fn new(schedule: &Schedule, t: usize, eta: f64) -> Self {
        let step = schedule.step(t - 1, t);
        let sigma = step.ddim_sigma(eta);
        Descent {
            signal: schedule.alpha_bar(t).max(LEAST_ALPHA_BAR).sqrt(),
            noise: schedule.one_minus_alpha_bar(t).sqrt(),
            signal_below: schedule.alpha_bar(t - 1).sqrt(),
            direction: step.ddim_direction(sigma),
            sigma,
        }
    }

    /// Whether it adds noise.
    pub(super) fn is_noisy(&self) -> bool {
        self.sigma > 0.0
    }

    /// One value of x_{t-1} from x_t, the predicted noise and fresh noise.
    pub(super) fn apply(&self, x: f64, eps: f64, z: f64) -> f64 {
        let x0 = (x - self.noise * eps) / self.signal;
        self.signal_below * x0 + self.direction * eps + self.sigma * z
    }
}
