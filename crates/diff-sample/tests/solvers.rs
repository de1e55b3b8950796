//! Solvers of diffusion's differential equations: against diffusers step by step, against their definitions on
//! a Gaussian in plain f64, and against the exact flow for their order.

#![cfg(test)]

mod common;

use candle_core::{DType, Device, Tensor};
use common::MadeUp;
use diff_core::{
    Schedule, ScheduleSpec,
    rng::{Address, Purpose},
};
use diff_models::{Condition, Denoiser, GaussianMixture};
use diff_sample::{Clip, Predict, SamplerSpec, samplers::SAMPLERS};
use std::path::Path;

fn spec(sampler: &str, times: &[usize]) -> SamplerSpec {
    let list: Vec<String> = times.iter().map(usize::to_string).collect();
    SamplerSpec {
        sampler: sampler.into(),
        steps: None,
        trajectory: list.join(","),
        eta: None,
        clip: None,
    }
}

/// The states after each of the first `steps` steps, and how often the network was called.
fn states(
    denoiser: &dyn Denoiser,
    schedule: &Schedule,
    spec: &SamplerSpec,
    start: &Tensor,
    steps: usize,
) -> (Vec<Vec<f64>>, usize) {
    let indices: Vec<u64> = (0..start.dim(0).unwrap() as u64).collect();
    let condition = Condition::default();
    let mut predict = Predict::new(denoiser, schedule, &condition, 11, &indices);
    let mut sampler = spec.build(schedule).unwrap();
    let (mut x, mut states) = (start.clone(), Vec::new());
    for _ in 0..steps {
        x = sampler.step(&x, &mut predict).unwrap();
        states.push(x.flatten_all().unwrap().to_vec1::<f64>().unwrap());
    }
    (states, predict.calls())
}

#[test]
fn every_step_is_that_of_diffusers() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/solvers.safetensors");
    let golden = candle_core::safetensors::load(path, &Device::Cpu).unwrap();
    let schedule = Schedule::new(&ScheduleSpec::default()).unwrap();
    let wave: Vec<f64> = (0..24).map(|i| f64::from((0.11 * i as f64).sin() as f32)).collect();
    let start = Tensor::from_vec(wave, (2, 1, 3, 4), &Device::Cpu).unwrap();
    for name in ["dpmpp-2m", "heun", "plms", "unipc"] {
        for steps in [4, 10] {
            let tensor = |part: &str| &golden[&format!("{name}.{steps}.{part}")];
            let times = tensor("times").to_vec1::<f64>().unwrap();
            let times: Vec<usize> = times.iter().rev().map(|k| *k as usize + 1).collect();
            let expected = tensor("states").flatten_from(1).unwrap().to_vec2::<f64>().unwrap();
            let (found, _) = states(&MadeUp, &schedule, &spec(name, &times), &start, steps);
            for (number, (found, expected)) in found.iter().zip(&expected).enumerate() {
                let square = |x: &[f64]| x.iter().map(|v| v * v).sum::<f64>();
                let differences: Vec<f64> =
                    found.iter().zip(expected).map(|(a, b)| a - b).collect();
                let error = (square(&differences) / square(expected)).sqrt();
                // Their alpha_bar is rounded to f32.
                assert!(error < 1e-5, "{name}, {steps} steps, number {number}: {error:e}");
            }
            assert_eq!(found.len(), expected.len());
        }
    }
}

const MEAN: [f64; 2] = [0.4, -0.9];
const VARIANCE: [f64; 2] = [0.09, 0.01];

fn gaussian(schedule: &Schedule) -> GaussianMixture {
    let (mean, variance) = (MEAN.to_vec(), VARIANCE.to_vec());
    GaussianMixture::single(mean, variance, [1, 1, 2], schedule.clone()).unwrap()
}

