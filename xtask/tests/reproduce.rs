//! `cargo xtask reproduce`, driving stand-ins of the binaries (`tests/fake`).

#![cfg(test)]

mod common;

use common::{Place, stderr};
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Cells of the quick experiment: a classifier, two models, two samplers, six measures.
const CELLS: [&str; 21] = [
    "train-classifier",
    "train-baseline",
    "train-sa2",
    "illustrate",
    "floor",
    "sample-baseline-ddpm-10",
    "fd-baseline-ddpm-10",
    "pixels-baseline-ddpm-10",
    "sample-baseline-ddim-10",
    "fd-baseline-ddim-10",
    "pixels-baseline-ddim-10",
    "gap-baseline",
    "bounds-baseline",
    "sample-sa2-ddpm-10",
    "fd-sa2-ddpm-10",
    "pixels-sa2-ddpm-10",
    "sample-sa2-ddim-10",
    "fd-sa2-ddim-10",
    "pixels-sa2-ddim-10",
    "gap-sa2",
    "bounds-sa2",
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
    let shown = [
        "Plumbing run, not evidence",
        "0.0625",
        "1,234",
        "97.5 %",
        "10 [9, 11]",
        "better, outside the interval",
        "1.375",
        "3.281",
        "0.007812",
    ];
    for page in [&html, &markdown] {
        for name in CELLS.iter().chain(&shown) {
            assert!(page.contains(name), "{name} is missing from:\n{page}");
        }
    }
    assert_eq!(html.matches("<img alt=\"Samples of ").count(), 4);
    assert_eq!(html.matches("src=\"").count(), html.matches("src=\"data:").count());
    // The losses of two models apart and together, two charts of the gap.
    assert_eq!(html.matches("<figure class=\"plot\">").count(), 3 + 2);
    assert!(!html.contains("href=\"http") && !html.contains("<script src"));
    assert!(html.contains("content=\"default-src 'none'; img-src data:; "));
    for link in markdown.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
        assert!(place.out().join(link).is_file(), "{link}");
    }
    let results = place.results();
    assert_eq!(results["cells"].as_array().unwrap().len(), CELLS.len());
    assert_eq!(results["values"].as_array().unwrap().len(), 14);
    assert_eq!(results["differences"][0]["difference"], -2.0);
    assert_eq!(results["differences"][0]["interval"], serde_json::json!([-2.0, -2.0]));
    assert_eq!(results["evidence"], false);
}

#[test]
fn finished_cells_are_reused_and_only_what_changed_is_run_again() {
    let place = Place::new();
    assert_eq!(place.calls(&[], &[]), CELLS.len());
    assert_eq!(place.calls(&[], &[]), 0);
    assert!(place.read("report.md").contains("21 of them"));
    assert_eq!(place.calls(&["--set", "sample.seed=1"], &[]), 12, "samples and their measures");
    assert_eq!(place.calls(&["--set", "config.train.lr=0.5"], &[]), 18, "not the classifier");
    let judge = ["--set", "classifier.config.train.lr=0.5"];
    assert_eq!(place.calls(&judge, &[]), 6, "the classifier, and what is judged by it");
    assert_eq!(place.calls(&[], &[("FAKE_VERSION", "2")]), CELLS.len());
    assert_eq!(place.calls(&[], &[]), 0, "the cells of the first run are still there");
    assert_eq!(place.calls(&["--force"], &[]), CELLS.len());
}

#[test]
fn a_cell_with_missing_or_altered_files_is_run_again() {
    let place = Place::new();
    place.calls(&[], &[]);
    fs::remove_file(place.cell("train-baseline").join("cell.json")).unwrap();
    assert_eq!(place.calls(&[], &[]), 1, "an interrupted cell leaves no cell.json");
    let weights = "run/model/unet/diffusion_pytorch_model.safetensors";
    fs::write(place.cell("train-sa2").join(weights), "other").unwrap();
    fs::remove_file(place.cell("sample-sa2-ddim-10").join("samples.png")).unwrap();
    assert_eq!(place.calls(&[], &[]), 2);
}

