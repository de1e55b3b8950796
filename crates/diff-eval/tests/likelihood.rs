//! `likelihood` as a user runs it, on networks that were never trained.

// Clippy takes the helpers of an integration test for library code.
#![allow(clippy::unwrap_used)]

use candle_core::{Device, Tensor};
use diff_core::{Schedule, ScheduleSpec};
use diff_models::{
    checkpoint::Checkpoint,
    nets::{Architecture, DdpmSpec, adm::AdmConfig},
};
use serde_json::Value;
use std::{
    fs,
    path::Path,
    process::{Command, Output},
};
use tempfile::TempDir;

/// Runs `diff-eval likelihood` with `arguments` (separated by spaces; `%` stands for `folder`).
fn run(folder: &Path, arguments: &str) -> Output {
    let folder = folder.to_str().unwrap();
    let words = arguments.split_whitespace().map(|word| word.replace('%', folder));
    Command::new(env!("CARGO_BIN_EXE_diff-eval")).arg("likelihood").args(words).output().unwrap()
}

fn stdout(folder: &Path, arguments: &str) -> String {
    let output = run(folder, arguments);
    assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn json(folder: &Path, arguments: &str) -> Value {
    serde_json::from_str(&stdout(folder, &format!("{arguments} --json"))).unwrap()
}

/// Fails with exit code 2, with all of `words` in the message and nothing on stdout.
fn refused(folder: &Path, arguments: &str, words: &[&str]) {
    let output = run(folder, arguments);
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{arguments}: {message}");
    assert!(words.iter().all(|word| message.contains(word)), "{arguments}: {message}");
    assert!(output.stdout.is_empty(), "{arguments}");
}

fn write(architecture: &Architecture, seed: u64, path: &Path) {
    let schedule = ScheduleSpec { timesteps: 12, ..ScheduleSpec::default() };
    let schedule = Schedule::new(&schedule).unwrap();
    let mut checkpoint = Checkpoint::init(architecture, schedule, seed, &Device::Cpu).unwrap();
    let trained = "[data]\nsource = \"digits\"\nsplit = \"test\"";
    checkpoint.metadata.insert("diff.config".into(), trained.into());
    let tensors = checkpoint.params.iter();
    let weights: Vec<(String, Tensor)> =
        tensors.map(|(name, var)| (name.to_string(), var.as_tensor().clone())).collect();
    checkpoint.write(path, &weights).unwrap();
}

/// `plain` and `other`, of fixed variance, and `range`, which says its own.
fn networks() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let plain = DdpmSpec {
        resolution: 8,
        in_channels: 1,
        out_channels: 1,
        channels: 8,
        multipliers: vec![1],
        blocks: 1,
        attention_resolutions: vec![],
        norm_groups: 4,
        ..DdpmSpec::default()
    };
    let range = AdmConfig {
        image_size: 8,
        in_channels: 1,
        model_channels: 32,
        channel_mult: vec![1.0],
        num_res_blocks: 1,
        attention_resolutions: vec![],
        learn_sigma: true,
        ..AdmConfig::default()
    };
    write(&plain.clone().into(), 1, &folder.path().join("plain"));
    write(&plain.into(), 2, &folder.path().join("other"));
    write(&range.into(), 3, &folder.path().join("range"));
    folder
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

#[test]
fn bounds_are_compared_printed_and_drawn() {
    let folder = networks();
    let folder = folder.path();
    let three = "--checkpoint %/plain --checkpoint %/range --checkpoint %/other --name a --name b,2 \
                 --name c --num 30 --seed 3";
    let report = json(folder, &format!("{three} --csv %/terms.csv --svg %/terms.svg"));
    assert_eq!((&report["data"], &report["num"]), (&"digits:test".into(), &30.into()));
    assert_eq!((&report["steps"], &report["timesteps"]), (&12.into(), &12.into()));
    assert_eq!((&report["clip"], &report["seed"]), (&true.into(), &3.into()));
    let times: Vec<f64> = (1..=12).map(f64::from).collect();
    assert_eq!(numbers(&report["terms"]["t"]), times);
    let csv = fs::read_to_string(folder.join("terms.csv")).unwrap();
    assert!(csv.starts_with("t,a,\"b,2\",c\n1,") && csv.lines().count() == 13, "{csv}");
    let rows: Vec<Vec<f64>> =
        csv.lines().skip(1).map(|l| l.split(',').map(|v| v.parse().unwrap()).collect()).collect();
    let checkpoints = report["checkpoints"].as_array().unwrap();
    for (i, found) in checkpoints.iter().enumerate() {
        let of = |name: &str| found[name].as_f64().unwrap();
        let name = found["name"].as_str().unwrap();
        let variance = if name == "b,2" { "learned" } else { "small" };
        assert_eq!((name, &found["variance"]), (["a", "b,2", "c"][i], &variance.into()));
        assert_eq!(found["weights_sha256"].as_str().unwrap().len(), 64);
        let sum = of("prior") + of("transitions") + of("decoder");
        assert!((of("bits_per_dim") - sum).abs() < 1e-12, "{found}");
        assert!(of("bits_per_dim_low") < sum && sum < of("bits_per_dim_high"), "{found}");
        let terms = numbers(&report["terms"][name]);
        assert_eq!(terms, rows.iter().map(|row| row[1 + i]).collect::<Vec<_>>());
        assert!((terms[0] - of("decoder")).abs() < 1e-12);
        assert!((terms[1..].iter().sum::<f64>() - of("transitions")).abs() < 1e-12);
        // The prior knows no network.
        assert_eq!(found["prior"], checkpoints[0]["prior"]);
        let first = checkpoints[0]["bits_per_dim"].as_f64().unwrap();
        match i {
            0 => assert!(found.get("above_first").is_none()),
            _ => assert!((of("above_first") - (sum - first)).abs() < 1e-12, "{found}"),
        }
    }
    let svg = fs::read_to_string(folder.join("terms.svg")).unwrap();
    for words in ["Terms of the variational bound, 30 pictures", ">b,2<", "bits per dimension"] {
        assert!(svg.contains(words), "{words}: {svg}");
    }
    // Alone or in company, in whatever batches, a network's numbers are the same.
    let alone = json(folder, "--checkpoint %/range --name b,2 --num 30 --seed 3 --batch 11");
    let company = &checkpoints[1];
    for name in ["bits_per_dim", "decoder", "bits_per_dim_low"] {
        assert_eq!(alone["checkpoints"][0][name], company[name], "{name}");
    }
}

#[test]
fn people_read_a_table() {
    let folder = networks();
    let text = stdout(
        folder.path(),
        "--checkpoint %/plain --checkpoint %/range --name one --name two --num 9 --steps 4",
    );
    assert!(text.contains("9 pictures of digits:test (360 in all), 4 of 12 times"), "{text}");
    let lines: Vec<&str> = text.lines().collect();
    let header = lines.iter().position(|line| line.contains("bits/dim")).unwrap();
    assert!(lines[header + 1].starts_with("one  small") && lines[header + 1].ends_with(" -"));
    assert!(lines[header + 2].starts_with("two  learned") && lines[header + 2].ends_with(']'));
}

#[test]
fn options_are_what_they_say() {
    let folder = networks();
    let folder = folder.path();
    let of = |more: &str| json(folder, &format!("--checkpoint %/range --num 9 {more}"));
    let bits = |more: &str| of(more)["checkpoints"][0]["bits_per_dim"].as_f64().unwrap();
    let all = ["", "--variance small", "--variance large", "--unclipped", "--seed 1", "--steps 5"];
    let found: Vec<f64> = all.map(bits).to_vec();
    for (i, a) in found.iter().enumerate() {
        assert!(found[..i].iter().all(|b| a != b), "{all:?} {found:?}");
    }
    assert_eq!(bits("--variance learned"), found[0]);
    let listed = of("--trajectory 1,3,9");
    assert_eq!(numbers(&listed["terms"]["t"]), [1.0, 3.0, 9.0]);
    assert_eq!(listed["steps"], 3);
    let bare = of("--bootstrap 0");
    assert!(bare["checkpoints"][0]["bits_per_dim_low"].is_null());
    // Everything there is.
    let whole = json(folder, "--checkpoint %/plain --steps 2");
    assert_eq!(whole["num"], 360);
}

#[test]
fn impossible_requests_are_usage_errors() {
    let folder = networks();
    let folder = folder.path();
    let refused = |arguments: &str, words: &[&str]| refused(folder, arguments, words);
    refused("--checkpoint %/plain --variance learned", &["variance", "plain", "does not say"]);
    refused("--checkpoint %/range --checkpoint %/plain --variance learned", &["does not say"]);
    refused("--checkpoint %/plain --variance tiny", &["small, large, learned"]);
    refused("--checkpoint %/plain --num 361", &["num = 361", "at most 360"]);
    refused("--checkpoint %/plain --num 0", &["num = 0"]);
    refused("--checkpoint %/plain --batch 0", &["batch = 0"]);
    refused("--checkpoint %/plain --steps 13", &["13", "12"]);
    refused("--checkpoint %/plain --steps 0", &["0"]);
    refused("--checkpoint %/plain --trajectory 5,4", &["trajectory", "strictly increasing"]);
    refused("--checkpoint %/plain --trajectory linaer", &["linaer", "linear"]);
}
