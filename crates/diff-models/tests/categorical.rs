//! Networks over levels and their checkpoints.

#![cfg(test)]

use candle_core::{DType, Device, Tensor};
use diff_core::{
    discrete::{CategoricalProcess, ProcessKind, ProcessSpec},
    rng::{Address, Purpose},
    time::network_time,
};
use diff_models::{
    Condition, Context, Denoiser, Mean, Result,
    categorical::{Categorizer, one_hot},
    checkpoint::{CategoricalCheckpoint, Checkpoint, ClassifierCheckpoint},
    nets::{CategoricalSpec, ClassifierSpec, DdpmSpec},
};
use std::{fs, path::Path};

const LEVELS: usize = 3;

fn body() -> DdpmSpec {
    DdpmSpec {
        resolution: 4,
        in_channels: LEVELS,
        out_channels: LEVELS,
        channels: 4,
        multipliers: vec![1],
        blocks: 1,
        attention_resolutions: vec![],
        norm_groups: 2,
        ..DdpmSpec::default()
    }
}

fn process(timesteps: usize) -> ProcessSpec {
    ProcessSpec { kind: ProcessKind::Linear, timesteps }
}

fn fresh() -> CategoricalCheckpoint {
    let spec = CategoricalSpec { body: body().into() };
    CategoricalCheckpoint::init(spec, process(20), 3, &Device::Cpu).unwrap()
}

fn levels(rows: usize) -> Tensor {
    let draw = |i: usize| Address::new(1, Purpose::Measure).index(i as u64).below(3) as u32;
    Tensor::from_vec((0..16 * rows).map(draw).collect(), (rows, 4, 4), &Device::Cpu).unwrap()
}

fn bits(x: &Tensor) -> Vec<u32> {
    let values = x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    values.into_iter().map(f32::to_bits).collect()
}

#[test]
fn logits_are_the_bodys_of_one_hot_levels_at_its_time() {
    let network = fresh().network;
    let (x, t) = (levels(3), [1.0, 7.0, 20.0]);
    let logits = network.forward(&x, &t, &Context::Eval).unwrap();
    assert_eq!((logits.dims(), network.levels()), ([3, LEVELS, 4, 4].as_slice(), LEVELS));
    // The same weights as a denoiser.
    let schedule = diff_core::Schedule::new(&Default::default()).unwrap();
    let twin = Checkpoint::init(&body().into(), schedule, 3, &Device::Cpu).unwrap();
    let planes = one_hot(&x, LEVELS, DType::F32).unwrap();
    let prediction =
        twin.denoiser.forward(&planes, &t, &Condition::default(), &Context::Eval).unwrap();
    let Mean::Eps(same) = prediction.mean else { panic!("a denoiser predicts noise") };
    assert_eq!(bits(&logits), bits(&same));
    assert_eq!(network_time(t[0]), 0.0);
    // A row does not depend on those beside it.
    for row in 0..3 {
        let alone = x.narrow(0, row, 1).unwrap();
        let alone = network.forward(&alone, &t[row..=row], &Context::Eval).unwrap();
        assert_eq!(bits(&alone.squeeze(0).unwrap()), bits(&logits.get(row).unwrap()));
    }
}

#[test]
fn a_checkpoint_comes_back_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("levels");
    let mut written = fresh();
    written.metadata.insert("diff.data".into(), "digits?levels=3".into());
    for _ in 0..2 {
        written.write(&path, &written.params.tensors()).unwrap();
    }
    let read = CategoricalCheckpoint::open(path.to_str().unwrap(), &Device::Cpu).unwrap();
    assert_eq!(read.network.spec(), written.network.spec());
    assert_eq!(*read.process(), CategoricalProcess::linear(LEVELS, 20).unwrap());
    assert_eq!(read.process_spec(), process(20));
    assert_eq!(read.metadata, written.metadata);
    let of = |c: &CategoricalCheckpoint| {
        bits(&c.network.forward(&levels(1), &[5.0], &Context::Eval).unwrap())
    };
    assert_eq!(of(&read), of(&written));
    let zeros = read.params.tensors().into_iter();
    let zeros: Vec<_> = zeros.map(|(name, t)| (name, t.zeros_like().unwrap())).collect();
    let still = read.with_weights(&zeros).unwrap();
    let logits = still.forward(&levels(1), &[5.0], &Context::Eval).unwrap();
    assert!(bits(&logits).iter().all(|bits| f32::from_bits(*bits) == 0.0));
    assert!(read.with_weights(&zeros[1..]).is_err() && read.write(&path, &zeros[1..]).is_err());
}

