//! Training a classifier, from its configuration to its folder.

use super::{json, resume, run};
use candle_core::{Device, Tensor};
use serde_json::Value;
use std::{fs, path::Path, sync::OnceLock};
use tempfile::TempDir;

const TINY: &str = r#"
seed = 3

[network]
kind = "classifier"
resolution = 8
in_channels = 1
channels = 8
multipliers = [1, 2]
norm_groups = 4
dropout = 0.1
classes = 10

[objective]
kind = "classifier"

[train]
steps = 40
batch = 16
lr = 1e-2
ema = [0.9, 0.5]
log_every = 10

[save]
keep_every = 320

[held_out]
every = 320
num = 200
"#;

/// A folder with `tiny.toml` and the run `judge` it describes, and what the run reported.
pub(super) fn trained() -> &'static (TempDir, Value) {
    static FOLDER: OnceLock<(TempDir, Value)> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("tiny.toml"), TINY).unwrap();
        let line = "diff-train run --config %/tiny.toml --set out=%/judge --json";
        let summary = json(folder.path(), line);
        (folder, summary)
    })
}

/// The text beside the weights of a safetensors file.
fn metadata(path: &Path) -> Value {
    let bytes = fs::read(path).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    header["__metadata__"].clone()
}

/// The message of a command that must end with `code`.
fn refused(folder: &Path, line: &str, code: i32) -> String {
    let output = run(folder, line);
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{line}: {message}");
    message
}

#[test]
fn a_classifier_learns_and_leaves_what_a_denoiser_leaves() {
    let (folder, summary) = trained();
    let out = folder.path().join("judge");
    assert_eq!((&summary["steps"], &summary["images"]), (&40.into(), &640.into()));
    let log = fs::read_to_string(out.join("log.jsonl")).unwrap();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let held_out: Vec<_> = lines.iter().filter(|l| l.get("held_out").is_some()).collect();
    let images: Vec<u64> = held_out.iter().map(|l| l["images"].as_u64().unwrap()).collect();
    assert_eq!(images, [320, 640]);
    let accuracy = |line: &Value| line["held_out_parts"]["accuracy"].as_f64().unwrap();
    let (early, late) = (accuracy(held_out[0]), accuracy(held_out[1]));
    assert!(late > early && late > 0.3, "chance is 0.1: {early} {late}");
    assert_eq!(summary["held_out"], held_out[1]["held_out_parts"]);
    assert!(lines.iter().all(|l| l["parts"].get("cross_entropy").is_some() || l["step"] != 10));

    for model in ["model", "model-ema-0.5", "milestones/0000000320", "checkpoints/0000000640/model"]
    {
        let config = fs::read(out.join(model).join("config.json")).unwrap();
        let config: Value = serde_json::from_slice(&config).unwrap();
        assert_eq!(
            (&config["_class_name"], &config["classes"]),
            (&"DiffClassifier".into(), &10.into())
        );
        let about = metadata(&out.join(model).join("model.safetensors"));
        let steps = if model.starts_with("milestones") { "20" } else { "40" };
        assert_eq!((&about["diff.data"], &about["diff.steps"]), (&"digits".into(), &steps.into()));
        assert_eq!(about["diff.data_sha256"].as_str().unwrap().len(), 64);
        assert!(about["diff.config"].as_str().unwrap().contains("kind = \"classifier\""));
    }
}

#[test]
fn a_classifier_opens_as_one_and_as_nothing_else() {
    let folder = trained().0.path();
    let line = "diff-train run --config %/tiny.toml --init-from %/judge --set train.steps=1 --set \
         train.lr=1e-12 --set train.ema=0 --set held_out.every=16 --set out=%/tuned --json";
    let (before, after) = (&trained().1["held_out"], &json(folder, line)["held_out"]);
    let accuracy = |parts: &Value| parts["accuracy"].as_f64().unwrap();
    assert!((accuracy(before) - accuracy(after)).abs() < 0.15, "{before} {after}");
    let about = metadata(&folder.join("tuned/model/model.safetensors"));
    assert!(about["diff.init_from"].as_str().unwrap().ends_with("judge"));

    let message = refused(folder, "diff-models inspect %/judge", 1);
    for word in ["judge/model/config.json", "DiffClassifier", "UNet2DModel"] {
        assert!(message.contains(word), "{word} is not in {message}");
    }
    let denoiser = super::trained().to_str().unwrap();
    let line =
        format!("diff-train run --config %/tiny.toml --init-from {denoiser}/base --set out=%/no");
    let message = refused(folder, &line, 1);
    for word in ["base/model/unet/config.json", "UNet2DModel", "DiffClassifier"] {
        assert!(message.contains(word), "{word} is not in {message}");
    }
    assert!(!folder.join("no").exists());
}

