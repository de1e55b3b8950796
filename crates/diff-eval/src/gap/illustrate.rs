//! Why errors that agree from step to step matter and errors that cancel do not: our own drawing
//! of the idea of SA-DPM's figure 1, computed and not sketched. The data are two modes on a line,
//! whose denoiser is known exactly; the deterministic sampler walks every step from one x_T.

use super::descent::Descent;
use crate::Result;
use diff_core::{
    Error, Schedule, ScheduleSpec,
    plot::{LineChart, Series, stacked},
};
use diff_models::{Component, GaussianMixture};
use serde::Serialize;

/// Where the modes are, and how wide.
const MODE: f64 = 0.7;
const WIDTH: f64 = 0.25;
/// x_T.
const START: f64 = 0.4;

/// Three walks from the same x_T, each by time from T down to 0.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Illustration {
    /// The size of the error in every noise prediction.
    pub error: f64,
    /// T, ..., 0.
    pub t: Vec<usize>,
    /// x_t without an error.
    pub exact: Vec<f64>,
    /// x_t with +error in every step.
    pub same_sign: Vec<f64>,
    /// x_t with +error and -error in turn.
    pub alternating: Vec<f64>,
}

/// Walks with errors of size `error` in (0, 1] under the linear schedule of 1000 steps.
///
/// # Errors
/// When `error` is out of range.
pub fn illustrate(error: f64) -> Result<Illustration> {
    if !(error > 0.0 && error <= 1.0) {
        return Err(Error::argument("error", error, "a number above 0 and at most 1").into());
    }
    let schedule = Schedule::new(&ScheduleSpec::default())?;
    let mode = |mean| Component { weight: 1.0, mean: vec![mean], variance: vec![WIDTH * WIDTH] };
    let oracle = GaussianMixture::new(vec![mode(-MODE), mode(MODE)], [1, 1, 1], schedule)?;
    Ok(Illustration {
        error,
        t: (0..=oracle.schedule().timesteps()).rev().collect(),
        exact: walk(&oracle, |_| 0.0),
        same_sign: walk(&oracle, |_| error),
        alternating: walk(&oracle, |t| if t % 2 == 0 { error } else { -error }),
    })
}

fn walk(oracle: &GaussianMixture, error: impl Fn(usize) -> f64) -> Vec<f64> {
    let schedule = oracle.schedule();
    let mut x = START;
    let mut path = vec![x];
    for t in (1..=schedule.timesteps()).rev() {
        let alpha_bar = schedule.alpha_bar(t);
        let x0 = oracle.posterior_mean(&[x], alpha_bar)[0];
        let eps = (x - alpha_bar.sqrt() * x0) / schedule.one_minus_alpha_bar(t).sqrt();
        x = Descent::new(schedule, t, 0.0).apply(x, eps + error(t), 0.0);
        path.push(x);
    }
    path
}

impl Illustration {
    /// How far the sample with errors of one sign is from the exact one.
    pub fn same_sign_deviation(&self) -> f64 {
        last_of(&self.deviation(&self.same_sign))
    }

    /// How far the sample with alternating errors is from the exact one.
    pub fn alternating_deviation(&self) -> f64 {
        last_of(&self.deviation(&self.alternating))
    }

    fn deviation(&self, path: &[f64]) -> Vec<f64> {
        path.iter().zip(&self.exact).map(|(x, exact)| (x - exact).abs()).collect()
    }

    /// The paths, and below them how far each is from the exact one, as one `<svg>` element. Of every
    /// two steps the larger distance is drawn: one of an error and of its opposite.
    pub fn to_svg(&self) -> String {
        let series = |name: &str, values: &[f64]| {
            let steps = (0..).map(f64::from);
            Series {
                name: name.into(),
                points: steps.zip(values.iter().copied()).collect(),
                ..Series::default()
            }
        };
        let distance = |name: &str, path: &[f64]| {
            let larger = |pair: &[f64]| pair.iter().copied().fold(0.0, f64::max);
            // The common start is at no distance.
            let pairs: Vec<f64> = self.deviation(path)[1..].chunks(2).map(larger).collect();
            let points = (1..).map(|pair| f64::from(2 * pair)).zip(pairs).collect();
            Series { name: name.into(), points, ..Series::default() }
        };
        let x_label = format!("steps taken, from t = {} down to t = 0", self.t[0]);
        let paths = LineChart {
            title: format!("An error of {} in every noise prediction", self.error),
            x_label: x_label.clone(),
            y_label: "x_t".into(),
            series: vec![
                series("no error", &self.exact),
                series("always the same sign", &self.same_sign),
                series("alternating signs (covers no error)", &self.alternating),
            ],
            ..LineChart::default()
        };
        let deviations = LineChart {
            title: "Errors that agree accumulate, errors that alternate cancel".into(),
            x_label,
            y_label: "distance from the path without error".into(),
            y_log: true,
            series: vec![
                // An empty line keeps the colours of the upper chart.
                Series::default(),
                distance("always the same sign", &self.same_sign),
                distance("alternating signs", &self.alternating),
            ],
            ..LineChart::default()
        };
        stacked(&[paths, deviations])
    }
}

fn last_of(values: &[f64]) -> f64 {
    values.last().copied().unwrap_or_default()
}