fn message<T>(result: Result<T>) -> String {
    result.map(|_| ()).unwrap_err().to_string()
}

#[test]
fn kinds_of_checkpoints_are_not_taken_for_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (levels, denoiser, classifier) = (at("levels"), at("denoiser"), at("classifier"));
    let written = fresh();
    written.write(&levels, &written.params.tensors()).unwrap();
    let schedule = diff_core::Schedule::new(&Default::default()).unwrap();
    let written = Checkpoint::init(&body().into(), schedule, 3, &Device::Cpu).unwrap();
    written.write(&denoiser, &written.params.tensors()).unwrap();
    let spec = ClassifierSpec { norm_groups: 2, channels: 4, ..ClassifierSpec::new(4, 1, 3) };
    let written = ClassifierCheckpoint::init(spec, 3, &Device::Cpu).unwrap();
    written.write(&classifier, &written.params.tensors()).unwrap();

    let open = |path: &Path| path.to_str().unwrap().to_string();
    let error = message(Checkpoint::open(&open(&levels), &Device::Cpu));
    for word in ["levels/config.json", "DiffCategorical", "diff-sample discrete"] {
        assert!(error.contains(word), "{word} is not in {error}");
    }
    let error = message(ClassifierCheckpoint::open(&open(&levels), &Device::Cpu));
    assert!(error.contains("_class_name = DiffCategorical"), "{error}");
    for (path, class) in [(&denoiser, "UNet2DModel"), (&classifier, "DiffClassifier")] {
        let error = message(CategoricalCheckpoint::open(&open(path), &Device::Cpu));
        for word in ["config.json", class, "DiffCategorical, a network over levels"] {
            assert!(error.contains(word), "{word} is not in {error}");
        }
    }
}

#[test]
fn damaged_and_impossible_checkpoints_are_refused_by_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("levels");
    let written = fresh();
    written.write(&path, &written.params.tensors()).unwrap();
    let config = path.join("config.json");
    let text = fs::read_to_string(&config).unwrap();
    let opened = || message(CategoricalCheckpoint::open(path.to_str().unwrap(), &Device::Cpu));
    for (from, to, word) in [
        ("\"timesteps\": 20", "\"timesteps\": 0", "timesteps = 0"),
        ("\"linear\"", "\"cosine\"", "unknown variant `cosine`"),
        ("\"process\"", "\"proces\"", "`proces`"),
        ("\"out_channels\": 3", "\"out_channels\": 6", "body.out_channels = 6"),
        ("\"in_channels\": 3", "\"in_channels\": 1", "body.in_channels = 1"),
        ("\"ddpm\"", "\"adm\"", "unknown field"),
    ] {
        let changed = text.replace(from, to);
        assert_ne!(changed, text, "{from} is not in {text}");
        fs::write(&config, changed).unwrap();
        let error = opened();
        assert!(error.contains("config.json") && error.contains(word), "{word}: {error}");
    }
    fs::write(&config, text.replace("\"channels\": 4", "\"channels\": 8")).unwrap();
    let error = opened();
    assert!(error.contains("model.safetensors") && error.contains("conv_in.weight"), "{error}");
    fs::write(&config, &text).unwrap();
    let weights = path.join(CategoricalCheckpoint::WEIGHTS);
    let bytes = fs::read(&weights).unwrap();
    fs::write(&weights, &bytes[..bytes.len() / 2]).unwrap();
    assert!(opened().contains("model.safetensors"));
    fs::remove_file(&weights).unwrap();
    assert!(opened().contains("model.safetensors"));
}

#[test]
fn what_is_no_body_is_refused_before_anything_is_built() {
    let init = |body: DdpmSpec, timesteps| {
        let spec = CategoricalSpec { body: body.into() };
        CategoricalCheckpoint::init(spec, process(timesteps), 0, &Device::Cpu)
    };
    assert!(init(body(), 1).is_ok());
    for (body, word) in [
        (DdpmSpec { in_channels: 1, out_channels: 1, ..body() }, "body.in_channels = 1"),
        (DdpmSpec { in_channels: 2, ..body() }, "body.out_channels = 3"),
        (DdpmSpec { classes: Some(4), ..body() }, "body.classes"),
        (DdpmSpec { norm_groups: 3, ..body() }, "norm"),
    ] {
        let error = message(init(body, 20));
        assert!(error.contains(word), "{error}");
    }
    assert!(message(init(body(), 0)).contains("timesteps = 0"));
}
