//! The binary as a user runs it.

#![allow(clippy::unwrap_used)] // a test

mod common;

use candle_core::{Device, Tensor};
use common::{relative, values, wave};
use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};
use tempfile::TempDir;

fn run(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_diff-models")).args(args).output().unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A small checkpoint with classes, made by the binary.
fn made() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("spec.toml");
    let spec = "kind = 'ddpm'\nresolution = 8\nchannels = 16\nmultipliers = [1, 2]\nblocks = 1\nnorm_groups = 2\n\
                attention_resolutions = [4]\nclasses = 3\n";
    fs::write(&config, spec).unwrap();
    let folder = dir.path().join("model");
    let out = run(&["init", "--config", text(&config), "--seed", "5", "--out", text(&folder)]);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    (dir, folder)
}

fn input(path: &Path, times: Tensor, class: Option<Tensor>) {
    let x = wave(&[2, 3, 8, 8], 0.11, 0.0);
    let mut tensors = HashMap::from([("x".to_string(), x), ("network_time".to_string(), times)]);
    tensors.extend(class.map(|class| ("class".to_string(), class)));
    candle_core::safetensors::save(&tensors, path).unwrap();
}

#[test]
fn inspect_prints_one_json_object() {
    let (_dir, folder) = made();
    let out = run(&["inspect", text(&folder), "--json"]);
    let value: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(value["config"]["num_class_embeds"], 3);
    assert_eq!(value["scheduler"]["num_train_timesteps"], 1000);
    let count: u64 = value["tensors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| {
            t["shape"].as_array().unwrap().iter().map(|d| d.as_u64().unwrap()).product::<u64>()
        })
        .sum();
    assert_eq!(value["parameters"], count);
    let plain = run(&["inspect", text(&folder)]);
    assert!(String::from_utf8(plain.stdout).unwrap().contains("conv_in.weight"));
}

#[test]
fn forward_takes_integer_and_real_times_and_any_thread_count() {
    let (dir, folder) = made();
    let (source, target) = (dir.path().join("in.safetensors"), dir.path().join("out.safetensors"));
    let mut outputs = Vec::new();
    for (times, threads) in [
        (Tensor::new(&[3i64, 700], &Device::Cpu).unwrap(), "1"),
        (Tensor::new(&[3f32, 700.0], &Device::Cpu).unwrap(), "2"),
    ] {
        input(&source, times, Some(Tensor::new(&[0i64, 2], &Device::Cpu).unwrap()));
        let args =
            ["--checkpoint", text(&folder), "--input", text(&source), "--output", text(&target)];
        let out = run(&[&["forward", "--threads", threads], args.as_slice()].concat());
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        let tensors = candle_core::safetensors::load(&target, &Device::Cpu).unwrap();
        assert_eq!(tensors["prediction"].dims(), [2, 3, 8, 8]);
        outputs.push(values(&tensors["prediction"]));
    }
    assert_eq!(outputs[0], outputs[1]);
}

