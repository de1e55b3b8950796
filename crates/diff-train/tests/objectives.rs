//! Objectives against their definitions, written out one network call at a time.

#![cfg(test)]

use candle_core::{DType, Device, Tensor, Var};
use diff_core::{
    Schedule, ScheduleSpec,
    gap::{TauMode, step_weights},
    rng::{Address, Purpose},
};
use diff_models::{Condition, Context, Denoiser, Prediction, noise::normals};
use diff_train::{
    data::Batch,
    draws::{Draws, GivenDraws, StepDraws},
    objective::{NoiseMode, Objective, ObjectiveConfig, SaConfig, SequenceAware, Window},
};

const T: usize = 20;
const B: usize = 4;

/// f(x, t) = w x (1 + t / 10), which sees both the input and the time it is given.
struct Toy {
    w: Var,
}

impl Denoiser for Toy {
    fn forward(
        &self,
        x: &Tensor,
        t: &[f64],
        _: &Condition,
        _: &Context,
    ) -> diff_models::Result<Prediction> {
        let scale: Vec<f64> = t.iter().map(|t| 1.0 + t / 10.0).collect();
        let scale = Tensor::from_vec(scale, (t.len(), 1, 1, 1), x.device())?;
        Ok(Prediction::eps_only(x.broadcast_mul(&scale)?.broadcast_mul(self.w.as_tensor())?))
    }
}

fn toy(w: f64) -> Toy {
    let w = Tensor::full(w, (1, 1, 1, 1), &Device::Cpu).unwrap();
    Toy { w: Var::from_tensor(&w).unwrap() }
}

fn schedule() -> Schedule {
    let spec = ScheduleSpec { timesteps: T, beta_end: Some(0.2), ..ScheduleSpec::default() };
    Schedule::new(&spec).unwrap()
}

fn tensor(index: u64) -> Tensor {
    let base = Address::new(3, Purpose::Measure).lane(index as u16);
    let rows: Vec<_> = (0..B as u64).map(|row| base.index(row)).collect();
    normals(&rows, &[1, 2, 3], DType::F64, &Device::Cpu).unwrap()
}

fn batch() -> Batch {
    Batch { x0: tensor(100), labels: None, indices: (0..B as u64).collect() }
}

fn given(times: [i64; B], k: usize) -> GivenDraws {
    let noise: Vec<_> = (0..k as u64).map(tensor).collect();
    GivenDraws { times: times.to_vec(), noise: Tensor::stack(&noise, 0).unwrap() }
}

fn values(x: &Tensor) -> Vec<f64> {
    x.flatten_all().unwrap().to_vec1().unwrap()
}

/// The residual eps - f(x_t, t) of row b and its derivative by w, by hand. Time 0 or below: masked.
fn residual(w: f64, b: usize, t: i64, noise: usize) -> (Vec<f64>, Vec<f64>) {
    let row = |x: Tensor| values(&x.get(b).unwrap());
    let (x0, eps) = (row(tensor(100)), row(tensor(noise as u64)));
    if t < 1 || t > T as i64 {
        return (vec![0.0; x0.len()], vec![0.0; x0.len()]);
    }
    let alpha_bar = schedule().alpha_bar(t as usize);
    let scale = 1.0 + t as f64 / 10.0;
    let x = |i: usize| alpha_bar.sqrt() * x0[i] + (1.0 - alpha_bar).sqrt() * eps[i];
    let f = |i: usize| x(i) * scale;
    ((0..x0.len()).map(|i| eps[i] - w * f(i)).collect(), (0..x0.len()).map(|i| -f(i)).collect())
}

