//! Terms of the variational bound, in nats: the weights that turn a squared error of the noise
//! prediction into a KL divergence, and the divergences themselves, elementwise.

use crate::{posterior::Step, schedule::Schedule};

/// The weight of |eps - f|^2 in the bound's term at t in 1..=T when the reverse process has the
/// given variance: beta_t^2 / (2 variance alpha_t (1 - alpha_bar_t)) (DDPM, equation 12).
///
/// Infinite at t = 1 for the variance beta_tilde_1 = 0, where the decoder takes the term's place,
/// and where alpha_bar_t = 0.
///
/// # Panics
///
/// When t is outside 1..=T.
pub fn elbo_weight(schedule: &Schedule, t: usize, variance: f64) -> f64 {
    let spread = 2.0 * variance * schedule.alpha(t) * schedule.one_minus_alpha_bar(t);
    schedule.beta(t).powi(2) / spread
}

/// The weight of |eps - f|^2 in KL(q_sigma(x_s | x_t, x_0) || q_sigma(x_s | x_t, predicted x_0))
/// for a member of the DDIM family with noise scale `sigma` > 0, exactly (DDIM, Theorem 1, which
/// prints it up to terms): [sqrt(alpha_bar_s) - sqrt(1 - alpha_bar_s - sigma^2)
/// sqrt(alpha_bar_t / (1 - alpha_bar_t))]^2 (1 - alpha_bar_t) / alpha_bar_t / (2 sigma^2).
///
/// At sigma^2 = beta_tilde it is [`elbo_weight`] with that variance. Infinite at sigma = 0 and
/// where alpha_bar_t = 0.
pub fn ddim_weight(step: &Step, sigma: f64) -> f64 {
    let inverse_snr = (1.0 - step.alpha_bar_t) / step.alpha_bar_t;
    // Multiplied through with sqrt(inverse_snr), so that alpha_bar_t near 0 does not cancel.
    let root = step.alpha_bar_s.sqrt() * inverse_snr.sqrt() - step.ddim_direction(sigma);
    root * root / (2.0 * sigma * sigma)
}

/// KL(N(mean0, variance0) || N(mean1, variance1)) of one dimension.
pub fn gaussian(mean0: f64, variance0: f64, mean1: f64, variance1: f64) -> f64 {
    let ratio = variance0 / variance1;
    0.5 * (ratio - 1.0 - ratio.ln() + (mean0 - mean1).powi(2) / variance1)
}

/// KL(q(x_T | x_0) || N(0, 1)) of one dimension of value `x0`, for alpha_bar_T < 1.
pub fn prior(alpha_bar: f64, x0: f64) -> f64 {
    0.5 * (alpha_bar * x0 * x0 - alpha_bar - (-alpha_bar).ln_1p())
}

/// ln of the probability that N(mean, std^2) gives to the grey level around `x`, one of 256 evenly
/// spaced over [-1, 1]; the outermost levels own their tails. At least ln 1e-12 (DDPM, equation
/// 13, with guided-diffusion's tanh form of the normal distribution function).
pub fn decoder(x: f64, mean: f64, std: f64) -> f64 {
    const HALF_LEVEL: f64 = 1.0 / 255.0;
    let upper = if x > 0.999 { 1.0 } else { normal_cdf((x - mean + HALF_LEVEL) / std) };
    let lower = if x < -0.999 { 0.0 } else { normal_cdf((x - mean - HALF_LEVEL) / std) };
    (upper - lower).max(1e-12).ln()
}

fn normal_cdf(z: f64) -> f64 {
    let scale = (2.0 / std::f64::consts::PI).sqrt();
    0.5 * (1.0 + (scale * (z + 0.044715 * z.powi(3))).tanh())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gaussian_kl_is_the_integral_it_abbreviates() {
        for (m0, v0, m1, v1) in
            [(0.3, 0.5, -0.2, 1.5), (0.0, 2.0, 0.0, 2.0), (1.0, 0.01, 0.9, 0.02)]
        {
            let density = |x: f64, m: f64, v: f64| {
                (-(x - m).powi(2) / (2.0 * v)).exp() / (std::f64::consts::TAU * v).sqrt()
            };
            let (width, n) = (12.0 * f64::sqrt(v0), 20_000);
            let h = 2.0 * width / n as f64;
            let integral: f64 = (0..n)
                .map(|i| m0 - width + (i as f64 + 0.5) * h)
                .map(|x| {
                    let log_ratio = (x - m1).powi(2) / (2.0 * v1) - (x - m0).powi(2) / (2.0 * v0)
                        + 0.5 * (v1 / v0).ln();
                    density(x, m0, v0) * log_ratio * h
                })
                .sum();
            assert!((gaussian(m0, v0, m1, v1) - integral).abs() < 1e-9, "{m0} {v0} {m1} {v1}");
        }
    }

    #[test]
    fn the_prior_term_is_the_gaussian_kl_without_its_cancellation() {
        for (alpha_bar, x0) in [(0.4_f64, 0.7), (4e-5, -1.0), (0.01, 0.0)] {
            let plain = gaussian(alpha_bar.sqrt() * x0, 1.0 - alpha_bar, 0.0, 1.0);
            assert!((prior(alpha_bar, x0) - plain).abs() < 1e-15);
        }
        // alpha_bar^2 / 4 to first order: plain subtraction would return 0 or noise here.
        let tiny = prior(1e-10, 0.0);
        assert!((tiny / 2.5e-21 - 1.0).abs() < 1e-6, "{tiny}");
    }

    #[test]
    fn the_levels_of_the_decoder_share_the_whole_probability() {
        for (mean, std) in [(0.1, 0.05), (-0.98, 0.2), (0.0, 1.0)] {
            let levels = (0..256).map(|i| i as f64 / 127.5 - 1.0);
            let sum: f64 = levels.map(|x| decoder(x, mean, std).exp()).sum();
            assert!((sum - 1.0).abs() < 1e-9, "{mean} {std}: {sum}");
        }
        assert!((decoder(0.5, -0.5, 1e-3) - 1e-12_f64.ln()).abs() < 1e-12);
    }
}
