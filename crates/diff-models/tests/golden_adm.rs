//! Outputs and every parameter's gradient against guided-diffusion's `UNetModel`. The fixtures were
//! made by `tests/golden/adm.py`.

#![allow(clippy::unwrap_used, clippy::panic)] // a test

mod common;

use common::{
    golden::{Golden, filled},
    values, wave,
};
use diff_models::{
    Condition, Context, Denoiser, Mean, Second,
    nets::{
        Network, NetworkDenoiser,
        adm::{Adm, AdmConfig},
    },
    params::ParamBuilder,
};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// The original's arguments in our terms: channels out, and factors of down-sampling, differ.
fn config(golden: &Golden) -> AdmConfig {
    let mut config: Map<String, Value> = golden.config();
    let number = |value: &Value| value.as_u64().unwrap();
    let size = number(&config["image_size"]);
    let out = config.remove("out_channels").unwrap();
    config.insert("learn_sigma".into(), json!(out != config["in_channels"]));
    let factors = config["attention_resolutions"].as_array().unwrap().iter();
    let resolutions: Vec<u64> = factors.map(|factor| size / number(factor)).collect();
    config.insert("attention_resolutions".into(), json!(resolutions));
    // Where the class and the scripts have other defaults.
    for (name, value) in [("use_scale_shift_norm", json!(false)), ("num_heads", json!(1))] {
        config.entry(name).or_insert(value);
    }
    serde_json::from_value(config.into()).unwrap()
}

fn check(name: &str) {
    let golden = Golden::read(&format!("adm_{name}"));
    let config = config(&golden);
    let (adm, params) = filled(|b| Adm::new(config.clone(), b));
    golden.check(name, &params, &|x, t, condition, context| {
        adm.forward_network(x, t, condition, context)
    });
}

#[test]
fn classes_learned_sigma_and_the_older_order_at_12x20() {
    check("classes12x20");
}

#[test]
fn residual_resampling_and_the_newer_order_on_three_levels() {
    check("updown16");
}

#[test]
fn added_time_and_plain_pooling_at_8x12() {
    check("plain8x12");
}

/// What norms add to the variance: 1e-5.
#[test]
fn norms_add_what_the_original_adds() {
    for name in ["plain8x12", "updown16"] {
        let golden = Golden::read(&format!("adm_{name}"));
        let config = config(&golden);
        let error = golden.faint_error(
            &format!("adm_{name}"),
            &|b| Adm::new(config.clone(), b),
            &|adm, x, t, condition| adm.forward_network(x, t, condition, &Context::Eval),
        );
        assert!(error < 1e-4, "{name}: {error}");
    }
}

/// The published counts: networks.md, (iii).
#[test]
fn published_networks_have_their_number_of_parameters() {
    for (name, config, expected) in [
        ("64x64_diffusion", AdmConfig::imagenet64(), 295_904_454),
        ("128x128_diffusion", AdmConfig::imagenet128(), 421_529_606),
        ("256x256_diffusion", AdmConfig::imagenet256(), 553_838_086),
        ("256x256, no classes", AdmConfig::lsun256(), 552_814_086),
        ("512x512_diffusion", AdmConfig::imagenet512(), 558_997_638),
        ("the scripts' defaults", AdmConfig::default(), 92_025_731),
        ("CIFAR-10", AdmConfig::cifar10(), 52_542_979),
        ("improved-diffusion, 64x64", AdmConfig::improved64(), 121_063_942),
    ] {
        let mut shapes = ParamBuilder::shapes_only();
        Adm::new(config, &mut shapes).unwrap();
        let count: usize = shapes.shapes().iter().map(|(_, shape)| shape.elem_count()).sum();
        assert_eq!(count, expected, "{name}");
    }
}