#[test]
fn a_plan_tells_the_cost_of_a_forward_pass() {
    let folder = trained().0.path();
    let plan = json(folder, "diff-train run --config %/tiny.toml --dry-run --json");
    // Convolutions by their weights, each with the pixels it gives: 8 x 8, then 4 x 4.
    let same = |width: u64| 9 * width * width;
    let first = 9 * 8 + 2 * same(8);
    let second = same(8) + 9 * 8 * 16 + same(16) + 8 * 16;
    let forward = 2 * (64 * first + 16 * second + 16 * 10);
    assert_eq!(plan["forward_flops"].as_u64(), Some(forward));
    assert_eq!(plan["flops"].as_f64(), Some((3 * forward * 16 * 40) as f64));
    assert_eq!(plan["parameters"], trained().1["parameters"]);
}

#[test]
fn kinds_that_do_not_go_together_are_refused() {
    let folder = trained().0.path();
    let denoiser = super::trained().join("tiny.toml");
    let denoiser = denoiser.to_str().unwrap();
    for (settings, words) in [
        (
            "--config %/tiny.toml --set objective={kind='simple'}",
            ["objective.kind = simple", "classifier"],
        ),
        ("--config %/tiny.toml --set preview.every=16", ["preview.every = 16", "no previews"]),
        (
            &format!("--config {denoiser} --set objective.kind=classifier"),
            ["objective.kind = classifier", "simple, sa, vlb or hybrid"],
        ),
    ] {
        let line = format!("diff-train run {settings} --set out=%/mixed");
        let message = refused(folder, &line, 2);
        for word in words.into_iter().chain(["network.kind = "]) {
            assert!(message.contains(word), "{word} is not in {message}");
        }
        assert!(!folder.join("mixed").exists(), "{settings}");
    }
    let line = "diff-train run --config %/tiny.toml --set network.classes=9 --set out=%/mixed";
    assert!(refused(folder, line, 2).contains("network.classes = 9: expected at least 10"));
}

#[test]
fn pictures_without_labels_are_refused_by_the_objective() {
    let folder = trained().0.path();
    let pictures = Tensor::zeros((3, 8, 8, 1), candle_core::DType::U8, &Device::Cpu).unwrap();
    Tensor::write_npz(&[("arr_0", &pictures)], folder.join("plain.npz")).unwrap();
    let line = "diff-train run --config %/tiny.toml --set data.source=%/plain.npz --set \
         data.cache=%/cache --set out=%/plain";
    let message = refused(folder, line, 1);
    for word in ["plain.npz", "no label", "objective.kind = classifier needs"] {
        assert!(message.contains(word), "{word} is not in {message}");
    }
    assert!(!folder.join("plain").exists());
}

/// As many steps and pictures as the kills of a denoiser count on.
const KILLED: &str = r#"
seed = 3

[network]
kind = "classifier"
resolution = 8
in_channels = 1
channels = 4
multipliers = [1]
norm_groups = 2
dropout = 0.1
classes = 10

[objective]
kind = "classifier"
label_smoothing = 0.1

[train]
steps = 200
batch = 8
accumulate = 2
lr = 2e-3
ema = [0.9, 0.5]
log_every = 7

[save]
every = 160

[held_out]
every = 400
num = 20
"#;

#[test]
fn killed_at_five_moments_a_classifier_comes_out_the_same_to_the_bit() {
    resume::check_recipe("classifier", KILLED, "");
}
