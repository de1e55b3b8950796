//! Which forward process is meant: the named families of beta_t and their parameters.

use crate::{
    config::nearest,
    error::{Error, Result},
};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// The families of forward processes. Unless said otherwise b0 = `beta_start` (default 1e-4) and
/// b1 = `beta_end` (default 0.02).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum ScheduleKind {
    /// b0 + (b1 - b0)(t-1)/(T-1) (DDPM). DDDM's released code is this with b0 = 0.01/T, b1 = 50/T.
    #[default]
    Linear,
    /// Linear from 0.1/T to 20/T, which keeps alpha_bar_T for any T >= 20 (guided-diffusion).
    LinearScaled,
    /// (sqrt b0 + (sqrt b1 - sqrt b0)(t-1)/(T-1))^2 (ermongroup/ddim).
    Quadratic,
    /// min(1 - f(t/T)/f((t-1)/T), 0.999), f(u) = cos^2((u + 0.008)/1.008 pi/2) (Nichol & Dhariwal).
    Cosine,
    /// b0 + (b1 - b0) / (1 + exp(-u)), u evenly spaced from -6 to 6 (ermongroup/ddim).
    Sigmoid,
    /// b1 at every t; b0 is not used.
    Constant,
    /// 1/(T-t+1): beta_T = 1, so alpha_bar_T = 0 (ermongroup/ddim).
    Jsd,
    /// 1 - exp(-integral of 0.1 + 19.9 u over [(t-1)/T, t/T]) (Extended-Analytic-DPM).
    VpSde,
    /// Given `betas` or `alpha_bars`.
    Custom,
}

impl ScheduleKind {
    /// Every kind, in the order the documentation lists them.
    pub const ALL: [ScheduleKind; 9] = [
        ScheduleKind::Linear,
        ScheduleKind::LinearScaled,
        ScheduleKind::Quadratic,
        ScheduleKind::Cosine,
        ScheduleKind::Sigmoid,
        ScheduleKind::Constant,
        ScheduleKind::Jsd,
        ScheduleKind::VpSde,
        ScheduleKind::Custom,
    ];

    /// The name in configurations and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            ScheduleKind::Linear => "linear",
            ScheduleKind::LinearScaled => "linear-scaled",
            ScheduleKind::Quadratic => "quadratic",
            ScheduleKind::Cosine => "cosine",
            ScheduleKind::Sigmoid => "sigmoid",
            ScheduleKind::Constant => "constant",
            ScheduleKind::Jsd => "jsd",
            ScheduleKind::VpSde => "vp-sde",
            ScheduleKind::Custom => "custom",
        }
    }

    /// Which of `beta_start` and `beta_end` the kind reads.
    fn reads(self) -> (bool, bool) {
        match self {
            ScheduleKind::Linear | ScheduleKind::Quadratic | ScheduleKind::Sigmoid => (true, true),
            ScheduleKind::Constant => (false, true),
            _ => (false, false),
        }
    }
}

impl fmt::Display for ScheduleKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for ScheduleKind {
    type Err = Error;

    fn from_str(given: &str) -> Result<Self> {
        let name = given.to_ascii_lowercase().replace('_', "-");
        let name = match name.as_str() {
            "quad" => "quadratic",
            "const" => "constant",
            "vpsde" => "vp-sde",
            other => other,
        };
        if let Some(kind) = Self::ALL.into_iter().find(|kind| kind.name() == name) {
            return Ok(kind);
        }
        let names = Self::ALL.map(ScheduleKind::name);
        let mut expected = format!("one of {}", names.join(", "));
        if let Some(hint) = nearest(name, names) {
            expected += &format!("; did you mean `{hint}`?");
        }
        Err(Error::argument("schedule kind", given, expected))
    }
}

impl TryFrom<String> for ScheduleKind {
    type Error = Error;

    fn try_from(name: String) -> Result<Self> {
        name.parse()
    }
}

impl From<ScheduleKind> for String {
    fn from(kind: ScheduleKind) -> String {
        kind.name().to_string()
    }
}

/// Everything that determines a [`Schedule`](super::Schedule). A field that the kind does not use
/// must be absent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ScheduleSpec {
    /// The family.
    pub kind: ScheduleKind,
    /// T, at least 1; at least 2 for kinds that interpolate.
    pub timesteps: usize,
    /// b0 in (0, 1].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beta_start: Option<f64>,
    /// b1 in (0, 1].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beta_end: Option<f64>,
    /// For kind custom: beta_1..beta_T.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub betas: Option<Vec<f64>>,
    /// For kind custom, instead of `betas`: alpha_bar_1..alpha_bar_T.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alpha_bars: Option<Vec<f64>>,
}

