//! `cargo xtask golden`, driving a stand-in of python (`tests/fake/golden-python`).

#![cfg(test)]
#![cfg(unix)]

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output},
};
use tempfile::TempDir;

const GAP: &str = "crates/diff-eval/tests/fixtures/gap.json";
const EVENTS: &str = "crates/diff-train/tests/fixtures/events.bin";
const STUDY: &str = "crates/diff-models/tests/fixtures/study_a.safetensors";

/// A workspace of fixtures, and what the scripts will make.
struct Place(TempDir);

impl Place {
    /// Fixtures of three scripts, which make the same anew.
    fn new() -> Self {
        let place = Place(tempfile::tempdir().unwrap());
        let tensor = tensor(1.0);
        for (path, made, bytes) in [
            (GAP, "gap/gap.json", &b"[1.0, {\"a\": 2}]"[..]),
            (EVENTS, "tensorboard_events/events.bin", b"events"),
            (STUDY, "study/study_a.safetensors", &tensor),
        ] {
            place.write(path, bytes);
            place.write(&format!("made/{made}"), bytes);
        }
        fs::create_dir(place.path("checkouts")).unwrap();
        place
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn write(&self, path: &str, bytes: &[u8]) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn read(&self, path: &str) -> Vec<u8> {
        fs::read(self.path(path)).unwrap()
    }

    /// Runs it on these fixtures. What git would fetch from elsewhere is not there.
    fn golden(&self, arguments: &[&str], environment: &[(&str, &str)]) -> (i32, String, String) {
        let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fake/golden-python");
        let output: Output = Command::new(env!("CARGO_BIN_EXE_xtask"))
            .arg("golden")
            .args(arguments)
            .env("CARGO_MANIFEST_DIR", self.path("xtask"))
            .env("DIFF_PEER_PYTHON", python)
            .env("FAKE_CALLS", self.path("calls"))
            .env("FAKE_MADE", self.path("made"))
            .env("GIT_CONFIG_COUNT", "1")
            .env("GIT_CONFIG_KEY_0", "url.file:///nowhere/.insteadOf")
            .env("GIT_CONFIG_VALUE_0", "https://github.com/")
            .envs(environment.iter().copied())
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
    }

    /// The scripts that were run.
    fn ran(&self) -> Vec<String> {
        let calls = fs::read_to_string(self.path("calls")).unwrap_or_default();
        calls.lines().filter(|line| line.ends_with(".py")).map(String::from).collect()
    }
}

/// A file of one tensor of one number.
fn tensor(value: f32) -> Vec<u8> {
    let bytes = value.to_le_bytes();
    let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![1], &bytes);
    safetensors::serialize([("out", view.unwrap())], None).unwrap()
}

/// The words of the line of `table` that speaks of `file`.
fn line<'a>(table: &'a str, file: &str) -> Vec<&'a str> {
    let found = table.lines().find(|line| line.contains(file));
    found.unwrap_or_else(|| panic!("{file} is not in\n{table}")).split_whitespace().collect()
}

#[test]
fn fixtures_that_are_alike_end_well_and_nothing_is_written() {
    let place = Place::new();
    place.write("made/gap/gap.json", b"[1.0000001, {\"a\": 2}]");
    let (code, table, messages) = place.golden(&["gap", "tensorboard_events"], &[]);
    assert_eq!(code, 0, "{table}{messages}");
    assert_eq!(line(&table, "gap.json"), ["gap", "gap.json", "1.0e-7", "close"]);
    assert_eq!(line(&table, "events.bin"), ["tensorboard_events", "events.bin", "0", "same"]);
    assert_eq!(place.read(GAP), b"[1.0, {\"a\": 2}]");
    assert_eq!(place.ran(), ["gap.py", "tensorboard_events.py"]);
}

#[test]
fn a_fixture_that_differs_fails_the_run_and_is_written_when_asked() {
    let place = Place::new();
    place.write("made/gap/gap.json", b"[1.0, {\"a\": 3}]");
    place.write("made/tensorboard_events/events.png", b"more");
    let names = ["gap", "tensorboard_events"];
    let (code, table, messages) = place.golden(&names, &[]);
    assert_eq!(code, 1);
    assert!(messages.contains("2 of 3 files differ; --write takes them over"), "{messages}");
    assert!(table.contains("DIFFERS: [1].a is 5.0e-1 away, at most 1e-6"), "{table}");
    assert_eq!(line(&table, "events.png")[2..], ["-", "DIFFERS:", "new"]);
    assert_eq!(place.read(GAP), b"[1.0, {\"a\": 2}]", "only compared");

    // What is alike stays as it is, to the time of its last change.
    let changed = |path: &str| fs::metadata(place.path(path)).unwrap().modified().unwrap();
    let before = changed(EVENTS);
    let (code, table, messages) = place.golden(&[&names[..], &["--write"]].concat(), &[]);
    assert_eq!(code, 0, "{messages}");
    assert!(table.contains("written: [1].a is 5.0e-1 away"), "{table}");
    assert_eq!(place.read(GAP), b"[1.0, {\"a\": 3}]");
    assert_eq!(place.read("crates/diff-train/tests/fixtures/events.png"), b"more");
    let mode = fs::metadata(place.path(GAP)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o644);
    assert_eq!(changed(EVENTS), before);
    assert_eq!(place.golden(&names, &[]).0, 0, "now they are alike");
}