#[test]
fn the_algorithm_of_convolutions_is_chosen_by_a_flag() {
    let (dir, folder) = made();
    let (source, target) = (dir.path().join("in.safetensors"), dir.path().join("out.safetensors"));
    input(
        &source,
        Tensor::new(&[3i64, 700], &Device::Cpu).unwrap(),
        Some(Tensor::new(&[0i64, 2], &Device::Cpu).unwrap()),
    );
    let forward = |flags: &[&str]| {
        let args =
            ["--checkpoint", text(&folder), "--input", text(&source), "--output", text(&target)];
        run(&[&["forward"], flags, args.as_slice()].concat())
    };
    let prediction = |flags: &[&str]| {
        let out = forward(flags);
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        values(&candle_core::safetensors::load(&target, &Device::Cpu).unwrap()["prediction"])
    };
    let (usual, fast, exact) =
        (prediction(&[]), prediction(&["--conv", "fast"]), prediction(&["--conv", "exact"]));
    assert_eq!(usual, fast);
    let error = relative(&fast, &exact);
    assert!(error > 0.0 && error < 1e-4, "{error}");
    let refused = forward(&["--conv", "quick"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("exact or fast"));
}

#[test]
fn a_timing_tells_where_the_time_goes() {
    let (_dir, folder) = made();
    let time = |flags: &[&str]| {
        let args = ["time", "--checkpoint", text(&folder), "--batch", "2", "--repeats", "1"];
        run(&[args.as_slice(), flags].concat())
    };
    let out = time(&["--ops"]);
    let table = String::from_utf8(out.stdout).unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    assert!(table.contains("GFLOP/s\n") && table.contains("everything else"), "{table}");
    assert!(table.contains(" conv2d [2, 8, 8, 16] [16, 16, 3, 3]\n"), "{table}");
    assert_eq!(time(&["--ops", "--json"]).status.code(), Some(2));
}

#[test]
fn what_is_wrong_is_one_message_and_an_exit_code() {
    let (dir, folder) = made();
    let (source, target) = (dir.path().join("in.safetensors"), dir.path().join("out.safetensors"));
    input(&source, Tensor::new(&[3i64, 700], &Device::Cpu).unwrap(), None);
    let forward = |checkpoint: &str, input: &Path| {
        run(&[
            "forward",
            "--checkpoint",
            checkpoint,
            "--input",
            text(input),
            "--output",
            text(&target),
        ])
    };
    let elsewhere = text(&dir.path().join("none")).to_string();
    let init = |set: &str| run(&["init", "--set", set, "--out", &elsewhere]);
    for (out, code, part) in [
        (forward(text(&folder), &source), 1, "needs a class label"),
        (forward("/no/such", &source), 1, "/no/such"),
        (forward(text(&folder), Path::new("/no/in.safetensors")), 1, "/no/in.safetensors"),
        (init("chanels=3"), 2, "did you mean `channels`"),
        (init("channels=3"), 1, "norm_num_groups"),
        (run(&["forward"]), 2, "--checkpoint"),
    ] {
        let message = String::from_utf8(out.stderr).unwrap();
        assert_eq!(out.status.code(), Some(code), "{message}");
        assert!(message.contains(part), "{part} is not in {message}");
        assert!(!target.exists() && !Path::new(&elsewhere).exists());
    }
}

/// `HF_HUB_OFFLINE` with a cache laid out as every Hub client lays it out.
#[test]
fn a_cached_hub_name_opens_without_a_network() {
    let (dir, folder) = made();
    let sha = "0123456789abcdef0123456789abcdef01234567";
    let repository = dir.path().join("cache/models--org--digits");
    fs::create_dir_all(repository.join("refs")).unwrap();
    fs::create_dir_all(repository.join("snapshots")).unwrap();
    fs::write(repository.join("refs/main"), sha).unwrap();
    fs::rename(&folder, repository.join("snapshots").join(sha)).unwrap();
    let inspect = |name: &str, key: &str, value: &Path| {
        Command::new(env!("CARGO_BIN_EXE_diff-models"))
            .args(["inspect", name])
            .env_remove("HF_HUB_CACHE")
            .env_remove("HUGGINGFACE_HUB_CACHE")
            .env("HF_HUB_OFFLINE", "1")
            .env(key, value)
            .output()
            .unwrap()
    };
    let cache = dir.path().join("cache");
    for name in ["hub:org/digits", "hub:org/digits@main", &format!("hub:org/digits@{sha}")] {
        let out = inspect(name, "HF_HUB_CACHE", &cache);
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    }
    fs::create_dir(dir.path().join("home")).unwrap();
    fs::rename(&cache, dir.path().join("home/hub")).unwrap();
    assert!(inspect("hub:org/digits", "HF_HOME", &dir.path().join("home")).status.success());
    let out = inspect("hub:org/other", "HF_HOME", &dir.path().join("home"));
    let message = String::from_utf8(out.stderr).unwrap();
    assert!(out.status.code() == Some(1) && message.contains("hub:org/other"), "{message}");
}

fn done(args: &[&str]) -> Output {
    let out = run(args);
    assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
    out
}

#[test]
fn every_family_is_listed_and_its_smallest_network_made_looked_into_and_run() {
    let listed: serde_json::Value =
        serde_json::from_slice(&done(&["nets", "--json"]).stdout).unwrap();
    let mut families: Vec<&str> = Vec::new();
    for family in listed["families"].as_array().unwrap() {
        families.push(family["kind"].as_str().unwrap());
        assert!(!family["options"].as_object().unwrap().is_empty());
        for preset in family["presets"].as_array().unwrap() {
            let (name, parameters) = (preset["name"].as_str().unwrap(), &preset["parameters"]);
            assert!(parameters.as_u64().unwrap() > 1_000_000, "{name}");
            assert!(preset["flops"].as_u64().unwrap() > 10_000_000, "{name}");
        }
    }
    assert_eq!(families, ["ddpm", "unet", "adm", "dddm", "heads", "study"]);
    let words = String::from_utf8(done(&["nets"]).stdout).unwrap();
    assert!(words.contains("dddm-cifar10 ") && words.contains("131343619 parameters"), "{words}");

    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("tiny");
    for (preset, settings, class) in [
        ("dddm-tiny", ["model_channels=32"; 2], "DiffDddm"),
        ("adm-cifar10", ["model_channels=32", "num_res_blocks=1"], "DiffAdm"),
        ("study-conditional", ["channels=32", "blocks=1"], "DiffStudy"),
    ] {
        let set = ["--set", settings[0], "--set", settings[1], "--out", text(&folder)];
        done(&[&["init", "--preset", preset], set.as_slice()].concat());
        let facts: serde_json::Value =
            serde_json::from_slice(&done(&["inspect", text(&folder), "--json"]).stdout).unwrap();
        assert_eq!(facts["family"], class);
        done(&["time", "--checkpoint", text(&folder), "--batch", "2", "--repeats", "1"]);
        fs::remove_dir_all(&folder).unwrap();
    }
}

#[test]
fn weights_without_a_configuration_are_imported_and_names_are_hinted_at() {
    let dir = tempfile::tempdir().unwrap();
    let (made, again) = (dir.path().join("made"), dir.path().join("again"));
    done(&["init", "--preset", "dddm-tiny", "--schedule", "cosine", "--out", text(&made)]);
    let weights = made.join("unet/diffusion_pytorch_model.safetensors");
    let import = |preset: &str, out: &Path| {
        run(&["import", "--weights", text(&weights), "--preset", preset, "--out", text(out)])
    };
    assert!(import("dddm-tiny", &again).status.success());
    let facts = |folder: &Path| -> serde_json::Value {
        serde_json::from_slice(&done(&["inspect", text(folder), "--json"]).stdout).unwrap()
    };
    let (one, other) = (facts(&made), facts(&again));
    assert_eq!((&one["config"], &one["tensors"]), (&other["config"], &other["tensors"]));
    assert_eq!((&one["schedule"], &other["schedule"]), (&"cosine".into(), &"linear".into()));
    assert_eq!(one["scheduler"]["prediction_type"], "residual");
    let refused = dir.path().join("refused");
    for (preset, code, words) in [
        ("dddm-tinny", 2, ["preset = dddm-tinny", "did you mean `dddm-tiny`"]),
        (
            "adm-cifar10",
            1,
            ["problem(s) with the weights", "input_blocks.0.0.weight: expected shape"],
        ),
    ] {
        let out = import(preset, &refused);
        let message = String::from_utf8(out.stderr).unwrap();
        assert_eq!(out.status.code(), Some(code), "{message}");
        assert!(words.iter().all(|word| message.contains(word)), "{message}");
        assert!(!refused.exists());
    }
}
