//! Outputs and every parameter's gradient against DDDM's `UNetModel`. The fixtures were made by
//! `tests/golden/dddm.py`.

#![allow(clippy::unwrap_used, clippy::panic)] // a test

mod common;

use candle_core::{DType, Device, Tensor};
use common::{
    fill,
    golden::{Golden, filled},
    norm, relative, values, wave,
};
use diff_models::{
    Condition, Context, Denoiser, Mean,
    nets::{
        Network, NetworkDenoiser,
        dddm::{Conditioning, Dddm, DddmConfig},
    },
    params::ParamBuilder,
};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// The original's arguments in our terms: factors of down-sampling differ.
fn config(golden: &Golden) -> DddmConfig {
    let mut config: Map<String, Value> = golden.config();
    let number = |value: &Value| value.as_u64().unwrap();
    let size = number(&config["image_size"]);
    config.remove("out_channels");
    let conditioning = match config.remove("use_CA") {
        Some(_) => "cross-attention",
        None => "none",
    };
    config.insert("conditioning".into(), json!(conditioning));
    let factors = config["attention_resolutions"].as_array().unwrap().iter();
    let resolutions: Vec<u64> = factors.map(|factor| size / number(factor)).collect();
    config.insert("attention_resolutions".into(), json!(resolutions));
    config.entry("use_scale_shift_norm").or_insert(json!(false));
    serde_json::from_value(config.into()).unwrap()
}

fn check(name: &str) {
    let golden = Golden::read(&format!("dddm_{name}"));
    let config = config(&golden);
    let (dddm, params) = filled(|b| Dddm::new(config.clone(), b));
    golden.check(name, &params, &|x, t, condition, context| {
        dddm.forward_network(x, t, condition, context)
    });
}

#[test]
fn the_released_design_at_8x12() {
    check("cross8x12");
}

#[test]
fn classes_two_heads_and_added_time_on_two_levels() {
    check("classes4");
}

#[test]
fn without_the_image() {
    check("plain6");
}

/// What norms add to the variance: 1e-5, and 1e-6 before attention.
#[test]
fn norms_add_what_the_original_adds() {
    let golden = Golden::read("dddm_cross8x12");
    let config = config(&golden);
    let error = golden.faint_error(
        "dddm_cross8x12",
        &|b| Dddm::new(config.clone(), b),
        &|dddm, x, t, condition| dddm.forward_network(x, t, condition, &Context::Eval),
    );
    assert!(error < 1e-4, "{error}");
}

/// networks.md, (ix): case iv.
#[test]
fn the_reference_values_of_another_rule() {
    let config = DddmConfig {
        image_size: 16,
        model_channels: 32,
        channel_mult: vec![1.0, 2.0],
        num_res_blocks: 1,
        attention_resolutions: vec![8],
        dropout: 0.0,
        ..DddmConfig::default()
    };
    let mut shapes = ParamBuilder::shapes_only();
    Dddm::new(config.clone(), &mut shapes).unwrap();
    assert_eq!(shapes.shapes().len(), 216);
    let weights = fill(shapes.shapes());
    let mut builder = ParamBuilder::weights(weights, "fill", DType::F32, &Device::Cpu);
    let dddm = Dddm::new(config, &mut builder).unwrap();
    let shape = [2, 3, 16, 16];
    let image = Some(wave(&shape, 0.11, 0.5));
    let condition = Condition { class: None, image };
    let x = wave(&shape, 0.11, 0.0);
    let out = dddm.forward_network(&x, &[3.0, 17.0], &condition, &Context::Eval).unwrap();
    let out = values(&out);
    let places = [0, 1, 100, out.len() / 2, out.len() - 1];
    let expected = [-0.014_242, -0.056_825, -0.145_075, -0.006_463, -0.283_009];
    for (place, expected) in places.into_iter().zip(expected) {
        assert!((out[place] - expected).abs() < 2e-5, "{place}: {} {expected}", out[place]);
    }
    assert!((norm(&out) / 3.75850 - 1.0).abs() < 1e-5, "{}", norm(&out));
}

