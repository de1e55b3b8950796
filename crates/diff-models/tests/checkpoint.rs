//! Checkpoint folders: what is written is read, and what is wrong is named.

#![allow(clippy::unwrap_used)] // a test

mod common;

use candle_core::{DType, Device, Tensor};
use common::{values, wave};
use diff_core::{Schedule, ScheduleKind, ScheduleSpec};
use diff_models::{
    Condition, Context, Denoiser, Mean,
    checkpoint::{Checkpoint, write_tensors},
    nets::{DdpmSpec, PredictionType, unet::UnetConfig},
};
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
};
use tempfile::TempDir;

const WEIGHTS: &str = "unet/diffusion_pytorch_model.safetensors";
const SCHEDULER: &str = "scheduler/scheduler_config.json";

fn config() -> UnetConfig {
    let spec = DdpmSpec {
        resolution: 8,
        channels: 4,
        multipliers: vec![1, 2],
        blocks: 1,
        attention_resolutions: vec![4],
        norm_groups: 2,
        ..DdpmSpec::default()
    };
    spec.config().unwrap()
}

fn fresh() -> Checkpoint {
    let spec = ScheduleSpec { kind: ScheduleKind::Jsd, timesteps: 30, ..ScheduleSpec::default() };
    Checkpoint::init(&config().into(), Schedule::new(&spec).unwrap(), 7, &Device::Cpu).unwrap()
}

/// A checkpoint folder, written.
fn written() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("model");
    let checkpoint = fresh();
    checkpoint.write(&folder, &checkpoint.params.tensors()).unwrap();
    (dir, folder)
}

fn open(path: &Path) -> diff_models::Result<Checkpoint> {
    Checkpoint::open(path.to_str().unwrap(), &Device::Cpu)
}

fn raw(
    checkpoint: &Checkpoint,
    x: &Tensor,
    network_time: &[f64],
    condition: &Condition,
) -> diff_models::Result<Tensor> {
    checkpoint.denoiser.network().forward_network(x, network_time, condition, &Context::Eval)
}

fn forward(checkpoint: &Checkpoint) -> Vec<f64> {
    let x = wave(&[2, 3, 8, 8], 0.11, 0.0);
    let nothing = Condition::default();
    values(&raw(checkpoint, &x, &[3.0, 20.0], &nothing).unwrap())
}

fn edit(path: &Path, change: impl FnOnce(&mut Value)) {
    let mut value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    change(&mut value);
    fs::write(path, value.to_string()).unwrap();
}

/// Breaks a written folder and returns the message.
fn refused(breaking: impl FnOnce(&Path)) -> String {
    let (_dir, folder) = written();
    breaking(&folder);
    open(&folder).unwrap_err().to_string()
}

#[test]
fn what_is_written_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let mut checkpoint = fresh();
    checkpoint.denoiser = checkpoint.denoiser.predicting(PredictionType::VPrediction);
    checkpoint.metadata.insert("diff.steps".into(), "12".into());
    checkpoint.scheduler.clip_sample = false;
    let folder = dir.path().join("a/model");
    checkpoint.write(&folder, &checkpoint.params.tensors()).unwrap();
    let again = open(&folder).unwrap();
    assert_eq!(forward(&again), forward(&checkpoint));
    assert_eq!(again.denoiser.architecture(), checkpoint.denoiser.architecture());
    assert_eq!(again.denoiser.prediction_type(), PredictionType::VPrediction);
    assert_eq!(again.metadata, checkpoint.metadata);
    assert!(!again.scheduler.clip_sample);
    for t in 0..=30 {
        assert!((again.schedule.alpha_bar(t) - checkpoint.schedule.alpha_bar(t)).abs() < 1e-15);
    }
    let order = |c: &Checkpoint| c.params.iter().map(|(n, _)| n.to_string()).collect::<Vec<_>>();
    assert_eq!(order(&again), order(&checkpoint));
}

#[test]
fn other_weights_are_written_in_the_parameters_place() {
    let dir = tempfile::tempdir().unwrap();
    let checkpoint = fresh();
    let mut doubled: Vec<(String, Tensor)> = checkpoint
        .params
        .tensors()
        .into_iter()
        .map(|(name, tensor)| (name, (tensor * 2.0).unwrap()))
        .collect();
    doubled.reverse();
    let folder = dir.path().join("m");
    checkpoint.write(&folder, &doubled).unwrap();
    let again = open(&folder).unwrap();
    let name = "conv_in.weight";
    let expected: Vec<f64> =
        values(checkpoint.params.get(name).unwrap()).iter().map(|v| 2.0 * v).collect();
    assert_eq!(values(again.params.get(name).unwrap()), expected);
    doubled.pop();
    let message = checkpoint.write(&folder, &doubled).unwrap_err().to_string();
    assert!(message.contains("conv_in.weight") && message.contains("found none"), "{message}");
}

