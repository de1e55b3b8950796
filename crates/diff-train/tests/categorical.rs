//! The objective of networks over levels against its definition in f64, and runs that train one.

#![cfg(test)]

use candle_core::{DType, Device, Tensor};
use diff_core::{
    config,
    discrete::{CategoricalProcess, Stay},
    rng::{Address, Purpose},
};
use diff_models::{
    Context,
    categorical::{Categorizer, pictures},
    checkpoint::CategoricalCheckpoint,
    nets::{Categorical, CategoricalSpec, DdpmSpec},
    noise::uniforms,
    params::{ParamBuilder, Params},
};
use diff_train::{
    Result,
    callback::{Callback, Moment, Record},
    config::RunConfig,
    data::Batch,
    draws::{GivenDraws, StepDraws},
    log::Line,
    objective::{
        CategoricalBound, CategoricalConfig, CategoricalLoss, Loss, Objective, ObjectiveConfig,
    },
    run::{self, Start, Summary},
    stop::{Signal, Stop},
};
use std::{fs, ops::Range, path::Path};

const ROWS: usize = 9;
const LEVELS: usize = 3;
const SIDE: usize = 4;
const PIXELS: usize = SIDE * SIDE;
const TIMESTEPS: usize = 6;

fn body(levels: usize) -> DdpmSpec {
    DdpmSpec {
        resolution: SIDE,
        in_channels: levels,
        out_channels: levels,
        channels: 4,
        multipliers: vec![1],
        blocks: 1,
        attention_resolutions: vec![],
        dropout: 0.0,
        norm_groups: 2,
        ..DdpmSpec::default()
    }
}

fn network(levels: usize, dropout: f64) -> (Categorical, Params) {
    let spec = CategoricalSpec { body: DdpmSpec { dropout, ..body(levels) }.into() };
    let mut builder = ParamBuilder::init(5, DType::F64, &Device::Cpu);
    let network = Categorical::new(spec, &mut builder).unwrap();
    (network, builder.finish().unwrap())
}

fn process() -> CategoricalProcess {
    CategoricalProcess::linear(LEVELS, TIMESTEPS).unwrap()
}

fn objective(rho: f64, loss: CategoricalLoss) -> CategoricalBound {
    let stay = Stay::new(rho).unwrap();
    CategoricalBound::new(
        CategoricalConfig { stay, loss, ..CategoricalConfig::default() },
        process(),
    )
    .unwrap()
}

/// Numbers in (0, 1), `[rows, 1, SIDE, SIDE]`.
fn numbers(rows: Range<usize>, lane: u16) -> Tensor {
    let address = |row: usize| Address::new(9, Purpose::Measure).index(row as u64).lane(lane);
    let rows: Vec<_> = rows.map(address).collect();
    uniforms(&rows, &[1, SIDE, SIDE], DType::F64, &Device::Cpu).unwrap()
}

/// The levels of the pictures in `rows`.
fn levels(rows: Range<usize>) -> Tensor {
    let scaled = (numbers(rows, 0) * LEVELS as f64).unwrap();
    scaled.to_dtype(DType::U32).unwrap().squeeze(1).unwrap()
}

fn batch(rows: Range<usize>) -> Batch {
    let x0 = pictures(&levels(rows.clone()), LEVELS).unwrap().to_dtype(DType::F64).unwrap();
    Batch { x0, labels: None, indices: rows.map(|row| row as u64).collect() }
}

/// Every time, some twice.
fn given() -> GivenDraws {
    let times = (0..ROWS).map(|row| (row % TIMESTEPS + 1) as i64).collect();
    GivenDraws { times, noise: numbers(0..ROWS, 1).unsqueeze(0).unwrap() }
}

fn drawn(part: Range<usize>) -> StepDraws {
    let antithetic = true;
    StepDraws { seed: 2, step: 5, step_rows: ROWS, part, antithetic, ..StepDraws::default() }
}

/// The total, the divergence and its bound.
fn values(loss: &Loss) -> [f64; 3] {
    let names: Vec<_> = loss.parts.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["kl", "cross_entropy"]);
    [&loss.total, &loss.parts[0].1, &loss.parts[1].1].map(|x| x.to_scalar::<f64>().unwrap())
}

fn close(a: f64, b: f64, tolerance: f64) -> bool {
    (a - b).abs() <= tolerance * (1.0 + b.abs())
}

/// A level by inversion of the distribution function, the definition of a draw.
fn invert(law: &[f64], u: f64) -> usize {
    let mut below = 0.0;
    law.iter()
        .position(|p| {
            below += p;
            u < below
        })
        .unwrap()
}