/// The clean coordinate that a noisy one is expected to come from.
fn expected_x0(i: usize, x: f64, abar: f64) -> f64 {
    let (prior, seen) = (1.0 / VARIANCE[i], abar / (1.0 - abar));
    (prior * MEAN[i] + seen * (x / abar.sqrt())) / (prior + seen)
}

fn expected_eps(i: usize, x: f64, abar: f64) -> f64 {
    (x - abar.sqrt() * expected_x0(i, x, abar)) / (1.0 - abar).sqrt()
}

/// Standard deviation of the noise over that of the picture's scale.
fn sigma(abar: f64) -> f64 {
    ((1.0 - abar) / abar).sqrt()
}

fn step_noise(step: usize) -> [f64; 2] {
    let mut z = [0f32; 2];
    Address::new(11, Purpose::StepNoise).index(0).step(step as u32).fill_normal(&mut z);
    z.map(f64::from)
}

/// One coordinate's chain from the definitions: alpha_bar at the visited times, from the noisy end on, with
/// 1 last; and `z`.
type Chain = fn(usize, f64, &[f64], &dyn Fn(usize) -> f64) -> f64;

/// DDIM, equation 15, in x / sqrt(abar) and sigma squared.
fn pf_euler(i: usize, x: f64, abars: &[f64], last: bool) -> f64 {
    let mut y = x / abars[0].sqrt();
    for pair in abars.windows(2) {
        let (from, to) = (sigma(pair[0]), sigma(pair[1]));
        let eps = expected_eps(i, y * pair[0].sqrt(), pair[0]);
        y += match to == 0.0 && !last {
            true => (to - from) * eps,
            false => (to * to - from * from) / (2.0 * from) * eps,
        };
    }
    y
}

/// EDM's algorithm 1: its slope is (y - D) / sigma.
fn heun(i: usize, x: f64, abars: &[f64], _: &dyn Fn(usize) -> f64) -> f64 {
    let slope = |y: f64, abar: f64| (y - expected_x0(i, y * abar.sqrt(), abar)) / sigma(abar);
    let mut y = x / abars[0].sqrt();
    for pair in abars.windows(2) {
        let width = sigma(pair[1]) - sigma(pair[0]);
        let d = slope(y, pair[0]);
        let there = y + width * d;
        y = match pair[1] == 1.0 {
            true => there,
            false => y + width * (d + slope(there, pair[1])) / 2.0,
        };
    }
    y
}

fn plms(i: usize, x: f64, abars: &[f64], _: &dyn Fn(usize) -> f64) -> f64 {
    let mut y = x / abars[0].sqrt();
    let mut seen: Vec<f64> = Vec::new();
    for pair in abars.windows(2) {
        let width = sigma(pair[1]) - sigma(pair[0]);
        seen.push(expected_eps(i, y * pair[0].sqrt(), pair[0]));
        let back = |n: usize| seen[seen.len() - 1 - n];
        let slope = match seen.len() {
            1 if pair[1] < 1.0 => {
                let there = y + width * back(0);
                (back(0) + expected_eps(i, there * pair[1].sqrt(), pair[1])) / 2.0
            }
            1 => back(0),
            2 => (3.0 * back(0) - back(1)) / 2.0,
            3 => (23.0 * back(0) - 16.0 * back(1) + 5.0 * back(2)) / 12.0,
            _ => (55.0 * back(0) - 59.0 * back(1) + 37.0 * back(2) - 9.0 * back(3)) / 24.0,
        };
        y += width * slope;
    }
    y
}

