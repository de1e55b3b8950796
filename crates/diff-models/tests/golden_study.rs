//! Outputs and every parameter's gradient against the `UNet`s that the study's are copies of. The fixtures
//! were made by `tests/golden/study.py`.

#![allow(clippy::unwrap_used, clippy::panic)] // a test

mod common;

use candle_core::{DType, Device, Tensor};
use common::{
    fill,
    golden::{Golden, filled},
    norm, values, wave,
};
use diff_models::{
    Condition, Context,
    checkpoint::{Checkpoint, write_tensors},
    nets::{
        Network,
        study::{Study, StudyConfig},
    },
    params::ParamBuilder,
};
use std::collections::HashMap;

/// The study's labels are rows of its table, the first of which is for no class.
fn read(name: &str) -> Golden {
    let mut golden = Golden::read(&format!("study_{name}"));
    let rows = golden.labels.iter_mut().flatten();
    rows.for_each(|label| *label = label.and_then(|row| row.checked_sub(1)));
    golden
}

fn check(name: &str) {
    let golden = read(name);
    let config: StudyConfig = golden.config();
    let (study, params) = filled(|b| Study::new(config.clone(), b));
    golden.check(name, &params, &|x, t, condition, context| {
        study.forward_network(x, t, condition, context)
    });
}

#[test]
fn without_classes_at_8x12_on_two_levels() {
    check("ddpm8x12");
}

#[test]
fn with_classes_on_three_levels() {
    check("conditional12x20");
}

/// What norms add to the variance: 1e-5.
#[test]
fn norms_add_what_the_originals_add() {
    for name in ["ddpm8x12", "conditional12x20"] {
        let golden = read(name);
        let config: StudyConfig = golden.config();
        let error = golden.faint_error(
            &format!("study_{name}"),
            &|b| Study::new(config.clone(), b),
            &|study, x, t, condition| study.forward_network(x, t, condition, &Context::Eval),
        );
        assert!(error < 1e-4, "{name}: {error}");
    }
}

/// networks.md, (ix): cases v-a and v-b. There the table of times is not filled; it is what it starts as.
#[test]
fn the_reference_values_of_another_rule() {
    let base = StudyConfig {
        resolution: 16,
        channels: 32,
        multipliers: vec![1, 2],
        blocks: 1,
        attention_levels: vec![1],
        dropout: 0.0,
        timesteps: 20,
        ..StudyConfig::default()
    };
    let conditional =
        StudyConfig { attention_levels: Vec::new(), labels: Some(10), ..base.clone() };
    let ddpm = [0.004_733, -0.019_330, 0.196_323, 0.058_870, 0.105_314];
    let classes = [-0.057_044, -0.137_567, -0.044_938, 0.061_390, 0.045_669];
    for (config, tensors, expected, length) in
        [(base, 144, ddpm, 6.11536), (conditional, 159, classes, 5.43236)]
    {
        let mut fresh = ParamBuilder::init(1, DType::F32, &Device::Cpu);
        Study::new(config.clone(), &mut fresh).unwrap();
        let table = "time_embedding.timembedding.0.weight";
        let (shapes, params) = (fresh.shapes().to_vec(), fresh.finish().unwrap());
        let others: Vec<_> = shapes.into_iter().filter(|(name, _)| name != table).collect();
        assert_eq!(others.len(), tensors);
        let mut weights = fill(&others);
        weights.extend(params.get(table).map(|t| (table.to_string(), t.as_tensor().clone())));
        let classes = "cond_embedding.condEmbedding.0.weight";
        if let Some(known) = weights.get_mut(classes) {
            let rest = known.narrow(0, 1, 10).unwrap();
            let zeros = rest.narrow(0, 0, 1).unwrap().zeros_like().unwrap();
            *known = Tensor::cat(&[&zeros, &rest], 0).unwrap();
        }
        let mut builder = ParamBuilder::weights(weights, "fill", DType::F32, &Device::Cpu);
        let study = Study::new(config.clone(), &mut builder).unwrap();
        builder.finish().unwrap();
        let condition =
            Condition { class: config.labels.map(|_| vec![None, Some(6)]), image: None };
        let x = wave(&[2, 3, 16, 16], 0.11, 0.0);
        let out = study.forward_network(&x, &[3.0, 17.0], &condition, &Context::Eval).unwrap();
        let out = values(&out);
        let places = [0, 1, 100, out.len() / 2, out.len() - 1];
        for (place, expected) in places.into_iter().zip(expected) {
            assert!((out[place] - expected).abs() < 2e-5, "{place}: {} {expected}", out[place]);
        }
        assert!((norm(&out) / length - 1.0).abs() < 1e-4, "{}", norm(&out));
    }
}

/// networks.md, (v).
#[test]
fn published_networks_have_their_number_of_parameters() {
    for (config, expected) in
        [(StudyConfig::ddpm(), 82_958_979), (StudyConfig::conditional(), 47_764_611)]
    {
        let mut shapes = ParamBuilder::shapes_only();
        Study::new(config, &mut shapes).unwrap();
        let count: usize = shapes.shapes().iter().map(|(_, shape)| shape.elem_count()).sum();
        assert_eq!(count, expected);
    }
}