fn one_hot(level: usize) -> Vec<f64> {
    (0..LEVELS).map(|k| f64::from(u8::from(k == level))).collect()
}

/// Both terms of the bound, by diff-core's mathematics pixel by pixel.
fn direct(network: &Categorical, stay: Stay) -> (f64, f64) {
    let (process, draws) = (process(), given());
    let clean: Vec<u32> = levels(0..ROWS).flatten_all().unwrap().to_vec1().unwrap();
    let u: Vec<f64> = draws.noise.flatten_all().unwrap().to_vec1().unwrap();
    let (mut kl, mut bound) = (0.0, 0.0);
    for (row, t) in draws.times.iter().enumerate() {
        let (t, at) = (*t as usize, row * PIXELS..(row + 1) * PIXELS);
        let noisy = clean[at.clone()].iter().zip(&u[at.clone()]);
        let noisy: Vec<u32> = noisy
            .map(|(x0, u)| invert(&process.marginal(&one_hot(*x0 as usize), t), *u) as u32)
            .collect();
        let x_t = Tensor::from_vec(noisy.clone(), (1, SIDE, SIDE), &Device::Cpu).unwrap();
        let logits = network.forward(&x_t, &[t as f64], &Context::Eval).unwrap();
        let logits: Vec<f64> = logits.flatten_all().unwrap().to_vec1().unwrap();
        let step = process.step(t - 1, t, stay).unwrap();
        for i in 0..PIXELS {
            let odds: Vec<f64> = (0..LEVELS).map(|k| logits[k * PIXELS + i].exp()).collect();
            let norm: f64 = odds.iter().sum();
            let p: Vec<f64> = odds.iter().map(|z| z / norm).collect();
            let x0 = one_hot(clean[at.start + i] as usize);
            kl += step.kl(noisy[i] as usize, &x0, &p);
            bound += step.kl_bound(&x0, &p);
        }
    }
    let scale = TIMESTEPS as f64 / ROWS as f64;
    (scale * kl, scale * bound)
}

#[test]
fn the_loss_is_the_divergence_and_no_more_than_the_cross_entropy() {
    let (network, params) = network(LEVELS, 0.0);
    for rho in [0.0, 0.3, 1.0] {
        let (kl, bound) = direct(&network, Stay::new(rho).unwrap());
        assert!(0.0 < kl && kl < bound, "{kl} {bound}");
        for (kind, minimised) in [(CategoricalLoss::Kl, kl), (CategoricalLoss::CrossEntropy, bound)]
        {
            let loss = objective(rho, kind).loss(&network, &batch(0..ROWS), &given()).unwrap();
            let expected = [minimised, kl, bound];
            for (got, expected) in values(&loss).into_iter().zip(expected) {
                assert!(close(got, expected, 1e-12), "rho {rho} {kind:?}: {got} {expected}");
            }
            assert_eq!(loss.times, given().times);
            let grads = loss.total.backward().unwrap();
            for (name, var) in params.iter() {
                assert!(grads.get(var).is_some(), "{name} has no gradient");
            }
        }
    }
}

#[test]
fn the_gradient_is_that_of_finite_differences() {
    let (network, params) = network(LEVELS, 0.0);
    for (rho, kind) in [
        (0.0, CategoricalLoss::Kl),
        (0.4, CategoricalLoss::Kl),
        (1.0, CategoricalLoss::Kl),
        (1.0, CategoricalLoss::CrossEntropy),
    ] {
        let loss = || objective(rho, kind).loss(&network, &batch(0..ROWS), &given()).unwrap();
        let grads = loss().total.backward().unwrap();
        for name in ["conv_in.weight", "time_embedding.linear_1.weight", "conv_out.weight"] {
            let var = params.get(name).unwrap();
            let flat = |x: &Tensor| x.flatten_all().unwrap().to_vec1::<f64>().unwrap();
            let (before, slopes) = (flat(var), flat(grads.get(var).unwrap()));
            for i in [0, before.len() / 2, before.len() - 1] {
                let at = |change: f64| {
                    let mut values = before.clone();
                    values[i] += change;
                    var.set(&Tensor::from_vec(values, var.shape(), &Device::Cpu).unwrap()).unwrap();
                    values_of(&loss())
                };
                let (h, slope) = (1e-5, slopes[i]);
                let expected = (at(h) - at(-h)) / (2.0 * h);
                at(0.0);
                assert!(close(slope, expected, 1e-6), "{name}[{i}] {rho}: {slope} {expected}");
            }
        }
    }
}