/// DPM-Solver++'s algorithm 2 and its SDE, with r = h' / h as printed.
fn dpm_solver(i: usize, x: f64, abars: &[f64], noise: Option<&dyn Fn(usize) -> f64>) -> f64 {
    let lambda = |abar: f64| -sigma(abar).ln();
    let (mut x, mut before, mut h_before) = (x, None, 0.0);
    for (number, pair) in abars.windows(2).enumerate() {
        let x0 = expected_x0(i, x, pair[0]);
        if pair[1] == 1.0 {
            return x0;
        }
        let h = lambda(pair[1]) - lambda(pair[0]);
        let d = match before {
            None => x0,
            Some(before) => {
                let r: f64 = h_before / h;
                (1.0 + 1.0 / (2.0 * r)) * x0 - 1.0 / (2.0 * r) * before
            }
        };
        (before, h_before) = (Some(x0), h);
        let (from, to) = ((1.0 - pair[0]).sqrt(), (1.0 - pair[1]).sqrt());
        let alpha = pair[1].sqrt();
        x = match noise {
            None => to / from * x - alpha * ((-h).exp() - 1.0) * d,
            Some(z) => {
                let gone = 1.0 - (-2.0 * h).exp();
                to / from * (-h).exp() * x + alpha * gone * d + to * gone.sqrt() * z(number)
            }
        };
    }
    x
}

/// UniPC's algorithms, whose weights solve R rho = b over the ratios r of steps in lambda.
fn unipc(i: usize, x: f64, abars: &[f64], _: &dyn Fn(usize) -> f64) -> f64 {
    let lambda = |abar: f64| -sigma(abar).ln();
    // Visited: lambda, corrected state and prediction.
    let mut seen: Vec<(f64, f64, f64)> = Vec::new();
    let (mut x, mut abar_before) = (x, 1.0);
    for pair in abars.windows(2) {
        let here = lambda(pair[0]);
        let x0 = expected_x0(i, x, pair[0]);
        if pair[1] == 1.0 {
            return x0;
        }
        let linear = |from: f64, to: f64, x: f64, x0: f64| -> f64 {
            let h = lambda(to) - lambda(from);
            ((1.0 - to) / (1.0 - from)).sqrt() * x - to.sqrt() * (-h).exp_m1() * x0
        };
        if let Some((l0, x_before, m0)) = seen.last().copied() {
            let hh = -(here - l0);
            let b_h = hh.exp_m1();
            let b1 = (b_h / hh - 1.0) / b_h;
            let b2 = ((b_h / hh - 1.0) / hh - 0.5) * 2.0 / b_h;
            let sum = match seen.len() {
                1 => 0.5 * (x0 - m0),
                count => {
                    let (l1, _, m1) = seen[count - 2];
                    let r = (l1 - l0) / (here - l0);
                    // Cramer's rule of [[1, 1], [r, 1]] rho = [b1, b2].
                    let (rho0, rho1) = ((b1 - b2) / (1.0 - r), (b2 - r * b1) / (1.0 - r));
                    rho0 * (m1 - m0) / r + rho1 * (x0 - m0)
                }
            };
            x = linear(abar_before, pair[0], x_before, m0) - pair[0].sqrt() * b_h * sum;
        }
        let slope = seen.last().map_or(0.0, |(l0, _, m0)| {
            let r = (l0 - here) / (lambda(pair[1]) - here);
            0.5 * (m0 - x0) / r
        });
        seen.push((here, x, x0));
        abar_before = pair[0];
        x = linear(pair[0], pair[1], x, x0 + slope);
    }
    x
}

const CHAINS: [(&str, Chain); 7] = [
    ("pf-euler", |i, x, abars, _| pf_euler(i, x, abars, false)),
    ("pf-euler-to-end", |i, x, abars, _| pf_euler(i, x, abars, true)),
    ("heun", heun),
    ("plms", plms),
    ("dpmpp-2m", |i, x, abars, _| dpm_solver(i, x, abars, None)),
    ("dpmpp-2m-sde", |i, x, abars, z| dpm_solver(i, x, abars, Some(z))),
    ("unipc", unipc),
];

