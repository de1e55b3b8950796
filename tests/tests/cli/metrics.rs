//! The published metrics, from pictures to numbers; here in the features of a small classifier, which
//! takes the same way as Inception's.

use super::{array, classifier, json, run, run_with};
use candle_core::{Device, Tensor};
use serde_json::Value;
use std::{collections::HashMap, fs, path::Path};
use tempfile::TempDir;

/// An empty folder, with a cache of its own in reach of `line`.
fn folder() -> TempDir {
    classifier::trained();
    tempfile::tempdir().unwrap()
}

/// A command in the classifier's features, its cache in `folder`.
fn measured(folder: &Path, line: &str) -> Value {
    let output = attempt(folder, line);
    let messages = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}: {messages}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{line}: {e}"))
}

fn attempt(folder: &Path, line: &str) -> std::process::Output {
    let judge = classifier::trained().0.path().join("judge");
    let line = format!("diff-eval {line} --classifier {} --json", judge.display());
    let cache = folder.join("cache");
    run_with(folder, &line, &[("DIFF_CACHE", cache.to_str().unwrap())])
}

/// The message of a command that must end with `code`.
fn refused(folder: &Path, line: &str, code: i32) -> String {
    let output = run(folder, line);
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{line}: {message}");
    assert!(output.stdout.is_empty(), "{line} printed something");
    message
}

fn value(measurement: &Value) -> f64 {
    measurement["value"].as_f64().unwrap_or_else(|| panic!("no value in {measurement}"))
}

/// The measurements of `all` and `pr` by name.
fn by_name(found: &Value) -> HashMap<String, Value> {
    let all = found["measurements"].as_array().unwrap().iter();
    all.map(|one| (one["metric"].as_str().unwrap().to_string(), one.clone())).collect()
}

/// Distance relative to the second.
fn apart(a: f64, b: f64) -> f64 {
    (a - b).abs() / b.abs()
}

const KID: &str = "--kid-size 120 --kid-subsets 5";

#[test]
fn one_pass_gives_what_every_command_gives() {
    let folder = folder();
    let folder = folder.path();
    let line = format!("all digits:test digits:train --bootstrap 10 {KID}");
    let all = by_name(&measured(folder, &line));
    let mut names: Vec<&str> = all.keys().map(String::as_str).collect();
    names.sort_unstable();
    let of = ["CS", "FD", "FD-infinity", "KD", "coverage", "density", "precision", "recall"];
    assert_eq!(names, of.map(|name| format!("{name}-digits")));
    for (name, one) in &all {
        let (low, high) = (&one["interval"]["low"], &one["interval"]["high"]);
        let ends = low.as_f64().zip(high.as_f64());
        let within =
            ends.is_some_and(|(low, high)| low < high && low <= value(one) && value(one) <= high);
        assert!(within || name == "FD-infinity-digits", "{name}: {one}");
        let basis = &one["provenance"];
        assert_eq!(basis["samples"]["images"], 360);
        assert_eq!(basis["samples"]["sizes"]["8 x 8"], 360);
        assert_eq!(basis["features"]["weights_sha256"].as_str().unwrap().len(), 64);
        assert_eq!(basis.get("reference").is_some(), name != "CS-digits", "{name}");
    }
    // Pictures of one kind: as dense, as wide, and not far apart.
    let of = |name: &str| value(&all[&format!("{name}-digits")]);
    let among = ["precision", "recall"].map(of);
    assert!(among.iter().all(|share| *share > 0.8), "{among:?}");
    // A neighbourhood of 5 among 1437 holds none of 360 others with probability exp(-5 / 4).
    assert!((0.6..0.8).contains(&of("coverage")), "{}", of("coverage"));
    assert!((0.7..1.3).contains(&of("density")) && of("CS") > 1.1, "{}", of("density"));

    let one = |line: &str, name: &str| {
        let found = measured(folder, line);
        let error = apart(value(&found), of(name));
        assert!(error < 1e-9, "{line}: {found} is not {}", of(name));
        assert_eq!(found["provenance"], all[&format!("{name}-digits")]["provenance"]);
    };
    one("fid digits:test digits:train --bootstrap 10", "FD");
    one("fid digits:test digits:train --bootstrap 10 --infinity", "FD-infinity");
    one("is digits:test --bootstrap 10", "CS");
    one(&format!("kid digits:test digits:train --bootstrap 10 {KID}"), "KD");
    let pr = by_name(&measured(folder, "pr digits:test digits:train --bootstrap 10"));
    assert_eq!(pr.len(), 4);
    assert!(pr.iter().all(|(name, one)| *one == all[name]));

    // The older command measures the same.
    let judge = classifier::trained().0.path().join("judge");
    let line =
        format!("diff-eval fd --samples digits:test --classifier {} --json", judge.display());
    assert!(apart(json(folder, &line)["fd"].as_f64().unwrap(), of("FD")) < 1e-9);
}

