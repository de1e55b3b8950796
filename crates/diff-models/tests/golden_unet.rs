//! Outputs and every parameter's gradient against diffusers' `UNet2DModel`. The fixtures were made
//! by `tests/golden/unet.py`.

mod common;

use candle_core::Tensor;
use common::golden::{Golden, filled};
use diff_models::{
    Condition, Context,
    nets::{
        Network,
        unet::{Unet, UnetConfig},
    },
    params::ParamBuilder,
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

/// Options that a file of weights does not show: with any of them wrong it loads, and makes noise.
#[test]
fn every_option_that_weights_do_not_show_matters() {
    for name in ["grey28", "classes12x20"] {
        let golden = Golden::read(&format!("unet_{name}"));
        let right: UnetConfig = golden.config();
        let error = |config: &UnetConfig, faint: bool| {
            let build = |b: &mut ParamBuilder| Unet::new(config.clone(), b);
            let forward = |unet: &Unet, x: &Tensor, t: &[f64], condition: &Condition| {
                unet.forward_network(x, t, condition, &Context::Eval)
            };
            match faint {
                true => golden.faint_error(&format!("unet_{name}"), &build, &forward),
                false => golden.error(&build, &forward),
            }
        };
        assert!(error(&right, true) < 1e-4 && error(&right, false) < 1e-4);
        let base = || right.clone();
        for (wrong, faint) in [
            (UnetConfig { flip_sin_to_cos: !right.flip_sin_to_cos, ..base() }, false),
            (UnetConfig { freq_shift: 1.0 - right.freq_shift, ..base() }, false),
            (UnetConfig { downsample_padding: 1 - right.downsample_padding, ..base() }, false),
            (UnetConfig { norm_eps: 1e-5, ..base() }, true),
        ] {
            assert!(error(&wrong, faint) > 1e-3, "{name}: {wrong:?}");
        }
    }
}