#[test]
fn every_solver_is_its_definition_on_a_gaussian() {
    let schedule = Schedule::new(&ScheduleSpec::default()).unwrap();
    let oracle = gaussian(&schedule);
    let start = [0.7, -1.3];
    let x = Tensor::new(&[[[start]]], &Device::Cpu).unwrap();
    for times in [vec![1000], vec![300, 1000], vec![1, 40, 41, 200, 650, 1000]] {
        let abars: Vec<f64> = times.iter().rev().map(|t| schedule.alpha_bar(*t)).collect();
        let abars: Vec<f64> = abars.into_iter().chain([1.0]).collect();
        for (name, chain) in CHAINS {
            let (found, calls) = states(&oracle, &schedule, &spec(name, &times), &x, times.len());
            for (i, start) in start.into_iter().enumerate() {
                let expected = chain(i, start, &abars, &|step| step_noise(step)[i]);
                let found = found.last().unwrap()[i];
                let error = (found - expected).abs();
                assert!(error < 1e-9, "{name} {times:?} {i}: {found} {expected}");
            }
            let more = match name {
                "heun" => times.len() - 1,
                "plms" if times.len() > 1 => 1,
                _ => 0,
            };
            assert_eq!(calls, times.len() + more, "{name} {times:?}");
        }
    }
}

#[test]
fn lookahead_leads_the_clean_image_on_from_the_step_before() {
    let schedule = Schedule::new(&ScheduleSpec::default()).unwrap();
    let oracle = gaussian(&schedule);
    let start = [0.7, -1.3];
    let x = Tensor::new(&[[[start]]], &Device::Cpu).unwrap();
    let times = [1, 40, 200, 650, 1000];
    for eta in [0.0, 0.4, 1.0] {
        let spec = SamplerSpec { eta: Some(eta), ..spec("la-ddim", &times) };
        let (found, _) = states(&oracle, &schedule, &spec, &x, times.len());
        for (i, start) in start.into_iter().enumerate() {
            let (mut x, mut before) = (start, None);
            for (number, t) in times.iter().rev().enumerate() {
                let s = if *t == 1 { 0 } else { times[times.len() - 2 - number] };
                let (at, as_) = (schedule.alpha_bar(*t), schedule.alpha_bar(s));
                let (x0, eps) = (expected_x0(i, x, at), expected_eps(i, x, at));
                let led = before.map_or(x0, |before| 1.1 * x0 - 0.1 * before);
                let sigma = eta * ((1.0 - at / as_) * (1.0 - as_) / (1.0 - at)).sqrt();
                let direction = (1.0 - as_ - sigma * sigma).max(0.0).sqrt();
                x = as_.sqrt() * led + direction * eps + sigma * step_noise(number)[i];
                before = Some(x0);
                assert!((found[number][i] - x).abs() < 1e-9, "{eta} {number} {i}");
            }
        }
    }
}

/// A time that a peer's list holds twice is not asked for twice, and changes nothing.
#[test]
fn repeated_times_are_steps_that_do_nothing() {
    let schedule = Schedule::new(&ScheduleSpec::default()).unwrap();
    let oracle = gaussian(&schedule);
    let x = Tensor::new(&[[[[0.7, -1.3]]]], &Device::Cpu).unwrap();
    let (once, repeated) = ([100, 400, 900], "ddim-quad");
    for (name, _) in CHAINS {
        let peer = SamplerSpec { trajectory: repeated.into(), ..spec(name, &once) };
        let peer = SamplerSpec { steps: Some(100), ..peer };
        let times = diff_core::trajectory::resolve(repeated, 100, &schedule).unwrap();
        let mut distinct = times.clone();
        distinct.dedup();
        assert!(distinct.len() < times.len());
        let (all, calls) = states(&oracle, &schedule, &peer, &x, times.len());
        let (few, expected) =
            states(&oracle, &schedule, &spec(name, &distinct), &x, distinct.len());
        assert_eq!(calls, expected, "{name}");
        // Noise is that of a step's number, which differs.
        if name != "dpmpp-2m-sde" {
            assert_eq!(all.last(), few.last(), "{name}");
        }
    }
}

