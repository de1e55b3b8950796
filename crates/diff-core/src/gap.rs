//! The estimation gap of SA-DPM (section 3.1, appendix B): how errors of the noise prediction add
//! up along a trajectory, and what bounds them.
//!
//! Residuals are rows r_t = f(x_t, t) - eps_t, all of one length; row j belongs to time first + j.

use crate::{
    error::{Error, Result},
    schedule::Schedule,
};
use serde::{Deserialize, Serialize};

/// Which weights tau the sequence-aware loss gives its time steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TauMode {
    /// 1 everywhere, as the released code of SA-DPM.
    #[default]
    Off,
    /// The tau of Theorem 1, which span orders of magnitude.
    On,
    /// The tau of Theorem 1 over their mean, which keeps the scale of the loss.
    Normalised,
}

/// The weight of every time step, indexed by t = 0..=T (entry 0 is 0): 1 for `Off`, tau_t for
/// `On`, and tau_t over the mean of tau_2..tau_T for `Normalised`.
pub fn step_weights(schedule: &Schedule, mode: TauMode) -> Vec<f64> {
    let last = schedule.timesteps();
    let scale = match mode {
        TauMode::Off => return (0..=last).map(|t| if t == 0 { 0.0 } else { 1.0 }).collect(),
        TauMode::On => 1.0,
        // tau_1 = 0 is all there is.
        TauMode::Normalised if last < 2 => 1.0,
        TauMode::Normalised => (last - 1) as f64 / (2..=last).map(|t| schedule.tau(t)).sum::<f64>(),
    };
    (0..=last).map(|t| scale * schedule.tau(t)).collect()
}

/// Whose recursion is computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GapVariant {
    /// The paper's.
    #[default]
    Paper,
    /// SA-DPM's `get_loss_value`: the topmost residual is lost, and gamma2_t reads
    /// 1 - alpha_bar_{t-2} where 1 - alpha_bar_{t-1} belongs, so that at t = 2 everything carried
    /// is multiplied by 0. That code also averages residuals over the batch first; here the caller
    /// decides which rows to pass.
    Official,
}

/// dbar_t for every row, by the recursion from the top: d_t = c_t r_t,
/// dbar_t = d_t + gamma2_t dbar_{t+1}, 0 above the last row (SA-DPM, section 3.1).
///
/// # Errors
///
/// [`Error::Argument`] when there are no rows, rows differ in length, or times leave 1..=T.
pub fn recursion(
    schedule: &Schedule,
    variant: GapVariant,
    first: usize,
    residuals: &[Vec<f64>],
) -> Result<Vec<Vec<f64>>> {
    let width = check_rows(schedule, first, residuals)?;
    let mut gaps = vec![vec![0.0; width]; residuals.len()];
    let mut above = vec![0.0; width];
    for (j, residual) in residuals.iter().enumerate().rev() {
        let t = first + j;
        let lost = variant == GapVariant::Official && j + 1 == residuals.len();
        let own = if lost { 0.0 } else { schedule.gap_coefficient(t) };
        let carry = match variant {
            GapVariant::Paper => schedule.gamma2(t),
            GapVariant::Official => official_gamma2(schedule, t),
        };
        for (gap, residual) in above.iter_mut().zip(residual) {
            *gap = own * residual + carry * *gap;
        }
        gaps[j].copy_from_slice(&above);
    }
    Ok(gaps)
}

fn official_gamma2(schedule: &Schedule, t: usize) -> f64 {
    let before = 1.0 - schedule.alpha_bar(t.saturating_sub(2));
    schedule.alpha(t).sqrt() * before / schedule.one_minus_alpha_bar(t)
}

/// dbar_t for every row in closed form: d_t + the sum over i > t of [`carry`]\(t, i) d_i (SA-DPM,
/// appendix B). Takes time quadratic in the number of rows.
///
/// # Errors
///
/// As [`recursion`].
pub fn closed_form(
    schedule: &Schedule,
    first: usize,
    residuals: &[Vec<f64>],
) -> Result<Vec<Vec<f64>>> {
    let width = check_rows(schedule, first, residuals)?;
    let gap_from = |j: usize| {
        let mut gap = vec![0.0; width];
        for (i, residual) in residuals.iter().enumerate().skip(j) {
            let (t, i) = (first + j, first + i);
            let weight = carry(schedule, t, i) * schedule.gap_coefficient(i);
            add_scaled(&mut gap, weight, residual);
        }
        gap
    };
    Ok((0..residuals.len()).map(gap_from).collect())
}

