//! Numbers computed independently in Python (f64), section 13 of the project's reference, printed
//! to the digits given here.

// Clippy takes the helpers of an integration test for library code.
#![allow(clippy::unwrap_used)]

use diff_core::{
    Schedule, ScheduleKind, ScheduleSpec,
    kl::{ddim_weight, elbo_weight},
};

fn schedule(kind: ScheduleKind) -> Schedule {
    Schedule::new(&ScheduleSpec { kind, ..ScheduleSpec::default() }).unwrap()
}

fn linear(timesteps: usize, start: f64, end: f64) -> Schedule {
    let (beta_start, beta_end) = (Some(start), Some(end));
    let spec = ScheduleSpec { timesteps, beta_start, beta_end, ..ScheduleSpec::default() };
    Schedule::new(&spec).unwrap()
}

/// Equal to as many significant digits as `want` is written with (at most one unit off in the
/// last, since some were cut rather than rounded).
#[track_caller]
fn assert_digits(got: f64, want: &str) {
    let mantissa = want.split('e').next().unwrap().trim_start_matches(['-', '0', '.']);
    let digits = mantissa.chars().filter(char::is_ascii_digit).count().max(1);
    let want: f64 = want.parse().unwrap();
    // A short decimal such as 0.02 is meant exactly.
    let digits = if digits <= 4 { 13 } else { digits as i32 };
    let unit = 10f64.powi(want.abs().log10().floor() as i32 + 1 - digits);
    assert!((got - want).abs() <= unit, "got {got:.12e}, want {want}");
}

#[test]
fn betas_of_every_kind() {
    use ScheduleKind::*;
    let table = [
        (Linear, ["1e-4", "1.1991992e-4", "0.01004004", "0.0199800801", "0.02"]),
        (Quadratic, ["1e-4", "1.02648364e-4", "0.00572215115", "0.0199628085", "0.02"]),
        (Constant, ["0.02", "0.02", "0.02", "0.02", "0.02"]),
        (Jsd, ["0.001", "0.001001001", "0.00199600798", "0.5", "1"]),
        (
            Sigmoid,
            ["1.49205201e-4", "1.4979833e-4", "0.0100201202", "0.0199502017", "0.0199507948"],
        ),
        (Cosine, ["4.12842248e-5", "4.61417527e-5", "0.00314588623", "0.749999393", "0.999"]),
    ];
    for (kind, row) in table {
        let schedule = schedule(kind);
        for (t, want) in [1, 2, 500, 999, 1000].into_iter().zip(row) {
            assert_digits(schedule.beta(t), want);
        }
    }
}

#[test]
fn alpha_bars_of_every_kind() {
    use ScheduleKind::*;
    let table = [
        (
            Linear,
            [
                "0.9999",
                "0.999780092",
                "0.897018146",
                "0.0785872429",
                "0.00150752106",
                "4.03582977e-5",
            ],
        ),
        (
            Quadratic,
            ["0.9999", "0.999797362", "0.971697114", "0.333187767", "0.0202862624", "7.3341246e-4"],
        ),
        (
            Constant,
            ["0.98", "0.9604", "0.132619556", "4.10239851e-5", "9.37749043e-8", "1.68296736e-9"],
        ),
        (Jsd, ["0.999", "0.998", "0.9", "0.5", "0.199", "0"]),
        (
            Sigmoid,
            [
                "0.999850795",
                "0.999701019",
                "0.980749299",
                "0.301931057",
                "0.00212287037",
                "3.96818199e-5",
            ],
        ),
        (
            Cosine,
            [
                "0.999958716",
                "0.999912576",
                "0.972092737",
                "0.49384359",
                "0.0931377797",
                "2.42876691e-9",
            ],
        ),
    ];
    for (kind, row) in table {
        let schedule = schedule(kind);
        for (t, want) in [1, 2, 100, 500, 801, 1000].into_iter().zip(row) {
            match want {
                "0" => assert_eq!(schedule.alpha_bar(t), 0.0),
                want => assert_digits(schedule.alpha_bar(t), want),
            }
        }
    }
}