impl Default for ScheduleSpec {
    /// Linear, T = 1000: DDPM's forward process.
    fn default() -> Self {
        ScheduleSpec {
            kind: ScheduleKind::Linear,
            timesteps: 1000,
            beta_start: None,
            beta_end: None,
            betas: None,
            alpha_bars: None,
        }
    }
}

/// More steps than anyone trains with; keeps a mistyped T from exhausting memory.
pub(crate) const MOST_TIMESTEPS: usize = 1_000_000;

impl ScheduleSpec {
    /// b0 and b1 in force: as given, or the default of the kind; `None` where it does not use one.
    pub fn bounds(&self) -> (Option<f64>, Option<f64>) {
        let (reads_start, reads_end) = self.kind.reads();
        (
            reads_start.then(|| self.beta_start.unwrap_or(1e-4)),
            reads_end.then(|| self.beta_end.unwrap_or(0.02)),
        )
    }

    /// Refuses a T out of range and fields that the kind does not read or that are out of range.
    pub(super) fn check(&self) -> Result<()> {
        let interpolates = matches!(
            self.kind,
            ScheduleKind::Linear
                | ScheduleKind::LinearScaled
                | ScheduleKind::Quadratic
                | ScheduleKind::Sigmoid
        );
        let least = if interpolates { 2 } else { 1 };
        if !(least..=MOST_TIMESTEPS).contains(&self.timesteps) {
            let expected = format!("{least}..={MOST_TIMESTEPS} for kind {}", self.kind);
            return Err(Error::argument("timesteps", self.timesteps, expected));
        }
        let (reads_start, reads_end) = self.kind.reads();
        self.check_bound("beta_start", self.beta_start, reads_start)?;
        self.check_bound("beta_end", self.beta_end, reads_end)?;
        let custom = self.kind == ScheduleKind::Custom;
        for (name, list) in [("betas", &self.betas), ("alpha_bars", &self.alpha_bars)] {
            match list {
                Some(_) if !custom => return Err(self.unused(name, "a list")),
                Some(list) if list.len() != self.timesteps => {
                    let expected = format!("{} values, one per time step", self.timesteps);
                    let given = format!("{} values", list.len());
                    return Err(Error::argument(name, given, expected));
                }
                _ => {}
            }
        }
        if custom && self.betas.is_some() == self.alpha_bars.is_some() {
            let given = if self.betas.is_some() { "both" } else { "neither" };
            let expected = "exactly one of the two for kind custom";
            return Err(Error::argument("betas, alpha_bars", given, expected));
        }
        Ok(())
    }

    fn check_bound(&self, name: &str, value: Option<f64>, read: bool) -> Result<()> {
        match value {
            Some(value) if !read => Err(self.unused(name, value)),
            Some(value) if !(value > 0.0 && value <= 1.0) => {
                Err(Error::argument(name, value, "a number above 0 and at most 1"))
            }
            _ => Ok(()),
        }
    }

    fn unused(&self, name: &str, value: impl ToString) -> Error {
        Error::argument(name, value, format!("no value: kind {} does not use it", self.kind))
    }

    /// beta_1..beta_T of a named family; `None` for kind custom.
    pub(super) fn family_betas(&self) -> Option<Vec<f64>> {
        let (b0, b1) = self.bounds();
        let (b0, b1) = (b0.unwrap_or_default(), b1.unwrap_or_default());
        let count = self.timesteps as f64;
        // Position of t between the ends; exact at both.
        let between = |t: usize, a: f64, b: f64| {
            let u = (t - 1) as f64 / (count - 1.0);
            a * (1.0 - u) + b * u
        };
        let times = 1..=self.timesteps;
        let betas = match self.kind {
            ScheduleKind::Linear => times.map(|t| between(t, b0, b1)).collect(),
            ScheduleKind::LinearScaled => {
                times.map(|t| between(t, 0.1 / count, 20.0 / count)).collect()
            }
            ScheduleKind::Quadratic => {
                times.map(|t| between(t, b0.sqrt(), b1.sqrt()).powi(2)).collect()
            }
            ScheduleKind::Sigmoid => {
                times.map(|t| b0 + (b1 - b0) / (1.0 + (-between(t, -6.0, 6.0)).exp())).collect()
            }
            ScheduleKind::Constant => times.map(|_| b1).collect(),
            ScheduleKind::Jsd => times.map(|t| 1.0 / (self.timesteps - t + 1) as f64).collect(),
            ScheduleKind::Cosine => times
                .map(|t| (1.0 - squared_cosine(t, count) / squared_cosine(t - 1, count)).min(0.999))
                .collect(),
            ScheduleKind::VpSde => times
                .map(|t| {
                    let integral = 0.1 / count + 9.95 * (2 * t - 1) as f64 / count.powi(2);
                    -(-integral).exp_m1()
                })
                .collect(),
            ScheduleKind::Custom => return None,
        };
        Some(betas)
    }
}