/// (simple, sa, d total / d w) from the definitions.
fn by_hand(w: f64, config: &SaConfig, starts: [i64; B]) -> (f64, f64, f64) {
    let k = config.steps;
    let weights = step_weights(&schedule(), config.tau);
    let (mut simple, mut sa) = ((0.0, 0.0), (0.0, 0.0));
    let counted = starts.iter().filter(|t| **t >= 1).count() as f64;
    for (b, start) in starts.iter().enumerate() {
        let (r, dr) = residual(w, b, *start, 0);
        simple.0 += r.iter().map(|r| r * r).sum::<f64>() / counted;
        simple.1 += r.iter().zip(&dr).map(|(r, d)| 2.0 * r * d).sum::<f64>() / counted;
        let (mut sum, mut dsum) = (vec![0.0; 6], vec![0.0; 6]);
        for j in 0..k {
            let (t, lowest) = match config.window {
                Window::Code => (start - j as i64, 1),
                Window::Paper => (start + j as i64, 2),
            };
            let noise = if config.noise == NoiseMode::Shared { 0 } else { j };
            let inside = (lowest..=T as i64).contains(&t);
            let weight = if inside { weights[t as usize] } else { 0.0 };
            let (r, dr) = residual(w, b, t, noise);
            for i in 0..6 {
                sum[i] += weight * r[i];
                dsum[i] += weight * dr[i];
            }
        }
        let scale = 1.0 / (k * k * B) as f64;
        sa.0 += sum.iter().map(|s| s * s).sum::<f64>() * scale;
        sa.1 += sum.iter().zip(&dsum).map(|(s, d)| 2.0 * s * d).sum::<f64>() * scale;
    }
    (simple.0, sa.0, config.simple_weight * simple.1 + config.lambda * sa.1)
}

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-11 * (1.0 + b.abs())
}

fn check(config: SaConfig, starts: [i64; B]) {
    let model = toy(0.3);
    let draws = given(starts, config.steps);
    let mut objective = SequenceAware::new(config.clone(), schedule()).unwrap();
    let loss = objective.loss(&model, &batch(), &draws).unwrap();
    let (simple, sa, slope) = by_hand(0.3, &config, starts);
    let part = |i: usize| loss.parts[i].1.to_scalar::<f64>().unwrap();
    assert!(close(part(0), simple), "{config:?}: simple {} {simple}", part(0));
    assert!(close(part(1), sa), "{config:?}: sa {} {sa}", part(1));
    let total = loss.total.to_scalar::<f64>().unwrap();
    assert!(close(total, config.simple_weight * simple + config.lambda * sa));
    let gradients = loss.total.backward().unwrap();
    let gradient = values(gradients.get(&model.w).unwrap())[0];
    assert!(close(gradient, slope), "{config:?}: gradient {gradient} {slope}");
}

#[test]
fn one_forward_of_kb_rows_equals_k_sequential_calls() {
    for k in 2..=5 {
        // 1 and 2 have masked places, 20 is the top.
        check(SaConfig { steps: k, ..SaConfig::default() }, [1, 2, 13, 20]);
    }
}

#[test]
fn every_option_is_what_it_says() {
    for tau in [TauMode::Off, TauMode::On, TauMode::Normalised] {
        for noise in [NoiseMode::Independent, NoiseMode::Shared] {
            for window in [Window::Code, Window::Paper] {
                let config =
                    SaConfig { steps: 3, lambda: 0.7, simple_weight: 0.5, window, tau, noise };
                check(config.clone(), [1, 2, 13, 20]);
                if window == Window::Paper {
                    check(config.clone(), [-2, 0, 19, 20]);
                }
            }
        }
    }
    check(SaConfig { simple_weight: 0.0, ..SaConfig::default() }, [3, 4, 5, 6]);
}