#[test]
fn weights_and_arrays_are_missed_only_by_what_starts_from_them() {
    let place = Place::new();
    place.calls(&[], &[]);
    let weights = "run/model/unet/diffusion_pytorch_model.safetensors";
    for model in ["baseline", "sa2"] {
        fs::remove_file(place.cell(&format!("train-{model}")).join(weights)).unwrap();
        for sampler in ["ddpm-10", "ddim-10"] {
            let samples = place.cell(&format!("sample-{model}-{sampler}"));
            fs::remove_file(samples.join("samples.npz")).unwrap();
        }
    }
    let report = place.results();
    assert_eq!(place.calls(&[], &[]), 0, "the results are there");
    assert_eq!(place.results()["cells"], report["cells"]);
    fs::remove_dir_all(place.cell("pixels-sa2-ddim-10")).unwrap();
    assert_eq!(place.calls(&[], &[]), 3, "the measure, its samples, and their network");
    fs::remove_dir_all(place.cell("gap-sa2")).unwrap();
    assert_eq!(place.calls(&[], &[]), 1, "the network is back");
    assert_eq!(place.calls(&["--force"], &[]), CELLS.len());
}

#[test]
fn an_experiment_can_be_run_in_parts_that_share_nothing_but_an_archive() {
    let (one, other, whole) = (Place::new(), Place::new(), Place::new());
    let archive = one.out().with_file_name("cells.zip");
    let cells = ["--cells", archive.to_str().unwrap()];
    let sa2 = one.calls(&[&cells[..], &["--only", "sa2"]].concat(), &[]);
    let names = |archive: &Path| -> Vec<String> {
        let zip = zip::ZipArchive::new(fs::File::open(archive).unwrap()).unwrap();
        zip.file_names().map(|name| name.unwrap().into_owned()).collect()
    };
    let bulky = |name: &String| name.ends_with(".safetensors") || name.ends_with(".npz");
    assert_eq!(names(&archive).iter().filter(|name| name.ends_with("/cell.json")).count(), sa2);
    assert!(!names(&archive).iter().any(bulky));

    // The classifier is trained once more, for its weights.
    assert_eq!(other.calls(&cells, &[]), CELLS.len() - sa2 + 1);
    assert_eq!(whole.calls(&cells, &[]), 0, "all is in the archive");
    let numbers = |place: &Place| {
        let mut results = place.results();
        results.as_object_mut().unwrap().remove("times");
        results
    };
    assert_eq!(numbers(&other), numbers(&whole));
    assert!(whole.read("report.html").contains("data:image/png;base64,"));

    // Cells that another plan does not have stay, and equal cells are equal bytes.
    let before = fs::read(&archive).unwrap();
    whole.calls(&cells, &[]);
    assert_eq!(fs::read(&archive).unwrap(), before);
    let files = names(&archive).len();
    one.calls(
        &[&cells[..], &["--only", "train-sa2", "--set", "config.train.lr=0.5"]].concat(),
        &[],
    );
    assert!(names(&archive).len() > files);
    assert_eq!(Place::new().calls(&cells, &[]), 0);
}

#[test]
fn a_damaged_archive_of_cells_is_named_and_nothing_is_run() {
    let place = Place::new();
    let archive = place.out().with_file_name("cells.zip");
    let refused = |expected: &str| {
        let output = place.run(&["--cells", archive.to_str().unwrap()], &[]);
        let message = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{message}");
        assert!(message.contains("cells.zip") && message.contains(expected), "{message}");
        assert!(!place.calls_file().exists(), "{message}");
    };
    fs::create_dir_all(archive.parent().unwrap()).unwrap();
    fs::write(&archive, "no zip").unwrap();
    refused("not a whole archive");
    for name in ["../outside/cell.json", "/cell/cell.json", "cell.json"] {
        let mut zip = zip::ZipWriter::new(fs::File::create(&archive).unwrap());
        zip.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
        zip.finish().unwrap();
        refused("expected CELL/FILE");
    }
}