/// Options that a file of weights does not show: the order of attention, and the width of its heads.
#[test]
fn the_other_order_of_attention_and_other_heads_show() {
    let golden = Golden::read("adm_updown16");
    let right = config(&golden);
    let error = |config: &AdmConfig| {
        golden.error(&|b| Adm::new(config.clone(), b), &|adm, x, t, condition| {
            adm.forward_network(x, t, condition, &Context::Eval)
        })
    };
    assert!(error(&right) < 1e-4);
    let order = AdmConfig { use_new_attention_order: false, ..right.clone() };
    let heads = AdmConfig { num_head_channels: Some(32), ..right };
    assert!(error(&order) > 1e-3 && error(&heads) > 1e-3);
}

#[test]
fn a_learned_sigma_is_the_second_half_and_times_are_those_of_the_papers() {
    let golden = Golden::read("adm_classes12x20");
    let (adm, _) = filled(|b| Adm::new(config(&golden), b));
    let x = wave(&golden.shape, 0.11, 0.0);
    let condition = Condition { class: Some([4, 0, 2].map(Some).to_vec()), image: None };
    let denoiser = NetworkDenoiser::new(Arc::new(adm.clone()));
    let (raw, prediction) = (
        adm.forward_network(&x, &[0.0, 250.0, 999.0], &condition, &Context::Eval).unwrap(),
        denoiser.forward(&x, &[1.0, 251.0, 1000.0], &condition, &Context::Eval).unwrap(),
    );
    let (Mean::Eps(eps), Second::Range(range)) = (&prediction.mean, &prediction.second) else {
        panic!("{prediction:?}")
    };
    assert_eq!(values(eps), values(&raw.narrow(1, 0, 3).unwrap()));
    assert_eq!(values(range), values(&raw.narrow(1, 3, 3).unwrap()));
    let refused = denoiser.forward(&x, &[1.0; 3], &Condition::default(), &Context::Eval);
    assert!(refused.unwrap_err().to_string().contains("needs a class label"));
}

/// A fresh network predicts zeros: its last layers start so, and its residual blocks do nothing.
#[test]
fn a_fresh_network_starts_at_zero() {
    let config = AdmConfig {
        image_size: 8,
        model_channels: 32,
        channel_mult: vec![1.0, 2.0],
        num_res_blocks: 1,
        attention_resolutions: vec![4],
        ..AdmConfig::default()
    };
    let mut builder = ParamBuilder::init(1, candle_core::DType::F32, &candle_core::Device::Cpu);
    let adm = Adm::new(config, &mut builder).unwrap();
    let params = builder.finish().unwrap();
    let x = wave(&[1, 3, 8, 8], 0.11, 0.0);
    let out = adm.forward_network(&x, &[5.0], &Condition::default(), &Context::Eval).unwrap();
    assert!(values(&out).iter().all(|v| *v == 0.0));
    let zero = |name: &str| values(params.get(name).unwrap()).iter().all(|v| *v == 0.0);
    assert!(zero("input_blocks.1.0.out_layers.3.weight") && zero("middle_block.1.proj_out.weight"));
    assert!(!zero("middle_block.1.qkv.weight") && !zero("input_blocks.1.0.in_layers.2.weight"));
}

#[test]
fn impossible_configurations_are_refused_by_name() {
    let base = AdmConfig::default;
    for (config, part) in [
        (AdmConfig { image_size: 60, ..base() }, "image_size = 60"),
        (AdmConfig { attention_resolutions: vec![7], ..base() }, "attention_resolutions = 7"),
        (AdmConfig { model_channels: 40, ..base() }, "channel_mult = 1"),
        (AdmConfig { num_head_channels: Some(48), ..base() }, "num_head_channels = 48"),
        (AdmConfig { num_heads: 5, ..base() }, "num_heads = 5"),
        (AdmConfig { num_heads: 0, ..base() }, "num_heads = 0"),
        (AdmConfig { channel_mult: vec![], ..base() }, "channel_mult = []"),
        (AdmConfig { dropout: 1.0, ..base() }, "dropout = 1"),
    ] {
        let message = config.check().unwrap_err().to_string();
        assert!(message.contains(part), "{part} is not in {message}");
    }
}
