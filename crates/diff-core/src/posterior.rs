//! One transition between two visited times s < t: the posterior q(x_s | x_t, x_0) of the DDPM
//! process and the members of the DDIM family with the same marginals.

/// The transition from time t to an earlier time s. With s = t, or without any noise at t, it is
/// the identity: alpha 1, all variances 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// The earlier time; 0 is clean data.
    pub s: usize,
    /// The later time.
    pub t: usize,
    /// alpha_bar_s, in (0, 1]; 0 only where s = t.
    pub alpha_bar_s: f64,
    /// alpha_bar_t, in [0, alpha_bar_s].
    pub alpha_bar_t: f64,
}

impl Step {
    fn is_identity(&self) -> bool {
        self.alpha_bar_s == self.alpha_bar_t
    }

    /// alpha_{t|s} = alpha_bar_t / alpha_bar_s.
    pub fn alpha(&self) -> f64 {
        if self.is_identity() { 1.0 } else { self.alpha_bar_t / self.alpha_bar_s }
    }

    /// beta_{t|s} = 1 - alpha_{t|s}, the variance of q(x_t | x_s): "fixed large", and sigma-hat
    /// squared of DDIM's appendix D.3.
    pub fn beta(&self) -> f64 {
        if self.is_identity() {
            return 0.0;
        }
        (self.alpha_bar_s - self.alpha_bar_t) / self.alpha_bar_s
    }

    /// beta_tilde_{s|t} = beta_{t|s} (1 - alpha_bar_s) / (1 - alpha_bar_t), the variance of
    /// q(x_s | x_t, x_0): "fixed small".
    pub fn beta_tilde(&self) -> f64 {
        if self.is_identity() {
            return 0.0;
        }
        self.beta() * (1.0 - self.alpha_bar_s) / (1.0 - self.alpha_bar_t)
    }

    /// Weight of x_0 in the posterior mean: sqrt(alpha_bar_s) beta_{t|s} / (1 - alpha_bar_t).
    pub fn gamma1(&self) -> f64 {
        if self.is_identity() {
            return 0.0;
        }
        self.alpha_bar_s.sqrt() * self.beta() / (1.0 - self.alpha_bar_t)
    }

    /// Weight of x_t in the posterior mean:
    /// sqrt(alpha_{t|s}) (1 - alpha_bar_s) / (1 - alpha_bar_t).
    pub fn gamma2(&self) -> f64 {
        if self.is_identity() {
            return 1.0;
        }
        self.alpha().sqrt() * (1.0 - self.alpha_bar_s) / (1.0 - self.alpha_bar_t)
    }

    /// The noise scale of the DDIM family (DDIM, equation 16): eta sqrt(beta_tilde_{s|t}). 0 is
    /// DDIM, 1 is DDPM; `eta` is in [0, 1].
    pub fn ddim_sigma(&self, eta: f64) -> f64 {
        eta * self.beta_tilde().sqrt()
    }

    /// h = lambda_s - lambda_t, where lambda = ln(sqrt(alpha_bar) / sqrt(1 - alpha_bar)) is half the
    /// logarithm of the signal-to-noise ratio (DPM-Solver, section 2.2); infinite onto clean data.
    pub fn half_log_snr_gain(&self) -> f64 {
        if self.is_identity() {
            return 0.0;
        }
        let lambda = |alpha_bar: f64| 0.5 * (alpha_bar.ln() - (-alpha_bar).ln_1p());
        lambda(self.alpha_bar_s) - lambda(self.alpha_bar_t)
    }

    /// Weight of the predicted noise at noise scale `sigma` (DDIM, equation 12):
    /// sqrt(max(0, 1 - alpha_bar_s - sigma^2)).
    pub fn ddim_direction(&self, sigma: f64) -> f64 {
        (1.0 - self.alpha_bar_s - sigma * sigma).max(0.0).sqrt()
    }
}
