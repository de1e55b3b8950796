//! The lists of times that published numbers rest on, exactly as the repositories make them:
//! repeats, odd lengths and missing ends included. All are given as ascending paper times.

use crate::{
    error::{Error, Result},
    trajectory::check_steps,
};

/// Another repository's rule for choosing S of T times.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PeerTrajectory {
    /// ermongroup/ddim and SA-DPM `uniform`: range(0, T, T // S) + 1. Can be longer than S
    /// (300 of 1000 gives 334) and does not reach T when S divides T.
    DdimUniform,
    /// ermongroup/ddim and SA-DPM `quad`: trunc(linspace(0, sqrt(0.8 T), S)^2) + 1. Ends at
    /// 0.8 T + 1 and repeats times, which then act as identity steps.
    DdimQuad,
    /// Analytic-DPM: a running sum from 1 by (T-1)/(S-1), rounded half to even. S >= 2.
    BaoLinear,
    /// Analytic-DPM: 1 + (T-1)(1 - y^(1/p)), y = (S-1-i)/(S-1), i = 0..S-1, rounded and raised
    /// to the previous + 1 where not increasing. S >= 2, p > 0.
    BaoPower(f64),
    /// diffusers `leading`: i (T // S) + offset + 1.
    DiffusersLeading {
        /// `steps_offset` of the scheduler.
        offset: usize,
    },
    /// diffusers `linspace`: round(linspace(0, T-1, S)) + 1; S = 1 is time 1.
    DiffusersLinspace,
    /// diffusers `trailing`: round(T - i T/S), ascending. For some S (61 of 1000) rounding makes
    /// diffusers end with one more call, at network time -1; that entry is left out.
    DiffusersTrailing,
    /// guided-diffusion, one section "S": round(i (T-1)/(S-1)) + 1, the stride summed up.
    Guided,
    /// guided-diffusion "ddimS": range(0, T, i) + 1 for the smallest i of which there are S; an
    /// error where there is none.
    GuidedDdim,
    /// yinjjiew/Diffusion-Model: trunc(linspace(T, 0, S + 1)) in f32, without its last 0.
    S2,
}

impl PeerTrajectory {
    /// The visited paper times, ascending; possibly with repeats and not of length S.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] unless 1 <= S <= T, and where the rule has no list within 1..=T.
    pub fn times(self, steps: usize, timesteps: usize) -> Result<Vec<usize>> {
        check_steps(steps, timesteps)?;
        let times = match self {
            PeerTrajectory::DdimUniform => {
                (0..timesteps).step_by(timesteps / steps).map(|k| k + 1).collect()
            }
            PeerTrajectory::DdimQuad => linspace((0.8 * timesteps as f64).sqrt(), steps)
                .map(|root| root.powi(2) as usize + 1)
                .collect(),
            PeerTrajectory::BaoLinear => {
                let stride = stride(self, steps, timesteps)?;
                running(1.0, stride, steps)
            }
            PeerTrajectory::BaoPower(power) => bao_power(self, power, steps, timesteps)?,
            PeerTrajectory::DiffusersLeading { offset } => {
                let first = offset.saturating_add(1);
                (0..steps).map(|i| first.saturating_add(i * (timesteps / steps))).collect()
            }
            PeerTrajectory::DiffusersLinspace => linspace((timesteps - 1) as f64, steps)
                .map(|k| k.round_ties_even() as usize + 1)
                .collect(),
            PeerTrajectory::DiffusersTrailing => diffusers_trailing(steps, timesteps),
            PeerTrajectory::Guided => {
                let stride = stride(self, steps, timesteps).unwrap_or(1.0);
                running(0.0, stride, steps).into_iter().map(|k| k + 1).collect()
            }
            PeerTrajectory::GuidedDdim => guided_ddim(steps, timesteps)?,
            PeerTrajectory::S2 => s2(steps, timesteps),
        };
        within(self, times, steps, timesteps)
    }
}

