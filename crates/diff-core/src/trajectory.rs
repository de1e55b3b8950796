//! Sub-sequences of 1..=T that a sampler visits, and the one place where a name becomes a list.

use crate::{
    config::nearest,
    error::{Error, Result},
    peers::PeerTrajectory,
    schedule::{LEAST_ALPHA_BAR, MOST_TIMESTEPS, Schedule},
};

/// Exactly S strictly increasing members of 1..=T.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trajectory {
    times: Vec<usize>,
    timesteps: usize,
}

impl Trajectory {
    /// Evenly spaced from 1 to T: 1 + (T-1)(i-1)/(S-1) for i = 1..=S, rounded half to even. S = 1
    /// is T alone.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] unless 1 <= S <= T; so for every constructor.
    pub fn linear(steps: usize, timesteps: usize) -> Result<Self> {
        Self::repaired(steps, timesteps, |i| {
            1.0 + fraction(&[timesteps - 1, i - 1], &[steps - 1], timesteps - 1)
        })
    }

    /// Denser near the data: 1 + (T-1)((i-1)/(S-1))^2, rounded half to even; a time that would
    /// repeat is raised to the next free one. S = 1 is T alone.
    ///
    /// # Errors
    ///
    /// As [`Trajectory::linear`].
    pub fn quadratic(steps: usize, timesteps: usize) -> Result<Self> {
        Self::repaired(steps, timesteps, |i| {
            let (up, down) = ([timesteps - 1, i - 1, i - 1], [steps - 1, steps - 1]);
            1.0 + fraction(&up, &down, timesteps - 1)
        })
    }

    /// Evenly spaced and ending at T: T i / S, rounded half to even.
    ///
    /// # Errors
    ///
    /// As [`Trajectory::linear`].
    pub fn trailing(steps: usize, timesteps: usize) -> Result<Self> {
        Self::repaired(steps, timesteps, |i| fraction(&[timesteps, i], &[steps], timesteps))
    }

    /// Evenly spaced in log-SNR, ln(alpha_bar / (1 - alpha_bar)), from 1 to T: the spacing of
    /// DPM-Solver. A log-SNR between two times is one of a real time between them, linear in it, which
    /// is rounded half to even. S = 1 is T alone.
    ///
    /// # Errors
    ///
    /// As [`Trajectory::linear`].
    pub fn log_snr(steps: usize, schedule: &Schedule) -> Result<Self> {
        Self::by_noise(steps, schedule, |log_sigma| log_sigma, |value| value)
    }

    /// Evenly spaced in sigma^(1/rho), sigma = sqrt((1 - alpha_bar) / alpha_bar), from 1 to T (EDM,
    /// equation 5); rounded as in [`Trajectory::log_snr`].
    ///
    /// # Errors
    ///
    /// As [`Trajectory::linear`]; `rho` must be above 0 and finite.
    pub fn karras(steps: usize, rho: f64, schedule: &Schedule) -> Result<Self> {
        if !(rho > 0.0 && rho.is_finite()) {
            return Err(Error::argument("karras:RHO", rho, "a finite number above 0"));
        }
        Self::by_noise(steps, schedule, |log_sigma| (log_sigma / rho).exp(), |v| rho * v.ln())
    }

    /// Evenly spaced in `forth` of ln sigma, whose inverse is `back`.
    fn by_noise(
        steps: usize,
        schedule: &Schedule,
        forth: impl Fn(f64) -> f64,
        back: impl Fn(f64) -> f64,
    ) -> Result<Self> {
        let timesteps = schedule.timesteps();
        let alpha_bar = |t: usize| match schedule.alpha_bar(t) {
            0.0 => LEAST_ALPHA_BAR.min(schedule.alpha_bar(t - 1)),
            positive => positive,
        };
        let log_sigma = |t: usize| 0.5 * (schedule.one_minus_alpha_bar(t) / alpha_bar(t)).ln();
        let (low, high) = (forth(log_sigma(1)), forth(log_sigma(timesteps)));
        Self::repaired(steps, timesteps, |i| {
            let part = fraction(&[i - 1], &[steps - 1], 1);
            let wanted = back(low + part * (high - low));
            let (mut below, mut above) = (1, timesteps);
            while above - below > 1 {
                let middle = (below + above) / 2;
                if log_sigma(middle) <= wanted { below = middle } else { above = middle }
            }
            let width = log_sigma(above) - log_sigma(below);
            let within = if width > 0.0 { (wanted - log_sigma(below)) / width } else { 0.0 };
            below as f64 + within.clamp(0.0, 1.0)
        })
    }