fn values_of(loss: &Loss) -> f64 {
    values(loss)[0]
}

/// Says the same of every picture.
struct Fixed(Vec<f64>);

impl Categorizer for Fixed {
    fn levels(&self) -> usize {
        self.0.len()
    }

    fn forward(&self, x_t: &Tensor, _: &[f64], _: &Context) -> diff_models::Result<Tensor> {
        let (b, h, w) = x_t.dims3()?;
        let logits =
            Tensor::new(self.0.as_slice(), &Device::Cpu)?.reshape((1, self.levels(), 1, 1))?;
        Ok(logits.broadcast_as((b, self.levels(), h, w))?.contiguous()?)
    }
}

#[test]
fn sure_predictions_give_numbers_right_or_wrong() {
    for rho in [0.0, 1.0] {
        for size in [1e2, 1e5] {
            let sure = Fixed(vec![size, 0.0, -size]);
            let mut objective = objective(rho, CategoricalLoss::Kl);
            let loss = objective.loss(&sure, &batch(0..ROWS), &given()).unwrap();
            let [total, _, bound] = values(&loss);
            assert!(total.is_finite() && total > 0.0 && total <= bound, "{rho} {size}: {total}");
            // In f32, where such probabilities are 0.
            let single = |x: &Tensor| x.to_dtype(DType::F32).unwrap();
            let batch = Batch { x0: single(&batch(0..ROWS).x0), ..batch(0..ROWS) };
            let draws = GivenDraws { noise: single(&given().noise), ..given() };
            let sure = Fixed32(sure);
            let loss = objective.loss(&sure, &batch, &draws).unwrap();
            let rounded = f64::from(loss.total.to_scalar::<f32>().unwrap());
            assert!(close(rounded, total, 1e-4), "{rho} {size}: {rounded} {total}");
        }
    }
}

/// The same in f32.
struct Fixed32(Fixed);

impl Categorizer for Fixed32 {
    fn levels(&self) -> usize {
        self.0.levels()
    }

    fn forward(&self, x_t: &Tensor, t: &[f64], context: &Context) -> diff_models::Result<Tensor> {
        Ok(self.0.forward(x_t, t, context)?.to_dtype(DType::F32)?)
    }
}

#[test]
fn the_shares_of_the_parts_of_a_step_add_up_to_the_step() {
    let (network, _) = network(LEVELS, 0.4);
    let share = |part: Range<usize>| {
        let mut objective = objective(1.0, CategoricalLoss::Kl);
        values(&objective.loss(&network, &batch(part.clone()), &drawn(part)).unwrap())
    };
    let whole = share(0..ROWS);
    let parts = [0..4, 4..5, 5..ROWS].map(share);
    for (i, whole) in whole.into_iter().enumerate() {
        let sum: f64 = parts.iter().map(|part| part[i]).sum();
        assert!(close(sum, whole, 1e-12), "number {i}: {sum} {whole}");
    }
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let (network, _) = network(2, 0.0);
    let loss = |batch: &Batch, draws: &GivenDraws, network: &Categorical| {
        let mut objective = objective(1.0, CategoricalLoss::Kl);
        objective.loss(network, batch, draws).map(|_| ()).unwrap_err().to_string()
    };
    let message = loss(&batch(0..ROWS), &given(), &network);
    assert!(message.contains("levels of the network = 2: expected 3"), "{message}");
    let (network, _) = self::network(LEVELS, 0.0);
    let between = Batch { x0: (batch(0..ROWS).x0 * 0.5).unwrap(), ..batch(0..ROWS) };
    let message = loss(&between, &given(), &network);
    assert!(message.contains("0.500 of a level away from 3 levels"), "{message}");
    for (draws, word) in [
        (GivenDraws { noise: (given().noise * 2.0).unwrap(), ..given() }, "numbers in (0, 1)"),
        (GivenDraws { times: vec![7; ROWS], ..given() }, "paper times in 1..=6"),
    ] {
        let message = loss(&batch(0..ROWS), &draws, &network);
        assert!(message.contains(word), "{message}");
    }
    let config = ObjectiveConfig::Categorical(CategoricalConfig::default());
    let schedule = diff_core::Schedule::new(&Default::default()).unwrap();
    assert!(config.build_categorical(&process()).is_ok());
    assert!(config.build(&schedule).is_err() && config.build_classifier().is_err());
    assert!(ObjectiveConfig::default().build_categorical(&process()).is_err());
}

const SMALL: &str = r#"
[data]
levels = 2

[network]
kind = "categorical"

