//! The terms of the variational bound as tensors (DDPM, equations 5 and 13; improved DDPM, sections
//! 2 and 3; guided-diffusion's `_vb_terms_bpd` with x_0 not clipped).

use super::argument;
use crate::Result;
use candle_core::Tensor;
use diff_core::{LogRange, ReverseVariance, Schedule, kl::elbo_weight};
use diff_models::Second;
use std::f64::consts::{LN_2, PI};

/// Half the distance of two of 256 grey levels over [-1, 1].
const HALF_LEVEL: f64 = 1.0 / 255.0;
/// The outermost levels own their tails.
const OUTERMOST: f64 = 0.999;
/// Probabilities are at least this.
const LEAST_PROBABILITY: f64 = 1e-12;

/// Refuses schedules under which a term of the bound is not finite.
pub(super) fn check(schedule: &Schedule) -> Result<()> {
    let last = schedule.timesteps();
    if last < 2 {
        let expected = "at least 2: the decoder has the variance between times 1 and 2";
        return Err(argument("schedule.timesteps", last, expected));
    }
    if schedule.alpha_bar(last) == 0.0 {
        let expected = "more than 0: the bound's last term is infinite for a network that predicts \
                        noise";
        return Err(argument("alpha_bar(T)", 0, expected));
    }
    Ok(())
}

/// The learned range of a network's output, `[B, C, H, W]`.
pub(super) fn learned(second: Second) -> Result<Tensor> {
    match second {
        Second::Range(range) => Ok(range),
        _ => Err(argument("network output", "one block", "a second one, the learned range")),
    }
}

/// Rows whose terms are taken.
pub(super) struct Terms<'a> {
    pub(super) schedule: &'a Schedule,
    /// `[B, C, H, W]`.
    pub(super) x0: &'a Tensor,
    /// eps - f(x_t, t), `[B, C, H, W]`.
    pub(super) residual: &'a Tensor,
    /// Paper times.
    pub(super) times: &'a [i64],
}

impl Terms<'_> {
    /// ln of a fixed variance, `[B, 1, 1, 1]`.
    pub(super) fn fixed(&self, variance: ReverseVariance) -> Result<Tensor> {
        let log = |t: usize| LogRange::at(self.schedule, t).fixed(variance, t == 1);
        match self.times.iter().map(|t| log(*t as usize)).collect::<Option<Vec<f64>>>() {
            Some(logs) => column(logs, self.x0),
            None => Err(argument("variance", variance.name(), "small or large")),
        }
    }

    /// ln of the variance that `range` says, shaped like it.
    pub(super) fn within(&self, range: &Tensor) -> Result<Tensor> {
        let pairs = self.times.iter().map(|t| LogRange::at(self.schedule, *t as usize).affine());
        let (slopes, offsets) = pairs.unzip();
        let scaled = range.broadcast_mul(&column(slopes, self.x0)?)?;
        Ok(scaled.broadcast_add(&column(offsets, self.x0)?)?)
    }

    /// The terms of all rows, summed, in bits per dimension: for t > 1 KL(q(x_{t-1} | x_t, x_0) ||
    /// p(x_{t-1} | x_t)), for t = 1 -log p(x_0 | x_1). A scalar.
    pub(super) fn bits(&self, log_variance: &Tensor) -> Result<Tensor> {
        let dims = self.x0.elem_count() / self.times.len();
        let (last, others): (Vec<u32>, Vec<u32>) =
            (0..self.times.len() as u32).partition(|row| self.times[*row as usize] == 1);
        let nats = match (others.is_empty(), last.is_empty()) {
            (true, _) => self.decoder(&last, log_variance)?,
            (_, true) => self.divergence(&others, log_variance)?,
            _ => {
                let divergence = self.divergence(&others, log_variance)?;
                (divergence + self.decoder(&last, log_variance)?)?
            }
        };
        Ok((nats * (1.0 / (dims as f64 * LN_2)))?)
    }

    /// The divergences of `rows`, summed, in nats. The posterior's mean is off by c_t (eps - f).
    fn divergence(&self, rows: &[u32], log_variance: &Tensor) -> Result<Tensor> {
        let times = || rows.iter().map(|row| self.times[*row as usize] as usize);
        let posterior = |t: usize| LogRange::at(self.schedule, t).small;
        let weight = |t: usize| 2.0 * elbo_weight(self.schedule, t, posterior(t).exp());
        let residual = picked(self.residual, rows)?;
        let squares =
            residual.sqr()?.broadcast_mul(&column(times().map(weight).collect(), &residual)?)?;
        let posterior = column(times().map(posterior).collect(), &residual)?;
        let ratio = posterior.broadcast_sub(&picked(log_variance, rows)?)?;
        // 2 KL = Sigma_q/Sigma_p (1 + (difference of the means)^2/Sigma_q) - 1 - ln(Sigma_q/Sigma_p)
        let own = ratio.exp()?.broadcast_mul(&(squares + 1.0)?)?;
        Ok((own.broadcast_sub(&(ratio + 1.0)?)?.sum_all()? * 0.5)?)
    }

    /// -log p(x_0 | x_1) of `rows`, which are at t = 1, summed, in nats.
    fn decoder(&self, rows: &[u32], log_variance: &Tensor) -> Result<Tensor> {
        let x0 = picked(self.x0, rows)?;
        let off = picked(self.residual, rows)?.affine(-self.schedule.gap_coefficient(1), 0.0)?;
        let inverse_std = picked(log_variance, rows)?.affine(-0.5, 0.0)?.exp()?;
        let below = |x: &Tensor| normal_cdf(&x.broadcast_mul(&inverse_std)?);
        // Levels are as likely on either side: on the left small probabilities keep their digits.
        let left = off.abs()?.neg()?;
        let inner = (below(&(&left + HALF_LEVEL)?)? - below(&(&left - HALF_LEVEL)?)?)?;
        let highest = below(&off.affine(-1.0, HALF_LEVEL)?)?;
        let lowest = below(&(&off + HALF_LEVEL)?)?;
        let level = x0.gt(OUTERMOST)?.where_cond(&highest, &inner)?;
        let level = x0.lt(-OUTERMOST)?.where_cond(&lowest, &level)?;
        Ok(level.maximum(LEAST_PROBABILITY)?.log()?.sum_all()?.neg()?)
    }
}

/// Phi(z) as (1 + tanh y) / 2 with y = sqrt(2/pi) (z + 0.044715 z^3), the form of guided-diffusion
/// and [`diff_core::kl::decoder`], written as 1 / (1 + exp(-2 y)), which keeps its digits near 0.
fn normal_cdf(z: &Tensor) -> Result<Tensor> {
    // Far below the least probability, and exp(-2 y) is finite.
    const LEAST: f64 = -60.0;
    let cubic = ((z * z.sqr()?)?.affine(0.044715, 0.0)? + z)?;
    let twice = cubic.affine(2.0 * (2.0 / PI).sqrt(), 0.0)?.maximum(LEAST)?;
    Ok((twice.neg()?.exp()? + 1.0)?.recip()?)
}

/// A value a row, `[B, 1, 1, 1]`, in the dtype of `like`.
fn column(values: Vec<f64>, like: &Tensor) -> Result<Tensor> {
    let rows = values.len();
    Ok(Tensor::from_vec(values, (rows, 1, 1, 1), like.device())?.to_dtype(like.dtype())?)
}

fn picked(x: &Tensor, rows: &[u32]) -> Result<Tensor> {
    Ok(x.index_select(&Tensor::new(rows, x.device())?, 0)?)
}