/// NumPy's linspace(0, end, count): multiples of one step, the end itself last.
fn linspace(end: f64, count: usize) -> impl Iterator<Item = f64> {
    let step = end / count.saturating_sub(1).max(1) as f64;
    (0..count).map(move |i| if i > 0 && i + 1 == count { end } else { i as f64 * step })
}

/// (T-1)/(S-1), which needs S >= 2.
fn stride(rule: PeerTrajectory, steps: usize, timesteps: usize) -> Result<f64> {
    if steps < 2 {
        let expected = format!("at least 2 for {rule:?} (T = {timesteps})");
        return Err(Error::argument("steps", steps, expected));
    }
    Ok((timesteps - 1) as f64 / (steps - 1) as f64)
}

/// `count` values of a running sum, whose rounding errors decide ties, rounded half to even.
fn running(start: f64, stride: f64, count: usize) -> Vec<usize> {
    let mut sum = start;
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        times.push(sum.round_ties_even() as usize);
        sum += stride;
    }
    times
}

fn bao_power(
    rule: PeerTrajectory,
    power: f64,
    steps: usize,
    timesteps: usize,
) -> Result<Vec<usize>> {
    if !(power > 0.0 && power.is_finite()) {
        return Err(Error::argument("bao-power", power, "a finite power above 0"));
    }
    stride(rule, steps, timesteps)?;
    let mut times: Vec<usize> = Vec::with_capacity(steps);
    for i in 0..steps {
        let y = (steps - 1 - i) as f64 / (steps - 1) as f64;
        let ideal = 1.0 + (timesteps - 1) as f64 * (1.0 - y.powf(1.0 / power));
        let least = times.last().map_or(0, |previous| previous + 1);
        times.push((ideal.round_ties_even() as usize).max(least));
    }
    Ok(times)
}

/// NumPy's arange(T, 0, -T/S), rounded half to even; the scheduler subtracts 1, paper time adds it.
fn diffusers_trailing(steps: usize, timesteps: usize) -> Vec<usize> {
    let top = timesteps as f64;
    let ratio = top / steps as f64;
    let count = (top / ratio).ceil() as usize;
    // arange multiplies the difference of its first two values, not the step it was given.
    let delta = (top - ratio) - top;
    let ideal = (0..count).rev().map(|i| top + i as f64 * delta);
    ideal.map(|time| time.round_ties_even() as usize).filter(|time| *time > 0).collect()
}

fn guided_ddim(steps: usize, timesteps: usize) -> Result<Vec<usize>> {
    let stride = (1..timesteps.max(2)).find(|&i| timesteps.div_ceil(i) == steps);
    let stride = stride.ok_or_else(|| {
        let expected = format!("a count that some whole stride through T = {timesteps} gives");
        Error::argument("steps", steps, expected)
    })?;
    Ok((0..timesteps).step_by(stride).map(|k| k + 1).collect())
}

/// torch.linspace(T, 0, S + 1) in f32, from both ends to the middle, cut to whole numbers.
fn s2(steps: usize, timesteps: usize) -> Vec<usize> {
    let top = timesteps as f32;
    let step = -top / steps as f32;
    let half = steps.div_ceil(2);
    let value = |i: usize| {
        if i < half { top + step * i as f32 } else { -step * (steps - i) as f32 }
    };
    (0..steps).rev().map(|i| value(i) as usize).collect()
}

fn within(
    rule: PeerTrajectory,
    times: Vec<usize>,
    steps: usize,
    timesteps: usize,
) -> Result<Vec<usize>> {
    match times.iter().find(|time| !(1..=timesteps).contains(*time)) {
        None => Ok(times),
        Some(time) => {
            let expected = format!("times in 1..=T from {rule:?} (S = {steps}, T = {timesteps})");
            Err(Error::argument("trajectory time", time, expected))
        }
    }
}
