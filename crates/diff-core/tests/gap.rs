//! SA-DPM's recursion, its closed form, and Theorems 1 and 2 on random residuals.

// Clippy takes the helpers of an integration test for library code.
#![allow(clippy::unwrap_used)]

use diff_core::{
    Schedule, ScheduleKind, ScheduleSpec,
    gap::{self, GapVariant, TauMode},
    rng::{Address, Purpose},
};
use proptest::prelude::*;

fn schedule(kind: ScheduleKind, timesteps: usize) -> Schedule {
    Schedule::new(&ScheduleSpec { kind, timesteps, ..ScheduleSpec::default() }).unwrap()
}

fn rows(count: usize, width: usize, seed: u64) -> Vec<Vec<f64>> {
    (0..count)
        .map(|i| {
            let mut row = vec![0f32; width];
            Address::new(seed, Purpose::Measure).index(i as u64).fill_normal(&mut row);
            row.into_iter().map(f64::from).collect()
        })
        .collect()
}

/// Largest difference, relative to the largest entry of `b`.
fn distance(a: &[f64], b: &[f64]) -> f64 {
    let scale = b.iter().fold(0f64, |most, v| most.max(v.abs()));
    a.iter().zip(b).fold(0f64, |most, (a, b)| most.max((a - b).abs())) / scale
}

#[test]
fn the_recursion_equals_its_closed_form() {
    for kind in [ScheduleKind::Linear, ScheduleKind::Cosine, ScheduleKind::Jsd, ScheduleKind::VpSde]
    {
        let schedule = schedule(kind, 1000);
        for (first, count) in [(1, 1000), (2, 299), (700, 301), (5, 1)] {
            let residuals = rows(count, 3, 1);
            let recursive =
                gap::recursion(&schedule, GapVariant::Paper, first, &residuals).unwrap();
            let closed = gap::closed_form(&schedule, first, &residuals).unwrap();
            for (j, (a, b)) in recursive.iter().zip(&closed).enumerate() {
                assert!(distance(a, b) < 1e-12, "{kind} t = {}: {:e}", first + j, distance(a, b));
            }
        }
    }
}

#[test]
fn the_total_gap_is_the_recursion_at_two() {
    for kind in [ScheduleKind::Linear, ScheduleKind::Quadratic, ScheduleKind::Sigmoid] {
        let schedule = schedule(kind, 1000);
        let residuals = rows(1000, 4, 2);
        let recursive = gap::recursion(&schedule, GapVariant::Paper, 1, &residuals).unwrap();
        let total = gap::total(&schedule, 1, &residuals).unwrap();
        assert!(distance(&recursive[1], &total) < 1e-12);
        // gamma2_1 = 0: the gap at 1 forgets everything but its own residual.
        let own: Vec<f64> = residuals[0].iter().map(|r| schedule.gap_coefficient(1) * r).collect();
        assert!(distance(&recursive[0], &own) < 1e-15);
    }
}

#[test]
fn carried_weights_are_products_of_gamma2() {
    for kind in ScheduleKind::ALL.into_iter().filter(|kind| *kind != ScheduleKind::Custom) {
        let schedule = schedule(kind, 200);
        for t in [1, 2, 3, 50, 199, 200] {
            let mut product = 1.0;
            for i in t..=200 {
                let got = gap::carry(&schedule, t, i);
                let close = (got - product).abs() <= 1e-12 * product;
                assert!(close, "{kind} {t} {i}: {got:e} {product:e}");
                product *= schedule.gamma2(i);
            }
        }
        // tau_i is what of d_i = c_i r_i reaches t = 2.
        for i in 2..=200 {
            let want = gap::carry(&schedule, 2, i) * schedule.gap_coefficient(i);
            assert!((schedule.tau(i) - want).abs() <= 1e-13 * want, "{kind} {i}");
        }
    }
}

#[test]
fn the_official_recursion_forgets_its_top_and_its_history() {
    let schedule = schedule(ScheduleKind::Linear, 300);
    let residuals = rows(299, 2, 3);
    let official = gap::recursion(&schedule, GapVariant::Official, 2, &residuals).unwrap();
    assert_eq!(official[298], [0.0, 0.0]);
    let own: Vec<f64> = residuals[0].iter().map(|r| schedule.gap_coefficient(2) * r).collect();
    assert_eq!(official[0], own);
    let paper = gap::recursion(&schedule, GapVariant::Paper, 2, &residuals).unwrap();
    assert!(distance(&official[100], &paper[100]) > 1e-3);
}

