//! `cargo xtask bench`, driving stand-ins of the binaries and of python (`tests/fake`).

#![cfg(test)]

use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

fn fake(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fake").join(name)
}

/// Runs it without a rest; calls of the stand-ins go to `calls`.
fn bench(calls: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args(["bench", "--pause", "0", "--repeats", "2", "--threads", "2", "--bin-dir"])
        .arg(fake(""))
        .args(arguments)
        .env_remove("DIFF_PEER_PYTHON")
        .env("FAKE_CALLS", calls)
        .envs(environment.iter().copied())
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What a run that must succeed prints under `--json`.
fn json(arguments: &[&str], environment: &[(&str, &str)]) -> Value {
    let dir = tempfile::tempdir().unwrap();
    let output = bench(&dir.path().join("calls"), &[arguments, &["--json"]].concat(), environment);
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn names<'a>(list: &'a Value, key: &str) -> Vec<&'a str> {
    list.as_array().unwrap().iter().map(|entry| entry[key].as_str().unwrap()).collect()
}

#[test]
fn every_case_is_timed_on_both_sides_and_compared() {
    let python = fake("python");
    let found = json(&[], &[("DIFF_PEER_PYTHON", python.to_str().unwrap())]);
    assert_eq!(found["peers"]["found"]["versions"]["torch"], "9.9");
    let cases = found["cases"].as_array().unwrap();
    let kinds: Vec<_> = cases.iter().map(|c| (c["kind"].as_str().unwrap(), &c["batch"])).collect();
    let expected = [
        ("forward", 1),
        ("forward", 8),
        ("forward", 64),
        ("step", 8),
        ("step", 16),
        ("ddim", 8),
        ("sequence", 8),
        ("inception", 32),
        ("fid", 32),
        ("frechet", 2048),
    ];
    assert_eq!(kinds.len(), expected.len());
    assert!(kinds.iter().zip(expected).all(|(found, e)| found.0 == e.0 && *found.1 == e.1));
    let forward = &cases[1];
    let sides = names(&forward["sides"], "name");
    assert_eq!(sides, ["ours", "contiguous", "channels_last", "bf16", "compile"]);
    assert_eq!(forward["sides"][1]["seconds"], serde_json::json!([2.0, 2.0]));
    assert_eq!(forward["sides"][1]["errors"]["output"], 1e-6);
    assert!(forward["sides"][4]["failed"].as_str().unwrap().contains("no C++ compiler"));
    assert_eq!(forward["ratios"].as_array().unwrap().len(), 3);
    assert_eq!(forward["ratios"][0]["median"], 2.0);
    let step = &cases[3]["sides"][1];
    assert_eq!((&step["errors"]["loss"], &step["errors"]["grad_norm"]), (&0.0.into(), &0.0.into()));
    assert_eq!(names(&cases[5]["sides"], "name"), ["ours", "contiguous", "channels_last"]);
    let sequence = &cases[6];
    assert_eq!(names(&sequence["sides"], "name").len(), 3);
    assert_eq!(sequence["ratios"][0]["median"], 2.0);
    assert_eq!(sequence["ratios"][1]["over"][1], "simple, batch 16");
    assert_eq!(names(&cases[7]["sides"], "name"), ["ours", "contiguous", "channels_last"]);
    for case in &cases[8..] {
        assert_eq!(names(&case["sides"], "name"), ["ours", "contiguous"]);
        assert_eq!(case["ratios"][0]["median"], 2.0);
    }
}

#[test]
fn what_both_sides_of_fid_start_from_is_made_by_the_peer() {
    let dir = tempfile::tempdir().unwrap();
    let calls = dir.path().join("calls");
    let python = fake("python");
    let given = ["--only", "fid,frechet", "--peer-python", python.to_str().unwrap()];
    let output = bench(&calls, &given, &[]);
    let table = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(table.contains("fid, batch 32") && table.contains("frechet, features 2048"), "{table}");
    let calls = fs::read_to_string(&calls).unwrap();
    for words in ["peer pictures --output ", "peer moments --output ", "--weights-sha256 5a5a "] {
        assert!(calls.contains(words), "{words} is not in {calls}");
    }
    // Without a peer there is nothing to start from.
    let output = bench(&dir.path().join("none"), &["--only", "fid,frechet"], &[]);
    assert!(output.status.success() && !text(&output.stdout).contains("features 2048"));
}