#[test]
fn other_linear_schedules() {
    let dddm = |t: f64| linear(t as usize, 0.01 / t, 50.0 / t);
    assert_digits(dddm(1000.0).beta(1), "1e-5");
    assert_digits(dddm(1000.0).beta(1000), "0.05");
    assert_digits(dddm(1000.0).alpha_bar(500), "0.00183588");
    assert_digits(dddm(1000.0).alpha_bar(1000), "9.00977e-12");
    assert_digits(dddm(8000.0).beta(1), "1.25e-6");
    assert_digits(dddm(8000.0).beta(8000), "0.00625");
    assert_digits(dddm(8000.0).alpha_bar(8000), "1.31151e-11");
    assert_digits(linear(1000, 1e-4, 0.028).alpha_bar(1000), "6.92423e-7");
    let scaled = schedule(ScheduleKind::LinearScaled);
    let plain = schedule(ScheduleKind::Linear);
    for t in 1..=1000 {
        assert!((scaled.beta(t) / plain.beta(t) - 1.0).abs() < 1e-12);
    }
}

#[test]
fn vp_sde_betas_integrate_the_rate() {
    // python: from math import *; T = 1000
    // -expm1(-(0.1/T + 19.9/2*((t/T)**2 - ((t-1)/T)**2))) for t = 1, 500, 1000; the whole integral
    // of 0.1 + 19.9 u is 10.05, so alpha_bar_T = exp(-10.05).
    let schedule = schedule(ScheduleKind::VpSde);
    for (t, want) in
        [(1, 0.00010994395572027488), (500, 0.009989816952662994), (1000, 0.01979157366792381)]
    {
        assert!((schedule.beta(t) / want - 1.0).abs() < 1e-12, "{t}: {:e}", schedule.beta(t));
    }
    assert!((schedule.alpha_bar(1000) / (-10.05_f64).exp() - 1.0).abs() < 1e-11);
}

#[test]
fn log_snr_of_the_linear_schedule() {
    let schedule = schedule(ScheduleKind::Linear);
    for (t, want) in [(1, "9.210240"), (500, "-2.461699"), (1000, "-10.117673")] {
        assert_digits(schedule.log_snr(t), want);
    }
    assert_eq!(schedule.log_snr(0), f64::INFINITY);
}

#[test]
fn gap_weights() {
    let schedule_linear = schedule(ScheduleKind::Linear);
    let times = [1, 2, 3, 10, 100, 300, 500, 1000];
    let c = [
        "0.0100005",
        "0.00808718",
        "0.00737362",
        "0.0064168",
        "0.00646361",
        "0.00781882",
        "0.0105123",
        "0.0202035",
    ];
    let tau = [
        "0.00808718",
        "0.00335285",
        "3.96786e-4",
        "6.06057e-6",
        "8.21422e-7",
        "3.21744e-7",
        "1.29664e-8",
    ];
    for (t, want) in times.into_iter().zip(c) {
        assert_digits(schedule_linear.gap_coefficient(t), want);
    }
    assert_eq!((schedule_linear.tau(0), schedule_linear.tau(1)), (0.0, 0.0));
    for (t, want) in times[1..].iter().zip(tau) {
        assert_digits(schedule_linear.tau(*t), want);
    }
    for (t, want) in [(2, "6.35326e-7"), (300, "0.00604745"), (1000, "0.989929")] {
        assert_digits(schedule_linear.reverse_gap(t), want);
    }
    let cosine = schedule(ScheduleKind::Cosine);
    assert_digits(cosine.gap_coefficient(2), "0.00493502");
    assert_digits(cosine.gap_coefficient(1000), "31.5912");
    assert_digits(cosine.tau(2), "0.00493502");
    assert_digits(cosine.tau(999), "1.93024e-7");
    assert_digits(cosine.tau(1000), "2.0326e-6");
    assert_digits(cosine.gamma2(1000), "0.0316227");
}

#[test]
fn posterior_of_the_linear_schedule() {
    let schedule = schedule(ScheduleKind::Linear);
    let times = [1, 2, 10, 300, 1000];
    let gamma1 = ["1", "0.545291", "0.147274", "0.00633653", "1.28351e-4"];
    let gamma2 = ["0.454708", "0.852726", "0.992978", "0.989949"];
    let beta_tilde = ["5.45319e-5", "2.38182e-4", "0.00603182"];
    for (t, want) in times.into_iter().zip(gamma1) {
        assert_digits(schedule.gamma1(t), want);
    }
    for (t, want) in times[1..].iter().zip(gamma2) {
        assert_digits(schedule.gamma2(*t), want);
    }
    for (t, want) in times[1..4].iter().zip(beta_tilde) {
        assert_digits(schedule.beta_tilde(*t), want);
    }
    assert_eq!((schedule.gamma1(1), schedule.gamma2(1), schedule.beta_tilde(1)), (1.0, 0.0, 0.0));
    assert!((0.019999..0.02).contains(&schedule.beta_tilde(1000)));
}