fn squared_cosine(t: usize, count: f64) -> f64 {
    ((t as f64 / count + 0.008) / 1.008 * std::f64::consts::FRAC_PI_2).cos().powi(2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Schedule;

    fn refused(spec: ScheduleSpec) -> String {
        let error = Schedule::new(&spec).unwrap_err();
        assert!(error.is_usage());
        error.to_string()
    }

    fn spec(kind: ScheduleKind, timesteps: usize) -> ScheduleSpec {
        ScheduleSpec { kind, timesteps, ..ScheduleSpec::default() }
    }

    #[test]
    fn names_and_aliases_are_read_and_written() {
        for kind in ScheduleKind::ALL {
            assert_eq!(kind.to_string().parse::<ScheduleKind>().unwrap(), kind);
            let json = serde_json::to_string(&kind).unwrap();
            assert_eq!(json, format!("\"{kind}\""));
            assert_eq!(serde_json::from_str::<ScheduleKind>(&json).unwrap(), kind);
        }
        for (alias, kind) in [
            ("quad", ScheduleKind::Quadratic),
            ("const", ScheduleKind::Constant),
            ("vpsde", ScheduleKind::VpSde),
            ("vp_sde", ScheduleKind::VpSde),
            ("Linear_Scaled", ScheduleKind::LinearScaled),
        ] {
            assert_eq!(alias.parse::<ScheduleKind>().unwrap(), kind);
        }
        let error = "cosin".parse::<ScheduleKind>().unwrap_err().to_string();
        assert!(error.contains("did you mean `cosine`"), "{error}");
    }

    #[test]
    fn a_field_that_the_kind_does_not_use_is_refused() {
        for kind in [ScheduleKind::Cosine, ScheduleKind::Jsd, ScheduleKind::Constant] {
            let message = refused(ScheduleSpec { beta_start: Some(1e-4), ..spec(kind, 10) });
            assert!(message.contains("beta_start") && message.contains(kind.name()), "{message}");
        }
        refused(ScheduleSpec { beta_end: Some(0.02), ..spec(ScheduleKind::VpSde, 10) });
        refused(ScheduleSpec { betas: Some(vec![0.1; 10]), ..spec(ScheduleKind::Linear, 10) });
        refused(ScheduleSpec { alpha_bars: Some(vec![0.1]), ..spec(ScheduleKind::Cosine, 1) });
        let unknown = serde_json::from_str::<ScheduleSpec>(r#"{"beta_begin": 0.1}"#);
        assert!(unknown.unwrap_err().to_string().contains("beta_begin"));
    }

    #[test]
    fn values_out_of_range_are_refused() {
        for timesteps in [0, 1, MOST_TIMESTEPS + 1, usize::MAX] {
            assert!(refused(spec(ScheduleKind::Linear, timesteps)).contains("timesteps"));
        }
        for bad in [0.0, -0.1, 1.1, f64::NAN, f64::INFINITY] {
            refused(ScheduleSpec { beta_end: Some(bad), ..spec(ScheduleKind::Linear, 10) });
            assert!(Schedule::from_betas(&[0.1, bad]).is_err(), "{bad}");
        }
        // 20/T above 1, alpha_bar 0 before T, and 0.1^400 below the smallest f64.
        assert!(refused(spec(ScheduleKind::LinearScaled, 10)).contains("t = 6"));
        assert!(Schedule::from_betas(&[1.0, 0.5]).is_err());
        assert!(Schedule::from_betas(&[0.9; 400]).unwrap_err().to_string().contains("alpha_bar"));
        assert!(Schedule::from_betas(&[]).is_err());
    }

    #[test]
    fn custom_lists_are_checked() {
        for bad in [&[][..], &[1.0], &[0.5, 0.5], &[0.5, 0.6], &[0.5, 0.0, -0.1], &[0.5, f64::NAN]]
        {
            assert!(Schedule::from_alpha_bars(bad).unwrap_err().is_usage(), "{bad:?}");
        }
        assert_eq!(Schedule::from_alpha_bars(&[0.5, 0.0]).unwrap().beta(2), 1.0);
        assert!(refused(spec(ScheduleKind::Custom, 1)).contains("neither"));
        let one = Some(vec![0.1]);
        let both = ScheduleSpec {
            betas: one.clone(),
            alpha_bars: one.clone(),
            ..spec(ScheduleKind::Custom, 1)
        };
        assert!(refused(both).contains("both"));
        let short = ScheduleSpec { betas: one, ..spec(ScheduleKind::Custom, 2) };
        assert!(refused(short).contains("2 values"));
    }
}
