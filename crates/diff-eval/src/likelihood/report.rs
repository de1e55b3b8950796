//! What was measured: means with intervals, a file of columns, a chart.

use super::{Likelihood, Parts};
use crate::{
    Interval, Result,
    bootstrap::{interval, replicates},
    gap::field,
};
use diff_core::plot::{LineChart, Series};

/// A mean over pictures, and where that of as many others would fall (see [`interval`]).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounded {
    /// The mean.
    pub value: f64,
    /// Its interval; none without resamples.
    pub interval: Option<Interval>,
}

/// The bound and its parts, in bits per dimension, averaged over pictures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// The bound.
    pub total: Bounded,
    /// Its parts; see [`Parts`].
    pub prior: Bounded,
    /// The sum of the divergences.
    pub transitions: Bounded,
    /// The decoder's part.
    pub decoder: Bounded,
    /// How far the bound is above that of another network on the same pictures and noise, picture
    /// by picture; none for the network that the others are held against.
    pub above: Option<Bounded>,
}

impl Summary {
    /// The named numbers.
    pub fn named(&self) -> impl Iterator<Item = (&'static str, Bounded)> {
        let Summary { total, prior, transitions, decoder, above } = *self;
        let parts = [
            ("bits_per_dim", total),
            ("prior", prior),
            ("transitions", transitions),
            ("decoder", decoder),
        ];
        parts.into_iter().chain(above.map(|above| ("above_first", above)))
    }
}

/// Averages a measurement over its pictures; intervals come of `resamples` resamples, 0 for none.
/// `first` is the network it is held against, measured on the same pictures.
///
/// # Errors
/// None of its own; those of statistics over resamples.
pub fn summary(
    measured: &Likelihood,
    first: Option<&Likelihood>,
    resamples: usize,
    seed: u64,
) -> Result<Summary> {
    let of = |part: &dyn Fn(&Parts) -> f64| {
        bounded(&measured.pictures.iter().map(part).collect::<Vec<_>>(), resamples, seed)
    };
    let above = first.map(|first| {
        let pairs = measured.pictures.iter().zip(&first.pictures);
        let above: Vec<f64> = pairs.map(|(own, first)| own.total() - first.total()).collect();
        bounded(&above, resamples, seed)
    });
    Ok(Summary {
        total: of(&Parts::total)?,
        prior: of(&|parts| parts.prior)?,
        transitions: of(&|parts| parts.transitions)?,
        decoder: of(&|parts| parts.decoder)?,
        above: above.transpose()?,
    })
}

fn bounded(values: &[f64], resamples: usize, seed: u64) -> Result<Bounded> {
    let count = values.len() as f64;
    let value = values.iter().sum::<f64>() / count;
    let mean = |weights: &[u32]| {
        let weighted = values.iter().zip(weights).map(|(value, n)| value * f64::from(*n));
        Ok(weighted.sum::<f64>() / count)
    };
    let replicates = replicates(values.len(), resamples, seed, mean)?;
    Ok(Bounded { value, interval: interval(value, &replicates) })
}

/// Columns `t` and one a network: the term of the step down from t, ascending, in the shortest
/// digits that read back exactly. The measurements have the same times.
pub fn csv(measured: &[(String, Likelihood)]) -> String {
    let mut out = String::from("t");
    for (name, _) in measured {
        out += &format!(",{}", field(name));
    }
    out.push('\n');
    let times = measured.first().map_or(&[][..], |(_, found)| &found.times);
    for (row, t) in times.iter().enumerate() {
        out += &t.to_string();
        for (_, found) in measured {
            out += &format!(",{:e}", found.terms[row]);
        }
        out.push('\n');
    }
    out
}

/// One line a network: the terms over t, both axes logarithmic (improved DDPM, figure 2).
pub fn chart(measured: &[(String, Likelihood)]) -> LineChart {
    let line = |(name, found): &(String, Likelihood)| {
        let points = found.times.iter().zip(&found.terms);
        Series {
            name: name.clone(),
            points: points.map(|(t, bits)| (*t as f64, *bits)).collect(),
            ..Series::default()
        }
    };
    let pictures = measured.first().map_or(0, |(_, found)| found.pictures.len());
    LineChart {
        title: format!("Terms of the variational bound, {pictures} pictures"),
        x_label: "t".into(),
        y_label: "bits per dimension".into(),
        x_log: true,
        y_log: true,
        series: measured.iter().map(line).collect(),
    }
}