#[test]
fn run_folders_bare_folders_and_old_root_layouts_are_found() {
    let (dir, folder) = written();
    let expected = forward(&open(&folder).unwrap());
    assert_eq!(forward(&open(dir.path()).unwrap()), expected, "a run folder");
    assert_eq!(forward(&open(&folder.join("unet")).unwrap()), expected, "a bare folder");
    let bare = open(&folder.join("unet")).unwrap();
    assert_eq!(bare.schedule.timesteps(), 1000, "diffusers' default process");
    fs::rename(folder.join(SCHEDULER), folder.join("unet/scheduler_config.json")).unwrap();
    assert_eq!(open(&folder.join("unet")).unwrap().schedule.timesteps(), 30);
}

#[test]
fn attention_and_downsampling_names_of_2022_are_read() {
    let (_dir, folder) = written();
    let expected = forward(&open(&folder).unwrap());
    let path = folder.join(WEIGHTS);
    let renamed: Vec<(String, Tensor)> = candle_core::safetensors::load(&path, &Device::Cpu)
        .unwrap()
        .into_iter()
        .map(|(name, tensor)| {
            let name =
                name.replace("to_q", "query").replace("to_k", "key").replace("to_v", "value");
            let name = name.replace("to_out.0", "proj_attn");
            (name.replace("downsamplers.0.conv", "downsamplers.0.Conv2d_0"), tensor)
        })
        .collect();
    write_tensors(&path, &renamed).unwrap();
    assert_eq!(forward(&open(&folder).unwrap()), expected);
}

#[test]
fn the_paper_time_counts_from_one() {
    let checkpoint = fresh();
    let x = wave(&[1, 3, 8, 8], 0.11, 0.0);
    let nothing = Condition::default();
    let raw = raw(&checkpoint, &x, &[4.0], &nothing).unwrap();
    let prediction = checkpoint.denoiser.forward(&x, &[5.0], &nothing, &Context::Eval).unwrap();
    let Mean::Eps(eps) = prediction.mean else { unreachable!("a fresh network predicts noise") };
    assert_eq!(values(&eps), values(&raw));
}

#[test]
fn missing_files_are_named() {
    for (missing, part) in
        [(WEIGHTS, "diffusion_pytorch_model.safetensors"), ("unet/config.json", "unet/config.json")]
    {
        let message = refused(|folder| fs::remove_file(folder.join(missing)).unwrap());
        assert!(message.contains(part), "{message}");
    }
    let message = open(Path::new("/no/such/model")).unwrap_err().to_string();
    assert!(message.contains("/no/such/model"), "{message}");
}

#[test]
fn a_truncated_file_is_named() {
    for keep in [3, 100, 10_000] {
        let message = refused(|folder| {
            let bytes = fs::read(folder.join(WEIGHTS)).unwrap();
            fs::write(folder.join(WEIGHTS), &bytes[..keep]).unwrap();
        });
        assert!(message.contains(WEIGHTS) && message.contains("truncated"), "{message}");
    }
}

#[test]
fn json_that_is_none_is_named() {
    for file in ["unet/config.json", SCHEDULER] {
        let message = refused(|folder| fs::write(folder.join(file), "{").unwrap());
        assert!(message.contains(file) && message.contains("JSON"), "{message}");
    }
}

#[test]
fn a_network_of_another_shape_lists_every_tensor() {
    let message = refused(|folder| {
        edit(&folder.join("unet/config.json"), |config| config["in_channels"] = json!(1));
        edit(&folder.join("unet/config.json"), |config| config["layers_per_block"] = json!(2));
    });
    for part in [
        "conv_in.weight: expected shape [4, 1, 3, 3], found [4, 3, 3, 3]",
        "down_blocks.0.resnets.1.conv1.weight: missing, expected shape [4, 4, 3, 3]",
        WEIGHTS,
    ] {
        assert!(message.contains(part), "{part} is not in {message}");
    }
    let message = refused(|folder| {
        edit(&folder.join("unet/config.json"), |config| config["add_attention"] = json!(false));
    });
    assert!(message.contains("mid_block.attentions.0.to_q.bias: not expected"), "{message}");
}

