//! Runs that are killed, and go on as if nothing had happened.

use super::{binaries, json, run};
use serde_json::Value;
use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

/// A network so small that a step takes milliseconds. Checkpoints every 20 steps.
const SMALL: &str = r#"
seed = 3

[network]
kind = "ddpm"
resolution = 8
in_channels = 1
out_channels = 1
channels = 4
multipliers = [1]
blocks = 1
attention_resolutions = []
dropout = 0.1
norm_groups = 2

[train]
steps = 200
batch = 8
lr = 2e-3
ema = [0.9, 0.5]
log_every = 7

[save]
every = 160
"#;

const STEPS: usize = 200;

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("small.toml"), SMALL).unwrap();
    folder
}

/// Starts `diff-train run` and leaves it running.
fn start(folder: &Path, arguments: &str) -> Child {
    let folder = folder.to_str().unwrap();
    let words = arguments.split_whitespace().map(|word| word.replace('%', folder));
    let mut command = Command::new(binaries().join("diff-train"));
    command.arg("run").args(words).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap()
}

/// Waits until a checkpoint of at least `images` pictures is there, or the process has ended.
fn wait_for(child: &mut Child, run: &Path, images: usize) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while newest(run) < images && child.try_wait().unwrap().is_none() {
        assert!(Instant::now() < deadline, "no checkpoint of {images} pictures came");
        sleep(Duration::from_millis(2));
    }
}

/// Pictures of the newest checkpoint with a manifest.
fn newest(run: &Path) -> usize {
    let Ok(entries) = fs::read_dir(run.join("checkpoints")) else { return 0 };
    let complete = entries.filter_map(|entry| {
        let entry = entry.ok()?;
        let images = entry.file_name().to_str()?.parse().ok()?;
        entry.path().join("manifest.json").is_file().then_some(images)
    });
    complete.max().unwrap_or(0)
}

/// Everything a run leaves that a resumed one must leave too, the times taken out.
fn result(run: &Path) -> (Vec<(String, Vec<u8>)>, Vec<Value>) {
    let last = format!("checkpoints/{:010}", STEPS * 8);
    let weights = match run.join("model/unet").is_dir() {
        true => "unet/diffusion_pytorch_model.safetensors",
        false => "model.safetensors",
    };
    let files = [
        format!("model/{weights}"),
        format!("model-ema-0.5/{weights}"),
        format!("{last}/training/state.safetensors"),
        format!("{last}/model/{weights}"),
    ];
    let read = |name: String| {
        let bytes = fs::read(run.join(&name)).unwrap_or_else(|e| panic!("{name}: {e}"));
        (name, bytes)
    };
    let log = fs::read_to_string(run.join("log.jsonl")).unwrap();
    let lines = log.lines().map(|line| {
        let mut line: Value = serde_json::from_str(line).unwrap();
        line.as_object_mut().unwrap().remove("seconds");
        line
    });
    (files.map(read).into(), lines.collect())
}

/// Pictures that a checkpoint has when the kill comes; the moment in the steps that follow is
/// another one every time.
const KILLS: [usize; 5] = [160, 320, 480, 640, 960];

/// Trains the small denoiser straight, and once more with five kills.
fn check(name: &str, settings: &str) {
    check_recipe(name, SMALL, settings);
}

/// Trains a recipe of 200 steps of 8 pictures straight, and once more with five kills.
pub(super) fn check_recipe(name: &str, recipe: &str, settings: &str) {
    let folder = folder();
    let folder = folder.path();
    fs::write(folder.join("small.toml"), recipe).unwrap();
    let recipe = format!("diff-train run --config %/small.toml {settings}");
    json(folder, &format!("{recipe} --set out=%/straight --json"));

    let run = folder.join("killed");
    let mut arguments = format!("--config %/small.toml {settings} --set out=%/killed");
    for (i, images) in KILLS.into_iter().enumerate() {
        let mut child = start(folder, &arguments);
        wait_for(&mut child, &run, images);
        sleep(Duration::from_millis(2 * i as u64 * (i as u64 + 1)));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!run.join("model").exists(), "{name}: killed too late to show anything");
        arguments = "--resume %/killed".into();
    }
    let summary = json(folder, "diff-train run --resume %/killed --json");
    assert_eq!(summary["steps"], STEPS);
    assert!(summary["resumed_at"].as_u64().unwrap() >= 960 / 8);

    let (straight, killed) = (result(&folder.join("straight")), result(&run));
    for ((file, a), (_, b)) in straight.0.iter().zip(&killed.0) {
        assert!(a == b, "{name}: {file} differs");
    }
    assert_eq!(straight.1, killed.1, "{name}: the logs differ");
    let steps = straight.1.iter().filter(|line| line.get("loss").is_some());
    assert_eq!(steps.count(), STEPS.div_ceil(7));
}

#[test]
fn killed_at_five_moments_the_simple_objective_comes_out_the_same_to_the_bit() {
    check("simple", "--set objective.kind=simple");
}

#[test]
fn killed_the_sequence_aware_objective_comes_out_the_same_to_the_bit() {
    check("sa2", "--set objective.kind=sa --set objective.steps=2");
    check("sa3", "--set objective.kind=sa --set objective.steps=3");
}

#[test]
fn killed_between_steps_in_parts_other_optimisers_come_out_the_same_to_the_bit() {
    let parts =
        "--set train.accumulate=4 --set objective.kind=sa --set train.optimiser.kind=adagrad";
    check("accumulate", parts);
    let late = "--set train.ema_start=first-step --set train.optimiser.kind=adam-w";
    check("adam-w", &format!("{late} --set train.warmup=50 --set train.decay=cosine"));
}