#[test]
fn the_table_goes_to_stdout_and_the_object_to_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let (calls, out) = (dir.path().join("calls"), dir.path().join("deep/bench.json"));
    let python = fake("python");
    let arguments = ["--only", "forward", "--quick", "--peer-python", python.to_str().unwrap()];
    let output = bench(&calls, &[&arguments[..], &["--out", out.to_str().unwrap()]].concat(), &[]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let table = text(&output.stdout);
    assert!(table.contains("contiguous / ours = 2.000 (2.000 .. 2.000)"), "{table}");
    let found: Value = serde_json::from_str(&fs::read_to_string(out).unwrap()).unwrap();
    assert_eq!(names(&found["cases"][0]["sides"], "name").len(), 3, "--quick: two formats");
    let calls = fs::read_to_string(calls).unwrap();
    let peers = calls.lines().filter(|line| line.starts_with("peer forward --model "));
    assert_eq!(peers.count(), 2, "one worker a side, however many rounds");
    assert!(calls.contains("--threads 2 --layout channels_last --reference "), "{calls}");
}

#[test]
fn without_a_peer_ours_is_timed_alone_and_the_reason_told() {
    let dir = tempfile::tempdir().unwrap();
    let calls = dir.path().join("calls");
    let python = fake("python");
    let given = ["--only", "forward,step", "--peer-python", python.to_str().unwrap()];
    for (arguments, environment, words) in [
        (&given[..2], &[][..], "neither --peer-python nor DIFF_PEER_PYTHON names a python"),
        (&given[..], &[("FAKE_NO_TORCH", "1")][..], "No module named 'torch'"),
    ] {
        let output = bench(&calls, &[arguments, &["--batch", "3"]].concat(), environment);
        let (table, messages) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{messages}");
        assert!(messages.contains("only ours is timed") && messages.contains(words), "{messages}");
        assert!(table.contains(words), "{table}");
        assert!(table.contains("forward, batch 3  ours") && table.contains("step, batch 3"));
    }
    assert!(!fs::read_to_string(calls).unwrap().contains("peer "));
}

#[test]
fn outputs_that_differ_fail_the_run_after_its_table_but_bf16_may() {
    let dir = tempfile::tempdir().unwrap();
    let calls = dir.path().join("calls");
    let python = fake("python");
    let arguments =
        ["--only", "forward", "--batch", "1", "--peer-python", python.to_str().unwrap()];
    let run = |variant: &str, distance: &str| {
        let arguments = [&arguments[..], &["--variants", variant]].concat();
        bench(&calls, &arguments, &[("FAKE_DISTANCE", distance)])
    };
    let output = run("contiguous", "2e-4");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("output 2.0e-4"));
    let message = text(&output.stderr);
    assert!(message.contains("forward, batch 1, contiguous: output 2.0e-4"), "{message}");
    assert!(run("contiguous", "null").status.code() == Some(1), "no number is no match");
    assert!(run("bf16", "2e-2").status.success());
}

#[test]
fn impossible_arguments_are_usage_errors_and_nothing_is_called() {
    let dir = tempfile::tempdir().unwrap();
    let calls = dir.path().join("calls");
    for (arguments, words) in [
        (["--batch", "0"], "batch = 0"),
        (["--only", "backward"], "backward"),
        (["--variants", "jit"], "jit"),
    ] {
        let output = bench(&calls, &arguments, &[]);
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{message}");
        assert!(message.contains(words) && output.stdout.is_empty(), "{message}");
    }
    for (name, value) in [("--threads", "0"), ("--repeats", "0"), ("--pause", "-1")] {
        let output = Command::new(env!("CARGO_BIN_EXE_xtask"))
            .args(["bench", &format!("{name}={value}")])
            .output()
            .unwrap();
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{message}");
        assert!(message.contains(name.trim_start_matches('-')), "{message}");
    }
    assert!(!calls.exists());
}
