//! A network that learns its variance, from training to its likelihood.

use super::{array, json, run};
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    sync::OnceLock,
};
use tempfile::TempDir;

const HYBRID: &str = r#"
[network]
kind = "adm"
image_size = 8
in_channels = 1
model_channels = 32
channel_mult = [1]
num_res_blocks = 1
attention_resolutions = []
learn_sigma = true

[schedule]
timesteps = 100
beta_start = 1e-3
beta_end = 0.2

[objective]
kind = "hybrid"

[train]
steps = 100
batch = 8
lr = 1e-3
ema = 0.9
log_every = 10

[held_out]
every = 80
num = 200
"#;

/// A folder with `hybrid.toml` and the run `learned` it describes.
fn trained() -> &'static Path {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("hybrid.toml"), HYBRID).unwrap();
        json(folder.path(), "diff-train run --config %/hybrid.toml --set out=%/learned --json");
        folder
    });
    folder.path()
}

/// The lines of a run's log, of training or of held-out losses.
fn log(run: &str, held_out: bool) -> Vec<Value> {
    let text = fs::read_to_string(trained().join(run).join("log.jsonl")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line.get("held_out").is_some() == held_out).collect()
}

fn weights(run: &str) -> PathBuf {
    trained().join(run).join("model/unet/diffusion_pytorch_model.safetensors")
}

/// The command fails with exit code 2, one error that holds all `words`, and no output.
fn refuse(line: &str, words: &[&str]) {
    let output = run(trained(), line);
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{line}: {message}");
    assert!(output.stdout.is_empty() && message.matches("error:").count() == 1, "{message}");
    assert!(words.iter().all(|word| message.contains(word)), "{line}: {message}");
}

#[test]
fn both_parts_of_the_hybrid_loss_fall_and_both_blocks_are_trained() {
    // Held-out losses have the same draws every time.
    let held_out = log("learned", true);
    assert_eq!(held_out.len(), 10);
    for name in ["simple", "vlb"] {
        let part = |line: &Value| line["held_out_parts"][name].as_f64().unwrap();
        let (first, last) = (part(&held_out[0]), part(&held_out[9]));
        assert!(last < 0.8 * first, "{name}: {first} {last}");
    }
    for line in log("learned", false) {
        let part = |name: &str| line["parts"][name].as_f64().unwrap();
        let weighted = part("simple") + 0.001 * 64.0 * part("vlb");
        let loss = line["loss"].as_f64().unwrap();
        assert!((loss / weighted - 1.0).abs() < 1e-4, "{line}");
    }
    // The last convolution starts at zero; its second output is the range.
    let tensors = candle_core::safetensors::load(weights("learned"), &candle_core::Device::Cpu);
    let (_, last) = tensors.unwrap().into_iter().find(|(name, _)| name == "out.2.weight").unwrap();
    for block in [0, 1] {
        let norm = last.get(block).unwrap().sqr().unwrap().sum_all().unwrap();
        assert!(norm.to_scalar::<f32>().unwrap() > 0.0, "block {block}");
    }
}

#[test]
fn a_hybrid_run_is_resumed_to_the_bit_and_may_be_taken_in_parts() {
    let folder = trained();
    let short = "diff-train run --config %/hybrid.toml --json --set train.log_every=1";
    json(folder, &format!("{short} --set out=%/whole --set train.steps=6"));
    json(folder, &format!("{short} --set out=%/parted --set train.steps=3"));
    json(folder, "diff-train run --resume %/parted --set train.steps=6 --json");
    assert!(fs::read(weights("whole")).unwrap() == fs::read(weights("parted")).unwrap());
    json(
        folder,
        &format!("{short} --set out=%/thirds --set train.steps=6 --set train.accumulate=3"),
    );
    let losses = |run: &str| log(run, false).iter().map(|l| l["loss"].as_f64().unwrap()).collect();
    let (whole, thirds): (Vec<f64>, Vec<f64>) = (losses("whole"), losses("thirds"));
    assert_eq!((whole.len(), thirds.len()), (6, 6));
    assert!(
        whole.iter().zip(&thirds).all(|(a, b)| (a / b - 1.0).abs() < 1e-3),
        "{whole:?} {thirds:?}"
    );
}

#[test]
fn samples_have_the_networks_own_variance() {
    let folder = trained();
    let sample = |sampler: &str, batch: usize| {
        let line = format!(
            "diff-sample generate --checkpoint %/learned --sampler {sampler} --steps 10 --num 5 \
             --batch {batch} --f32 --out %/{sampler}.npz --json"
        );
        json(folder, &line);
        array(&folder.join(format!("{sampler}.npz")), "raw").1
    };
    let learned = sample("ddpm-learned", 2);
    assert_eq!(learned, sample("ddpm-learned", 5));
    assert!(learned.iter().all(|v| v.is_finite() && v.abs() < 3.0));
    assert!(learned != sample("ddpm", 5) && learned != sample("ddpm-large", 5));
    let plain = super::trained().display().to_string();
    let line = format!(
        "diff-sample generate --checkpoint {plain}/base --sampler ddpm-learned --steps 5 --num 1 \
         --out %/never.npz"
    );
    refuse(&line, &["sampler = ddpm-learned", "learned variance"]);
    assert!(!folder.join("never.npz").exists());
}

#[test]
fn the_bound_says_which_variance_it_has_and_better_is_learned() {
    let folder = trained();
    let measure = |more: &str| {
        let line = "diff-eval likelihood --checkpoint %/learned --data digits:test --num 20";
        json(folder, &format!("{line} {more} --json"))["checkpoints"][0].clone()
    };
    let bits = |found: &Value| found["bits_per_dim"].as_f64().unwrap();
    let learned = measure("");
    assert_eq!(
        (&learned["variance"], &learned["name"]),
        (&"learned".into(), &learned["checkpoint"])
    );
    assert!((0.5..20.0).contains(&bits(&learned)), "{learned}");
    assert_eq!(measure("--variance learned --batch 7"), learned);
    let small = measure("--variance small");
    assert!(bits(&learned) < bits(&small), "{learned} {small}");
    let fewer = measure("--steps 10");
    assert!(bits(&fewer) > bits(&learned), "{fewer}");
}

#[test]
fn what_does_not_go_together_is_refused_before_anything_is_made() {
    let run = "diff-train run --config %/hybrid.toml --set out=%/never --set";
    refuse(
        &format!("{run} objective.kind=simple"),
        &["objective.kind = simple", "nothing else trains"],
    );
    refuse(&format!("{run} objective.kind=vlb"), &["objective.variance = small", "learned"]);
    refuse(
        &format!("{run} network.learn_sigma=false"),
        &["objective.kind = hybrid", "learn_sigma"],
    );
    refuse(&format!("{run} data.transform=logit"), &["data.transform = logit", "256 levels"]);
    refuse(&format!("{run} objective.lambda=-1"), &["objective.lambda = -1"]);
    refuse(&format!("{run} objective.lamda=1"), &["did you mean `lambda`"]);
    assert!(!trained().join("never").exists());
}
