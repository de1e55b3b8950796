//! Outputs and every parameter's gradient against diffusers' `UNet2DModel`. The fixtures were made
//! by `tests/golden/unet.py`.

mod common;

use common::golden::{Golden, filled};
use diff_models::nets::{
    Network,
    unet::{Unet, UnetConfig},
};

fn check(name: &str) {
    let golden = Golden::read(&format!("unet_{name}"));
    let config: UnetConfig = golden.config();
    let (unet, params) = filled(|b| Unet::new(config.clone(), b));
    golden.check(name, &params, &|x, t, condition, context| {
        unet.forward_network(x, t, condition, context)
    });
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
fn residual_blocks_that_resample_and_learnt_times_on_three_levels() {
    check("resnet8x16");
}

#[test]
fn the_cifar10_network() {
    check("cifar10");
}
