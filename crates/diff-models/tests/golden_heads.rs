//! Outputs of networks with a second head, and the head's gradients, against Extended-Analytic-DPM's
//! classes. The fixtures were made by `tests/golden/heads.py`.

#![allow(clippy::unwrap_used, clippy::panic)] // a test

mod common;

use candle_core::{Device, Shape, Tensor};
use common::{fill, golden::Golden, norm, relative, scatter, values, wave};
use diff_core::{Schedule, ScheduleSpec};
use diff_models::{
    Condition, Context, Denoiser, Second,
    checkpoint::{Checkpoint, write_tensors},
    nets::{
        Config, DdpmSpec,
        adm::AdmConfig,
        heads::{Estimate, HeadsConfig, Mode, TrunkConfig},
    },
    params::ParamBuilder,
};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};

/// Imports weights with the names of the original.
fn imported(config: &HeadsConfig, weights: HashMap<String, Tensor>) -> Checkpoint {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("weights.safetensors");
    write_tensors(&path, &weights.into_iter().collect::<Vec<_>>()).unwrap();
    let schedule = Schedule::new(&ScheduleSpec::default()).unwrap();
    Checkpoint::import(&path, &config.clone().into(), schedule, &Device::Cpu).unwrap()
}

fn raw(checkpoint: &Checkpoint, x: &Tensor, times: &[f64]) -> Tensor {
    let network = checkpoint.denoiser.network();
    network.forward_network(x, times, &Condition::default(), &Context::Eval).unwrap()
}

fn check(name: &str, trunk: TrunkConfig, mode: Mode) {
    let golden = Golden::read(&format!("heads_{name}"));
    let shapes: BTreeMap<String, Vec<usize>> = golden.about("shapes");
    let shapes: Vec<_> = shapes.into_iter().map(|(n, s)| (n, Shape::from(s))).collect();
    let config = HeadsConfig { trunk, second: Estimate::Npr, mode };
    let checkpoint = imported(&config, scatter(&shapes));
    let out = raw(&checkpoint, &wave(&golden.shape, 0.11, 0.0), &[3.0, 900.0]);
    let error = relative(&values(&out), &values(golden.tensor("out").unwrap()));
    println!("{name}: output {error:.2e}");
    assert!(error < 1e-5, "{name}: output differs by {error}");
    let loss = (&out * wave(out.dims(), 0.23, 0.5)).unwrap().sum_all().unwrap();
    let grads = loss.backward().unwrap();
    let mut compared = 0;
    for (parameter, var) in checkpoint.params.iter() {
        let theirs = parameter.replace("time_emb_proj", "temb_proj");
        match (grads.get(var), golden.tensor(&format!("norm.{theirs}"))) {
            (None, None) => {}
            (Some(grad), Some(_)) => {
                let error = golden.gradient_error(&theirs, &values(grad));
                assert!(error < 1e-4, "{name}: gradient of {parameter} differs by {error}");
                compared += 1;
            }
            (ours, _) => panic!("{name}: {parameter}: a gradient of ours: {}", ours.is_some()),
        }
    }
    assert_eq!(compared, if mode == Mode::Simple { 4 } else { 14 }, "{name}");
}

fn on_ddpm() -> TrunkConfig {
    TrunkConfig::Ddpm(Box::new(DdpmSpec {
        resolution: 8,
        channels: 64,
        multipliers: vec![1, 2],
        blocks: 1,
        attention_resolutions: vec![4],
        ..DdpmSpec::default()
    }))
}

fn on_iddpm(learn_sigma: bool) -> TrunkConfig {
    TrunkConfig::Adm(Box::new(AdmConfig {
        image_size: 8,
        learn_sigma,
        model_channels: 64,
        channel_mult: vec![1.0, 2.0],
        num_res_blocks: 1,
        attention_resolutions: vec![4],
        num_heads: 2,
        ..AdmConfig::default()
    }))
}

#[test]
fn simple_and_complex_heads_on_the_network_of_ddpm() {
    check("ddpm_simple", on_ddpm(), Mode::Simple);
    check("ddpm_complex", on_ddpm(), Mode::Complex);
}

/// The trunk of the simple one has six channels of output, three of which are used.
#[test]
fn simple_and_complex_heads_on_the_network_of_improved_ddpm() {
    check("iddpm_simple", on_iddpm(true), Mode::Simple);
    check("iddpm_complex", on_iddpm(false), Mode::Complex);
}

