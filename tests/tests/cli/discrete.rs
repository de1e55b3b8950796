//! Networks over levels, from their configuration to pictures.

use super::{array, json, run};
use serde_json::Value;
use std::{fs, path::Path, sync::OnceLock};
use tempfile::TempDir;

const TINY: &str = r#"
[data]
levels = 3

[network]
kind = "categorical"

[network.body]
kind = "ddpm"
resolution = 8
in_channels = 3
out_channels = 3
channels = 8
multipliers = [1, 2]
blocks = 1
attention_resolutions = [4]
norm_groups = 4

[objective]
kind = "categorical"
timesteps = 20

[train]
steps = 40
batch = 16
lr = 1e-2
ema = 0.9
log_every = 10

[held_out]
every = 320
num = 100
"#;

/// A folder with `tiny.toml` and the run `levels` it describes, and what the run reported.
fn trained() -> &'static (TempDir, Value) {
    static FOLDER: OnceLock<(TempDir, Value)> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("tiny.toml"), TINY).unwrap();
        let line = "diff-train run --config %/tiny.toml --set out=%/levels --json";
        let summary = json(folder.path(), line);
        (folder, summary)
    })
}

/// The message of a command that must end with `code`, and make nothing called `no`.
fn refused(folder: &Path, line: &str, code: i32) -> String {
    let output = run(folder, line);
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{line}: {message}");
    assert!(!folder.join("no").exists() && !folder.join("no.npz").exists(), "{line}");
    message
}

#[test]
fn a_network_over_levels_learns_and_says_what_it_learnt() {
    let (folder, summary) = trained();
    let log = fs::read_to_string(folder.path().join("levels/log.jsonl")).unwrap();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let held_out: Vec<f64> = lines.iter().filter_map(|line| line["held_out"].as_f64()).collect();
    // ln 3 for each of 64 pixels is what is known without training.
    let unknown = 64.0 * 3f64.ln();
    assert!(held_out.len() == 2 && held_out[0] > unknown && held_out[1] < unknown, "{held_out:?}");
    let parts = &summary["held_out"];
    assert_eq!(parts["kl"].as_f64(), Some(held_out[1]));
    assert!(parts["cross_entropy"].as_f64() >= parts["kl"].as_f64());
    let config = fs::read(folder.path().join("levels/model/config.json")).unwrap();
    let config: Value = serde_json::from_slice(&config).unwrap();
    assert_eq!(config["_class_name"], "DiffCategorical");
    assert_eq!(config["process"]["timesteps"], 20);
    assert_eq!(config["body"]["kind"], "ddpm");
    let line = "diff-train run --config %/tiny.toml --set out=%/never --dry-run --json";
    let plan = json(folder.path(), line);
    assert_eq!(plan["parameters"], summary["parameters"]);
    assert_eq!(plan["config"]["objective"]["stay"], "most");
}

#[test]
fn its_samples_have_its_levels_and_do_not_depend_on_the_batch() {
    let folder = trained().0.path();
    let line = "diff-sample discrete --checkpoint %/levels --steps 4 --rho 0.5 --num 10 --json \
                --out %/a.npz --out %/a.png --out %/pictures";
    let outcome = json(folder, line);
    assert_eq!((&outcome["images"], &outcome["network_calls"]), (&10.into(), &4.into()));
    let (shape, all) = array(&folder.join("a.npz"), "arr_0");
    assert_eq!(shape, [10, 8, 8, 1]);
    assert!(all.iter().all(|v| [0.0, 128.0, 255.0].contains(v)), "{all:?}");
    assert!(folder.join("a.png").exists() && folder.join("pictures/000009.png").exists());

    let line = "diff-sample discrete --checkpoint %/levels --steps 4 --rho 0.5 --indices 7,2 \
                --batch 1 --json --out %/b.npz";
    assert_eq!(json(folder, line)["network_calls"], 8);
    let (_, some) = array(&folder.join("b.npz"), "arr_0");
    assert_eq!((&some[..64], &some[64..]), (&all[448..512], &all[128..192]));
    for (options, same) in [
        ("--rho 0.5 --seed 1", false),
        ("--rho 1", false),
        ("--rho 0.5 --last argmax", false),
        ("--rho 0.5", true),
    ] {
        let line = format!(
            "diff-sample discrete --checkpoint %/levels --steps 4 {options} --num 10 --out %/c.npz \
             --json"
        );
        json(folder, &line);
        assert_eq!(array(&folder.join("c.npz"), "arr_0").1 == all, same, "{options}");
    }
    let line = "diff-eval pixels --samples %/a.npz --reference digits?levels=3:test --json";
    let report = json(folder, line);
    assert_eq!((&report["images"], &report["reference_images"]), (&10.into(), &360.into()));
    let output = run(folder, "diff-sample discrete --checkpoint %/levels --num 3 --out %/d.png");
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(told.starts_with("3 pictures, 20 network calls"), "all of T by default: {told}");
}

#[test]
fn kinds_of_networks_have_their_own_commands() {
    let folder = trained().0.path();
    let gaussian = super::trained().join("base");
    let gaussian = gaussian.to_str().unwrap();
    let line = "diff-sample generate --checkpoint %/levels --num 1 --out %/no.npz";
    for line in [line, "diff-models inspect %/levels"] {
        let message = refused(folder, line, 1);
        for word in ["levels/model/config.json", "DiffCategorical", "`diff-sample discrete`"] {
            assert!(message.contains(word), "{word} is not in {message}");
        }
    }
    for line in [
        format!("diff-sample discrete --checkpoint {gaussian} --num 1 --out %/no.npz"),
        format!("diff-train run --config %/tiny.toml --init-from {gaussian} --set out=%/no"),
    ] {
        let message = refused(folder, &line, 1);
        for word in ["base/model/unet/config.json", "UNet2DModel", "DiffCategorical"] {
            assert!(message.contains(word), "{word} is not in {message}");
        }
    }
}

#[test]
fn bad_usage_is_refused_before_any_file_is_made() {
    let folder = trained().0.path();
    for (options, word) in [
        ("--num 1 --rho 1.5", "rho = 1.5"),
        ("--num 1 --rho nan", "rho = NaN"),
        ("--num 1 --steps 21", "21"),
        ("--num 1 --steps 0", "0"),
        ("--num 0", "num = 0"),
        ("", "num = nothing"),
        ("--num 1 --batch 0", "batch = 0"),
        ("--num 1 --grid 0", "grid = 0"),
        ("--num 1 --trajectory 1,5", "T = 20"),
        ("--num 1 --trajectory lineer", "did you mean `linear`"),
        ("--num 1 --last likeliest", "argmax"),
    ] {
        let line = format!("diff-sample discrete --checkpoint %/levels {options} --out %/no.npz");
        let message = refused(folder, &line, 2);
        assert!(message.contains(word), "{options}: {message}");
    }
    for (change, word) in [
        ("data.levels=2", "data.levels = 2"),
        ("data.levels=1", "data.levels = 1"),
        ("objective.stay=2", "stay = 2"),
        ("objective.stay=some", "stay = some"),
        ("objective.process=cosine", "cosine"),
        ("objective.timesteps=0", "objective.timesteps = 0"),
        ("preview.every=100", "preview.every = 100"),
        ("network.body.out_channels=4", "network.body.out_channels = 4"),
    ] {
        let line = format!("diff-train run --config %/tiny.toml --set {change} --set out=%/no");
        let message = refused(folder, &line, 2);
        assert!(message.contains(word), "{change}: {message}");
    }
}