#[test]
fn what_a_script_no_longer_makes_or_should_not_make_fails_also_when_writing() {
    let place = Place::new();
    fs::remove_file(place.path("made/tensorboard_events/events.bin")).unwrap();
    place.write("made/tensorboard_events/other.bin", b"x");
    for arguments in [&["tensorboard_events"][..], &["tensorboard_events", "--write"]] {
        let (code, table, _) = place.golden(arguments, &[]);
        assert_eq!(code, 1);
        assert!(table.contains("the script no longer makes it"), "{table}");
        let foreign = line(&table, "other.bin")[2..].join(" ");
        assert!(foreign.starts_with("- DIFFERS: not among the script's files"), "{table}");
        assert!(!place.path("crates/diff-train/tests/fixtures/other.bin").exists());
        assert_eq!(place.read(EVENTS), b"events");
    }
}

#[test]
fn scripts_whose_packages_or_checkouts_are_missing_are_skipped_with_the_way_to_them() {
    let place = Place::new();
    let checkouts = place.path("checkouts");
    let names = ["gap", "tensorboard_events", "study"];
    let given = ["--repositories", checkouts.to_str().unwrap()];
    let arguments = [&names[..], &given[..]].concat();
    let (code, table, messages) = place.golden(&arguments, &[("FAKE_MISSING", "PIL tensorboard")]);
    assert_eq!(code, 0, "{messages}");
    assert_eq!(line(&table, "gap.json")[3], "same");
    let skipped = line(&table, "skipped tensorboard_events").join(" ");
    assert!(skipped.contains("without pillow, tensorboard: "), "{skipped}");
    assert!(skipped.contains(" -m pip install pillow==") && skipped.contains(" tensorboard=="));
    let skipped = line(&table, "skipped study").join(" ");
    for words in ["DenoisingDiffusionProbabilityModel-ddpm- at 54532d6", "`Denoising", "--repos"] {
        assert!(skipped.contains(words), "{skipped}");
    }
    assert_eq!(place.ran(), ["gap.py"]);

    // With a checkout of that name it runs, and is given it before the folder it writes to.
    let checkout = checkouts.join("DenoisingDiffusionProbabilityModel-ddpm-");
    fs::create_dir(&checkout).unwrap();
    let (code, table, messages) = place.golden(&arguments, &[]);
    assert_eq!(code, 0, "{messages}");
    assert_eq!(line(&table, "study_a")[3], "same");
    let calls = fs::read_to_string(place.path("calls")).unwrap();
    let call = format!("tests/golden/study.py {} ", checkout.display());
    assert!(calls.contains(&call), "{calls}");
    place.write("made/study/study_a.safetensors", &tensor(1.1));
    let (code, table, _) = place.golden(&arguments, &[]);
    assert_eq!(code, 1);
    assert!(table.contains("tensor `out` is 1.0e-1 away, at most 1e-5"), "{table}");
}

#[test]
fn a_script_that_fails_fails_the_run_with_its_last_words_and_the_others_go_on() {
    let place = Place::new();
    fs::remove_dir_all(place.path("made/gap")).unwrap();
    let (code, table, messages) = place.golden(&["gap", "tensorboard_events", "--write"], &[]);
    assert_eq!(code, 1);
    assert!(table.contains("failed (exit status: 1): SomeError: no luck"), "{table}");
    assert!(messages.contains("Traceback"), "{messages}");
    assert_eq!(line(&table, "events.bin")[3], "same");
    assert_eq!(place.read(GAP), b"[1.0, {\"a\": 2}]");
}

#[test]
fn other_versions_are_told() {
    let place = Place::new();
    let (code, _, messages) = place.golden(&["gap"], &[("FAKE_VERSION", "0.1")]);
    assert_eq!(code, 0);
    assert!(messages.contains("other versions than the fixtures were made with: numpy 0.1 for "));
}

#[test]
fn impossible_arguments_are_usage_errors_and_nothing_is_run() {
    let place = Place::new();
    for (arguments, environment, words) in [
        (&["unett"][..], &[][..], "NAME = unett: expected one of adm, "),
        (&["unett"], &[], "did you mean `unet`?"),
        (&["gap", "--repositories", "no/such"], &[], "--repositories = no/such: expected"),
        (&["gap"], &[("DIFF_PEER_PYTHON", "")], "neither --peer-python nor DIFF_PEER_PYTHON"),
    ] {
        let (code, table, messages) = place.golden(arguments, environment);
        assert_eq!((code, table.as_str()), (2, ""), "{messages}");
        assert!(messages.contains(words), "{messages}");
    }
    let (code, _, messages) = place.golden(&["gap", "--peer-python", "no/such/python"], &[]);
    assert_eq!(code, 1);
    assert!(messages.contains("no/such/python: expected a python"), "{messages}");
    assert!(place.ran().is_empty());
}