/// networks.md, (ix): the rows vi on net iii-a, whose names are ours.
#[test]
fn the_reference_values_of_another_rule() {
    let trunk = AdmConfig {
        image_size: 16,
        model_channels: 32,
        channel_mult: vec![1.0, 2.0],
        num_res_blocks: 1,
        attention_resolutions: vec![8],
        num_heads: 2,
        ..AdmConfig::default()
    };
    let simple = [0.010_717, 0.008_509, 0.083_983, 0.015_359, 0.045_570];
    let complex = [0.005_571, -0.004_185, -0.007_089, 0.014_635, -0.018_207];
    for (mode, tensors, expected, length) in
        [(Mode::Simple, 132, simple, 5.09834), (Mode::Complex, 142, complex, 4.88847)]
    {
        let trunk = TrunkConfig::Adm(Box::new(trunk.clone()));
        let config = HeadsConfig { trunk, second: Estimate::Sn, mode };
        let mut shapes = ParamBuilder::shapes_only();
        config.network(&mut shapes).unwrap();
        assert_eq!(shapes.shapes().len(), tensors);
        let checkpoint = imported(&config, fill(shapes.shapes()));
        let out = values(&raw(&checkpoint, &wave(&[2, 3, 16, 16], 0.11, 0.0), &[3.0, 17.0]));
        let places = [0, 1, 100, out.len() / 2, out.len() - 1];
        for (place, expected) in places.into_iter().zip(expected) {
            assert!((out[place] - expected).abs() < 2e-5, "{place}: {} {expected}", out[place]);
        }
        assert!((norm(&out) / length - 1.0).abs() < 1e-4, "{}", norm(&out));
    }
}

/// networks.md, (vi): what heads add.
#[test]
fn heads_add_the_published_number_of_parameters() {
    let adm = || TrunkConfig::Adm(Box::new(AdmConfig::cifar10()));
    for (trunk, mode, expected) in [
        (TrunkConfig::default(), Mode::Simple, 35_746_307 + 3_715),
        (TrunkConfig::default(), Mode::Complex, 35_746_307 + 365_059),
        (adm(), Mode::Simple, 52_542_979 + 3_715),
        (adm(), Mode::Complex, 52_542_979 + 430_723),
    ] {
        let mut shapes = ParamBuilder::shapes_only();
        let config = HeadsConfig { trunk, second: Estimate::Npr, mode };
        config.network(&mut shapes).unwrap();
        let count: usize = shapes.shapes().iter().map(|(_, shape)| shape.elem_count()).sum();
        assert_eq!(count, expected, "{mode:?}");
    }
}

#[test]
fn the_second_block_means_what_the_configuration_says_and_survives_the_folder() {
    let schedule = Schedule::new(&ScheduleSpec::default()).unwrap();
    for second in [Estimate::Npr, Estimate::Sn] {
        let config = HeadsConfig { trunk: on_ddpm(), second, mode: Mode::Complex };
        let fresh = Checkpoint::init(&config.into(), schedule.clone(), 3, &Device::Cpu).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("model");
        fresh.write(&folder, &fresh.params.tensors()).unwrap();
        let again = Checkpoint::open(folder.to_str().unwrap(), &Device::Cpu).unwrap();
        assert_eq!(again.denoiser.architecture(), fresh.denoiser.architecture());
        let x = wave(&[1, 3, 8, 8], 0.11, 0.0);
        let nothing = Condition::default();
        let prediction = again.denoiser.forward(&x, &[5.0], &nothing, &Context::Eval).unwrap();
        let expected = values(&raw(&fresh, &x, &[4.0]).narrow(1, 3, 3).unwrap());
        match (second, &prediction.second) {
            (Estimate::Npr, Second::Npr(found)) | (Estimate::Sn, Second::Sn(found)) => {
                assert_eq!(values(found), expected);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_trunk_that_is_none_is_refused() {
    let read = |text: &str| serde_json::from_str::<HeadsConfig>(text);
    let message = read(r#"{"trunk": {"kind": "dddm"}}"#).unwrap_err().to_string();
    assert!(message.contains("`dddm`") && message.contains("`adm`"), "{message}");
    let text = r#"{"trunk": {"kind": "unet", "out_channels": 4, "sample_size": 8}}"#;
    let message = read(text).unwrap().network(&mut ParamBuilder::shapes_only()).unwrap_err();
    assert!(message.to_string().contains("trunk.out_channels = 4"), "{message}");
    let plain: Value = HeadsConfig::default().to_json();
    assert_eq!(plain["trunk"]["kind"], "ddpm");
}
