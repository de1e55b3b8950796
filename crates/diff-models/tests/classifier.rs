//! The classifier and its checkpoints.

#![allow(clippy::unwrap_used)] // a test

mod common;

use candle_core::{DType, Device, Tensor};
use common::{relative, values, wave};
use diff_core::{
    Schedule, ScheduleSpec,
    rng::{Address, Purpose},
};
use diff_models::{
    Context,
    checkpoint::{Checkpoint, ClassifierCheckpoint, write_tensors},
    nets::{Classifier, ClassifierSpec, DdpmSpec},
    params::{ParamBuilder, Params},
};
use serde_json::{Value, json};
use std::{fs, path::Path};

fn spec() -> ClassifierSpec {
    ClassifierSpec {
        channels: 4,
        norm_groups: 2,
        blocks: 2,
        dropout: 0.3,
        ..ClassifierSpec::new(9, 3, 5)
    }
}

fn build(spec: ClassifierSpec, dtype: DType) -> (Classifier, Params) {
    let mut builder = ParamBuilder::init(3, dtype, &Device::Cpu);
    let classifier = Classifier::new(spec, &mut builder).unwrap();
    (classifier, builder.finish().unwrap())
}

fn open(path: &Path) -> diff_models::Result<ClassifierCheckpoint> {
    ClassifierCheckpoint::open(path.to_str().unwrap(), &Device::Cpu)
}

/// Features and logits of rows `first..first + count` of one long batch.
fn rows(classifier: &Classifier, first: usize, count: usize, context: &Context) -> [Vec<f64>; 2] {
    let x = wave(&[7, 3, 9, 9], 0.11, 0.0).narrow(0, first, count).unwrap();
    let judgement = classifier.forward(&x, context).unwrap();
    [values(&judgement.features), values(&judgement.logits)]
}

#[test]
fn shapes_are_what_the_specification_says() {
    let (classifier, params) = build(spec(), DType::F32);
    let judgement = classifier.forward(&wave(&[2, 3, 9, 9], 0.1, 0.0), &Context::Eval).unwrap();
    assert_eq!(classifier.width(), 8);
    assert_eq!((judgement.features.dims(), judgement.logits.dims()), (&[2, 8][..], &[2, 5][..]));
    // 9 x 9 pixels, then 5 x 5: convolutions by their weights, each with the pixels it gives.
    let same = |width: usize| 2 * 9 * width * width;
    let first = 9 * 3 * 4 + 2 * same(4);
    let second = 9 * 4 * 4 + 9 * 4 * 8 + 9 * 8 * 8 + 4 * 8 + same(8);
    let expected = (81 * first + 25 * second + 8 * 5) as u64;
    assert_eq!(classifier.multiply_adds(9, 9), expected);
    let names: Vec<&str> = params.iter().map(|(name, _)| name).collect();
    assert_eq!(names[..3], ["conv_in.weight", "conv_in.bias", "levels.0.blocks.0.norm1.weight"]);
    assert!(names.contains(&"levels.1.blocks.0.shortcut.weight"));
    assert_eq!(names[names.len() - 2..], ["head.weight", "head.bias"]);
    for shape in [vec![2, 1, 9, 9], vec![2, 3, 8, 9], vec![3, 9, 9]] {
        let x = Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
        let message = classifier.forward(&x, &Context::Eval).unwrap_err().to_string();
        assert!(message.contains("x: expected [B, 3, 9, 9], got "), "{message}");
    }
}

#[test]
fn a_row_does_not_depend_on_its_batch_or_on_threads() {
    let (classifier, _) = build(ClassifierSpec { channels: 16, ..spec() }, DType::F32);
    let train = |index| Context::Train { dropout: Address::new(5, Purpose::Dropout).index(index) };
    let pool = |n| rayon::ThreadPoolBuilder::new().num_threads(n).build().unwrap();
    let all = pool(1).install(|| rows(&classifier, 0, 7, &Context::Eval));
    let dropped = rows(&classifier, 0, 7, &train(20));
    assert!(all[1] != dropped[1]);
    for threads in [1, 2] {
        for (first, count) in [(0, 7), (0, 1), (4, 1), (5, 2)] {
            let part = pool(threads).install(|| rows(&classifier, first, count, &Context::Eval));
            let trained = rows(&classifier, first, count, &train(20 + first as u64));
            for (i, width) in [classifier.width(), 5].into_iter().enumerate() {
                let own = first * width..(first + count) * width;
                assert!(part[i] == all[i][own.clone()], "{threads} threads, rows from {first}");
                assert!(trained[i] == dropped[i][own], "dropout, rows from {first}");
            }
        }
    }
}

