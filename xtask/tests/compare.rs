//! `cargo xtask report` and `cargo xtask list`, as a user runs them.

#![cfg(test)]

mod common;

use common::{Place, stderr};
use serde_json::Value;
use std::{
    path::Path,
    process::{Command, Output},
};

fn xtask(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_xtask")).args(arguments).output().unwrap()
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", stderr(output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The quick experiment on stand-ins, with changes.
fn reproduced(arguments: &[&str], environment: &[(&str, &str)]) -> Place {
    let place = Place::new();
    let output = place.run(arguments, environment);
    assert!(output.status.success(), "{}", stderr(&output));
    place
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_run_and_its_repetition_are_identical_apart_from_times() {
    let (a, b) = (reproduced(&[], &[]), reproduced(&[], &[]));
    let file = b.out().join("results.json");
    let told = stdout(&xtask(&["report", text(&a.out()), text(&file)]));
    assert!(told.contains("Identical apart from times."), "{told}");
    let line = told.lines().find(|line| line.contains("std image rms")).unwrap();
    let words: Vec<&str> = line.split_whitespace().rev().take(4).collect();
    assert_eq!(words, ["1", "0", "0.06250", "0.06250"]);
    assert!(!told.contains("Only in one") && !told.contains("differ\n"), "{told}");
}

#[test]
fn what_was_changed_is_what_is_told() {
    let a = reproduced(&[], &[]);
    let b = reproduced(&["--set", "config.train.lr=0.5"], &[("FAKE_VERSION", "2")]);
    let (page, folder) = (a.out().join("c.html"), a.out().join("both"));
    let (first, second) = (a.out(), b.out());
    let wanted = ["--html", text(&page), "--out", text(&folder)];
    let arguments = [&["report", text(&first), text(&second)][..], &wanted].concat();
    let told = stdout(&xtask(&arguments));
    for part in ["0 of ", "train.lr", "0.002", "0.5", "versions.diff-eval", "diff-eval 2"] {
        assert!(told.contains(part), "{part} is missing from:\n{told}");
    }
    let html = a.read("c.html");
    assert_eq!(html, a.read("both/comparison.html"));
    assert!(html.contains("quick and quick, compared") && html.contains("train.lr"));
    assert!(html.contains("default-src 'none'"));
    let data: Value = serde_json::from_str(&a.read("both/comparison.json")).unwrap();
    assert_eq!(data["identical_apart_from"], Value::Null);
    assert_eq!(data["settings"][0]["name"], "train.lr");
    let printed = stdout(&xtask(&["report", text(&first), text(&second), "--json"]));
    assert_eq!(serde_json::from_str::<Value>(&printed).unwrap(), data);
}

#[test]
fn a_run_that_is_not_there_is_bad_usage() {
    let output = xtask(&["report", "no such run", "quick"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("no such run"), "{}", stderr(&output));
}

#[test]
fn the_list_has_every_experiment() {
    let told = stdout(&xtask(&["list"]));
    assert!(told.lines().any(|line| line.starts_with("quick ")), "{told}");
    let data: Value = serde_json::from_str(&stdout(&xtask(&["list", "--json"]))).unwrap();
    assert_eq!(data["experiments"].as_array().unwrap().len(), told.lines().count() - 1);
}
