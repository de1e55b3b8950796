//! What was measured: times, ratios of pairs, and how far the outputs are apart.

use super::peer::{Peers, Variant};
use crate::machine::Machine;
use diff_core::timing::{median, range};
use serde::Serialize;
use std::collections::BTreeMap;

/// How far f32 results may be apart, relative to their size.
pub(super) const TOLERANCE: f64 = 1e-4;

/// All that a run measured.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) machine: Machine,
    /// The profile our binaries were built in; none where they were given.
    pub(super) profile: Option<String>,
    /// What our binaries answer to `--version`.
    pub(super) binaries: BTreeMap<String, String>,
    pub(super) peers: Peers,
    pub(super) threads: usize,
    pub(super) repeats: usize,
    pub(super) cases: Vec<Measured>,
}

/// A case.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Measured {
    pub(super) kind: &'static str,
    pub(super) batch: usize,
    pub(super) sides: Vec<Times>,
    pub(super) ratios: Vec<Ratio>,
    /// The side that ours is held against: the faster of PyTorch's f32 memory formats.
    pub(super) bar: Option<String>,
    /// The share of the machine that other programs used while all sides rested.
    pub(super) busy: Option<f64>,
}

/// One side of a case.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Times {
    pub(super) name: String,
    /// One for every round.
    pub(super) seconds: Vec<f64>,
    pub(super) median_seconds: Option<f64>,
    pub(super) peak_rss_bytes: Option<u64>,
    /// ||theirs - ours|| / ||ours|| of what was compared, by name.
    pub(super) errors: BTreeMap<String, f64>,
    /// Whether those have to be small.
    #[serde(skip)]
    pub(super) exact: bool,
    /// Why there are no times.
    pub(super) failed: Option<String>,
}

/// The time of one side over that of another: the median over rounds, with the least and greatest.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Ratio {
    pub(super) over: [String; 2],
    pub(super) median: f64,
    pub(super) min: f64,
    pub(super) max: f64,
}

impl Ratio {
    /// `None` unless both sides have a time for every round.
    pub(super) fn of(top: &Times, bottom: &Times) -> Option<Self> {
        if top.seconds.len() != bottom.seconds.len() {
            return None;
        }
        let pairs = top.seconds.iter().zip(&bottom.seconds);
        let ratios: Vec<f64> = pairs.map(|(top, bottom)| top / bottom).collect();
        let (min, max) = range(&ratios);
        let over = [top.name.clone(), bottom.name.clone()];
        Some(Ratio { over, median: median(&ratios)?, min, max })
    }
}

impl Measured {
    /// Ours come first; where others follow they are held against it, otherwise it against them.
    pub(super) fn new(kind: &'static str, batch: usize, sides: Vec<Times>, peers: bool) -> Self {
        let (first, others) = (sides.first(), sides.iter().skip(1));
        let ratio = |(other, first)| match peers {
            true => Ratio::of(other, first),
            false => Ratio::of(first, other),
        };
        let ratios = others.zip(first.into_iter().cycle()).filter_map(ratio).collect();
        let formats = Variant::FORMATS.map(Variant::name);
        let format = |side: &&Times| formats.contains(&side.name.as_str());
        let timed = sides.iter().filter(format).filter_map(|s| Some((s.median_seconds?, &s.name)));
        let bar = timed.min_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, name)| name.clone());
        Measured { kind, batch, sides, ratios, bar, busy: None }
    }
}

impl Measured {
    /// What it is called.
    pub(super) fn name(&self) -> String {
        super::case::name(self.kind, self.batch)
    }
}

impl Report {
    /// Comparisons of f32 results that came out too far apart.
    pub(super) fn mismatches(&self) -> Vec<String> {
        let mut found = Vec::new();
        for case in &self.cases {
            for side in case.sides.iter().filter(|side| side.exact) {
                // What is no number is no match.
                let wrong = side.errors.iter().filter(|(_, e)| !(0.0..=TOLERANCE).contains(*e));
                found.extend(wrong.map(|(what, error)| {
                    format!("{}, {}: {what} {error:.1e}", case.name(), side.name)
                }));
            }
        }
        found
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn times(name: &str, seconds: &[f64]) -> Times {
        Times {
            name: name.into(),
            seconds: seconds.to_vec(),
            median_seconds: median(seconds),
            ..Times::default()
        }
    }

    #[test]
    fn a_ratio_is_the_median_over_pairs_and_not_the_ratio_of_medians() {
        let (peer, ours) = (times("p", &[2.0, 9.0, 4.0]), times("o", &[1.0, 3.0, 4.0]));
        let ratio = Ratio::of(&peer, &ours).unwrap();
        assert_eq!((ratio.median, ratio.min, ratio.max), (2.0, 1.0, 3.0));
        assert_eq!(ratio.over, ["p", "o"]);
        assert!(Ratio::of(&peer, &times("o", &[1.0])).is_none());
        assert!(Ratio::of(&times("p", &[]), &times("o", &[])).is_none());
    }

    #[test]
    fn the_bar_is_the_faster_format_whatever_else_is_faster() {
        let sides = vec![
            times("ours", &[1.0]),
            times("contiguous", &[0.8]),
            times("channels_last", &[0.7]),
            times("bf16", &[0.2]),
            Times { failed: Some("no compiler".into()), ..times("compile", &[]) },
        ];
        let case = Measured::new("forward", 8, sides, true);
        assert_eq!(case.bar.as_deref(), Some("channels_last"));
        assert_eq!(case.ratios.len(), 3, "what failed has no ratio");
        assert_eq!(case.ratios[0].over, ["contiguous", "ours"]);
        let alone = vec![times("sa", &[2.0]), times("a", &[1.0]), times("b", &[2.0])];
        let case = Measured::new("sequence", 8, alone, false);
        assert_eq!(case.ratios.iter().map(|r| r.median).collect::<Vec<_>>(), [2.0, 1.0]);
        assert_eq!((case.bar, &case.ratios[1].over), (None, &["sa".into(), "b".into()]));
    }

    #[test]
    fn only_exact_sides_must_agree_and_what_is_no_number_does_not() {
        let side = |exact, error: f64| Times {
            errors: BTreeMap::from([("output".into(), error)]),
            exact,
            ..times("compile", &[1.0])
        };
        let sides =
            vec![side(true, 1e-5), side(false, 0.1), side(true, 1e-3), side(true, f64::NAN)];
        let report = Report {
            machine: Machine::default(),
            profile: None,
            binaries: BTreeMap::new(),
            peers: Peers::Skipped("none".into()),
            threads: 1,
            repeats: 1,
            cases: vec![Measured::new("ddim", 2, sides, true)],
        };
        let found = report.mismatches();
        assert_eq!(
            found,
            ["ddim, batch 2, compile: output 1.0e-3", "ddim, batch 2, compile: output NaN"]
        );
    }
}
