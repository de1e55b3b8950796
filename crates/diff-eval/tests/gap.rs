//! `gap`, `bounds` and `illustrate` as a user runs them, on networks that were never trained.

// Clippy takes the helpers of an integration test for library code.
#![allow(clippy::unwrap_used)]

use candle_core::{Device, Tensor};
use diff_core::{Schedule, ScheduleSpec};
use diff_models::{checkpoint::Checkpoint, nets::DdpmSpec, pictures::Transform};
use serde_json::Value;
use std::{
    fs,
    path::Path,
    process::{Command, Output},
};
use tempfile::TempDir;

/// Runs `diff-eval` with `arguments` (separated by spaces; `%` stands for `folder`).
fn run(folder: &Path, arguments: &str) -> Output {
    let folder = folder.to_str().unwrap();
    let words = arguments.split_whitespace().map(|word| word.replace('%', folder));
    Command::new(env!("CARGO_BIN_EXE_diff-eval")).args(words).output().unwrap()
}

fn stdout(folder: &Path, arguments: &str) -> String {
    let output = run(folder, arguments);
    assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn json(folder: &Path, arguments: &str) -> Value {
    serde_json::from_str(&stdout(folder, arguments)).unwrap()
}

/// Fails with exit code 2, with all of `words` in the message and nothing on stdout.
fn refused(folder: &Path, arguments: &str, words: &[&str]) {
    let output = run(folder, arguments);
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{arguments}: {message}");
    assert!(words.iter().all(|word| message.contains(word)), "{arguments}: {message}");
    assert!(output.stdout.is_empty(), "{arguments}");
}

const TRAINED_ON: &str = "[data]\nsource = \"digits\"\nsplit = \"test\"\nflip = true\n";

fn network(timesteps: usize, resolution: usize, seed: u64) -> Checkpoint {
    let spec = DdpmSpec {
        resolution,
        in_channels: 1,
        out_channels: 1,
        channels: 8,
        multipliers: vec![1, 2],
        blocks: 1,
        attention_resolutions: vec![resolution / 2],
        norm_groups: 4,
        ..DdpmSpec::default()
    };
    let schedule = ScheduleSpec { timesteps, ..ScheduleSpec::default() };
    let schedule = Schedule::new(&schedule).unwrap();
    Checkpoint::init(&spec.into(), schedule, seed, &Device::Cpu).unwrap()
}

fn write(checkpoint: &Checkpoint, path: &Path) {
    let tensors = checkpoint.params.iter();
    let weights: Vec<(String, Tensor)> =
        tensors.map(|(name, var)| (name.to_string(), var.as_tensor().clone())).collect();
    checkpoint.write(path, &weights).unwrap();
}

/// `a` and `b`: two networks that can be compared; the first tells what it was trained on.
fn networks() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut a = network(12, 8, 1);
    a.metadata.insert("diff.config".into(), TRAINED_ON.into());
    write(&a, &folder.path().join("a"));
    write(&network(12, 8, 2), &folder.path().join("b"));
    folder
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

const SCALARS: [&str; 7] = ["bias", "l2", "mean", "official", "rms", "step", "velocity"];

#[test]
fn gaps_are_compared_printed_and_drawn() {
    let folder = networks();
    let folder = folder.path();
    let two = "gap --checkpoint %/a --checkpoint %/b --name one --name two,2 --start 5 --seed 3";
    let files = "--csv %/gap.csv --svg %/gap.svg --scalar bias";
    let report = json(folder, &format!("{two} --num 362 --json {files}"));
    let expected = [
        "checkpoints",
        "curves",
        "data",
        "data_sha256",
        "eta",
        "num",
        "pictures",
        "repeats",
        "seed",
        "start",
        "timesteps",
    ];
    assert_eq!(keys(&report), expected);
    assert_eq!((&report["data"], &report["num"]), (&"digits:test".into(), &362.into()));
    assert_eq!((&report["pictures"], &report["repeats"]), (&360.into(), &2.into()));
    assert_eq!((&report["start"], &report["timesteps"]), (&5.into(), &12.into()));
    assert_eq!((&report["eta"], &report["seed"]), (&1.0.into(), &3.into()));
    assert_eq!(keys(&report["curves"]), ["one", "t", "two,2"]);
    assert_eq!(numbers(&report["curves"]["t"]), [5.0, 4.0, 3.0, 2.0]);
    let csv = fs::read_to_string(folder.join("gap.csv")).unwrap();
    let rows: Vec<Vec<&str>> = csv.lines().skip(1).map(|l| l.split(',').collect()).collect();
    assert!(csv.starts_with("t,one.l2,one.rms,") && csv.contains("\"two,2.l2\""), "{csv}");
    assert!(rows.len() == 4 && rows.iter().all(|row| row.len() == 15), "{csv}");
    assert_eq!((rows[0][0], rows[3][0]), ("5", "2"));
    for (i, name) in ["one", "two,2"].into_iter().enumerate() {
        let curves = &report["curves"][name];
        assert_eq!(keys(curves), SCALARS);
        let model = &report["checkpoints"][i];
        assert_eq!(model["name"], name);
        assert_eq!(model["weights_sha256"].as_str().unwrap().len(), 64);
        for scalar in ["l2", "rms", "bias", "mean", "official", "velocity"] {
            let curve = numbers(&curves[scalar]);
            assert_eq!(curve.last().copied(), model[format!("{scalar}_final")].as_f64());
        }
        let l2 = numbers(&curves["l2"]);
        let in_csv: Vec<f64> = rows.iter().map(|row| row[1 + 7 * i].parse().unwrap()).collect();
        assert_eq!(l2, in_csv);
        assert_eq!(model["l2_max"].as_f64(), l2.iter().copied().reduce(f64::max));
        assert!(l2.iter().all(|v| *v > 0.0));
    }
    assert_ne!(report["curves"]["one"], report["curves"]["two,2"]);
    let svg = fs::read_to_string(folder.join("gap.svg")).unwrap();
    for words in ["Estimation gap: bias", "from t = 5 down to t = 2", ">one<", ">two,2<"] {
        assert!(svg.contains(words), "{words}: {svg}");
    }
    let text = stdout(folder, &format!("{two} --num 361 --batch 50"));
    assert!(text.contains("the 360 of digits:test repeat in order"), "{text}");
    assert!(text.contains("two,2 ") && text.contains("l2/first"), "{text}");
}

#[test]
fn data_may_be_named_and_must_be_where_no_training_tells() {
    let folder = networks();
    let folder = folder.path();
    let report = json(folder, "gap --checkpoint %/b --data digits --start 2 --num 3 --json");
    assert_eq!((&report["data"], &report["repeats"]), (&"digits:train".into(), &0.into()));
    assert_eq!(report["checkpoints"][0]["name"], format!("{}/b", folder.display()));
    refused(folder, "gap --checkpoint %/b --start 2 --num 3", &["--data SOURCE", "/b"]);
    refused(folder, "gap --checkpoint %/b --data digits:tests --start 2", &["did you mean"]);
    write(&network(12, 4, 1), &folder.join("small"));
    let line = "bounds --checkpoint %/small --data digits --num 1";
    refused(folder, line, &["digits", "[1, 8, 8]", "[1, 4, 4]", "/small"]);
}

#[test]
fn networks_that_do_not_compare_are_both_named() {
    let folder = networks();
    let folder = folder.path();
    write(&network(13, 8, 1), &folder.join("longer"));
    write(&network(12, 4, 1), &folder.join("smaller"));
    let mut other = network(12, 8, 1);
    other.set_transform(Transform::Logit);
    write(&other, &folder.join("logit"));
    other = network(12, 8, 1);
    other.schedule = Schedule::from_betas(&[0.01; 12]).unwrap();
    write(&other, &folder.join("flat"));
    for (name, what) in [
        ("longer", "T = 13"),
        ("smaller", "[1, 4, 4]"),
        ("logit", "Logit"),
        ("flat", "alpha_bar(1)"),
    ] {
        let line = format!("gap --checkpoint %/a --checkpoint %/{name} --start 3 --num 1");
        refused(folder, &line, &["/a", &format!("/{name}"), what]);
    }
}

#[test]
fn impossible_arguments_are_usage_errors() {
    let folder = networks();
    let folder = folder.path();
    for (arguments, words) in [
        ("--start 1", ["start = 1", "2..=T = 12"]),
        ("--start 300", ["start = 300", "2..=T = 12"]),
        ("--start 3 --num 0", ["num = 0", "at least 1"]),
        ("--start 3 --batch 0", ["batch = 0", "at least 1"]),
        ("--start 3 --eta 1.1", ["eta = 1.1", "0..=1"]),
        ("--start 3 --scalar l3", ["l3", "velocity"]),
        ("--start 3 --name x --name y", ["name", "every --checkpoint"]),
        ("--start 3 --name t", ["name = `t`", "time"]),
    ] {
        refused(folder, &format!("gap --checkpoint %/a {arguments}"), &words);
    }
    let twice = "gap --checkpoint %/a --checkpoint %/a --start 3";
    refused(folder, twice, &["a different --name"]);
    refused(folder, "bounds --checkpoint %/a --windows 13", &["windows = 13", "1..=T = 12"]);
    refused(folder, "bounds --checkpoint %/a --tau half", &["on, off or normalised"]);
    refused(folder, "illustrate --svg %/f.svg --error 0", &["error = 0"]);
    assert!(!folder.join("f.svg").exists());
}

#[test]
fn bounds_hold_for_networks_that_were_never_trained() {
    let folder = networks();
    let folder = folder.path();
    let line = "bounds --checkpoint %/a --checkpoint %/b --num 5 --windows 3 --batch 2";
    let report = json(folder, &format!("{line} --json"));
    let expected = [
        "checkpoints",
        "data",
        "data_sha256",
        "num",
        "pictures",
        "repeats",
        "seed",
        "tau",
        "timesteps",
    ];
    assert_eq!(keys(&report), expected);
    assert_eq!((&report["tau"], &report["data"]), (&"on".into(), &"digits:test".into()));
    for model in report["checkpoints"].as_array().unwrap() {
        let expected = ["bounds", "checkpoint", "gap_l2", "loss", "name", "weights_sha256"];
        assert_eq!(keys(model), expected);
        let (gap, loss) = (model["gap_l2"].as_f64().unwrap(), model["loss"].as_f64().unwrap());
        assert!(gap > 0.0 && loss >= gap * gap * (1.0 - 1e-12), "Jensen: {gap} {loss}");
        let bounds = model["bounds"].as_array().unwrap();
        assert_eq!(bounds.len(), 3);
        for (k, b) in (1..).zip(bounds) {
            assert_eq!((&b["window"], &b["hold"]), (&k.into(), &true.into()));
        }
    }
    let text = stdout(folder, line);
    assert!(text.contains("L_theta") && text.contains("holds for every picture"), "{text}");
    let ones = json(folder, &format!("{line} --tau off --json"));
    let first = |report: &Value, key: &str| report["checkpoints"][0][key].clone();
    assert_eq!(first(&ones, "loss"), first(&report, "loss"), "the total gap always has its tau");
    assert_ne!(first(&ones, "bounds"), first(&report, "bounds"));
}

#[test]
fn the_illustration_is_drawn_and_told() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let told = json(folder, "illustrate --svg %/one.svg --json");
    let expected = [
        "alternating",
        "alternating_deviation",
        "error",
        "exact",
        "same_sign",
        "same_sign_deviation",
        "svg",
        "t",
    ];
    assert_eq!(keys(&told), expected);
    assert_eq!(numbers(&told["same_sign"]).len(), 1001);
    let text = stdout(folder, "illustrate --svg %/two.svg");
    assert!(text.contains("alternating signs"), "{text}");
    let svg = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
    assert_eq!(svg("one.svg"), svg("two.svg"));
    assert!(svg("one.svg").starts_with("<svg") && svg("one.svg").ends_with("</svg>\n"));
}