/// A scalar that every logit has its own share in.
fn objective(classifier: &Classifier, x: &Tensor) -> Tensor {
    let logits = classifier.forward(x, &Context::Eval).unwrap().logits;
    let weights = wave(logits.dims(), 0.7, 0.3).to_dtype(x.dtype()).unwrap();
    (logits * weights).unwrap().sum_all().unwrap()
}

#[test]
fn every_parameter_gets_the_gradient_that_finite_differences_give() {
    let (classifier, params) = build(spec(), DType::F64);
    let x = wave(&[2, 3, 9, 9], 0.11, 0.0).to_dtype(DType::F64).unwrap();
    let grads = objective(&classifier, &x).backward().unwrap();
    for (number, (name, var)) in params.iter().enumerate() {
        let grad = grads.get(var).unwrap_or_else(|| panic!("{name} has no gradient"));
        assert_eq!(grad.dims(), var.dims(), "{name}");
        // One direction through all of the parameter's numbers.
        let direction = wave(var.dims(), 1.3, number as f64).to_dtype(DType::F64).unwrap();
        let slope = (grad * &direction).unwrap().sum_all().unwrap().to_scalar::<f64>().unwrap();
        let start = var.as_tensor().copy().unwrap();
        let at = |h: f64| {
            var.set(&(&start + (&direction * h).unwrap()).unwrap()).unwrap();
            objective(&classifier, &x).to_scalar::<f64>().unwrap()
        };
        let numeric = (at(1e-5) - at(-1e-5)) / 2e-5;
        var.set(&start).unwrap();
        assert!((slope - numeric).abs() < 1e-6 * (1.0 + numeric.abs()), "{name} {slope} {numeric}");
    }
}

#[test]
fn what_is_written_is_read_to_the_bit() {
    let dir = tempfile::tempdir().unwrap();
    let mut fresh = ClassifierCheckpoint::init(spec(), 7, &Device::Cpu).unwrap();
    assert_eq!(fresh.data(), None);
    fresh.metadata.insert("diff.data".into(), "digits".into());
    let folder = dir.path().join("model");
    let mut weights = fresh.params.tensors();
    weights.reverse();
    fresh.write(&folder, &weights).unwrap();
    for path in [folder.as_path(), dir.path()] {
        let again = open(path).unwrap();
        assert_eq!((again.classifier.spec(), again.data()), (&spec(), Some("digits")));
        assert_eq!(again.metadata, fresh.metadata);
        assert_eq!(again.source, Some(folder.join(ClassifierCheckpoint::WEIGHTS)));
        let judged = |c: &Classifier| rows(c, 0, 3, &Context::Eval);
        assert_eq!(judged(&again.classifier), judged(&fresh.classifier));
        let order = |p: &Params| p.iter().map(|(n, _)| n.to_string()).collect::<Vec<_>>();
        assert_eq!(order(&again.params), order(&fresh.params));
    }
    weights.pop();
    let message = fresh.write(&folder, &weights).unwrap_err().to_string();
    assert!(message.contains("conv_in.weight") && message.contains("found none"), "{message}");
    assert!(fresh.with_weights(&weights).is_err());
    // Whole or not at all: the refused write left what was there.
    open(&folder).unwrap();
}

#[test]
fn other_weights_make_another_network_of_the_same_shape() {
    let fresh = ClassifierCheckpoint::init(spec(), 7, &Device::Cpu).unwrap();
    let halved: Vec<(String, Tensor)> =
        fresh.params.tensors().into_iter().map(|(n, t)| (n, (t * 0.5).unwrap())).collect();
    let other = fresh.with_weights(&halved).unwrap();
    let judged = |c: &Classifier| rows(c, 0, 2, &Context::Eval).concat();
    assert!(relative(&judged(&other), &judged(&fresh.classifier)) > 0.1);
    assert_eq!(
        judged(&fresh.with_weights(&fresh.params.tensors()).unwrap()),
        judged(&fresh.classifier)
    );
}

/// Breaks a written folder and returns the message.
fn refused(breaking: impl FnOnce(&Path)) -> String {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("model");
    let fresh = ClassifierCheckpoint::init(spec(), 7, &Device::Cpu).unwrap();
    fresh.write(&folder, &fresh.params.tensors()).unwrap();
    breaking(&folder);
    open(&folder).unwrap_err().to_string()
}