/// networks.md, (iv): both columns, and what a concatenated image adds.
#[test]
fn published_networks_have_their_number_of_parameters() {
    let alone = |config| DddmConfig { conditioning: Conditioning::None, ..config };
    let joined = |config| DddmConfig { conditioning: Conditioning::Concatenation, ..config };
    for (name, config, expected) in [
        ("cifar10", DddmConfig::cifar10(), 131_343_619),
        ("cifar10-deep", DddmConfig::cifar10_deep(), 233_136_259),
        ("R = 2", DddmConfig { num_res_blocks: 2, ..DddmConfig::cifar10() }, 97_412_739),
        ("imagenet64", DddmConfig::imagenet64(), 437_680_515),
        ("imagenet64-deep", DddmConfig::imagenet64_deep(), 765_590_403),
        ("cifar10, self-attention", alone(DddmConfig::cifar10()), 52_542_979),
        ("cifar10-deep, self-attention", alone(DddmConfig::cifar10_deep()), 91_295_107),
        ("imagenet64, self-attention", alone(DddmConfig::imagenet64()), 273_044_163),
        ("cifar10, joined", joined(DddmConfig::cifar10()), 52_542_979 + 9 * 3 * 128),
    ] {
        let mut shapes = ParamBuilder::shapes_only();
        Dddm::new(config, &mut shapes).unwrap();
        let count: usize = shapes.shapes().iter().map(|(_, shape)| shape.elem_count()).sum();
        assert_eq!(count, expected, "{name}");
    }
}

fn tiny(conditioning: Conditioning) -> Dddm {
    let config = DddmConfig { conditioning, ..DddmConfig::tiny() };
    filled(|b| Dddm::new(config.clone(), b)).0
}

fn run(dddm: &Dddm, image: Option<Tensor>) -> diff_models::Result<Tensor> {
    let condition = Condition { class: None, image };
    dddm.forward_network(&wave(&[2, 1, 8, 8], 0.11, 0.0), &[3.0, 17.0], &condition, &Context::Eval)
}

#[test]
fn the_image_matters_where_it_comes_in_and_is_asked_for_or_refused() {
    let image = |start| Some(wave(&[2, 1, 8, 8], 0.31, start));
    for conditioning in [Conditioning::CrossAttention, Conditioning::Concatenation] {
        let dddm = tiny(conditioning);
        let (one, other) = (run(&dddm, image(0.0)).unwrap(), run(&dddm, image(1.0)).unwrap());
        let distance = relative(&values(&one), &values(&other));
        assert!(distance > 1e-3, "{conditioning:?}: {distance}");
        let missing = run(&dddm, None).unwrap_err().to_string();
        assert!(missing.contains("needs a conditioning image"), "{missing}");
        let small = run(&dddm, Some(wave(&[2, 1, 4, 4], 0.3, 0.0))).unwrap_err().to_string();
        assert!(small.contains("[2, 1, 4, 4]") && small.contains("[2, 1, 8, 8]"), "{small}");
    }
    let refused = run(&tiny(Conditioning::None), image(0.0)).unwrap_err().to_string();
    assert!(refused.contains("no conditioning image"), "{refused}");
}

#[test]
fn a_picture_has_the_same_bits_in_any_batch() {
    let dddm = tiny(Conditioning::CrossAttention);
    let (x, image) = (wave(&[7, 1, 8, 8], 0.11, 0.0), wave(&[7, 1, 8, 8], 0.31, 0.0));
    let rows = |first: usize, count: usize| {
        let part = |x: &Tensor| x.narrow(0, first, count).unwrap().contiguous().unwrap();
        let condition = Condition { class: None, image: Some(part(&image)) };
        let times: Vec<f64> = (first..first + count).map(|i| 100.0 * i as f64).collect();
        values(&dddm.forward_network(&part(&x), &times, &condition, &Context::Eval).unwrap())
    };
    let all = rows(0, 7);
    let each = all.len() / 7;
    for (first, count) in [(0, 1), (3, 2), (1, 6)] {
        assert!(rows(first, count) == all[first * each..(first + count) * each], "{first} {count}");
    }
}

/// x_0 = x_t - F.
#[test]
fn what_it_predicts_is_the_difference_to_the_clean_image() {
    let dddm = tiny(Conditioning::CrossAttention);
    let image = wave(&[2, 1, 8, 8], 0.31, 0.0);
    let raw = run(&dddm, Some(image.clone())).unwrap();
    let condition = Condition { class: None, image: Some(image) };
    let x = wave(&[2, 1, 8, 8], 0.11, 0.0);
    let denoiser = NetworkDenoiser::new(Arc::new(dddm));
    let prediction = denoiser.forward(&x, &[4.0, 18.0], &condition, &Context::Eval).unwrap();
    let Mean::Residual(f) = &prediction.mean else { panic!("{prediction:?}") };
    assert_eq!(values(f), values(&raw));
    let x0 = prediction.x0(&x, &[0.5, 0.5]).unwrap();
    assert_eq!(values(&x0), values(&(x - raw).unwrap()));
}
