//! Outputs and every parameter's gradient against diffusers' `UNet2DModel`. The fixtures were made
//! by `tests/golden/unet.py`.

#![allow(clippy::unwrap_used, clippy::panic)] // a test

mod common;

use candle_core::{DType, Device, Tensor};
use common::{norm, relative, scatter, values, wave};
use diff_models::{
    Condition, Context,
    nets::unet::{Unet, UnetConfig},
    params::{ParamBuilder, Params},
};
use safetensors::SafeTensors;
use serde::de::DeserializeOwned;
use std::{collections::HashMap, path::Path};

struct Golden {
    config: UnetConfig,
    shape: Vec<usize>,
    times: Vec<f64>,
    labels: Option<Vec<u32>>,
    order: Vec<String>,
    tensors: HashMap<String, Tensor>,
}

fn golden(name: &str) -> Golden {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(format!("tests/fixtures/unet_{name}.safetensors"));
    let bytes = std::fs::read(&path).unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let about = header.metadata().clone().unwrap();
    fn read<T: DeserializeOwned>(about: &HashMap<String, String>, key: &str) -> T {
        serde_json::from_str(&about[key]).unwrap()
    }
    Golden {
        config: read(&about, "config"),
        shape: read(&about, "shape"),
        times: read(&about, "times"),
        labels: read(&about, "labels"),
        order: read(&about, "order"),
        tensors: candle_core::safetensors::load(path, &Device::Cpu).unwrap(),
    }
}

fn filled(config: &UnetConfig, dtype: DType) -> (Unet, Params) {
    let mut shapes = ParamBuilder::shapes_only();
    Unet::new(config.clone(), &mut shapes).unwrap();
    let weights = scatter(shapes.shapes());
    let mut builder = ParamBuilder::weights(weights, "scatter", dtype, &Device::Cpu);
    let unet = Unet::new(config.clone(), &mut builder).unwrap();
    (unet, builder.finish().unwrap())
}

fn check(name: &str) {
    let golden = golden(name);
    let (unet, params) = filled(&golden.config, DType::F32);
    let order: Vec<&str> = params.iter().map(|(name, _)| name).collect();
    assert_eq!(order, golden.order, "parameter order");

    let x = wave(&golden.shape, 0.11, 0.0);
    let condition = Condition { class: golden.labels.clone(), image: None };
    let out = unet.forward_network(&x, &golden.times, &condition, &Context::Eval).unwrap();
    let error = relative(&values(&out), &values(&golden.tensors["out"]));
    println!("{name}: output {error:.2e}");
    assert!(error < 1e-5, "{name}: output differs by {error}");

    let loss = (&out * wave(out.dims(), 0.23, 0.5)).unwrap().sum_all().unwrap();
    let grads = loss.backward().unwrap();
    let mut worst = (0.0, "");
    for (parameter, var) in params.iter() {
        let grad = grads.get(var).unwrap_or_else(|| panic!("{parameter} has no gradient"));
        let error = gradient_error(parameter, &values(grad), &golden);
        if error > worst.0 {
            worst = (error, parameter);
        }
    }
    println!("{name}: worst gradient {worst:?}");
    assert!(worst.0 < 1e-4, "{name}: gradient of {} differs by {}", worst.1, worst.0);
}

/// The relative error of one parameter's gradient.
fn gradient_error(parameter: &str, ours: &[f64], golden: &Golden) -> f64 {
    let theirs = |kind: &str, name: &str| golden.tensors.get(&format!("{kind}.{name}")).map(values);
    if parameter.ends_with("to_k.bias") {
        // Softmax does not see the key bias: both gradients are rounding. They must be small beside
        // the query bias's.
        let query = parameter.replace("to_k", "to_q");
        let scale =
            theirs("grad", &query).map_or_else(|| theirs("norm", &query).unwrap()[0], |g| norm(&g));
        return norm(ours) / scale;
    }
    match theirs("grad", parameter) {
        Some(theirs) => relative(ours, &theirs),
        None => {
            let stride = (ours.len() / 64).max(1);
            let some: Vec<f64> = ours.iter().copied().step_by(stride).take(64).collect();
            let norms = relative(&[norm(ours)], &theirs("norm", parameter).unwrap());
            relative(&some, &theirs("some", parameter).unwrap()).max(norms)
        }
    }
}

#[test]
fn one_channel_one_layer_28x28() {
    check("grey28");
}

#[test]
fn classes_other_output_channels_and_heads_at_12x20() {
    check("classes12x20");
}

#[test]
fn three_levels_without_attention() {
    check("plain3");
}

#[test]
fn time_as_scale_and_shift_at_12x8() {
    check("shifted12x8");
}

#[test]
fn the_cifar10_network() {
    check("cifar10");
}