#[test]
fn a_set_is_at_no_distance_from_itself_and_a_collapsed_one_recalls_little() {
    let folder = folder();
    let folder = folder.path();
    let own = measured(folder, "fid digits:test digits:test --bootstrap 0");
    assert!(value(&own).abs() < 1e-6 && own["interval"].is_null(), "{own}");
    let pr = by_name(&measured(folder, "pr digits:test digits:test"));
    for name in ["precision", "recall", "coverage"] {
        assert_eq!(value(&pr[&format!("{name}-digits")]), 1.0);
    }
    // One picture, over and over, a little changed.
    let data = diff_train::data::open(&diff_train::data::DataConfig::default()).unwrap();
    let picture = data.picture(5);
    let changed = |i: usize| {
        picture
            .iter()
            .enumerate()
            .map(move |(p, v)| v ^ u8::from((p * 7 + i * 13).is_multiple_of(11)))
    };
    let bytes: Vec<u8> = (0..300).flat_map(changed).collect();
    let images = Tensor::from_vec(bytes, (300, 8, 8, 1), &Device::Cpu).unwrap();
    let path = folder.join("one.safetensors");
    candle_core::safetensors::save(&HashMap::from([("images", images)]), path).unwrap();
    let path = format!("pr {}/one.safetensors digits:train", folder.display());
    let pr = by_name(&measured(folder, &path));
    let of = |name: &str| value(&pr[&format!("{name}-digits")]);
    assert!(of("precision") > 0.9 && of("recall") < 0.1 && of("coverage") < 0.1, "{pr:?}");
}

#[test]
fn statistics_are_kept_in_files_and_merged_from_parts() {
    let folder = folder();
    let (folder, dir) = (folder.path(), folder.path().display().to_string());
    let whole = measured(folder, &format!("stats digits:train --out {dir}/whole.npz"));
    assert_eq!(
        (&whole["features"], &whole["about"]["pictures"]["images"]),
        (&16.into(), &1437.into())
    );
    for (name, range) in [("a", "[0,500]"), ("b", "[500,1797]")] {
        measured(folder, &format!("stats digits?range={range}:train --out {dir}/{name}.npz"));
    }
    let line = format!("diff-eval stats {dir}/b.npz {dir}/a.npz --out {dir}/merged.npz --json");
    assert_eq!(json(folder, &line)["about"]["pictures"]["images"], 1437);
    for name in ["mu", "sigma"] {
        let read = |file: &str| array(&folder.join(file), name);
        let ((shape, whole), (_, merged)) = (read("whole.npz"), read("merged.npz"));
        assert_eq!(shape, if name == "mu" { vec![16] } else { vec![16, 16] });
        let most = whole.iter().fold(0f64, |m, v| m.max(v.abs()));
        let error = whole.iter().zip(&merged).fold(0f64, |m, (a, b)| m.max((a - b).abs()));
        assert!(error < 1e-12 * most, "{name}: {error}");
    }
    let to =
        |reference: &str| measured(folder, &format!("fid digits:test {reference} --bootstrap 0"));
    let [pictures, file, merged] =
        ["digits:train".into(), format!("{dir}/whole.npz"), format!("{dir}/merged.npz")]
            .map(|r| to(&r));
    assert!(apart(value(&file), value(&pictures)) < 1e-12);
    assert!(apart(value(&merged), value(&pictures)) < 1e-9);
    let reference = &file["provenance"]["reference"];
    assert_eq!(reference["pictures"]["sha256"], pictures["provenance"]["reference"]["sha256"]);
    assert_eq!(reference["sha256"].as_str().unwrap().len(), 64);
    // What a reference came to is kept, and is then the very same.
    let kept: Vec<_> = fs::read_dir(folder.join("cache/statistics")).unwrap().collect();
    assert_eq!(kept.len(), 1);
    assert_eq!(to("digits:train"), pictures);

    let error = attempt(folder, &format!("pr digits:test {dir}/whole.npz"));
    assert_eq!(error.status.code(), Some(2));
    let message = String::from_utf8_lossy(&error.stderr).into_owned();
    assert!(message.contains("whole.npz") && message.contains("pictures"), "{message}");
}

#[test]
fn samples_are_judged_while_they_are_drawn() {
    let folder = folder();
    let (folder, base) = (folder.path(), super::trained().join("base").display().to_string());
    json(
        folder,
        &format!(
            "diff-sample generate --checkpoint {base} --steps 5 --num 20 --seed 3 --out %/s.npz --json"
        ),
    );
    let line = |samples: &str| format!("fid {samples} digits:train --bootstrap 0");
    let drawn = measured(folder, &line(&format!("model:{base}?num=20&steps=5&seed=3&batch=7")));
    let stored = measured(folder, &line(&format!("{}/s.npz", folder.display())));
    assert!(apart(value(&drawn), value(&stored)) < 1e-9);
    let (ours, theirs) = (&drawn["provenance"]["samples"], &stored["provenance"]["samples"]);
    assert_eq!((&ours["sha256"], &ours["images"]), (&theirs["sha256"], &20.into()));
    assert_eq!(ours["made_by"]["sampler"]["steps"], 5);
    assert!(theirs.get("made_by").is_none());
    let message = refused(folder, &format!("diff-eval compare model:{base}?nums=3 digits"), 2);
    assert!(message.contains("did you mean `num`"), "{message}");
}

