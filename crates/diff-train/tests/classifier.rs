//! The classifier's objective against its closed form, and runs that train one.

#![cfg(test)]

use candle_core::{DType, Device, Tensor};
use diff_core::{
    config,
    rng::{Address, Purpose},
};
use diff_models::{
    Context,
    checkpoint::ClassifierCheckpoint,
    nets::{Classifier, ClassifierSpec},
    noise::normals,
    params::{ParamBuilder, Params},
};
use diff_train::{
    Result,
    callback::{Callback, Moment, Record},
    config::RunConfig,
    data::{self, Augment, Batch, DataConfig, Loader, Split},
    draws::{Mode, StepDraws},
    log::Line,
    objective::{Classification, ClassifierConfig, Loss, Objective},
    run::{self, Start, Summary},
    stop::{Signal, Stop},
};
use std::{fs, ops::Range, path::Path};

const ROWS: usize = 7;
const CLASSES: usize = 3;
const LABELS: [u32; ROWS] = [0, 2, 1, 1, 0, 2, 2];

fn network(dropout: f64) -> (Classifier, Params) {
    let spec = ClassifierSpec {
        channels: 4,
        norm_groups: 2,
        multipliers: vec![1],
        dropout,
        ..ClassifierSpec::new(4, 1, CLASSES)
    };
    let mut builder = ParamBuilder::init(5, DType::F64, &Device::Cpu);
    let classifier = Classifier::new(spec, &mut builder).unwrap();
    (classifier, builder.finish().unwrap())
}

/// A network that gives every picture the same logits.
fn constant(logits: [f64; CLASSES]) -> (Classifier, Params) {
    let (classifier, params) = network(0.0);
    let weight = params.get("head.weight").unwrap();
    weight.set(&weight.zeros_like().unwrap()).unwrap();
    params.get("head.bias").unwrap().set(&Tensor::new(&logits, &Device::Cpu).unwrap()).unwrap();
    (classifier, params)
}

fn batch(part: Range<usize>) -> Batch {
    let address = |row: usize| Address::new(9, Purpose::Measure).index(row as u64);
    let rows: Vec<_> = part.clone().map(address).collect();
    let x0 = normals(&rows, &[1, 4, 4], DType::F64, &Device::Cpu).unwrap();
    let indices = part.clone().map(|row| row as u64).collect();
    Batch { x0, labels: Some(LABELS[part].to_vec()), indices }
}

fn share(classifier: &Classifier, label_smoothing: f64, part: Range<usize>) -> Result<Loss> {
    let part_of = part.clone();
    let draws =
        StepDraws { seed: 2, step: 5, step_rows: ROWS, part: part_of, ..StepDraws::default() };
    let mut objective = Classification::new(ClassifierConfig { label_smoothing })?;
    objective.loss(classifier, &batch(part), &draws)
}

/// The total and the parts.
fn numbers(loss: &Loss) -> [f64; 3] {
    let scalar = |x: &Tensor| x.to_scalar::<f64>().unwrap();
    let names: Vec<_> = loss.parts.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["cross_entropy", "accuracy"]);
    [scalar(&loss.total), scalar(&loss.parts[0].1), scalar(&loss.parts[1].1)]
}

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-12 * (1.0 + b.abs())
}

/// The probability of every class.
fn softmax(logits: [f64; CLASSES]) -> [f64; CLASSES] {
    let norm: f64 = logits.iter().map(|z| z.exp()).sum();
    logits.map(|z| z.exp() / norm)
}

#[test]
fn the_loss_is_the_cross_entropy_and_its_gradient_what_the_book_says() {
    let logits = [0.3, -1.2, 2.0];
    let p = softmax(logits);
    for smoothing in [0.0, 0.1, 0.9] {
        let (classifier, params) = constant(logits);
        let loss = share(&classifier, smoothing, 0..ROWS).unwrap();
        let [total, cross_entropy, accuracy] = numbers(&loss);
        let even = p.iter().map(|p| -p.ln()).sum::<f64>() / CLASSES as f64;
        let row = |label: &u32| (1.0 - smoothing) * -p[*label as usize].ln() + smoothing * even;
        let expected = LABELS.iter().map(row).sum::<f64>() / ROWS as f64;
        assert!(close(total, expected) && total == cross_entropy, "{total} {expected}");
        assert!(close(accuracy, 3.0 / 7.0), "the largest logit is class 2's: {accuracy}");

        let grads = loss.total.backward().unwrap();
        let slope = grads.get(params.get("head.bias").unwrap()).unwrap();
        for (class, slope) in slope.to_vec1::<f64>().unwrap().into_iter().enumerate() {
            let share = LABELS.iter().filter(|l| **l as usize == class).count() as f64 / 7.0;
            let target = (1.0 - smoothing) * share + smoothing / CLASSES as f64;
            assert!(close(slope, p[class] - target), "{class}: {slope}");
        }
        for (name, var) in params.iter() {
            assert!(grads.get(var).is_some(), "{name} has no gradient");
        }
    }
}

#[test]
fn logits_of_any_size_give_numbers() {
    let [total, _, accuracy] = numbers(&share(&constant([1e5, 0.0, -1e5]).0, 0.0, 0..1).unwrap());
    assert_eq!((total, accuracy), (0.0, 1.0 / 7.0));
    let [total, ..] = numbers(&share(&constant([1e5, 0.0, -1e5]).0, 0.0, 1..2).unwrap());
    assert!(close(total, 2e5 / 7.0), "{total}");
}

