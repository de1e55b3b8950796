//! Properties of whole networks: parameter counts, independence of batch and threads, first values.

#![allow(clippy::unwrap_used)] // a test

mod common;

use candle_core::{DType, Device, Tensor};
use common::{relative, values, wave};
use diff_core::rng::{Address, Purpose};
use diff_models::{
    Condition, Context, Label,
    nets::{
        Architecture, Config, DdpmSpec, Network,
        unet::{Unet, UnetConfig},
    },
    params::ParamBuilder,
};

fn small() -> DdpmSpec {
    DdpmSpec {
        resolution: 16,
        channels: 16,
        multipliers: vec![1, 2],
        blocks: 1,
        attention_resolutions: vec![8],
        norm_groups: 8,
        ..DdpmSpec::default()
    }
}

fn build(config: UnetConfig) -> Unet {
    Unet::new(config, &mut ParamBuilder::init(3, DType::F32, &Device::Cpu)).unwrap()
}

/// Rows `first..first + count` of one long batch.
fn rows(unet: &Unet, first: usize, count: usize, context: &Context) -> Vec<f64> {
    let x = wave(&[7, 3, 16, 16], 0.11, 0.0).narrow(0, first, count).unwrap();
    let times: Vec<f64> = (first..first + count).map(|i| 100.0 * i as f64).collect();
    values(&unet.forward_network(&x, &times, &Condition::default(), context).unwrap())
}

#[test]
fn presets_have_the_published_parameter_counts() {
    for (spec, expected) in [
        (DdpmSpec::cifar10(), 35_746_307),
        (DdpmSpec::celeba64(), 78_700_803),
        (DdpmSpec::lsun256(), 113_673_219),
    ] {
        let mut builder = ParamBuilder::shapes_only();
        Unet::new(spec.config().unwrap(), &mut builder).unwrap();
        let count: usize = builder.shapes().iter().map(|(_, shape)| shape.elem_count()).sum();
        assert_eq!(count, expected);
    }
}

#[test]
fn the_cifar10_network_costs_six_billion_multiply_adds() {
    let unet = Unet::new(DdpmSpec::cifar10().config().unwrap(), &mut ParamBuilder::shapes_only());
    let count = unet.unwrap().multiply_adds(32, 32) as f64;
    assert!((count / 1e9 - 6.22).abs() < 0.01, "{count}");
}

#[test]
fn a_row_does_not_depend_on_its_batch_or_on_threads() {
    let unet = build(small().config().unwrap());
    let eval = Context::Eval;
    let pool = |n| rayon::ThreadPoolBuilder::new().num_threads(n).build().unwrap();
    let all = pool(1).install(|| rows(&unet, 0, 7, &eval));
    let each = all.len() / 7;
    for threads in [1, 2, 3] {
        pool(threads).install(|| {
            for (first, count) in [(0, 7), (0, 1), (4, 1), (5, 2)] {
                let part = rows(&unet, first, count, &eval);
                let same = &all[first * each..(first + count) * each];
                assert!(part == same, "{threads} threads, rows {first} and {count} on");
            }
        });
    }
}

#[test]
fn dropout_acts_in_training_only_and_follows_the_sample() {
    let unet = build(DdpmSpec { dropout: 0.5, ..small() }.config().unwrap());
    let at = |index| Context::Train { dropout: Address::new(5, Purpose::Dropout).index(index) };
    let all = rows(&unet, 0, 7, &at(20));
    let each = all.len() / 7;
    assert!(rows(&unet, 3, 2, &at(23)) == all[3 * each..5 * each]);
    assert!(rows(&unet, 3, 2, &at(20)) != all[3 * each..5 * each]);
    assert!(relative(&rows(&unet, 0, 7, &Context::Eval), &all) > 0.01);
}