#[test]
fn pairs_are_compared_place_by_place() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let pictures = |name: &str, bytes: Vec<u8>| {
        let images = Tensor::from_vec(bytes, (3, 2, 2, 1), &Device::Cpu).unwrap();
        let path = folder.join(format!("{name}.safetensors"));
        candle_core::safetensors::save(&HashMap::from([("images", images)]), path).unwrap();
    };
    let black: Vec<u8> = vec![0; 12];
    pictures("black", black.clone());
    pictures("grey", [[51; 4], [102; 4], [0; 4]].concat());
    let line = "diff-eval compare %/grey.safetensors %/black.safetensors --json";
    let found = json(folder, line);
    // Levels 0.2 and 0.4, and one picture that is right.
    assert!((value(&found) - (0.04 + 0.16) / 3.0).abs() < 1e-7, "{found}");
    assert_eq!((&found["exact"], &found["psnr"]), (&1.into(), &Value::Null));
    assert_eq!(found["provenance"]["samples"]["images"], 3);
    pictures("black", [[1; 4], [0; 4], [1; 4]].concat());
    let found = json(folder, line);
    let db = |levels: f64| -20.0 * (levels / 255.0).log10();
    let psnr = (db(50.0) + db(102.0) + db(1.0)) / 3.0;
    assert!((found["psnr"].as_f64().unwrap() - psnr).abs() < 1e-4, "{found} {psnr}");
    for (other, words) in [("digits:test", "has no like"), ("digits?range=[0,2]", "has no like")] {
        let message = refused(folder, &format!("diff-eval compare %/grey.safetensors {other}"), 1);
        assert!(message.contains(words), "{message}");
    }
    let message = refused(folder, "diff-eval compare digits:test digits?range=[0,300]:test", 1);
    assert!(message.contains("one set has more pictures"), "{message}");
    let message = refused(folder, "diff-eval compare digits?range=[0,300]:test digits:test", 1);
    assert!(message.contains("one set has more pictures"), "{message}");
}

#[test]
fn what_cannot_be_measured_is_refused_and_never_a_number() {
    let folder = folder();
    let folder = folder.path();
    let message = refused(folder, "diff-eval fid digits:test digits:train", 2);
    assert!(message.contains("--weights") && message.contains("6726825d.pth"), "{message}");
    let message = refused(folder, "diff-eval is digits:test --weights %/none.pth", 1);
    assert!(message.contains("none.pth: no such file"), "{message}");
    fs::write(folder.join("w.pth"), b"not weights").unwrap();
    let message = refused(folder, "diff-eval is digits:test --weights %/w.pth", 1);
    for words in ["w.pth", "expected 6726825d0af5f729", "--weights-sha256"] {
        assert!(message.contains(words), "{words} is not in {message}");
    }
    let line = "diff-eval is digits:test --weights %/w.pth --weights-sha256 abc";
    assert!(refused(folder, line, 1).contains("expected abc"));
    let line = "diff-eval fid a b --weights %/w.pth --mode torch-fidelty";
    assert!(refused(folder, line, 2).contains("a path that exists"));
    let line = "diff-eval fid digits digits --weights %/w.pth --mode torch-fidelty";
    assert!(refused(folder, line, 2).contains("did you mean `torch-fidelity`"));

    let message = |line: &str, code: i32| {
        let output = attempt(folder, line);
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{line}: {message}");
        message
    };
    let told = message("kid digits:test digits:train", 2);
    assert!(told.contains("360") && told.contains("--kid-size"), "{told}");
    assert!(message("fid digits:test digits:train --spatial", 1).contains("places"));
    assert!(message("is digits:test --splits 361", 2).contains("361"));
    assert!(message("all digits:test digits:train --metrics fid,iss", 2).contains("`is`"));
    assert!(message("pr digits:test digits:train --neighbours 360", 2).contains("360"));
    let told = message("fid digits?resolution=4:test digits:train", 1);
    assert!(told.contains("[4, 4, 1]") && told.contains("[8, 8, 1]"), "{told}");
    assert!(message("stats digits --out %/a.txt", 2).contains(".npz"));
    // Statistics of another network.
    let dir = folder.display();
    message(&format!("stats digits:train --out {dir}/a.npz"), 0);
    let other = super::classifier::trained().0.path().join("judge/model-ema-0.5");
    let line = format!("diff-eval fid digits:test %/a.npz --classifier {}", other.display());
    let told = refused(folder, &line, 1);
    assert!(told.contains("a.npz") && told.contains("SHA-256"), "{told}");
}
