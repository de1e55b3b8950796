//! Identities that every schedule and every step must satisfy.

// Clippy takes the helpers of an integration test for library code.
#![allow(clippy::unwrap_used)]

use diff_core::{
    Schedule, ScheduleKind, ScheduleSpec, Step,
    kl::{ddim_weight, elbo_weight, gaussian},
};
use proptest::prelude::*;

fn every_schedule(timesteps: usize) -> Vec<Schedule> {
    ScheduleKind::ALL
        .into_iter()
        .filter(|kind| *kind != ScheduleKind::Custom)
        .map(|kind| Schedule::new(&ScheduleSpec { kind, timesteps, ..Default::default() }).unwrap())
        .collect()
}

/// A schedule of any shape: T in 2..40 and arbitrary betas.
fn any_schedule() -> impl Strategy<Value = Schedule> {
    prop::collection::vec(1e-5f64..0.7, 2..40)
        .prop_map(|betas| Schedule::from_betas(&betas).unwrap())
}

/// A schedule and two of its times, s < t.
fn any_step() -> impl Strategy<Value = (Schedule, usize, usize)> {
    any_schedule().prop_flat_map(|schedule| {
        let last = schedule.timesteps();
        (Just(schedule), 0..last)
            .prop_flat_map(move |(schedule, s)| (Just(schedule), Just(s), s + 1..=last))
    })
}

#[track_caller]
fn close(a: f64, b: f64, tolerance: f64) {
    assert!((a - b).abs() <= tolerance * a.abs().max(b.abs()), "{a:e} is not {b:e}");
}

#[test]
fn coefficients_of_the_posterior_fit_together() {
    for schedule in every_schedule(1000) {
        for t in 1..=1000 {
            let (g1, g2) = (schedule.gamma1(t), schedule.gamma2(t));
            let before = schedule.alpha_bar(t - 1);
            close(g1 + g2 * schedule.alpha_bar(t).sqrt(), before.sqrt(), 1e-13);
            let noise = schedule.one_minus_alpha_bar(t);
            let rest = schedule.one_minus_alpha_bar(t - 1);
            close(g2 * g2 * noise + schedule.beta_tilde(t), rest, 1e-13);
            close(schedule.alpha_bar(t), before * schedule.alpha(t), 1e-14);
            assert!((noise + schedule.alpha_bar(t) - 1.0).abs() < 1e-13);
        }
    }
}

#[test]
fn a_step_between_neighbours_is_the_schedules_own() {
    for schedule in every_schedule(100) {
        for t in 1..=100 {
            let step = schedule.step(t - 1, t);
            // Step subtracts alpha_bars, which costs digits near the data.
            close(step.beta(), schedule.beta(t), 1e-9);
            close(step.alpha(), schedule.alpha(t), 1e-12);
            close(step.gamma1(), schedule.gamma1(t), 1e-9);
            close(step.gamma2(), schedule.gamma2(t), 1e-9);
            close(step.beta_tilde(), schedule.beta_tilde(t), 1e-9);
        }
    }
}

#[test]
fn the_reverse_gap_splits_the_marginal_variance() {
    for schedule in every_schedule(1000) {
        for t in 1..=1000 {
            let split = schedule.beta_prime(t) + schedule.reverse_gap(t).powi(2);
            close(split, schedule.one_minus_alpha_bar(t - 1), 1e-11);
        }
        assert_eq!(schedule.reverse_gap(1), 0.0);
    }
}

#[test]
fn derived_columns_are_what_their_names_say() {
    for schedule in every_schedule(50) {
        for t in 1..50 {
            let (clean, noise) = (schedule.alpha_bar(t), schedule.one_minus_alpha_bar(t));
            close(schedule.snr(t), clean / noise, 1e-14);
            close(schedule.log_snr(t), (clean / noise).ln(), 1e-10);
            close(schedule.ve_sigma(t), (noise / clean).sqrt(), 1e-14);
            let direct = schedule.gamma1(t) * noise.sqrt() / clean.sqrt();
            close(schedule.gap_coefficient(t), direct, 1e-12);
            close(schedule.log_beta_tilde(t), schedule.beta_tilde(t.max(2)).ln(), 1e-14);
        }
    }
}