/// The error against the exact flow between two times inside, in steps of equal log-SNR, falls with the
/// power of the step size that theory says.
#[test]
fn every_solver_has_its_order() {
    // As many times as it takes to have some at equal distances.
    const TIMES: usize = 1 << 16;
    let betas: Vec<f64> = (0..TIMES)
        .map(|i| (1e-4 + (0.02 - 1e-4) * i as f64 / TIMES as f64) * 1000.0 / TIMES as f64)
        .collect();
    let schedule = Schedule::from_betas(&betas).unwrap();
    let oracle = gaussian(&schedule);
    let lambda = |t: usize| -sigma(schedule.alpha_bar(t)).ln();
    let (most, least) = (TIMES * 6 / 10, TIMES / 20);
    let at = |part: f64| {
        let wanted = lambda(most) + part * (lambda(least) - lambda(most));
        let (mut low, mut high) = (least, most);
        while high - low > 1 {
            let middle = (low + high) / 2;
            if lambda(middle) > wanted { low = middle } else { high = middle }
        }
        if (lambda(low) - wanted).abs() < (lambda(high) - wanted).abs() { low } else { high }
    };
    let spread = |i: usize, t: usize| {
        let abar = schedule.alpha_bar(t);
        (abar * VARIANCE[i] + 1.0 - abar).sqrt()
    };
    let start = [0.7, -1.3];
    let x = Tensor::new(&[[[start]]], &Device::Cpu).unwrap().to_dtype(DType::F64).unwrap();
    let exact: Vec<f64> = (0..2)
        .map(|i| {
            let scale = |t: usize| schedule.alpha_bar(t).sqrt();
            let away = (start[i] - scale(most) * MEAN[i]) / spread(i, most);
            scale(least) * MEAN[i] + away * spread(i, least)
        })
        .collect();
    let deterministic = SAMPLERS.iter().filter(|s| !s.stochastic || s.takes_eta);
    let deterministic = deterministic.filter(|s| s.order > 0);
    for sampler in deterministic {
        let error = |steps: usize| {
            let times: Vec<usize> =
                (0..=steps).rev().map(|i| at(i as f64 / steps as f64)).collect();
            // All but the step onto clean data.
            let (found, _) = states(&oracle, &schedule, &spec(sampler.name, &times), &x, steps);
            let end = found.last().unwrap();
            ((end[0] - exact[0]).powi(2) + (end[1] - exact[1]).powi(2)).sqrt()
        };
        let points: Vec<(f64, f64)> = [8, 16, 32, 64, 128, 256]
            .map(|steps| ((steps as f64).ln(), error(steps).ln()))
            .to_vec();
        let mean = |f: fn(&(f64, f64)) -> f64| points.iter().map(f).sum::<f64>() / 6.0;
        let (x, y) = (mean(|p| p.0), mean(|p| p.1));
        let over: f64 = points.iter().map(|p| (p.0 - x) * (p.1 - y)).sum();
        let slope = -over / points.iter().map(|p| (p.0 - x).powi(2)).sum::<f64>();
        println!("{}: {slope:.2}", sampler.name);
        assert!(slope > sampler.order as f64 - 0.2, "{}: {slope} {points:?}", sampler.name);
    }
}

#[test]
fn what_a_solver_does_not_know_is_refused() {
    let schedule = Schedule::new(&ScheduleSpec::default()).unwrap();
    let refused = |spec: SamplerSpec| spec.build(&schedule).map(|_| ()).unwrap_err().to_string();
    for (name, _) in CHAINS {
        let message = refused(SamplerSpec { eta: Some(0.5), ..spec(name, &[1, 1000]) });
        assert!(message.contains("eta") && message.contains(name), "{message}");
        let clip = Some(Clip::Posterior);
        let message = refused(SamplerSpec { clip, ..spec(name, &[1, 1000]) });
        assert!(message.contains("clip") && message.contains("recompute-eps"), "{message}");
    }
    let message = refused(SamplerSpec { eta: Some(0.5), ..spec("heun", &[1, 1000]) });
    assert!(message.contains("adds no noise"), "{message}");
}