#[test]
fn figures_are_drawn_and_shown_with_their_numbers() {
    let place = Place::new();
    let figures = "figures=[{ kind = 'consistency', options = { steps = '2,4', num = 3 }, about = 'Words.' }]";
    assert_eq!(place.calls(&["--set", figures], &[]), CELLS.len() + 2);
    let called = fs::read_to_string(place.calls_file()).unwrap();
    assert!(
        called.contains("consistency --checkpoint") && called.contains("--steps=2,4"),
        "{called}"
    );
    let page = place.read("report.md");
    for words in ["## Figures", "files/consistency-sa2.png", "Words.", "| 0.2500 | 2 |"] {
        assert!(page.contains(words), "{words} is not in {page}");
    }
    assert!(place.out().join("files/consistency-baseline.png").is_file());
    assert_eq!(place.calls(&["--set", figures], &[]), 0);
}

#[test]
fn a_published_table_stands_beside_the_cells_that_answer_it() {
    let place = Place::new();
    let table = |cell: &str| {
        format!(
            "tables=[{{ title = 'T', source = 'S', metric = 'FID', ours = 'FD', columns = ['a', 'b', 'c'], rows = \
             [{{ name = 'row', cells = ['baseline/ddpm-10', 'sa2/ddpm-10', '{cell}'], published = [9.0, 7.0, nan] }}] }}]"
        )
    };
    assert_eq!(place.calls(&["--set", &table("gap:/checkpoints/0/l2_final")], &[]), CELLS.len());
    let page = place.read("report.md");
    assert!(page.contains("| row | ours | 12 [11, 13] | 10 [9, 11] | 3.281 |"), "{page}");
    assert!(page.contains("|  | published | 9 | 7 |  |"), "{page}");
    let output = place.run(&["--set", &table("sa3/ddpm-10")], &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("sa3/ddpm-10"), "{}", stderr(&output));
}

#[test]
fn a_checkpoint_that_is_there_is_taken_instead_of_trained() {
    let place = Place::new();
    let one = "models=[{ name = 'one' }]";
    let contrasts = ["--set", "contrasts=[]", "--set", "published=[]"];
    let folder = place.out().with_file_name("model");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("weights.safetensors"), "1").unwrap();
    let taken = |more: &[&str]| {
        let checkpoint = ["--checkpoint", folder.to_str().unwrap()];
        place.calls(&[&["--set", one][..], &contrasts, &checkpoint, more].concat(), &[])
    };
    let cells = taken(&[]);
    let called = fs::read_to_string(place.calls_file()).unwrap();
    assert!(called.contains("diff-models copy "), "{called}");
    assert_eq!(called.matches("run --config").count(), 1, "the classifier alone is trained");
    assert_eq!(taken(&[]), 0);
    fs::write(folder.join("weights.safetensors"), "2").unwrap();
    assert_eq!(taken(&[]), cells - 3, "all but the classifier and what needs no model");
    let two = place.run(&["--checkpoint", "x"], &[]);
    assert_eq!(two.status.code(), Some(2));
    assert!(stderr(&two).contains("an experiment with one model"), "{}", stderr(&two));
}

#[test]
fn what_is_made_does_not_tell_where_it_was() {
    let place = Place::new();
    place.calls(&[], &[]);
    let called = fs::read_to_string(place.calls_file()).unwrap();
    let here = place.out().display().to_string();
    assert!(called.contains("cells/train-sa2-") && !called.contains(&here), "{called}");
    let record = fs::read_to_string(place.cell("train-sa2").join("cell.json")).unwrap();
    let command = "\"command\": \"diff-train run --config";
    assert!(record.contains(command) && !record.contains(env!("CARGO_MANIFEST_DIR")), "{record}");
}