    /// The given times.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] when `times` is empty, not strictly increasing, or leaves 1..=T.
    pub fn custom(times: &[usize], timesteps: usize) -> Result<Self> {
        check_increasing(times, timesteps)?;
        Ok(Trajectory { times: times.to_vec(), timesteps })
    }

    /// The visited times, ascending.
    pub fn times(&self) -> &[usize] {
        &self.times
    }

    /// T.
    pub fn timesteps(&self) -> usize {
        self.timesteps
    }

    /// Rounds `ideal(i)` for i = 1..=S, then moves times apart: t_i = max(round, t_{i-1} + 1), and
    /// from the top t_i = min(t_i, T - S + i).
    fn repaired(steps: usize, timesteps: usize, ideal: impl Fn(usize) -> f64) -> Result<Self> {
        check_steps(steps, timesteps)?;
        let mut times = Vec::with_capacity(steps);
        let mut previous = 0;
        for i in 1..=steps {
            previous = (ideal(i).round_ties_even() as usize).max(previous + 1);
            times.push(previous);
        }
        for (i, time) in times.iter_mut().enumerate() {
            *time = (*time).min(timesteps - steps + i + 1);
        }
        Ok(Trajectory { times, timesteps })
    }
}

/// The quotient of two products, rounded once, so that halves are exact; `otherwise` for 0/0.
fn fraction(up: &[usize], down: &[usize], otherwise: usize) -> f64 {
    let product = |factors: &[usize]| factors.iter().map(|&f| f as f64).product::<f64>();
    match product(down) {
        0.0 => otherwise as f64,
        below => product(up) / below,
    }
}

/// Every name [`resolve`] knows, besides a list of times.
pub const NAMES: &[&str] = &[
    "linear",
    "quadratic",
    "trailing",
    "log-snr",
    "karras",
    "ddim-uniform",
    "ddim-quad",
    "bao-linear",
    "bao-power",
    "diffusers-leading",
    "diffusers-linspace",
    "diffusers-trailing",
    "guided",
    "guided-ddim",
    "s2",
];

/// The visited paper times, ascending, for any name a user may type: a house trajectory (exactly S
/// strictly increasing times), a peer's (its own length, repeats kept), or a list "1,10,100".
///
/// Three names take a number after a colon: `karras:5` is rho (default 7), `bao-power:3` the power p
/// (default 2), `diffusers-leading:1` the offset (default 0). `log-snr` and `karras` depend on the noise
/// of `schedule`, the others on its T alone.
///
/// # Errors
///
/// [`Error::Argument`] for an unknown name, S = 0, S > T, a list that is not S strictly increasing
/// members of 1..=T, and settings with which a peer's own rule fails or leaves 1..=T.
pub fn resolve(name: &str, steps: usize, schedule: &Schedule) -> Result<Vec<usize>> {
    check_steps(steps, schedule.timesteps())?;
    let given = tidied(name);
    let by_noise = match stem_and_number(&given) {
        ("log-snr" | "logsnr", None) => Some(Trajectory::log_snr(steps, schedule)?),
        ("karras", number) => match number.unwrap_or("7").parse() {
            Ok(rho) => Some(Trajectory::karras(steps, rho, schedule)?),
            Err(_) => return Err(unknown(name, "karras", steps, schedule.timesteps())),
        },
        _ => None,
    };
    match by_noise {
        Some(trajectory) => Ok(trajectory.times),
        None => resolve_by_length(name, steps, schedule.timesteps()),
    }
}

/// [`resolve`] for a process of `timesteps` = T steps that has no Gaussian noise: not for the names that
/// depend on it.
///
/// # Errors
///
/// As [`resolve`].
pub fn resolve_by_length(name: &str, steps: usize, timesteps: usize) -> Result<Vec<usize>> {
    check_steps(steps, timesteps)?;
    if name.starts_with(|c: char| c.is_ascii_digit()) {
        return listed(name, steps, timesteps);
    }
    let given = tidied(name);
    let (stem, number) = stem_and_number(&given);
    if ["log-snr", "logsnr", "karras"].contains(&stem) {
        let expected = "a list that does not go by Gaussian noise, of which this process has none: \
                        linear, quadratic, trailing ..";
        return Err(Error::argument("trajectory", name, expected));
    }
    let house = match (stem, number) {
        ("linear", None) => Some(Trajectory::linear(steps, timesteps)?),
        ("quadratic" | "quad", None) => Some(Trajectory::quadratic(steps, timesteps)?),
        ("trailing", None) => Some(Trajectory::trailing(steps, timesteps)?),
        _ => None,
    };
    if let Some(house) = house {
        return Ok(house.times);
    }
    match peer(stem, number) {
        Some(peer) => peer.times(steps, timesteps),
        None => Err(unknown(name, stem, steps, timesteps)),
    }
}