#[test]
fn the_shares_of_the_parts_of_a_step_add_up_to_the_step() {
    let (classifier, _) = network(0.4);
    for smoothing in [0.0, 0.2] {
        let whole = numbers(&share(&classifier, smoothing, 0..ROWS).unwrap());
        let parts = [0..3, 3..4, 4..ROWS];
        let parts = parts.map(|part| numbers(&share(&classifier, smoothing, part).unwrap()));
        for (i, whole) in whole.into_iter().enumerate() {
            let sum: f64 = parts.iter().map(|part| part[i]).sum();
            assert!(close(sum, whole), "number {i}: {sum} {whole}");
        }
    }
}

#[test]
fn labels_that_do_not_fit_and_impossible_options_are_refused_by_name() {
    for label_smoothing in [-0.1, 1.0, f64::NAN] {
        let config = ClassifierConfig { label_smoothing };
        let message = Classification::new(config).map(|_| ()).unwrap_err().to_string();
        assert!(message.contains("objective.label_smoothing = "), "{message}");
    }
    let (classifier, _) = network(0.0);
    let mode = Mode::Measure;
    let draws = StepDraws { step_rows: 2, part: 0..2, mode, ..StepDraws::default() };
    for (labels, words) in [
        (None, ["labels = none", "objective.kind = classifier"]),
        (Some(vec![0]), ["labels = 1 values", "2, one per row"]),
        (Some(vec![0, 3]), ["labels = 3", "0..3"]),
    ] {
        let mut objective = Classification::new(ClassifierConfig::default()).unwrap();
        let loss = objective.loss(&classifier, &Batch { labels, ..batch(0..2) }, &draws);
        let message = loss.map(|_| ()).unwrap_err().to_string();
        assert!(words.iter().all(|word| message.contains(word)), "{message}");
    }
}

const SMALL: &str = r#"
[network]
kind = "classifier"
resolution = 8
in_channels = 1
channels = 4
norm_groups = 2
dropout = 0.1
classes = 10

[objective]
kind = "classifier"
label_smoothing = 0.1

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
            assert_eq!((moment.images, moment.averages.len()), (6 * self.0, 2));
            assert_eq!(moment.subject.weights_file(), ClassifierCheckpoint::WEIGHTS);
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

fn recipe(out: &Path, overrides: &[&str]) -> RunConfig {
    let overrides: Vec<String> = overrides.iter().map(|s| s.to_string()).collect();
    let mut config: RunConfig = config::read(SMALL, "test", &overrides).unwrap();
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
    let whole = train(&recipe(&straight, &[]), Start::Fresh, 100);
    for stop in [1, 4, 5, 7] {
        let out = folder.path().join(stop.to_string());
        let stopped = train(&recipe(&out, &[]), Start::Fresh, stop);
        assert_eq!((stopped.stopped_by, stopped.steps), (Some(Signal::User), stop));
        let resumed = train(&run::resumed(&out, &[]).unwrap(), Start::Resume, 100);
        assert_eq!((resumed.resumed_at, resumed.steps), (Some(stop), 8));
        assert_eq!((resumed.loss, &resumed.held_out), (whole.loss, &whole.held_out));
        for file in [
            "model/config.json",
            "model/model.safetensors",
            "model-ema-0.5/model.safetensors",
            "milestones/0000000024/model.safetensors",
            "milestones/0000000048-ema-0.5/model.safetensors",
            "checkpoints/0000000048/model/model.safetensors",
            "checkpoints/0000000048/training/state.safetensors",
        ] {
            let read = |out: &Path| fs::read(out.join(file)).unwrap();
            assert!(read(&straight) == read(&out), "{file} differs after a stop at {stop}");
        }
        assert_eq!(lines(&straight), lines(&out), "after a stop at {stop}");
    }
}

#[test]
fn the_model_is_the_average_that_was_measured() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let summary = train(&recipe(&out, &["objective.label_smoothing=0"]), Start::Fresh, 100);
    let model = ClassifierCheckpoint::open(out.to_str().unwrap(), &Device::Cpu).unwrap();
    assert_eq!((model.data(), model.metadata["diff.steps"].as_str()), (Some("digits"), "8"));
    assert_eq!(model.metadata["diff.data_sha256"].len(), 64);

    let held_out: Vec<_> = lines(&out)
        .into_iter()
        .filter_map(|line| match line {
            Line::HeldOut(line) => Some(line),
            Line::Steps(_) => None,
        })
        .collect();
    let steps: Vec<usize> = held_out.iter().map(|line| line.step).collect();
    assert_eq!(steps, [2, 4, 6, 8]);
    let last = summary.held_out.unwrap();
    assert_eq!(held_out[3].held_out_parts["accuracy"].as_f64(), Some(last["accuracy"]));
    assert_eq!(held_out[3].held_out, last["cross_entropy"]);

    // The same pictures, all at once.
    let data = DataConfig { split: Split::Test, ..DataConfig::default() };
    let mut loader =
        Loader::new(data::open(&data).unwrap(), Augment::default(), 0, 20, true).unwrap();
    let batch = loader.batch(0, &Device::Cpu).unwrap();
    let logits = model.classifier.forward(&batch.x0, &Context::Eval).unwrap().logits;
    let chosen = logits.argmax(1).unwrap().to_vec1::<u32>().unwrap();
    let right = chosen.iter().zip(batch.labels.unwrap()).filter(|(a, b)| **a == *b).count();
    assert!(close(last["accuracy"], right as f64 / 20.0), "{last:?} {right}");
}