#[test]
fn theorem_2_with_one_step_is_an_equality() {
    let schedule = schedule(ScheduleKind::Linear, 100);
    for mode in [TauMode::Off, TauMode::On, TauMode::Normalised] {
        let weights = gap::step_weights(&schedule, mode);
        let bounds = gap::theorem2(&weights, &rows(99, 5, 4), 1).unwrap();
        assert!((bounds.upper / bounds.sequence_aware - 1.0).abs() < 1e-13, "{bounds:?}");
        assert!(bounds.lower < bounds.sequence_aware);
    }
}

#[test]
fn theorem_2_against_its_definition() {
    // T = 3, K = 2, r = (a, b) at t = 2, 3 with weights 1: windows start at -1..=3 and hold
    // nothing, a, (a, b), b, nothing... counted by hand: starts -1: {-1, 0}, 0: {0, 1}, 1: {1, 2},
    // 2: {2, 3}, 3: {3, 4}.
    let bounds = gap::theorem2(&[0.0, 1.0, 1.0, 1.0], &[vec![3.0], vec![-1.0]], 2).unwrap();
    assert_eq!(bounds.upper, (9.0 + 1.0) / 5.0);
    assert_eq!(bounds.sequence_aware, (1.5f64.powi(2) + 1.0 + 0.5f64.powi(2)) / 5.0);
    assert_eq!(bounds.lower, 4.0 / 25.0);
}

#[test]
fn equal_residuals_make_the_lower_bound_tight_in_the_limit() {
    // With identical rows and K = T the windows are as coherent as they can be; the lower bound
    // is then within the factor that the overhanging windows cost.
    let residuals = vec![vec![1.0]; 99];
    let weights = vec![1.0; 101];
    let bounds = gap::theorem2(&weights, &residuals, 100).unwrap();
    assert!(bounds.hold() && bounds.lower > 0.5 * bounds.sequence_aware, "{bounds:?}");
}

proptest! {
    #[test]
    fn theorem_2_holds_for_every_realisation(
        timesteps in 2usize..60,
        window in 1usize..9,
        width in 1usize..5,
        seed in any::<u64>(),
        mode in prop::sample::select(vec![TauMode::Off, TauMode::On, TauMode::Normalised]),
        random_weights in any::<bool>(),
        kind in prop::sample::select(vec![ScheduleKind::Linear, ScheduleKind::Cosine, ScheduleKind::Jsd]),
    ) {
        let residuals = rows(timesteps - 1, width, seed);
        let weights = if random_weights {
            rows(1, timesteps + 1, seed ^ 1).remove(0)
        } else {
            gap::step_weights(&schedule(kind, timesteps), mode)
        };
        let bounds = gap::theorem2(&weights, &residuals, window.min(timesteps)).unwrap();
        prop_assert!(bounds.hold(), "{:?}", bounds);
        prop_assert!(bounds.upper > 0.0);
    }
}

#[test]
fn weights_of_each_mode() {
    let schedule = schedule(ScheduleKind::Linear, 50);
    assert_eq!(gap::step_weights(&schedule, TauMode::Off), [&[0.0][..], &[1.0; 50]].concat());
    let on = gap::step_weights(&schedule, TauMode::On);
    let scaled = gap::step_weights(&schedule, TauMode::Normalised);
    assert_eq!((on.len(), on[0], on[1]), (51, 0.0, 0.0));
    assert!((scaled[2..].iter().sum::<f64>() / 49.0 - 1.0).abs() < 1e-14);
    for t in 2..=50 {
        assert_eq!(on[t], schedule.tau(t));
        assert!((scaled[t] / scaled[2] - on[t] / on[2]).abs() < 1e-14);
    }
    let one = Schedule::from_betas(&[0.5]).unwrap();
    assert_eq!(gap::step_weights(&one, TauMode::Normalised), [0.0, 0.0]);
}

#[test]
fn rows_that_do_not_fit_are_refused() {
    let schedule = schedule(ScheduleKind::Linear, 10);
    let refused = |first, residuals: &[Vec<f64>]| {
        gap::recursion(&schedule, GapVariant::Paper, first, residuals).unwrap_err().is_usage()
            && gap::closed_form(&schedule, first, residuals).is_err()
            && gap::total(&schedule, first, residuals).is_err()
    };
    assert!(refused(1, &[]));
    assert!(refused(0, &[vec![1.0]]));
    assert!(refused(2, &rows(10, 1, 0)));
    assert!(refused(usize::MAX, &rows(1, 1, 0)));
    assert!(refused(1, &rows(11, 1, 0)));
    assert!(refused(1, &[vec![1.0], vec![1.0, 2.0]]));
    assert!(gap::theorem2(&[1.0; 11], &rows(9, 1, 0), 0).is_err());
    assert!(gap::theorem2(&[1.0; 11], &rows(9, 1, 0), 11).is_err());
    assert!(gap::theorem2(&[1.0; 10], &rows(9, 1, 0), 2).is_err());
    assert!(gap::theorem2(&[1.0; 2], &[], 2).is_err());
}