fn set(folder: &Path, key: &str, value: Value) {
    let path = folder.join("config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    config[key] = value;
    fs::write(path, config.to_string()).unwrap();
}

#[test]
fn what_is_wrong_with_a_folder_is_named() {
    for (key, value, words) in [
        ("chanels", json!(4), ["unknown field `chanels`", "expected one of"]),
        ("classes", json!("ten"), ["invalid type", "usize"]),
        ("norm_groups", json!(3), ["norm_groups = 3", "divisors of the level width 4"]),
        ("_class_name", json!("ResNet"), ["_class_name = ResNet", "DiffClassifier"]),
    ] {
        let message = refused(|folder| set(folder, key, value));
        for word in words.into_iter().chain(["model/config.json"]) {
            assert!(message.contains(word), "{word} is not in {message}");
        }
    }
    let message = refused(|folder| set(folder, "classes", json!(6)));
    for word in ["model.safetensors", "head.weight: expected shape [6, 8]", "head.bias: expected"] {
        assert!(message.contains(word), "{word} is not in {message}");
    }
    for file in ["config.json", ClassifierCheckpoint::WEIGHTS] {
        let message = refused(|folder| fs::remove_file(folder.join(file)).unwrap());
        assert!(message.contains(file), "{message}");
        let message = refused(|folder| fs::write(folder.join(file), "{").unwrap());
        assert!(message.contains(file), "{message}");
    }
    let message = refused(|folder| {
        let weights = folder.join(ClassifierCheckpoint::WEIGHTS);
        let mut tensors = candle_core::safetensors::load(&weights, &Device::Cpu).unwrap();
        let bias = Tensor::new(&[0f32, f32::NAN, 0.0, 0.0, 0.0], &Device::Cpu).unwrap();
        tensors.insert("head.bias".into(), bias);
        write_tensors(&weights, &tensors.into_iter().collect::<Vec<_>>()).unwrap();
    });
    assert!(message.contains("head.bias: 1 of 5 values are not finite"), "{message}");
}

#[test]
fn one_kind_of_checkpoint_is_not_taken_for_the_other() {
    let dir = tempfile::tempdir().unwrap();
    let (denoiser, classifier) = (dir.path().join("denoiser"), dir.path().join("classifier"));
    let unet = DdpmSpec {
        resolution: 8,
        channels: 4,
        multipliers: vec![1],
        blocks: 1,
        attention_resolutions: vec![],
        norm_groups: 2,
        ..DdpmSpec::default()
    };
    let schedule = Schedule::new(&ScheduleSpec::default()).unwrap();
    let fresh = Checkpoint::init(&unet.into(), schedule, 1, &Device::Cpu).unwrap();
    fresh.write(&denoiser.join("model"), &fresh.params.tensors()).unwrap();
    let fresh = ClassifierCheckpoint::init(spec(), 7, &Device::Cpu).unwrap();
    fresh.write(&classifier.join("model"), &fresh.params.tensors()).unwrap();

    let message = open(&denoiser).unwrap_err().to_string();
    for word in ["model/unet/config.json", "_class_name = UNet2DModel", "DiffClassifier"] {
        assert!(message.contains(word), "{word} is not in {message}");
    }
    let message = Checkpoint::open(classifier.to_str().unwrap(), &Device::Cpu).unwrap_err();
    let message = message.to_string();
    for word in ["model/config.json", "_class_name = DiffClassifier", "UNet2DModel"] {
        assert!(message.contains(word), "{word} is not in {message}");
    }
    let message = open(&classifier.join("model/config.json")).unwrap_err().to_string();
    assert!(message.contains("a file, expected a folder"), "{message}");
    assert!(open(Path::new("/no/such/place")).unwrap_err().to_string().contains("/no/such/place"));
}

#[test]
fn a_specification_that_cannot_be_built_is_refused_by_name() {
    for (spec, part) in [
        (ClassifierSpec { multipliers: vec![], ..spec() }, "multipliers = []"),
        (ClassifierSpec { multipliers: vec![1, 0], ..spec() }, "multipliers = [1, 0]"),
        (ClassifierSpec { in_channels: 0, ..spec() }, "in_channels = 0"),
        (ClassifierSpec { blocks: 0, ..spec() }, "blocks = 0"),
        (ClassifierSpec { classes: 1, ..spec() }, "classes = 1"),
        (ClassifierSpec { dropout: 1.0, ..spec() }, "dropout = 1"),
        (ClassifierSpec { norm_groups: 8, ..spec() }, "norm_groups = 8"),
        (ClassifierSpec { resolution: 1, ..spec() }, "resolution = 1"),
        (ClassifierSpec { resolution: 0, ..spec() }, "resolution = 0"),
    ] {
        let message = spec.check().unwrap_err().to_string();
        assert!(message.contains(part), "{message}");
    }
    let default = ClassifierSpec::new(8, 1, 10);
    default.check().unwrap();
    let read: ClassifierSpec =
        serde_json::from_value(json!({"resolution": 8, "in_channels": 1, "classes": 10})).unwrap();
    assert_eq!(read, default);
}
