//! `cargo xtask reproduce`, driving stand-ins of the binaries (`tests/fake`).

#![cfg(test)]

mod common;

use common::{Place, stderr};
use serde_json::Value;
use std::{fs, path::PathBuf};

/// Cells of the quick experiment: two models, two samplers, one measure.
const CELLS: [&str; 10] = [
    "train-baseline",
    "train-sa2",
    "sample-baseline-ddpm-10",
    "pixels-baseline-ddpm-10",
    "sample-baseline-ddim-10",
    "pixels-baseline-ddim-10",
    "sample-sa2-ddpm-10",
    "pixels-sa2-ddpm-10",
    "sample-sa2-ddim-10",
    "pixels-sa2-ddim-10",
];

impl Place {
    /// Runs, expects success, and gives the number of binaries that were called.
    fn calls(&self, arguments: &[&str], environment: &[(&str, &str)]) -> usize {
        let calls = self.calls_file();
        let _ = fs::remove_file(&calls);
        let output = self.run(arguments, environment);
        assert!(output.status.success(), "{}", stderr(&output));
        fs::read_to_string(&calls).map_or(0, |text| text.lines().count())
    }

    fn results(&self) -> Value {
        serde_json::from_str(&self.read("results.json")).unwrap()
    }

    fn cell(&self, name: &str) -> PathBuf {
        let mut found = fs::read_dir(self.out().join("cells")).unwrap().filter_map(|entry| {
            let path = entry.unwrap().path();
            let (stem, _) = path.file_name()?.to_str()?.rsplit_once('-')?;
            (stem == name).then_some(path)
        });
        found.next().unwrap()
    }
}

#[test]
fn the_report_has_every_cell_and_needs_nothing_from_elsewhere() {
    let place = Place::new();
    assert_eq!(place.calls(&[], &[]), CELLS.len());
    let (html, markdown) = (place.read("report.html"), place.read("report.md"));
    for page in [&html, &markdown] {
        for name in CELLS.iter().chain(&["Plumbing run, not evidence", "0.0625", "1,234"]) {
            assert!(page.contains(name), "{name} is missing from:\n{page}");
        }
    }
    assert_eq!(html.matches("<img alt=\"Samples of ").count(), 4);
    assert_eq!(html.matches("src=\"").count(), html.matches("src=\"data:").count());
    assert_eq!(html.matches("<figure class=\"plot\">").count(), 3);
    assert!(!html.contains("href=\"http") && !html.contains("<script src"));
    assert!(html.contains("content=\"default-src 'none'; img-src data:; "));
    for link in markdown.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
        assert!(place.out().join(link).is_file(), "{link}");
    }
    let results = place.results();
    assert_eq!(results["cells"].as_array().unwrap().len(), CELLS.len());
    assert_eq!(results["values"].as_array().unwrap().len(), 4);
    assert_eq!(results["evidence"], false);
}

#[test]
fn finished_cells_are_reused_and_only_what_changed_is_run_again() {
    let place = Place::new();
    assert_eq!(place.calls(&[], &[]), 10);
    assert_eq!(place.calls(&[], &[]), 0);
    assert!(place.read("report.md").contains("10 of them"));
    assert_eq!(place.calls(&["--set", "sample.seed=1"], &[]), 8, "samples and their measures");
    assert_eq!(place.calls(&["--set", "config.train.lr=0.5"], &[]), 10);
    assert_eq!(place.calls(&[], &[("FAKE_VERSION", "2")]), 10);
    assert_eq!(place.calls(&[], &[]), 0, "the cells of the first run are still there");
    assert_eq!(place.calls(&["--force"], &[]), 10);
}

#[test]
fn a_cell_with_missing_or_altered_files_is_run_again() {
    let place = Place::new();
    place.calls(&[], &[]);
    fs::remove_file(place.cell("train-baseline").join("cell.json")).unwrap();
    assert_eq!(place.calls(&[], &[]), 1, "an interrupted cell leaves no cell.json");
    let weights = "run/model/unet/diffusion_pytorch_model.safetensors";
    fs::write(place.cell("train-sa2").join(weights), "other").unwrap();
    fs::remove_file(place.cell("sample-sa2-ddim-10").join("samples.npz")).unwrap();
    assert_eq!(place.calls(&[], &[]), 2);
}

#[test]
fn a_failed_cell_loses_only_what_starts_from_it() {
    let place = Place::new();
    let failure = [("FAKE_FAIL", "\"sa\"")];
    let output = place.run(&[], &failure);
    assert_eq!(output.status.code(), Some(1));
    let message = stderr(&output);
    assert!(message.contains("out of luck") && message.contains("failed: train-sa2"), "{message}");
    let states: Vec<_> = place.results()["cells"]
        .as_array()
        .unwrap()
        .iter()
        .map(|cell| cell["state"].as_str().unwrap().to_string())
        .collect();
    assert_eq!(states[..6], ["done", "failed", "done", "done", "done", "done"]);
    assert!(states[6..].iter().all(|state| state == "skipped"));
    for page in ["report.html", "report.md"] {
        let page = place.read(page);
        assert!(page.contains("out of luck") && page.contains("0.0625"));
    }
    assert_eq!(place.calls(&[], &[]), 5, "the next run does what is missing");
}

#[test]
fn a_number_that_is_not_finite_fails_its_cell_by_name() {
    let place = Place::new();
    let output = place.run(&[], &[("FAKE_NAN", "\"sa\"")]);
    assert_eq!(output.status.code(), Some(1));
    let message = stderr(&output);
    assert!(message.contains("failed: train-sa2") && message.contains("grad_norm"), "{message}");
    assert!(message.contains("line 1"), "{message}");
}

#[test]
fn an_empty_measure_fails_its_cell_by_name() {
    let place = Place::new();
    let output = place.run(&[], &[("FAKE_EMPTY", "sample-baseline-ddim-10")]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("failed: pixels-baseline-ddim-10\n"), "{}", stderr(&output));
}

#[test]
fn the_same_run_twice_gives_the_same_results_apart_from_times() {
    let results: Vec<Value> = (0..2)
        .map(|_| {
            let place = Place::new();
            place.calls(&[], &[]);
            let mut results = place.results();
            assert!(results.as_object_mut().unwrap().remove("times").is_some());
            results
        })
        .collect();
    assert_eq!(results[0], results[1]);
}

#[test]
fn a_dry_run_prints_the_plan_and_does_nothing() {
    let place = Place::new();
    let output = place.run(&["--dry-run"], &[]);
    assert!(output.status.success());
    let plan = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(CELLS.iter().all(|cell| plan.contains(cell)), "{plan}");
    assert!(!place.out().exists());
}

#[test]
fn bad_usage_exits_with_2_and_names_the_mistake() {
    let place = Place::new();
    for (setting, named) in [("sampl.num=3", "did you mean"), ("sample.num=0", "at least 1")] {
        let output = place.run(&["--set", setting], &[]);
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        assert!(stderr(&output).contains(named), "{}", stderr(&output));
    }
}