fn tidied(name: &str) -> String {
    name.trim().to_ascii_lowercase().replace('_', "-")
}

fn stem_and_number(given: &str) -> (&str, Option<&str>) {
    match given.split_once(':') {
        Some((stem, number)) => (stem, Some(number)),
        None => (given, None),
    }
}

fn peer(stem: &str, number: Option<&str>) -> Option<PeerTrajectory> {
    let peer = match (stem, number) {
        ("bao-power", number) => PeerTrajectory::BaoPower(number.unwrap_or("2").parse().ok()?),
        ("diffusers-leading", number) => {
            PeerTrajectory::DiffusersLeading { offset: number.unwrap_or("0").parse().ok()? }
        }
        (_, Some(_)) => return None,
        ("ddim-uniform", None) => PeerTrajectory::DdimUniform,
        ("ddim-quad", None) => PeerTrajectory::DdimQuad,
        ("bao-linear", None) => PeerTrajectory::BaoLinear,
        ("diffusers-linspace", None) => PeerTrajectory::DiffusersLinspace,
        ("diffusers-trailing", None) => PeerTrajectory::DiffusersTrailing,
        ("guided", None) => PeerTrajectory::Guided,
        ("guided-ddim", None) => PeerTrajectory::GuidedDdim,
        ("s2", None) => PeerTrajectory::S2,
        _ => return None,
    };
    Some(peer)
}

fn unknown(name: &str, stem: &str, steps: usize, timesteps: usize) -> Error {
    let mut expected = format!(
        "one of {}, or a list as 1,10,100 (for S = {steps}, T = {timesteps})",
        NAMES.join(", ")
    );
    match nearest(stem, NAMES.iter().copied()) {
        Some("karras") => expected += "; `karras:7` takes its rho after the colon",
        Some("bao-power") => expected += "; `bao-power:2` takes its power after the colon",
        Some("diffusers-leading") => {
            expected += "; `diffusers-leading:1` takes its offset after the colon";
        }
        Some(hint) => expected += &format!("; did you mean `{hint}`?"),
        None => {}
    }
    Error::argument("trajectory", name, expected)
}

fn listed(text: &str, steps: usize, timesteps: usize) -> Result<Vec<usize>> {
    let times: Result<Vec<usize>, _> = text.split(',').map(|t| t.trim().parse()).collect();
    let times =
        times.map_err(|_| Error::argument("trajectory", text, "whole numbers as in 1,10,100"))?;
    check_increasing(&times, timesteps)?;
    if times.len() != steps {
        let expected = format!("{} as the list {text} has (T = {timesteps})", times.len());
        return Err(Error::argument("steps", steps, expected));
    }
    Ok(times)
}

/// Refuses S = 0, S > T, and a T that no schedule has.
pub(crate) fn check_steps(steps: usize, timesteps: usize) -> Result<()> {
    if timesteps > MOST_TIMESTEPS {
        return Err(Error::argument("timesteps", timesteps, format!("at most {MOST_TIMESTEPS}")));
    }
    if (1..=timesteps).contains(&steps) {
        return Ok(());
    }
    let expected = format!("1..=T (S = {steps}, T = {timesteps})");
    Err(Error::argument("steps", steps, expected))
}

/// Refuses an empty list, times outside 1..=T, and times that do not increase.
pub(crate) fn check_increasing(times: &[usize], timesteps: usize) -> Result<()> {
    if times.is_empty() {
        return Err(Error::argument("trajectory", "an empty list", "at least one time"));
    }
    let mut previous = 0;
    for &time in times {
        if time <= previous || time > timesteps {
            let expected = format!(
                "strictly increasing times in 1..=T (after {previous}, S = {}, T = {timesteps})",
                times.len()
            );
            return Err(Error::argument("trajectory time", time, expected));
        }
        previous = time;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repair_pushes_up_what_repeats_and_down_what_overshoots() {
        let repaired =
            |ideal: [f64; 4]| Trajectory::repaired(4, 10, |i| ideal[i - 1]).unwrap().times;
        assert_eq!(repaired([1.0, 1.2, 1.4, 10.0]), [1, 2, 3, 10]);
        assert_eq!(repaired([10.0, 10.0, 10.0, 10.0]), [7, 8, 9, 10]);
        assert_eq!(repaired([2.0, 9.6, 9.7, 9.8]), [2, 8, 9, 10]);
        assert_eq!(repaired([0.5, 2.5, 3.5, 4.6]), [1, 2, 4, 5]);
    }
}