#[test]
fn fifty_kills_leave_nothing_unreadable() {
    let folder = folder();
    let folder = folder.path();
    // A checkpoint every step, so that many kills fall into the middle of a save.
    let often = "--set save.every=8 --set train.steps=100000";
    let mut child = start(folder, &format!("--config %/small.toml {often} --set out=%/run"));
    let run_folder = folder.join("run");
    wait_for(&mut child, &run_folder, 8);
    child.kill().unwrap();
    child.wait().unwrap();
    let mut seen = newest(&run_folder);
    for kill in 0..50u64 {
        let mut child = start(folder, "--resume %/run");
        wait_for(&mut child, &run_folder, seen + 8);
        sleep(Duration::from_micros(kill * 7919 % 40_000));
        child.kill().unwrap();
        child.wait().unwrap();
        let now = newest(&run_folder);
        assert!(now > seen, "kill {kill}: {now} pictures after {seen}: no progress was kept");
        seen = now;
    }
    let last =
        run(folder, &format!("diff-train run --resume %/run --set train.steps={}", seen / 8 + 2));
    let messages = String::from_utf8_lossy(&last.stderr);
    assert!(last.status.success(), "{messages}");
    assert!(!messages.contains("damaged"), "{messages}");
    json(folder, "diff-models inspect %/run --json");
    let left: Vec<_> = fs::read_dir(run_folder.join("checkpoints")).unwrap().collect();
    assert_eq!(left.len(), 2, "what dead writers left is cleared away: {left:?}");
}

#[cfg(unix)]
#[test]
fn a_signal_saves_and_the_run_goes_on_from_there() {
    let folder = folder();
    let folder = folder.path();
    json(folder, "diff-train run --config %/small.toml --set out=%/straight --json");
    let mut arguments = "--config %/small.toml --set out=%/signalled".to_string();
    for (i, (signal, code)) in [("INT", 130), ("TERM", 143), ("USR1", 0)].into_iter().enumerate() {
        let mut child = start(folder, &arguments);
        wait_for(&mut child, &folder.join("signalled"), 160 * (i + 1));
        let arguments_of_kill = [format!("-{signal}"), child.id().to_string()];
        assert!(Command::new("kill").args(arguments_of_kill).status().unwrap().success());
        assert_eq!(child.wait().unwrap().code(), Some(code), "SIG{signal}");
        assert!(!folder.join("signalled/model").exists(), "SIG{signal} came too late");
        arguments = "--resume %/signalled".into();
    }
    json(folder, "diff-train run --resume %/signalled --json");
    let (a, b) = (result(&folder.join("straight")), result(&folder.join("signalled")));
    assert!(a.0 == b.0 && a.1 == b.1);
}

#[test]
fn a_run_can_be_made_longer_and_a_finished_one_has_nothing_left_to_do() {
    let folder = folder();
    let folder = folder.path();
    let recipe = "diff-train run --config %/small.toml --set train.log_every=20 --json";
    json(folder, &format!("{recipe} --set out=%/straight"));
    json(folder, &format!("{recipe} --set out=%/longer --set train.steps=60"));
    let before = fs::read(folder.join("longer/log.jsonl")).unwrap();
    let weights = folder.join("longer/model/unet/diffusion_pytorch_model.safetensors");
    let written = || fs::metadata(&weights).unwrap().modified().unwrap();
    let model = written();
    let nothing = json(folder, "diff-train run --resume %/longer --json");
    assert_eq!((&nothing["steps"], &nothing["resumed_at"]), (&60.into(), &60.into()));
    assert!(before == fs::read(folder.join("longer/log.jsonl")).unwrap());
    assert_eq!(model, written(), "the model was written again");
    json(folder, "diff-train run --resume %/longer --set train.steps=200 --json");
    let (a, b) = (result(&folder.join("straight")), result(&folder.join("longer")));
    assert!(a.0 == b.0 && a.1 == b.1);
}

#[test]
fn what_cannot_be_resumed_says_why() {
    let folder = folder();
    let folder = folder.path();
    let quick = "--set train.steps=20 --set train.log_every=5";
    json(folder, &format!("diff-train run --config %/small.toml {quick} --set out=%/run --json"));
    let refuse = |line: &str, code: i32, words: &[&str]| {
        let output = run(folder, line);
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{line}: {message}");
        for word in words {
            assert!(message.contains(word), "{line}: `{word}` is not in: {message}");
        }
    };
    refuse("diff-train run --resume %/none", 1, &["none/config.toml", "cannot read"]);
    refuse(
        "diff-train run --resume %/run --set train.lr=1",
        1,
        &["train.lr", "goes on as it began"],
    );
    refuse("diff-train run --config %/small.toml --set out=%/run", 1, &["run", "--resume"]);
    refuse("diff-train run --resume %/run --config %/small.toml", 2, &["cannot be used with"]);

    // Pictures may move, but they must be the same.
    let others =
        "diff-sample generate --checkpoint %/run --sampler ddim --steps 2 --num 9 --out %/9.npz";
    json(folder, &format!("{others} --json"));
    let words = ["was trained on other pictures", "sha256"];
    refuse("diff-train run --resume %/run --set data.source=%/9.npz", 1, &words);

    // Every part is checked: a byte changed anywhere makes the checkpoint one that is not there.
    let checkpoint = folder.join("run/checkpoints/0000000160/training/state.safetensors");
    let mut bytes = fs::read(&checkpoint).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&checkpoint, bytes).unwrap();
    let words = ["no checkpoint is complete", "training/state.safetensors: sha256"];
    refuse("diff-train run --resume %/run --set train.steps=30", 1, &words);
}