/// How much of d_i reaches dbar_t, i >= t: the product of gamma2_t..gamma2_{i-1}, which telescopes
/// to sqrt(alpha_bar_{i-1}) (1 - alpha_bar_{t-1}) / (sqrt(alpha_bar_{t-1}) (1 - alpha_bar_{i-1}))
/// (SA-DPM, appendix B).
///
/// # Panics
///
/// Unless 1 <= t <= i <= T.
pub fn carry(schedule: &Schedule, t: usize, i: usize) -> f64 {
    assert!(1 <= t && t <= i, "carried upwards: t = {t}, i = {i}");
    if t == i {
        return 1.0;
    }
    let (signal, noise) = (
        schedule.alpha_bar(i - 1) / schedule.alpha_bar(t - 1),
        schedule.one_minus_alpha_bar(t - 1) / schedule.one_minus_alpha_bar(i - 1),
    );
    signal.sqrt() * noise
}

/// The total gap: the sum of tau_t r_t (SA-DPM, Theorem 1). Rows at times below 2 weigh nothing.
///
/// # Errors
///
/// As [`recursion`].
pub fn total(schedule: &Schedule, first: usize, residuals: &[Vec<f64>]) -> Result<Vec<f64>> {
    let width = check_rows(schedule, first, residuals)?;
    let mut sum = vec![0.0; width];
    for (j, residual) in residuals.iter().enumerate() {
        add_scaled(&mut sum, schedule.tau(first + j), residual);
    }
    Ok(sum)
}

/// The three quantities that SA-DPM's Theorem 2 orders: `upper >= sequence_aware >= lower`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bounds {
    /// (T-1)/(T+K) times the mean over t in 2..=T of |tau_t r_t|^2.
    pub upper: f64,
    /// The mean over the T+K windows of |1/K sum of tau_s r_s over the window|^2.
    pub sequence_aware: f64,
    /// |sum of tau_s r_s|^2 / (T+K)^2.
    pub lower: f64,
}

impl Bounds {
    /// Whether both inequalities hold, up to rounding.
    pub fn hold(&self) -> bool {
        let slack = 1.0 + 1e-12;
        self.upper * slack >= self.sequence_aware && self.sequence_aware * slack >= self.lower
    }
}

/// Evaluates Theorem 2 on one realisation. `weights` is indexed by t = 0..=T (any weights, as from
/// [`step_weights`]), `residuals` are r_2..r_T, `window` is K in 1..=T. Windows start at 1-K..=T;
/// what of a window lies outside 2..=T counts as 0.
///
/// # Errors
///
/// [`Error::Argument`] when K is outside 1..=T, T < 2, or the rows are not T - 1 of one length.
pub fn theorem2(weights: &[f64], residuals: &[Vec<f64>], window: usize) -> Result<Bounds> {
    let last = residuals.len() + 1;
    if !(1..=last).contains(&window) {
        return Err(Error::argument("window", window, format!("K in 1..=T = {last}")));
    }
    if weights.len() != last + 1 {
        let expected = format!("{} entries, t = 0..=T for T - 1 = {} rows", last + 1, last - 1);
        return Err(Error::argument("weights", format!("{} entries", weights.len()), expected));
    }
    let width = check_width(residuals)?;
    let windows = (last + window) as f64;
    let mut sum = vec![0.0; width];
    let mut squares = 0.0;
    for (residual, weight) in residuals.iter().zip(&weights[2..]) {
        squares += weight * weight * square(residual);
        add_scaled(&mut sum, *weight, residual);
    }
    let mut window_squares = 0.0;
    // `end` is the last time of the window, 0..=T+K-1; every window is summed afresh, since a
    // sliding sum would carry the rounding of the large weights into the small ones.
    for end in 0..last + window {
        let inside = (end + 1).saturating_sub(window).max(2)..=end.min(last);
        let mut part = vec![0.0; width];
        for s in inside {
            add_scaled(&mut part, weights[s] / window as f64, &residuals[s - 2]);
        }
        window_squares += square(&part);
    }
    Ok(Bounds {
        upper: squares / windows,
        sequence_aware: window_squares / windows,
        lower: square(&sum) / (windows * windows),
    })
}

fn square(row: &[f64]) -> f64 {
    row.iter().map(|v| v * v).sum()
}

fn add_scaled(sum: &mut [f64], weight: f64, row: &[f64]) {
    for (sum, value) in sum.iter_mut().zip(row) {
        *sum += weight * value;
    }
}

fn check_rows(schedule: &Schedule, first: usize, residuals: &[Vec<f64>]) -> Result<usize> {
    let width = check_width(residuals)?;
    let top = schedule.timesteps();
    if first < 1 || residuals.len() > top || first > top + 1 - residuals.len() {
        let given = format!("{} rows from t = {first}", residuals.len());
        return Err(Error::argument("residuals", given, format!("times in 1..={top}")));
    }
    Ok(width)
}

fn check_width(residuals: &[Vec<f64>]) -> Result<usize> {
    let Some(width) = residuals.first().map(Vec::len) else {
        return Err(Error::argument("residuals", "no rows", "at least one"));
    };
    match residuals.iter().find(|row| row.len() != width) {
        None => Ok(width),
        Some(row) => {
            let expected = format!("{width}, as the first row");
            Err(Error::argument("residuals: length of a row", row.len(), expected))
        }
    }
}
