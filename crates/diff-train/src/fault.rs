//! What is said when numbers stop being numbers.

use crate::Error;
use candle_core::{DType, Tensor};
use diff_models::params::Params;

/// The error for `what` at step `step` (counted from 1), drawn at these paper times.
pub(crate) fn not_finite(step: usize, what: &str, times: &[i64], params: &Params) -> Error {
    Error::NotFinite { step, what: what.into(), times: histogram(times), largest: largest(params) }
}

/// Bins of the histogram.
const BINS: i64 = 10;

/// How many of the times fall into each tenth of 1..=max, e.g. `1-100: 3, 101-200: 5`; empty bins
/// are left out.
fn histogram(times: &[i64]) -> String {
    let top = times.iter().copied().max().unwrap_or(1).max(1);
    let width = (top + BINS - 1) / BINS;
    let mut parts = Vec::new();
    let below = times.iter().filter(|t| **t < 1).count();
    if below > 0 {
        parts.push(format!("below 1: {below}"));
    }
    for low in (1..=top).step_by(width as usize) {
        let high = (low + width - 1).min(top);
        let count = times.iter().filter(|t| (low..=high).contains(*t)).count();
        if count > 0 {
            parts.push(format!("{low}-{high}: {count}"));
        }
    }
    parts.join(", ")
}

/// The parameter with the largest absolute value, and that value.
fn largest(params: &Params) -> String {
    let value = |x: &Tensor| -> candle_core::Result<f64> {
        let values = x.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
        // NaN counts as larger than anything.
        Ok(values.iter().fold(0.0, |m: f64, v| if v.is_nan() { *v } else { m.max(v.abs()) }))
    };
    let named = params.iter().filter_map(|(name, var)| Some((name, value(var).ok()?)));
    named
        .max_by(|a, b| a.1.total_cmp(&b.1))
        .map_or_else(|| "none".into(), |(name, value)| format!("{name} ({value:.4e})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_counted_in_tenths() {
        assert_eq!(histogram(&[1, 100, 101, 1000, 999]), "1-100: 2, 101-200: 1, 901-1000: 2");
        assert_eq!(histogram(&[-1, 3]), "below 1: 1, 3-3: 1");
        assert_eq!(histogram(&[]), "");
        let message = not_finite(3, "the loss", &[], &Params::default()).to_string();
        assert!(message.contains("the loss is not finite; largest parameter none"), "{message}");
    }
}
