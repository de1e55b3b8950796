//! The likelihood objectives against guided-diffusion's `training_losses` (tests/golden/vlb.py),
//! finite differences, and their definitions.

#![cfg(test)]

use candle_core::{DType, Device, Tensor, Var};
use diff_core::{
    ReverseVariance, Schedule, ScheduleKind, ScheduleSpec, config,
    kl::elbo_weight,
    rng::{Address, Purpose},
};
use diff_models::{Condition, Context, Denoiser, Mean, Prediction, Second, nets::SecondType};
use diff_train::{
    config::RunConfig,
    data::Batch,
    draws::{GivenDraws, StepDraws},
    objective::{HybridConfig, Loss, ObjectiveConfig, SaConfig, VlbConfig},
};
use std::collections::HashMap;

/// A network whose output is what it is, whatever it is given.
struct Given(Var);

impl Denoiser for Given {
    fn forward(
        &self,
        x: &Tensor,
        _: &[f64],
        _: &Condition,
        _: &Context,
    ) -> diff_models::Result<Prediction> {
        let channels = x.dim(1)?;
        let mean = Mean::Eps(self.0.narrow(1, 0, channels)?);
        let second = match self.0.dim(1)? == 2 * channels {
            true => Second::Range(self.0.narrow(1, channels, channels)?),
            false => Second::None,
        };
        Ok(Prediction { mean, second })
    }
}

struct Golden(HashMap<String, Tensor>);

impl Golden {
    fn read() -> Self {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/vlb.safetensors");
        Golden(candle_core::safetensors::load(path, &Device::Cpu).unwrap())
    }

    fn schedule(&self) -> Schedule {
        Schedule::from_betas(&values(&self.0["betas"])).unwrap()
    }

    fn batch(&self, dtype: DType) -> (Batch, GivenDraws) {
        let x0 = self.0["x0"].to_dtype(dtype).unwrap();
        let noise = self.0["noise"].to_dtype(dtype).unwrap().unsqueeze(0).unwrap();
        let times = values(&self.0["t"]).into_iter().map(|t| t as i64).collect();
        (Batch { x0, labels: None, indices: (0..7).collect() }, GivenDraws { times, noise })
    }

    /// What the network gives: both blocks, or the first.
    fn output(&self, both: bool) -> Tensor {
        let channels = if both { 4 } else { 2 };
        self.0["output"].narrow(1, 0, channels).unwrap().contiguous().unwrap()
    }

    fn loss(&self, config: &ObjectiveConfig, output: &Tensor) -> (Loss, Given) {
        let given = Given(Var::from_tensor(output).unwrap());
        let (batch, draws) = self.batch(output.dtype());
        let mut objective = config.build(&self.schedule()).unwrap();
        (objective.loss(&given, &batch, &draws).unwrap(), given)
    }

    fn total(&self, config: &ObjectiveConfig, output: &Tensor) -> f64 {
        number(&self.loss(config, output).0.total)
    }
}

