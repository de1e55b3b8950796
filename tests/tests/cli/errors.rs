//! Whatever is asked wrongly is answered by one clear message and the right exit code.

use super::{run, trained};
use std::{collections::HashMap, fs, path::Path};

/// The command fails with `code`; stderr is one error that holds all `words`; stdout is empty.
pub(super) fn refuse(folder: &Path, line: &str, code: i32, words: &[&str]) {
    let output = run(folder, line);
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{line}: {message}");
    assert!(output.stdout.is_empty(), "{line}: printed something");
    assert!(!message.contains("panicked"), "{line}: {message}");
    for word in words {
        assert!(message.contains(word), "{line}: `{word}` is not in: {message}");
    }
    assert_eq!(message.matches("error:").count(), 1, "{line}: {message}");
}

#[test]
fn impossible_training_configurations_are_usage_errors() {
    let folder = trained();
    let set = |set: &str, words: &[&str]| {
        let line = format!("diff-train run --config %/tiny.toml --set out=%/never --set {set}");
        refuse(folder, &line, 2, words);
    };
    set("train.lrr=1", &["`lrr`", "did you mean `lr`", "tiny.toml"]);
    set("trian.lr=1", &["`trian`", "did you mean `train`"]);
    set("train.batch=0", &["train.batch = 0", "at least 1"]);
    set("train.lr=-1", &["train.lr = -1"]);
    set("train.ema=1.0", &["train.ema = 1"]);
    set("train.steps=many", &["tiny.toml", "steps"]);
    set("network.resolution=16", &["[1, 16, 16]", "[1, 8, 8]", "digits"]);
    set("network.kind=dpdm", &["dpdm", "did you mean `ddpm`"]);
    set("data.source=digist", &["digist", "did you mean `digits`"]);
    set("schedule.kind=liner", &["liner", "linear"]);
    set("schedule.timesteps=1", &["1"]);
    set("objective.kind=simpel", &["simpel", "did you mean `simple`"]);
    // An option of another objective is no option of this one.
    let line = "diff-train run --config %/tiny.toml --set out=%/never --set objective.kind=simple";
    refuse(folder, &format!("{line} --set objective.lambda=1"), 2, &["`lambda`"]);
    for (set, words) in [
        ("objective.steps=1001", ["objective.steps = 1001", "T = 1000"]),
        ("objective.lambda=-1", ["objective.lambda = -1", "at least 0"]),
        ("objective.lamda=1", ["`lamda`", "did you mean `lambda`"]),
    ] {
        let line = "diff-train run --config %/tiny.toml --set out=%/never --set objective.kind=sa";
        refuse(folder, &format!("{line} --set {set}"), 2, &words);
    }
    refuse(folder, "diff-train run --config %/tiny.toml", 2, &["out", "--set out="]);
    assert!(!folder.join("never").exists(), "a refused run leaves nothing");
}

#[test]
fn impossible_networks_are_refused_by_name() {
    let folder = trained();
    for (set, words) in [
        ("network.norm_groups=5", ["norm", "5"]),
        ("network.multipliers=[1,2,2,2,2]", ["resolution", "8"]),
        ("network.attention_resolutions=[5]", ["attention_resolutions", "5"]),
    ] {
        let line = format!("diff-train run --config %/tiny.toml --set out=%/never --set {set}");
        let output = run(folder, &line);
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(matches!(output.status.code(), Some(1 | 2)), "{line}: {message}");
        assert!(words.iter().all(|word| message.contains(word)), "{line}: {message}");
    }
}

#[test]
fn missing_files_and_occupied_folders_are_named() {
    let folder = trained();
    refuse(folder, "diff-train run --config %/none.toml", 1, &["none.toml"]);
    let again = "diff-train run --config %/tiny.toml --set out=%/base";
    refuse(folder, again, 1, &["base", "already holds a trained model"]);
    refuse(
        folder,
        "diff-sample generate --checkpoint %/none --steps 5 --num 1 --out %/x.png",
        1,
        &["none"],
    );
    let line = "diff-eval pixels --samples %/none.npz --reference digits:test";
    refuse(folder, line, 1, &["none.npz"]);
}

#[test]
fn impossible_sampling_requests_are_usage_errors() {
    let folder = trained();
    let ask = |rest: &str, words: &[&str]| {
        let line = format!("diff-sample generate --checkpoint %/base --out %/never.npz {rest}");
        refuse(folder, &line, 2, words);
    };
    ask("--steps 1001 --num 1", &["1001", "1000"]);
    ask("--steps 0 --num 1", &["0"]);
    ask("--steps 5 --num 1 --eta 1.5", &["eta = 1.5", "[0, 1]"]);
    ask("--steps 5 --num 1 --sampler ddpm --eta 0", &["eta = 0", "ddpm"]);
    ask("--steps 5 --num 1 --sampler dimm", &["dimm", "did you mean `ddim`"]);
    ask("--steps 5 --num 1 --trajectory linaer", &["linaer", "linear"]);
    ask("--steps 5 --num 1 --clip posterior", &["clip", "posterior", "ddim"]);
    ask("--steps 5 --num 1 --batch 0", &["batch = 0", "at least 1"]);
    ask("--steps 5 --num 0", &["num = 0"]);
    ask("--steps 5", &["num", "--num N or --indices"]);
    assert!(!folder.join("never.npz").exists());
    let png = "diff-sample generate --checkpoint %/base --out %/never.png --steps 5 --num 1 --f32";
    refuse(folder, png, 2, &["f32", ".npz"]);
}