fn small() -> StudyConfig {
    StudyConfig {
        resolution: 8,
        channels: 32,
        multipliers: vec![1, 1],
        blocks: 1,
        attention_levels: Vec::new(),
        labels: Some(3),
        timesteps: 20,
        ..StudyConfig::default()
    }
}

#[test]
fn times_and_labels_that_are_no_rows_are_refused() {
    let (study, _) = filled(|b| Study::new(small(), b));
    let x = wave(&[1, 3, 8, 8], 0.11, 0.0);
    let run = |time: f64, label: Option<i64>| {
        // -1 for the null label.
        let class = label.map(|label| vec![u32::try_from(label).ok()]);
        let condition = Condition { class, image: None };
        let out = study.forward_network(&x, &[time], &condition, &Context::Eval);
        out.err().map(|e| e.to_string()).unwrap_or_default()
    };
    assert_eq!((run(19.0, Some(-1)), run(0.0, Some(2))), (String::new(), String::new()));
    assert!(run(20.0, Some(0)).contains("network time 20: this network knows"));
    assert!(run(0.5, Some(0)).contains("network time 0.5"));
    assert!(run(-1.0, Some(0)).contains("network time -1"));
    assert!(run(3.0, Some(3)).contains("class label 3: expected 0..3"));
    assert!(run(3.0, None).contains("needs a class label"));
}

/// Glorot's bounds where there are no classes; a first result near zero.
#[test]
fn a_fresh_network_without_classes_starts_small() {
    let config = StudyConfig { labels: None, ..small() };
    let mut builder = ParamBuilder::init(1, DType::F32, &Device::Cpu);
    let study = Study::new(config, &mut builder).unwrap();
    let params = builder.finish().unwrap();
    let largest = |name: &str| {
        let values = values(params.get(name).unwrap());
        values.iter().fold(0f64, |a, b| a.max(b.abs()))
    };
    let bound = (6f64 / (64.0 * 9.0)).sqrt();
    let found = largest("downblocks.0.block1.2.weight");
    assert!(found <= bound * (1.0 + 1e-6) && found > 0.99 * bound, "{found} {bound}");
    assert_eq!(largest("downblocks.0.block1.2.bias"), 0.0);
    assert!(largest("downblocks.0.block2.3.weight") <= 1e-5 * bound * (1.0 + 1e-6));
    let attention = (6.0f64 / 64.0).sqrt();
    assert!(largest("middleblocks.0.attn.proj.weight") > 0.9 * attention);
    let x = wave(&[1, 3, 8, 8], 0.11, 0.0);
    let out = study.forward_network(&x, &[5.0], &Condition::default(), &Context::Eval).unwrap();
    assert!(values(&out).iter().all(|v| v.abs() < 1e-3));
}

/// Files of the original hold the table of times, which is no weight where it is not learnt.
#[test]
fn a_file_of_the_original_is_imported() {
    let config = StudyConfig { labels: None, ..small() };
    let (study, params) = filled(|b| Study::new(config.clone(), b));
    let mut tensors: Vec<(String, Tensor)> =
        params.tensors().into_iter().map(|(name, t)| (format!("module.{name}"), t)).collect();
    let table = "module.time_embedding.timembedding.0.weight";
    tensors.push((table.into(), wave(&[20, 32], 1.0, 0.0)));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("weights.safetensors");
    write_tensors(&path, &tensors).unwrap();
    let schedule = diff_core::Schedule::new(&diff_core::ScheduleSpec::default()).unwrap();
    let import =
        |path| Checkpoint::import(path, &config.clone().into(), schedule.clone(), &Device::Cpu);
    let found = import(&path).unwrap();
    let x = wave(&[1, 3, 8, 8], 0.11, 0.0);
    let run = |network: &dyn Network| {
        values(&network.forward_network(&x, &[5.0], &Condition::default(), &Context::Eval).unwrap())
    };
    assert_eq!(run(found.denoiser.network()), run(&study));
    // It lists everything that does not fit, at once.
    let mut wrong: HashMap<String, Tensor> = tensors.into_iter().collect();
    wrong.remove("module.head.bias");
    wrong.insert("module.head.weight".into(), wave(&[32, 1, 3, 3], 1.0, 0.0));
    wrong.insert("extra".into(), wave(&[2], 1.0, 0.0));
    write_tensors(&path, &wrong.into_iter().collect::<Vec<_>>()).unwrap();
    let message = import(&path).unwrap_err().to_string();
    for part in [
        "3 problem(s)",
        "head.bias: missing, expected shape [32]",
        "head.weight: expected shape [32, 3, 3, 3], found [32, 1, 3, 3]",
        "extra: not expected, found shape [2]",
    ] {
        assert!(message.contains(part), "{part} is not in {message}");
    }
}