#[test]
fn a_failed_cell_loses_only_what_starts_from_it() {
    let place = Place::new();
    let failure = [("FAKE_FAIL", "\"sa\"")];
    let output = place.run(&[], &failure);
    assert_eq!(output.status.code(), Some(1));
    let message = stderr(&output);
    assert!(message.contains("out of luck") && message.contains("failed: train-sa2"), "{message}");
    let results = place.results();
    for (name, cell) in CELLS.iter().zip(results["cells"].as_array().unwrap()) {
        let expected = match (*name, name.contains("sa2")) {
            ("train-sa2", _) => "failed",
            (_, true) => "skipped",
            _ => "done",
        };
        assert_eq!(cell["state"], expected, "{name}");
    }
    for page in ["report.html", "report.md"] {
        let page = place.read(page);
        assert!(page.contains("out of luck") && page.contains("0.0625"));
    }
    assert_eq!(place.calls(&[], &[]), 9, "the next run does what is missing");
}

#[test]
fn an_interrupted_training_goes_on_where_it_was() {
    let place = Place::new();
    assert_eq!(place.run(&[], &[("FAKE_FAIL", "\"sa\"")]).status.code(), Some(1));
    let calls = place.calls_file();
    fs::remove_file(&calls).unwrap();
    place.calls(&["--only", "train-sa2"], &[]);
    let resumed = fs::read_to_string(&calls).unwrap();
    assert!(resumed.starts_with("run --resume ") && resumed.lines().count() == 1, "{resumed}");
    place.calls(&["--only", "train-sa2", "--force"], &[]);
    let afresh = fs::read_to_string(&calls).unwrap();
    assert!(!afresh.contains("--resume"), "{afresh}");
}

#[test]
fn a_part_can_be_run_and_the_rest_is_said_to_be_missing() {
    let place = Place::new();
    assert_eq!(place.calls(&["--only", "fd-sa2-ddim"], &[]), 4);
    let results = place.results();
    let states = results["cells"].as_array().unwrap().iter().map(|cell| &cell["state"]);
    assert_eq!(states.filter(|state| *state == "not run").count(), 17);
    assert!(place.read("report.md").contains("17 of 21 cells have not been run"));
    assert_eq!(place.calls(&["--only", "fd-sa2"], &[]), 2, "one more sampler and its measure");
    assert!(place.read("report.md").contains("15 of 21 cells have not been run"));
}

#[test]
fn cells_side_by_side_give_what_cells_one_by_one_give() {
    let results = ["1", "5"].map(|jobs| {
        let place = Place::new();
        assert_eq!(place.calls(&["--jobs", jobs], &[]), CELLS.len());
        let mut results = place.results();
        results.as_object_mut().unwrap().remove("times");
        results
    });
    assert_eq!(results[0], results[1]);
}

#[test]
fn further_seeds_use_the_cells_of_the_first() {
    let place = Place::new();
    assert_eq!(place.calls(&[], &[]), CELLS.len());
    assert_eq!(place.calls(&["--set", "seeds=[0, 1]"], &[]), 18, "those of the second seed");
    assert_eq!(place.calls(&["--set", "seeds=[1]"], &[]), 0);
}

#[test]
fn more_than_one_seed_gives_means_and_deviations() {
    let place = Place::new();
    assert_eq!(place.calls(&["--set", "seeds=[0, 1, 2]"], &[]), 3 + 3 * 18);
    let page = place.read("report.md");
    assert!(page.contains("10 ± 0 (n = 3)") && page.contains("baseline-s2"), "{page}");
    assert_eq!(place.results()["differences"][0]["interval"], serde_json::json!([-2.0, -2.0]));
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
    let message = stderr(&output);
    assert!(
        message.contains("failed: fd-baseline-ddim-10, pixels-baseline-ddim-10\n"),
        "{message}"
    );
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
    // 36 pictures of 10 steps at 1e6 operations; 8 pictures of 19; three trainings of 3e9.
    assert!(plan.contains("3.60e8 FLOPs") && plan.contains("1.52e8 FLOPs"), "{plan}");
    assert!(plan.contains("21 cells, 1.47e10 FLOPs, about 9 min"), "{plan}");
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
