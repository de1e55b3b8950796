//! The `time` commands: the work of the other commands, done in turns. How long it takes is no matter.

use super::{array, binaries, json, run, trained};
use serde_json::Value;
use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
};

/// Starts a worker, asks it for two turns, and lets it end: what it said when ready, and its answers.
fn two_turns(folder: &Path, line: &str) -> Vec<Value> {
    let folder = folder.to_str().unwrap();
    let mut words = line.split_whitespace().map(|word| word.replace('%', folder));
    let mut worker = Command::new(binaries().join(words.next().unwrap()))
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = worker.stdin.take().unwrap();
    let mut lines = BufReader::new(worker.stdout.take().unwrap()).lines();
    let mut read = || serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    let mut said: Vec<Value> = vec![read()];
    for _ in 0..2 {
        // Only now, so that what is answered was asked for.
        input.write_all(b"\n").unwrap();
        said.push(read());
    }
    drop(input);
    assert!(lines.next().is_none(), "{line}: says more than it was asked");
    assert!(worker.wait().unwrap().success(), "{line}");
    assert_eq!(said[0], serde_json::json!({"ready": true}), "{line}");
    for answer in &said[1..] {
        assert!(answer["seconds"].as_f64().unwrap() > 0.0, "{line}: {answer}");
        if cfg!(target_os = "linux") {
            assert!(answer["peak_rss_bytes"].as_u64().unwrap() > 1 << 20, "{line}: {answer}");
        }
    }
    said
}

#[test]
fn a_timed_forward_pass_is_that_of_forward() {
    let folder = trained();
    two_turns(
        folder,
        "diff-models time --checkpoint %/base --batch 3 --seed 1 --save-input %/drawn.safetensors \
         --output %/timed.safetensors --wait",
    );
    let forward = "diff-models forward --checkpoint %/base --input %/drawn.safetensors \
         --output %/forward.safetensors";
    assert!(run(folder, forward).status.success());
    let bytes = |name: &str| fs::read(folder.join(name)).unwrap();
    assert!(bytes("timed.safetensors") == bytes("forward.safetensors"));
    let again = "diff-models time --checkpoint %/base --input %/drawn.safetensors --repeats 2";
    let report = json(folder, &format!("{again} --json"));
    assert_eq!(report["seconds"].as_array().unwrap().len(), 2);
    assert!(report["median_seconds"].as_f64().unwrap() > 0.0);
    let text = String::from_utf8(run(folder, again).stdout).unwrap();
    assert!(text.starts_with("median ") && text.contains(" s of 2, "), "{text}");
}

#[test]
fn timed_steps_are_those_of_a_training_and_start_from_the_saved_inputs() {
    let folder = trained();
    let settings = "--config %/tiny.toml --init-from %/base --set network.dropout=0";
    let said = two_turns(
        folder,
        &format!("diff-train time {settings} --save-input %/step.safetensors --wait"),
    );
    assert_eq!((&said[1]["step"], &said[2]["step"]), (&1.into(), &2.into()));
    let measured =
        json(folder, "diff-train loss --checkpoint %/base --input %/step.safetensors --json");
    assert_eq!(measured["total"], said[1]["loss"]);
    let squares = measured["grad_norms"].as_object().unwrap().values();
    let norm = squares.map(|norm| norm.as_f64().unwrap().powi(2)).sum::<f64>().sqrt();
    let timed = said[1]["grad_norm"].as_f64().unwrap();
    assert!((norm - timed).abs() < 1e-5 * timed, "{norm} {timed}");
    let run = "diff-train run --set out=%/two --set train.steps=2 --set train.log_every=1 --json";
    assert_eq!(json(folder, &format!("{run} {settings}"))["loss"], said[2]["loss"]);
}

#[test]
fn timed_pictures_are_those_of_generate() {
    let folder = trained();
    let settings = "--checkpoint %/base --steps 3 --num 5 --batch 2 --seed 4";
    let said =
        two_turns(folder, &format!("diff-sample time {settings} --output %/timed.npz --wait"));
    assert_eq!((&said[2]["images"], &said[2]["network_calls"]), (&5.into(), &9.into()));
    json(folder, &format!("diff-sample generate {settings} --f32 --out %/made.npz --json"));
    assert!(array(&folder.join("timed.npz"), "raw") == array(&folder.join("made.npz"), "raw"));
}

#[test]
fn what_cannot_be_timed_is_refused_before_anything_is_said() {
    let folder = trained();
    for (line, code, words) in [
        ("diff-models time --checkpoint %/base --batch 0", 2, "batch = 0"),
        ("diff-models time --checkpoint %/base --repeats 0", 2, "repeats = 0"),
        ("diff-models time --checkpoint %/base --wait --repeats 3", 2, "--repeats"),
        ("diff-models time --checkpoint %/base --wait --input %/tiny.toml", 1, "tiny.toml"),
        ("diff-train time --config %/tiny.toml --wait --set train.batch=0", 2, "train.batch = 0"),
        ("diff-train time --config %/tiny.toml --init-from %/none", 1, "none"),
        ("diff-sample time --checkpoint %/base --wait", 2, "num = nothing"),
        ("diff-sample time --checkpoint %/base --num 1 --steps 0", 2, "steps"),
    ] {
        let output = run(folder, line);
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{line}: {message}");
        assert!(message.contains(words) && output.stdout.is_empty(), "{line}: {message}");
    }
}