#[test]
fn weights_of_the_bound() {
    let schedule = schedule(ScheduleKind::Linear);
    let large = [
        (1, "0.50005"),
        (2, "0.272692"),
        (10, "0.073717"),
        (500, "0.00550343"),
        (1000, "0.0102045"),
    ];
    for (t, want) in large {
        assert_digits(elbo_weight(&schedule, t, schedule.beta(t)), want);
    }
    let small = [(2, "0.599672"), (10, "0.0864366"), (500, "0.0055082"), (1000, "0.0102045")];
    for (t, want) in small {
        assert_digits(elbo_weight(&schedule, t, schedule.beta_tilde(t)), want);
    }
    assert_eq!(elbo_weight(&schedule, 1, schedule.beta_tilde(1)), f64::INFINITY);
    for (t, eta, want) in [
        (2, 1.0, "0.599672"),
        (2, 0.5, "1.12434"),
        (500, 1.0, "0.0055082"),
        (500, 0.5, "0.00862782"),
    ] {
        let step = schedule.step(t - 1, t);
        assert_digits(ddim_weight(&step, step.ddim_sigma(eta)), want);
    }
}

#[test]
fn steps_of_the_uniform_ten() {
    // Code times k -> s, as the reference lists them; paper times are one more.
    let schedule = schedule(ScheduleKind::Linear);
    let table = [
        (900, 801, "0.90538394", "0.90594471", "0.42281486"),
        (500, 401, "0.72319635", "0.77336903", "0.53236738"),
        (100, 1, "0.00999573", "0.32368022", "0.00029219"),
    ];
    for (k, s, sigma, sigma_hat, direction) in table {
        let step = schedule.step(s, k + 1);
        assert_digits(step.ddim_sigma(1.0), sigma);
        assert_digits(step.beta().sqrt(), sigma_hat);
        assert_digits(step.ddim_direction(step.ddim_sigma(1.0)), direction);
    }
    let last = schedule.step(0, 1);
    assert_eq!(last.ddim_sigma(1.0), 0.0);
    assert!((last.beta().sqrt() - 0.01).abs() < 1e-12);
    assert_eq!(last.ddim_direction(0.0), 0.0);
}

#[test]
fn variance_added_by_an_analytic_estimate() {
    // The coefficients that Analytic-DPM multiplies (1 - alpha_bar_t)/alpha_bar_t (1 - m) with.
    let schedule = schedule(ScheduleKind::Linear);
    let step = schedule.step(1, 112);
    let covariance = (1.0 - step.alpha_bar_t) / step.alpha_bar_t * (1.0 - 0.9);
    assert_digits(step.beta_tilde(), "9.99308760e-5");
    assert_digits(step.gamma1().powi(2) * covariance, "0.0144467703");
    assert_digits(step.beta_tilde() + step.gamma1().powi(2) * covariance, "0.0145467012");
    let slope = (step.alpha_bar_t / (1.0 - step.alpha_bar_t)).sqrt();
    let deterministic = step.alpha_bar_s.sqrt() - step.ddim_direction(0.0) * slope;
    assert_digits(deterministic.powi(2) * covariance, "0.0137160594");
    let step = schedule.step(889, 1000);
    let covariance = ((1.0 - step.alpha_bar_t) / step.alpha_bar_t * (1.0 - 0.999)).min(1.0);
    assert_digits(step.beta_tilde() + step.gamma1().powi(2) * covariance, "0.879788241");
    let slope = (step.alpha_bar_t / (1.0 - step.alpha_bar_t)).sqrt();
    let deterministic = step.alpha_bar_s.sqrt() - step.ddim_direction(0.0) * slope;
    assert_digits(deterministic.powi(2) * covariance, "1.43304e-4");
}