#[test]
fn alpha_bar_between_times_is_geometric() {
    for schedule in every_schedule(20) {
        for t in 0..=20 {
            assert_eq!(schedule.alpha_bar_at(t as f64), schedule.alpha_bar(t));
        }
        for t in 0..19 {
            let middle = schedule.alpha_bar_at(t as f64 + 0.5);
            close(middle, (schedule.alpha_bar(t) * schedule.alpha_bar(t + 1)).sqrt(), 1e-12);
        }
        let dense: Vec<f64> = (0..=400).map(|i| schedule.alpha_bar_at(i as f64 / 20.0)).collect();
        assert!(dense.windows(2).all(|pair| pair[1] < pair[0]), "{:?}", schedule.spec().kind);
        assert_eq!(schedule.alpha_bar_at(-1.0), 1.0);
        assert_eq!(schedule.alpha_bar_at(99.0), schedule.alpha_bar(20));
        assert!(schedule.alpha_bar_at(f64::NAN).is_nan());
    }
    let jsd = Schedule::new(&ScheduleSpec {
        kind: ScheduleKind::Jsd,
        timesteps: 10,
        ..Default::default()
    });
    close(jsd.unwrap().alpha_bar_at(9.5), (0.1f64 * 1e-12).sqrt(), 1e-12);
}

#[test]
fn a_spec_rebuilds_its_schedule_exactly() {
    let mut schedules = every_schedule(100);
    schedules.push(Schedule::from_betas(&[0.1, 0.3, 0.2]).unwrap());
    schedules.push(schedules[0].respaced(&[1, 40, 100]).unwrap());
    for schedule in schedules {
        let text = serde_json::to_string(schedule.spec()).unwrap();
        let again = Schedule::new(&serde_json::from_str(&text).unwrap()).unwrap();
        assert_eq!(again.spec(), schedule.spec());
        for t in 1..=schedule.timesteps() {
            assert_eq!(again.alpha_bar(t), schedule.alpha_bar(t));
            assert_eq!(again.beta_prime(t), schedule.beta_prime(t));
        }
    }
}

#[test]
fn respacing_keeps_the_marginals_and_joins_the_steps() {
    for schedule in every_schedule(100) {
        let times = [1, 2, 17, 50, 99, 100];
        let short = schedule.respaced(&times).unwrap();
        let mut s = 0;
        for (i, &t) in times.iter().enumerate() {
            assert_eq!(short.alpha_bar(i + 1), schedule.alpha_bar(t));
            close(short.beta(i + 1), schedule.step(s, t).beta(), 1e-13);
            s = t;
        }
        for bad in [&[][..], &[2, 1], &[5, 5], &[0, 1], &[101]] {
            assert!(schedule.respaced(bad).unwrap_err().is_usage(), "{bad:?}");
        }
    }
}

#[test]
fn identity_and_edge_steps_have_no_nan() {
    let jsd = Schedule::new(&ScheduleSpec {
        kind: ScheduleKind::Jsd,
        timesteps: 10,
        ..Default::default()
    });
    let jsd = jsd.unwrap();
    for t in 0..=10 {
        let same = jsd.step(t, t);
        assert_eq!((same.alpha(), same.beta(), same.beta_tilde()), (1.0, 0.0, 0.0));
        assert_eq!((same.gamma1(), same.gamma2(), same.ddim_sigma(1.0)), (0.0, 1.0, 0.0));
        assert_eq!(same.ddim_direction(0.0), (1.0 - jsd.alpha_bar(t)).sqrt());
    }
    let top = jsd.step(4, 10);
    assert_eq!((top.alpha(), top.beta()), (0.0, 1.0));
    assert_eq!((top.gamma1(), top.gamma2()), (jsd.alpha_bar(4).sqrt(), 0.0));
    assert_eq!(top.beta_tilde(), 1.0 - jsd.alpha_bar(4));
    assert_eq!(top.ddim_direction(top.ddim_sigma(1.0)), 0.0);
    assert!(jsd.gap_coefficient(10).is_finite() && jsd.tau(10).is_finite());
    assert_eq!((jsd.snr(10), jsd.log_snr(10)), (0.0, f64::NEG_INFINITY));
    let one = Schedule::from_betas(&[0.5]).unwrap();
    assert_eq!((one.tau(1), one.reverse_gap(1), one.beta_prime(1)), (0.0, 0.0, 0.0));
    close(one.log_beta_tilde(1), 1e-20f64.ln(), 1e-14);
}

