//! `select`, on a run of twelve steps.

use super::{command, json, judges, refused};
use candle_core::Device;
use diff_core::config;
use diff_train::{
    config::RunConfig,
    run::{Start, run},
    stop::Stop,
};
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

const TINY: &str = r#"
[network]
kind = "ddpm"
resolution = 8
in_channels = 1
out_channels = 1
channels = 8
multipliers = [1, 2]
blocks = 1
attention_resolutions = [4]
norm_groups = 4

[train]
steps = 12
batch = 8
lr = 2e-3
ema = 0.5

[save]
keep_every = 40
"#;

const SMALL: &str = "--classifier %/judge --num 24 --steps 3 --batch 10 --bootstrap 20 --json";

/// A finished run with milestones at 40 and 80 pictures of 96.
fn finished() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let out = judges().join("finished");
        let set = [format!("out={}", out.display())];
        let config: RunConfig = config::read(TINY, "tiny", &set).unwrap();
        run(&config, Start::Fresh, &Device::Cpu, &Stop::new(), &mut []).unwrap();
        out
    })
}

/// Copies parts of the finished run, each whole at once.
fn copy(to: &Path, parts: &[&str]) {
    for part in parts {
        let (source, target) = (finished().join(part), to.join(part));
        let scratch = to.join(".under-way");
        copy_all(&source, &scratch);
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::rename(scratch, target).unwrap();
    }
}

fn copy_all(from: &Path, to: &Path) {
    if from.is_file() {
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(from, to).unwrap();
        return;
    }
    for entry in fs::read_dir(from).unwrap() {
        let name = entry.unwrap().file_name();
        copy_all(&from.join(&name), &to.join(&name));
    }
}

fn names(report: &Value) -> Vec<&str> {
    let mut names: Vec<&str> = report["ranking"]
        .as_array()
        .unwrap()
        .iter()
        .map(|ranked| ranked["snapshot"].as_str().unwrap())
        .collect();
    names.sort_unstable();
    names
}

#[test]
fn milestones_are_ranked_and_measured_once() {
    let run = judges().join("ranked");
    copy(&run, &["config.toml", "milestones", "model"]);
    let line = format!("select --run %/ranked {SMALL}");
    let first = json(judges(), &line);
    assert_eq!(names(&first), ["milestones/0000000040", "milestones/0000000080", "model"]);
    let ranking = first["ranking"].as_array().unwrap();
    let fd = |i: usize| ranking[i]["fd"].as_f64().unwrap();
    assert!(fd(0) < fd(1) && fd(1) < fd(2), "{ranking:?}");
    for ranked in ranking {
        let [low, value, high] = ["fd_low", "fd", "fd_high"].map(|k| ranked[k].as_f64().unwrap());
        assert!(low < value && value < high);
        let images = ranked["images"].as_u64().unwrap();
        let expected = ranked["snapshot"].as_str().unwrap().rsplit('/').next().unwrap();
        assert_eq!(images, expected.parse().unwrap_or(96));
    }
    let best = first["best"].as_str().unwrap();
    assert!(best.ends_with(ranking[0]["snapshot"].as_str().unwrap()) && Path::new(best).is_dir());
    assert_eq!((&first["metric"], &first["finished"]), (&"FD-digits".into(), &true.into()));

    // What stands in the record is not measured again; other settings are.
    let path = run.join("select.json");
    let before = fs::read_to_string(&path).unwrap();
    assert_eq!(json(judges(), &line), first);
    assert_eq!(fs::read_to_string(&path).unwrap(), before);
    fs::write(&path, before.replacen(&ranking[0]["fd"].to_string(), "12345.5", 1)).unwrap();
    let changed = json(judges(), &line);
    assert_eq!(changed["ranking"][2]["fd"].as_f64(), Some(12345.5));
    let other = json(judges(), &format!("{line} --seed 1"));
    assert!(other["ranking"].as_array().unwrap().iter().all(|r| r["fd"] != 12345.5));
    // The batch is no setting: the samples are the same.
    let batch = json(judges(), &line.replace("--batch 10", "--batch 24"));
    assert_eq!(batch["ranking"], changed["ranking"]);
}

#[test]
fn a_run_is_watched_to_its_end() {
    let run = judges().join("live");
    copy(&run, &["config.toml", "milestones/0000000040"]);
    let mut watching = command(judges(), &format!("select --run %/live --watch {SMALL}"));
    let child = watching.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let started = Instant::now();
    while !run.join("select.json").exists() {
        assert!(started.elapsed() < Duration::from_secs(120), "the first one is not measured");
        thread::sleep(Duration::from_millis(50));
    }
    copy(&run, &["milestones/0000000080", "model"]);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(names(&report), ["milestones/0000000040", "milestones/0000000080", "model"]);
    assert_eq!(report["finished"], true);
}

#[test]
fn what_is_no_choice_is_refused() {
    let bare = judges().join("bare");
    copy(&bare, &["config.toml", "model"]);
    let (none, _) = refused(judges(), &format!("select --run %/bare {SMALL}"));
    assert!(none.contains("bare") && none.contains("save.keep_every"), "{none}");
    let early = judges().join("early");
    copy(&early, &["config.toml"]);
    let (waiting, _) = refused(judges(), &format!("select --run %/early {SMALL}"));
    assert!(waiting.contains("--watch"), "{waiting}");
    let config = fs::read_to_string(early.join("config.toml")).unwrap();
    fs::write(early.join("config.toml"), config.replace("keep_every = 40", "keep_every = 0"))
        .unwrap();
    let (never, _) = refused(judges(), &format!("select --run %/early --watch {SMALL}"));
    assert!(never.contains("save.keep_every"), "{never}");
    let (gone, _) = refused(judges(), &format!("select --run %/nowhere {SMALL}"));
    assert!(gone.contains("nowhere/config.toml"), "{gone}");
    copy(&judges().join("wide"), &["config.toml", "milestones"]);
    let (sampler, code) = refused(
        judges(),
        &format!("select --run %/wide {SMALL}").replace("--steps 3", "--steps 0"),
    );
    assert!(sampler.contains("steps") && code == Some(2), "{sampler}");
}