#[test]
fn a_weight_that_is_not_finite_is_named() {
    let message = refused(|folder| {
        let mut tensors =
            candle_core::safetensors::load(folder.join(WEIGHTS), &Device::Cpu).unwrap();
        tensors.insert(
            "conv_out.bias".into(),
            Tensor::new(&[0f32, f32::INFINITY, 1.0], &Device::Cpu).unwrap(),
        );
        write_tensors(&folder.join(WEIGHTS), &tensors.into_iter().collect::<Vec<_>>()).unwrap();
    });
    assert!(message.contains("conv_out.bias: 1 of 3 values are not finite"), "{message}");
}

#[test]
fn options_that_are_not_supported_are_named_with_those_that_are() {
    for (key, value, supported) in [
        ("time_embedding_type", json!("fourier"), "positional"),
        ("down_block_types", json!(["SkipDownBlock2D", "DownBlock2D"]), "AttnDownBlock2D"),
        ("resnet_time_scale_shift", json!("ada_group"), "default, scale_shift"),
        ("downsample_type", json!("fir"), "conv, resnet"),
        ("time_embedding_type", json!("learned"), "num_train_timesteps = null"),
        ("class_embed_type", json!("timestep"), "null"),
        ("norm_num_groups", json!(3), "multiples of"),
        ("attention_head_dim", json!(3), "divisors of"),
        ("new_option", json!(1), "unknown option"),
        ("_class_name", json!("DiffUnet"), "UNet2DModel"),
    ] {
        let message = refused(|folder| {
            edit(&folder.join("unet/config.json"), |config| config[key] = value.clone());
        });
        let value = value.as_str().unwrap_or_default().to_string();
        for part in ["unet/config.json", supported, &value] {
            assert!(message.contains(part), "{part} is not in {message}");
        }
    }
    let message = refused(|folder| {
        edit(&folder.join(SCHEDULER), |config| config["trained_betas"] = Value::Null);
        edit(&folder.join(SCHEDULER), |config| config["beta_schedule"] = json!("laplace"));
    });
    assert!(message.contains("laplace") && message.contains(SCHEDULER), "{message}");
}

#[test]
fn inputs_that_do_not_fit_are_refused() {
    let checkpoint = fresh();
    let run = |shape: &[usize], times: &[f64], condition: &Condition| {
        let x = Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
        raw(&checkpoint, &x, times, condition).unwrap_err().to_string()
    };
    let nothing = Condition::default();
    assert!(run(&[1, 1, 8, 8], &[0.0], &nothing).contains("1 channels, the network takes 3"));
    assert!(run(&[1, 3, 8, 7], &[0.0], &nothing).contains("multiples of 2"));
    assert!(run(&[2, 3, 8, 8], &[0.0], &nothing).contains("1 times for a batch of 2"));
    assert!(run(&[3, 8, 8], &[0.0], &nothing).contains("[B, C, H, W]"));
    let class = Condition { class: Some(vec![Some(1)]), image: None };
    assert!(run(&[1, 3, 8, 8], &[0.0], &class).contains("no classes"));
    let image = Condition { class: None, image: Some(wave(&[1, 3, 8, 8], 0.1, 0.0)) };
    assert!(run(&[1, 3, 8, 8], &[0.0], &image).contains("conditioning image"));
}

#[test]
fn class_labels_are_required_and_checked() {
    let config = UnetConfig { num_class_embeds: Some(4), ..config() };
    let schedule = Schedule::new(&ScheduleSpec::default()).unwrap();
    let checkpoint = Checkpoint::init(&config.into(), schedule, 1, &Device::Cpu).unwrap();
    let run = |class: Option<Vec<u32>>| {
        let class = class.map(|labels| labels.into_iter().map(Some).collect());
        let x = wave(&[1, 3, 8, 8], 0.1, 0.0);
        raw(&checkpoint, &x, &[0.0], &Condition { class, image: None })
    };
    assert!(run(Some(vec![3])).is_ok());
    assert!(run(None).unwrap_err().to_string().contains("needs a class label"));
    assert!(run(Some(vec![4])).unwrap_err().to_string().contains("class label 4: expected 0..4"));
    assert!(run(Some(vec![1, 2])).unwrap_err().to_string().contains("2 class labels"));
}