[network.body]
kind = "ddpm"
resolution = 8
in_channels = 2
out_channels = 2
channels = 4
multipliers = [1]
blocks = 1
attention_resolutions = []
dropout = 0.1
norm_groups = 2

[objective]
kind = "categorical"
timesteps = 20
stay = 0.5

[train]
steps = 8
batch = 6
accumulate = 2
lr = 1e-2
ema = [0.9, 0.5]
log_every = 3

[save]
keep_every = 24

[held_out]
every = 12
num = 20
"#;

/// Asks for a stop after a step.
struct StopAfter(usize, Stop);

impl Callback for StopAfter {
    fn after_step(&mut self, moment: &Moment, _: &mut Record) -> Result<()> {
        if moment.report.step == self.0 {
            assert_eq!(moment.subject.weights_file(), CategoricalCheckpoint::WEIGHTS);
            self.1.request(Signal::User);
        }
        Ok(())
    }
}

/// Trains until `last` steps have been taken, or to the end.
fn train(config: &RunConfig, start: Start, last: usize) -> Summary {
    let stop = Stop::new();
    let mut stopping = StopAfter(last, stop.clone());
    run::run(config, start, &Device::Cpu, &stop, &mut [&mut stopping]).unwrap()
}

fn recipe(out: &Path) -> RunConfig {
    let mut config: RunConfig = config::read(SMALL, "test", &[]).unwrap();
    config.out = Some(out.to_path_buf());
    config
}

fn lines(out: &Path) -> Vec<Line> {
    let text = fs::read_to_string(out.join("log.jsonl")).unwrap();
    let line = |text: &str| match serde_json::from_str(text).unwrap() {
        Line::Steps(mut line) => {
            line.seconds = 0.0;
            Line::Steps(line)
        }
        line => line,
    };
    text.lines().map(line).collect()
}

#[test]
fn a_run_interrupted_anywhere_comes_out_the_same_to_the_bit() {
    let folder = tempfile::tempdir().unwrap();
    let straight = folder.path().join("straight");
    let whole = train(&recipe(&straight), Start::Fresh, 100);
    let held_out = whole.held_out.as_ref().unwrap();
    assert!(held_out["kl"] > 0.0 && held_out["kl"] < held_out["cross_entropy"], "{held_out:?}");
    for stop in [1, 4, 7] {
        let out = folder.path().join(stop.to_string());
        let stopped = train(&recipe(&out), Start::Fresh, stop);
        assert_eq!((stopped.stopped_by, stopped.steps), (Some(Signal::User), stop));
        let resumed = train(&run::resumed(&out, &[]).unwrap(), Start::Resume, 100);
        assert_eq!((resumed.resumed_at, resumed.steps), (Some(stop), 8));
        assert_eq!((resumed.loss, &resumed.held_out), (whole.loss, &whole.held_out));
        for file in [
            "model/config.json",
            "model/model.safetensors",
            "model-ema-0.5/model.safetensors",
            "milestones/0000000024/model.safetensors",
            "checkpoints/0000000048/training/state.safetensors",
        ] {
            let read = |out: &Path| fs::read(out.join(file)).unwrap();
            assert!(read(&straight) == read(&out), "{file} differs after a stop at {stop}");
        }
        assert_eq!(lines(&straight), lines(&out), "after a stop at {stop}");
    }
}

#[test]
fn the_model_tells_its_process_and_another_run_starts_from_its_weights() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    train(&recipe(&out), Start::Fresh, 100);
    let model = CategoricalCheckpoint::open(out.to_str().unwrap(), &Device::Cpu).unwrap();
    assert_eq!(*model.process(), CategoricalProcess::linear(2, 20).unwrap());
    assert_eq!(model.metadata["diff.data"], "digits?levels=2");
    assert_eq!(model.metadata["diff.steps"], "8");
    let mut tuned = recipe(&folder.path().join("tuned"));
    tuned.init_from = Some(out.to_str().unwrap().into());
    (tuned.train.steps, tuned.train.lr, tuned.train.ema.0) = (1, 1e-12, vec![0.0]);
    train(&tuned, Start::Fresh, 100);
    let tuned = folder.path().join("tuned");
    let tuned = CategoricalCheckpoint::open(tuned.to_str().unwrap(), &Device::Cpu).unwrap();
    for ((name, a), (_, b)) in model.params.iter().zip(tuned.params.iter()) {
        let largest = (a.as_tensor() - b.as_tensor()).unwrap().abs().unwrap().max_all().unwrap();
        assert!(largest.to_scalar::<f32>().unwrap() < 1e-6, "{name}");
    }
}