#[test]
fn the_losses_of_the_parts_of_a_step_add_up_to_its_loss() {
    let rows = 7;
    let row = |index: u64| Address::new(9, Purpose::Measure).index(index);
    let x0 = normals(&(0..rows).map(row).collect::<Vec<_>>(), &[1, 2, 3], DType::F64, &Device::Cpu);
    let x0 = x0.unwrap();
    for window in [Window::Code, Window::Paper] {
        let config = SaConfig { steps: 6, window, ..SaConfig::default() };
        let mut objective = SequenceAware::new(config, schedule()).unwrap();
        let mut share = |part: std::ops::Range<usize>| {
            let x0 = x0.narrow(0, part.start, part.len()).unwrap();
            let indices = (0..part.len() as u64).collect();
            let step_rows = rows as usize;
            let (seed, step, antithetic) = (2, 5, true);
            let draws =
                StepDraws { seed, step, step_rows, part, antithetic, ..StepDraws::default() };
            let batch = Batch { x0, labels: None, indices };
            let loss = objective.loss(&toy(0.3), &batch, &draws).unwrap();
            let parts = loss.parts.iter().map(|(_, part)| part.to_scalar::<f64>().unwrap());
            parts.chain([loss.total.to_scalar::<f64>().unwrap()]).collect::<Vec<_>>()
        };
        let whole = share(0..7);
        let (head, middle, tail) = (share(0..3), share(3..4), share(4..7));
        for i in 0..3 {
            assert!(close(head[i] + middle[i] + tail[i], whole[i]), "{window:?}");
        }
    }
}

#[test]
fn fewer_than_two_steps_or_no_weight_mean_the_simple_loss() {
    let total = |config: &ObjectiveConfig| {
        let mut objective = config.build(&schedule()).unwrap();
        let loss = objective.loss(&toy(0.3), &batch(), &given([1, 2, 13, 20], 2)).unwrap();
        assert_eq!(loss.parts.len(), 1);
        assert_eq!(config.rows_per_picture(), 1);
        loss.total.to_scalar::<f64>().unwrap()
    };
    let simple = total(&ObjectiveConfig::default());
    for (steps, lambda) in [(0, 1.0), (1, 1.0), (2, 0.0)] {
        let config = SaConfig { steps, lambda, ..SaConfig::default() };
        assert_eq!(total(&ObjectiveConfig::Sa(config)), simple);
    }
}

#[test]
fn the_window_runs_down_and_its_noise_belongs_to_its_place() {
    // With the noise of the two places exchanged, the loss must change.
    let config = ObjectiveConfig::Sa(SaConfig::default());
    let mut objective = config.build(&schedule()).unwrap();
    let draws = given([5, 9, 13, 20], 2);
    let swapped = GivenDraws {
        noise: Tensor::stack(&[tensor(1), tensor(0)], 0).unwrap(),
        times: draws.times.clone(),
    };
    let mut total = |d: &GivenDraws| {
        objective.loss(&toy(0.3), &batch(), d).unwrap().total.to_scalar::<f64>().unwrap()
    };
    assert_ne!(total(&draws), total(&swapped));
}

#[test]
fn impossible_configurations_and_inputs_are_refused_by_name() {
    let refuse = |config: SaConfig, words: &[&str]| {
        let built = ObjectiveConfig::Sa(config).build(&schedule()).map(|_| ());
        let message = built.unwrap_err().to_string();
        assert!(words.iter().all(|w| message.contains(w)), "{message}");
    };
    let base = SaConfig::default();
    refuse(SaConfig { steps: T + 1, ..base.clone() }, &["objective.steps = 21", "T = 20"]);
    refuse(SaConfig { lambda: -0.5, ..base.clone() }, &["objective.lambda = -0.5"]);
    refuse(SaConfig { lambda: f64::NAN, ..base.clone() }, &["objective.lambda = NaN"]);
    refuse(SaConfig { simple_weight: 0.0, steps: 1, ..base }, &["objective.simple_weight"]);

    let mut objective = ObjectiveConfig::Sa(SaConfig::default()).build(&schedule()).unwrap();
    let mut message = |draws: &dyn Draws| {
        let loss = objective.loss(&toy(0.3), &batch(), draws).map(|_| ());
        loss.unwrap_err().to_string()
    };
    assert!(message(&given([1, 2, 3, 21], 2)).contains("t = 21"));
    assert!(message(&given([1, 2, 3, 0], 2)).contains("t = 0"));
    assert!(message(&given([1, 2, 3, 4], 1)).contains("noise"));
}