#[test]
fn fresh_parameters_have_pytorchs_first_values() {
    let mut builder = ParamBuilder::init(11, DType::F32, &Device::Cpu);
    let spec = DdpmSpec { classes: Some(200), ..small() };
    Unet::new(spec.config().unwrap(), &mut builder).unwrap();
    let params = builder.finish().unwrap();
    let stats = |name: &str| {
        let values = values(params.get(name).unwrap());
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let deviation = (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n).sqrt();
        (mean, deviation, values.iter().fold(0f64, |a, v| a.max(v.abs())))
    };
    // Uniform within 1/sqrt(fan_in): deviation bound / sqrt(3).
    for (name, fan_in) in [
        ("down_blocks.1.resnets.0.conv1.weight", 16.0 * 9.0),
        ("up_blocks.0.resnets.0.conv_shortcut.weight", 64.0),
        ("time_embedding.linear_2.weight", 64.0),
        ("down_blocks.1.resnets.0.conv2.bias", 32.0 * 9.0),
    ] {
        let bound = 1.0 / f64::sqrt(fan_in);
        let (mean, deviation, largest) = stats(name);
        assert!(mean.abs() < 0.4 * bound && largest <= bound && largest > 0.8 * bound, "{name}");
        assert!((deviation * 3f64.sqrt() / bound - 1.0).abs() < 0.3, "{name}: {deviation} {bound}");
    }
    assert_eq!(stats("conv_norm_out.weight"), (1.0, 0.0, 1.0));
    assert_eq!(stats("mid_block.attentions.0.group_norm.bias"), (0.0, 0.0, 0.0));
    let (mean, deviation, _) = stats("class_embedding.weight");
    assert!(mean.abs() < 0.04 && (deviation - 1.0).abs() < 0.03, "{mean} {deviation}");
}

#[test]
fn every_parameter_gets_a_gradient() {
    let mut builder = ParamBuilder::init(3, DType::F32, &Device::Cpu);
    let spec = DdpmSpec { classes: Some(3), ..small() };
    let unet = Unet::new(spec.config().unwrap(), &mut builder).unwrap();
    let params = builder.finish().unwrap();
    let x = wave(&[2, 3, 16, 16], 0.11, 0.0);
    let condition = Condition { class: Some(vec![Some(0), Some(2)]), image: None };
    let context = Context::Train { dropout: Address::new(5, Purpose::Dropout) };
    let out = unet.forward_network(&x, &[1.0, 2.0], &condition, &context).unwrap();
    let grads = out.sqr().unwrap().sum_all().unwrap().backward().unwrap();
    for (name, var) in params.iter() {
        let grad: &Tensor = grads.get(var).unwrap_or_else(|| panic!("{name} has no gradient"));
        assert_eq!(grad.dims(), var.dims(), "{name}");
    }
}

#[test]
fn a_specification_that_cannot_be_built_is_refused_by_name() {
    for (spec, part) in [
        (DdpmSpec { resolution: 30, ..DdpmSpec::default() }, "resolution = 30"),
        (
            DdpmSpec { attention_resolutions: vec![5], ..DdpmSpec::default() },
            "attention_resolutions = 5",
        ),
        (DdpmSpec { channels: 100, ..DdpmSpec::default() }, "norm_num_groups = 32"),
        (DdpmSpec { multipliers: vec![], ..DdpmSpec::default() }, "multipliers = []"),
        (DdpmSpec { dropout: 1.0, ..DdpmSpec::default() }, "dropout = 1"),
        (DdpmSpec { blocks: 0, ..DdpmSpec::default() }, "layers_per_block = 0"),
    ] {
        let message = spec.config().unwrap_err().to_string();
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn the_null_label_has_a_row_of_its_own_after_the_classes() {
    let spec = DdpmSpec { classes: Some(3), null_class: true, ..small() };
    let config = spec.config().unwrap();
    assert_eq!(config.num_class_embeds, Some(4));
    let written = config.to_json();
    assert_eq!(written["_null_class"], true);
    assert!(
        DdpmSpec { classes: Some(3), ..small() }
            .config()
            .unwrap()
            .to_json()
            .get("_null_class")
            .is_none()
    );
    assert_eq!(Architecture::from_json(UnetConfig::CLASS, written).unwrap(), config.clone().into());
    let (null, plain) = (build(config), build(small().config().unwrap()));
    let x = wave(&[1, 3, 16, 16], 0.11, 0.0);
    let run = |label: Label| {
        let condition = Condition { class: Some(vec![label]), image: None };
        null.forward_network(&x, &[5.0], &condition, &Context::Eval).map(|out| values(&out))
    };
    let outputs: Vec<_> = [Some(0), Some(1), Some(2), None].map(|l| run(l).unwrap()).into();
    for (i, a) in outputs.iter().enumerate() {
        assert!(outputs[..i].iter().all(|b| relative(a, b) > 1e-4));
    }
    assert!(run(Some(3)).unwrap_err().to_string().contains("expected 0..3"));
    let none = Condition { class: Some(vec![None]), image: None };
    let refused = plain.forward_network(&x, &[5.0], &none, &Context::Eval).unwrap_err().to_string();
    assert!(refused.contains("no classes"), "{refused}");
    for spec in [DdpmSpec { null_class: true, ..small() }, DdpmSpec { classes: Some(0), ..small() }]
    {
        assert!(spec.config().unwrap_err().to_string().contains("class"));
    }
}