proptest! {
    /// Composing q(x_t | x_{t-1}) from the data upwards gives q(x_t | x_0), and a long step is
    /// the composition of the short ones.
    #[test]
    fn marginals_by_composition((schedule, s, t) in any_step(), x0 in -2.0f64..2.0) {
        let (mut mean, mut variance, mut alpha) = (x0, 0.0, 1.0);
        for i in 1..=t {
            if i == s + 1 {
                alpha = 1.0;
            }
            mean *= schedule.alpha(i).sqrt();
            variance = schedule.alpha(i) * variance + schedule.beta(i);
            alpha *= schedule.alpha(i);
        }
        close(mean, schedule.alpha_bar(t).sqrt() * x0, 1e-13);
        close(variance, schedule.one_minus_alpha_bar(t), 1e-13);
        close(schedule.step(s, t).alpha(), alpha, 1e-12);
    }

    /// N(sqrt(alpha_bar_s) x0, 1 - alpha_bar_s) times N(x_t; sqrt(alpha) x_s, beta), normalised:
    /// precisions add, and so do precision-weighted means.
    #[test]
    fn posterior_by_bayes(
        (schedule, s, t) in any_step(),
        x0 in -1.0f64..1.0,
        x_t in -3.0f64..3.0,
    ) {
        let step = schedule.step(s, t);
        if s == 0 {
            close(step.gamma1(), 1.0, 1e-10);
            prop_assert_eq!((step.gamma2(), step.beta_tilde()), (0.0, 0.0));
        } else {
            let (prior, likelihood) = (1.0 / (1.0 - step.alpha_bar_s), step.alpha() / step.beta());
            let variance = 1.0 / (prior + likelihood);
            let mean = variance
                * (prior * step.alpha_bar_s.sqrt() * x0
                    + likelihood * x_t / step.alpha().sqrt());
            close(step.beta_tilde(), variance, 1e-9);
            let got = step.gamma1() * x0 + step.gamma2() * x_t;
            prop_assert!((got - mean).abs() < 1e-8 * (1.0 + mean.abs()), "{} {}", got, mean);
        }
    }

    /// DDIM, Lemma 1: drawing x_s from q_sigma(x_s | x_t, x_0) with x_t from the marginal gives the
    /// marginal at s, for any admissible sigma.
    #[test]
    fn every_sigma_keeps_the_marginals(
        (schedule, s, t) in any_step(),
        part in 0.0f64..=1.0,
        x0 in -1.0f64..1.0,
    ) {
        let step = schedule.step(s, t);
        let sigma = part * (1.0 - step.alpha_bar_s).sqrt();
        let direction = step.ddim_direction(sigma);
        // x_s = sqrt(alpha_bar_s) x0 + direction (x_t - sqrt(alpha_bar_t) x0) / sqrt(1 - alpha_bar_t)
        // + sigma z, an affine map of the Gaussian x_t.
        let slope = direction / (1.0 - step.alpha_bar_t).sqrt();
        let clean = step.alpha_bar_s.sqrt() - slope * step.alpha_bar_t.sqrt();
        let mean = clean * x0 + slope * step.alpha_bar_t.sqrt() * x0;
        let variance = slope * slope * (1.0 - step.alpha_bar_t) + sigma * sigma;
        prop_assert!((mean - step.alpha_bar_s.sqrt() * x0).abs() < 1e-12);
        prop_assert!((variance - (1.0 - step.alpha_bar_s)).abs() < 1e-12);
    }

    /// At eta = 1 the DDIM family is DDPM: same mean, and the same weight in the bound.
    #[test]
    fn eta_one_is_ddpm((schedule, s, t) in any_step()) {
        let step = schedule.step(s, t);
        let direction = step.ddim_direction(step.ddim_sigma(1.0));
        let slope = direction / (1.0 - step.alpha_bar_t).sqrt();
        prop_assert!((slope - step.gamma2()).abs() < 1e-7);
        if s > 0 && t == s + 1 {
            let exact = ddim_weight(&step, step.ddim_sigma(1.0));
            close(exact, elbo_weight(&schedule, t, schedule.beta_tilde(t)), 1e-6);
            // The weight also is half the drop of the signal-to-noise ratio, in units of eps.
            let drop = 0.5 * (schedule.snr(s) - schedule.snr(t)) / schedule.snr(t);
            close(exact, drop, 1e-6);
        }
    }

    /// The weight times a squared error of eps is the divergence of the two Gaussians it came from.
    #[test]
    fn the_ddim_weight_is_a_divergence(
        (schedule, s, t) in any_step(),
        eta in 0.05f64..=1.0,
        x_t in -2.0f64..2.0,
        eps in -2.0f64..2.0,
        predicted in -2.0f64..2.0,
    ) {
        let step: Step = schedule.step(s, t);
        let sigma = step.ddim_sigma(eta);
        prop_assume!(s > 0 && (eps - predicted).abs() > 1e-3);
        let mean = |e: f64| {
            let x0 = (x_t - (1.0 - step.alpha_bar_t).sqrt() * e) / step.alpha_bar_t.sqrt();
            step.alpha_bar_s.sqrt() * x0 + step.ddim_direction(sigma) * e
        };
        let divergence = gaussian(mean(eps), sigma * sigma, mean(predicted), sigma * sigma);
        let weighted = ddim_weight(&step, sigma) * (eps - predicted).powi(2);
        close(weighted, divergence, 1e-6);
    }
}