fn values(x: &Tensor) -> Vec<f64> {
    x.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

fn number(x: &Tensor) -> f64 {
    values(x)[0]
}

fn part(loss: &Loss, name: &str) -> f64 {
    number(&loss.parts.iter().find(|(n, _)| *n == name).unwrap().1)
}

fn gradient(loss: &Loss, given: &Given) -> Vec<f64> {
    values(loss.total.backward().unwrap().get(&given.0).unwrap())
}

fn vlb(variance: ReverseVariance, rescaled: bool) -> ObjectiveConfig {
    ObjectiveConfig::Vlb(VlbConfig { variance, rescaled })
}

fn hybrid(lambda: f64, rescaled: bool) -> ObjectiveConfig {
    ObjectiveConfig::Hybrid(HybridConfig { lambda, rescaled })
}

fn assert_close(ours: &[f64], theirs: &[f64], tolerance: f64, what: &str) {
    assert_eq!(ours.len(), theirs.len(), "{what}");
    let scale = theirs.iter().fold(1e-300f64, |most, v| most.max(v.abs()));
    for (i, (a, b)) in ours.iter().zip(theirs).enumerate() {
        assert!((a - b).abs() <= tolerance * scale, "{what}, place {i}: {a:e} {b:e}");
    }
}

/// C H W of the pictures, and T.
const DIMS: f64 = 12.0;
const T: f64 = 40.0;

#[test]
fn losses_and_gradients_equal_guided_diffusions() {
    let golden = Golden::read();
    let one = |name: &str| number(&golden.0[name]);
    for (name, config, dims) in [
        ("kl-small", vlb(ReverseVariance::Small, false), 1.0),
        ("rescaled-kl-small", vlb(ReverseVariance::Small, true), 1.0),
        ("kl-large", vlb(ReverseVariance::Large, false), 1.0),
        ("kl-range", vlb(ReverseVariance::Learned, false), 1.0),
        ("rescaled-kl-range", vlb(ReverseVariance::Learned, true), 1.0),
        ("mse-range", hybrid(0.001, false), DIMS),
        ("rescaled-mse-range", hybrid(0.001, true), DIMS),
    ] {
        let (loss, given) = golden.loss(&config, &golden.output(name.contains("range")));
        let total = number(&loss.total) / dims;
        assert_close(&[total], &[one(&format!("loss.{name}"))], 1e-10, name);
        let gradient: Vec<f64> = gradient(&loss, &given).iter().map(|g| g / dims).collect();
        assert_close(&gradient, &values(&golden.0[&format!("grad.{name}")]), 1e-10, name);
        if dims > 1.0 {
            let mse = one(&format!("mse.{name}"));
            assert_close(&[part(&loss, "simple") / DIMS], &[mse], 1e-12, name);
        }
        // The part is the bound, whatever it is weighted by.
        let plain = match name.contains("range") {
            true => "loss.kl-range".to_string(),
            false => format!("loss.{}", name.trim_start_matches("rescaled-")),
        };
        let term = one(&plain);
        assert_close(&[part(&loss, "vlb")], &[T * term], 1e-10, name);
    }
}

#[test]
fn gradients_are_those_of_finite_differences() {
    let golden = Golden::read();
    for (both, variance) in [
        (false, ReverseVariance::Small),
        (false, ReverseVariance::Large),
        (true, ReverseVariance::Learned),
    ] {
        let (config, output) = (vlb(variance, true), golden.output(both));
        let (loss, given) = golden.loss(&config, &output);
        let exact = gradient(&loss, &given);
        let row = exact.len() / 7;
        let moved = |i: usize, by: f64| {
            let mut moved = values(&output);
            moved[i] += by;
            golden.total(&config, &Tensor::from_vec(moved, output.dims(), &Device::Cpu).unwrap())
        };
        assert!(exact.iter().filter(|g| **g != 0.0).count() > exact.len() / 2, "{variance:?}");
        // A place of every row but the one whose probabilities are at their floor, where the loss
        // does not move and nor does its gradient.
        for i in [0, 2, 3, 4, 5, 6].map(|b| b * row + (5 * b + 3) % row) {
            let slope = (moved(i, 1e-5) - moved(i, -1e-5)) / 2e-5;
            let error = (slope - exact[i]).abs();
            assert!(error <= 1e-6 * (1.0 + slope.abs()), "{variance:?} {i}: {} {slope}", exact[i]);
        }
        assert!(exact[row..2 * row].iter().all(|g| *g == 0.0), "{variance:?}");
    }
}

#[test]
fn the_bound_teaches_a_hybrids_range_alone() {
    let golden = Golden::read();
    let output = golden.output(true);
    let of = |config: &ObjectiveConfig| {
        let (loss, given) = golden.loss(config, &output);
        Tensor::from_vec(gradient(&loss, &given), output.dims(), &Device::Cpu).unwrap()
    };
    let half = |x: &Tensor, first| values(&x.narrow(1, first, 2).unwrap().contiguous().unwrap());
    let both = of(&hybrid(0.7, true));
    let (mean, range) = (half(&both, 0), half(&both, 2));
    assert_eq!(mean, half(&of(&hybrid(0.0, true)), 0));
    let bound = half(&of(&vlb(ReverseVariance::Learned, true)), 2);
    let scaled: Vec<f64> = bound.iter().map(|g| 0.7 * DIMS * g).collect();
    assert_close(&range, &scaled, 1e-12, "range");
    assert!(half(&of(&vlb(ReverseVariance::Learned, true)), 0) != vec![0.0; mean.len()]);
}

#[test]
fn a_fixed_variance_means_the_weights_of_the_bound() {
    let golden = Golden::read();
    let schedule = golden.schedule();
    let (mut batch, draws) = golden.batch(DType::F64);
    // The four rows beyond t = 1.
    let rows = |x: &Tensor, axis| x.narrow(axis, 3, 4).unwrap().contiguous().unwrap();
    batch.x0 = rows(&batch.x0, 0);
    let draws = GivenDraws { times: draws.times[3..].to_vec(), noise: rows(&draws.noise, 1) };
    let output = rows(&golden.output(false), 0);
    let given = Given(Var::from_tensor(&output).unwrap());
    let mut objective = vlb(ReverseVariance::Small, true).build(&schedule).unwrap();
    let found = number(&objective.loss(&given, &batch, &draws).unwrap().total);
    let residuals = values(&(draws.noise.get(0).unwrap() - output).unwrap());
    let weighted = residuals.chunks(12).zip(&draws.times).map(|(row, t)| {
        let weight = elbo_weight(&schedule, *t as usize, schedule.beta_tilde(*t as usize));
        weight * row.iter().map(|r| r * r).sum::<f64>()
    });
    let bits = weighted.sum::<f64>() / 4.0 * T / (DIMS * std::f64::consts::LN_2);
    assert_close(&[found], &[bits], 1e-12, "weights");
}

#[test]
fn single_precision_is_enough() {
    let golden = Golden::read();
    for config in [vlb(ReverseVariance::Learned, true), hybrid(0.001, true)] {
        let output = golden.output(true);
        let exact = golden.total(&config, &output);
        let single = golden.total(&config, &output.to_dtype(DType::F32).unwrap());
        assert_close(&[single], &[exact], 1e-4, config.kind());
    }
}

/// f(x, t) = 0.3 x, range sin(x).
struct Toy;

impl Denoiser for Toy {
    fn forward(
        &self,
        x: &Tensor,
        _: &[f64],
        _: &Condition,
        _: &Context,
    ) -> diff_models::Result<Prediction> {
        Ok(Prediction { mean: Mean::Eps((x * 0.3)?), second: Second::Range(x.sin()?) })
    }
}

#[test]
fn the_losses_of_the_parts_of_a_step_add_up_to_its_loss() {
    let schedule = ScheduleSpec { timesteps: 5, beta_end: Some(0.5), ..ScheduleSpec::default() };
    let schedule = Schedule::new(&schedule).unwrap();
    let row = |index| Address::new(9, Purpose::Measure).index(index);
    let rows: Vec<_> = (0..9).map(row).collect();
    let x0 = diff_models::noise::normals(&rows, &[1, 2, 3], DType::F64, &Device::Cpu).unwrap();
    for config in [vlb(ReverseVariance::Learned, true), hybrid(0.1, true)] {
        let mut objective = config.build(&schedule).unwrap();
        let mut times = Vec::new();
        let mut share = |part: std::ops::Range<usize>| {
            let x0 = x0.narrow(0, part.start, part.len()).unwrap();
            let batch = Batch { x0, labels: None, indices: (0..part.len() as u64).collect() };
            let antithetic = true;
            let draws = StepDraws {
                seed: 2,
                step: 5,
                step_rows: 9,
                part,
                antithetic,
                ..StepDraws::default()
            };
            let loss = objective.loss(&Toy, &batch, &draws).unwrap();
            times.push(loss.times.clone());
            loss.parts.iter().map(|(_, part)| number(part)).chain([number(&loss.total)]).collect()
        };
        let whole: Vec<f64> = share(0..9);
        let parts: [Vec<f64>; 3] = [share(0..4), share(4..5), share(5..9)];
        for (i, whole) in whole.iter().enumerate() {
            let sum: f64 = parts.iter().map(|part| part[i]).sum();
            assert_close(&[sum], &[*whole], 1e-12, config.kind());
        }
        assert!(times[0].contains(&1) && times[0].iter().any(|t| *t > 1), "{times:?}");
        assert_eq!(config.rows_per_picture(), 1);
    }
}

#[test]
fn objectives_and_outputs_that_do_not_go_together_are_refused_with_the_reason() {
    let learned = vlb(ReverseVariance::Learned, true);
    let fixed = vlb(ReverseVariance::Large, true);
    let (simple, sa) = (ObjectiveConfig::default(), ObjectiveConfig::Sa(SaConfig::default()));
    for (config, second, words) in [
        (&hybrid(0.1, true), SecondType::None, ["objective.kind = hybrid", "learn_sigma = true"]),
        (&hybrid(0.1, true), SecondType::Npr, ["objective.kind = hybrid", "learn_sigma = true"]),
        (&learned, SecondType::None, ["objective.variance = learned", "learn_sigma = true"]),
        (&fixed, SecondType::Range, ["objective.variance = large", "nothing else trains"]),
        (&simple, SecondType::Range, ["objective.kind = simple", "hybrid, or vlb with"]),
        (&sa, SecondType::Range, ["objective.kind = sa", "hybrid, or vlb with"]),
    ] {
        let message = config.check_output(second).unwrap_err().to_string();
        assert!(words.iter().all(|word| message.contains(word)), "{message}");
    }
    for (config, second) in [
        (hybrid(0.1, true), SecondType::Range),
        (learned, SecondType::Range),
        (fixed, SecondType::None),
        (simple, SecondType::None),
        (sa, SecondType::Npr),
    ] {
        config.check_output(second).unwrap();
    }
    // A network that has less than its configuration says is told while it is trained.
    let golden = Golden::read();
    let given = Given(Var::from_tensor(&golden.output(false)).unwrap());
    let (batch, draws) = golden.batch(DType::F64);
    let mut objective = hybrid(0.1, true).build(&golden.schedule()).unwrap();
    let message = objective.loss(&given, &batch, &draws).map(|_| ()).unwrap_err().to_string();
    assert!(message.contains("one block") && message.contains("learned range"), "{message}");
}

#[test]
fn impossible_schedules_weights_and_transforms_are_refused_by_name() {
    let golden = Golden::read();
    let refuse = |config: ObjectiveConfig, schedule: &Schedule, words: &[&str]| {
        let message = config.build(schedule).map(|_| ()).unwrap_err().to_string();
        assert!(words.iter().all(|word| message.contains(word)), "{message}");
    };
    let jsd = ScheduleSpec { kind: ScheduleKind::Jsd, ..ScheduleSpec::default() };
    let jsd = Schedule::new(&jsd).unwrap();
    let one = Schedule::from_betas(&[0.5]).unwrap();
    for config in [vlb(ReverseVariance::Small, true), hybrid(0.1, true)] {
        refuse(config.clone(), &jsd, &["alpha_bar(T) = 0", "infinite"]);
        refuse(config, &one, &["schedule.timesteps = 1", "at least 2"]);
    }
    for lambda in [-0.5, f64::NAN, f64::INFINITY] {
        refuse(hybrid(lambda, true), &golden.schedule(), &["objective.lambda", "at least 0"]);
    }
    let text = "[network]\nkind = 'adm'\nimage_size = 8\nin_channels = 1\nmodel_channels = 32\n\
                channel_mult = [1]\nattention_resolutions = []\nlearn_sigma = true";
    for (overrides, words) in [
        (&["objective.kind='simple'"][..], ["objective.kind = simple", "hybrid, or vlb"]),
        (&["objective.kind='hybrid'", "network.learn_sigma=false"], ["hybrid", "learn_sigma"]),
        (&["objective.kind='vlb'"], ["objective.variance = small", "variance = learned"]),
        (&["objective.kind='hybrid'", "data.transform='logit'"], ["data.transform", "256 levels"]),
    ] {
        let overrides: Vec<String> = overrides.iter().map(|s| s.to_string()).collect();
        let run: RunConfig = config::read(text, "test", &overrides).unwrap();
        let message = run.check().unwrap_err().to_string();
        assert!(words.iter().all(|word| message.contains(word)), "{message}");
    }
    let run: RunConfig =
        config::read(text, "test", &["objective.kind='hybrid'".to_string()]).unwrap();
    run.check().unwrap();
}