#[test]
fn damaged_and_foreign_checkpoints_are_refused() {
    let folder = trained();
    let copy = |name: &str| {
        let target = folder.join(name);
        for part in ["unet", "scheduler"] {
            fs::create_dir_all(target.join(part)).unwrap();
            for file in fs::read_dir(folder.join("base/model").join(part)).unwrap() {
                let file = file.unwrap();
                fs::copy(file.path(), target.join(part).join(file.file_name())).unwrap();
            }
        }
        fs::copy(folder.join("base/model/model_index.json"), target.join("model_index.json"))
            .unwrap();
        target
    };
    let sample = |name: &str, words: &[&str]| {
        let line =
            format!("diff-sample generate --checkpoint %/{name} --steps 5 --num 1 --out %/n.png");
        refuse(folder, &line, 1, words);
    };
    let weights = "unet/diffusion_pytorch_model.safetensors";
    let truncated = copy("truncated").join(weights);
    let bytes = fs::read(&truncated).unwrap();
    fs::write(&truncated, &bytes[..bytes.len() / 2]).unwrap();
    sample("truncated", &["truncated/unet/diffusion_pytorch_model.safetensors"]);

    let config = copy("wider").join("unet/config.json");
    let text = fs::read_to_string(&config).unwrap();
    let mut value: serde_json::Value = serde_json::from_str(&text).unwrap();
    value["block_out_channels"] = serde_json::json!([8, 12]);
    fs::write(&config, value.to_string()).unwrap();
    sample("wider", &["problem(s) with the weights", "expected shape", "found"]);

    fs::write(copy("garbled").join("unet/config.json"), "{").unwrap();
    sample("garbled", &["garbled/unet/config.json"]);
}

#[test]
fn wrong_tensors_are_named_with_their_shapes() {
    use candle_core::{DType, Device, Tensor, safetensors};
    let folder = trained();
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
    let times = Tensor::new(&[3i64, 9], &Device::Cpu).unwrap();
    let write = |name: &str, tensors: &[(&str, Tensor)]| {
        let tensors: HashMap<String, Tensor> =
            tensors.iter().map(|(n, t)| (n.to_string(), t.clone())).collect();
        safetensors::save(&tensors, folder.join(name)).unwrap();
    };
    let loss = |name: &str, code: i32, words: &[&str]| {
        let line = "diff-train loss --checkpoint %/base --set objective.kind=sa --input";
        refuse(folder, &format!("{line} %/{name}"), code, words);
    };
    let (x0, noise) = (zeros(&[2, 1, 8, 8]), zeros(&[2, 2, 1, 8, 8]));
    write("a.safetensors", &[("x0", x0.clone()), ("t", times.clone())]);
    loss("a.safetensors", 1, &["a.safetensors", "no tensor `noise`", "\"t\", \"x0\""]);
    write("b.safetensors", &[("x0", x0.clone()), ("t", times.clone()), ("noise", x0.clone())]);
    loss("b.safetensors", 1, &["noise", "[2, 1, 8, 8]", "[K, B, C, H, W]"]);
    let late = Tensor::new(&[3i64, 1001], &Device::Cpu).unwrap();
    write("c.safetensors", &[("x0", x0.clone()), ("t", late), ("noise", noise.clone())]);
    loss("c.safetensors", 2, &["c.safetensors", "t = 1001", "1..=1000"]);
    let half = Tensor::new(&[1.5f32, 2.0], &Device::Cpu).unwrap();
    write("f.safetensors", &[("x0", x0.clone()), ("t", half), ("noise", noise.clone())]);
    loss("f.safetensors", 1, &["f.safetensors", "t holds 1.5", "whole numbers"]);
    let column = times.unsqueeze(1).unwrap();
    write("g.safetensors", &[("x0", x0.clone()), ("t", column), ("noise", noise.clone())]);
    loss("g.safetensors", 1, &["g.safetensors", "t has shape [2, 1]", "[B]"]);
    let none = zeros(&[0, 1, 8, 8]);
    write("h.safetensors", &[("x0", none), ("t", times.clone()), ("noise", noise.clone())]);
    loss("h.safetensors", 1, &["h.safetensors", "x0", "[0, 1, 8, 8]"]);
    let class = Tensor::new(&[-1i64, 2], &Device::Cpu).unwrap();
    write(
        "i.safetensors",
        &[("x0", x0.clone()), ("t", times.clone()), ("noise", noise.clone()), ("class", class)],
    );
    loss("i.safetensors", 1, &["i.safetensors", "class holds -1"]);
    let single = noise.narrow(0, 0, 1).unwrap().contiguous().unwrap();
    write("d.safetensors", &[("x0", x0), ("t", times.clone()), ("noise", single)]);
    loss("d.safetensors", 2, &["noise", "[1, 2, 1, 8, 8]"]);
    let wide = zeros(&[2, 3, 8, 8]);
    write("e.safetensors", &[("x", wide), ("network_time", times)]);
    let line =
        "diff-models forward --checkpoint %/base --input %/e.safetensors --output %/o.safetensors";
    refuse(folder, line, 1, &["3 channels", "takes 1"]);
}
