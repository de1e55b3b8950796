use crate::{
    common::{Scene, png},
    upright::hub,
};
use std::process::{Command, Output};

fn run(scene: &Scene, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_diff-train"))
        .arg("data")
        .args(arguments)
        .current_dir(scene.dir.path())
        .env("DIFF_CACHE", scene.path("cache"))
        .env("HF_HOME", scene.path("home"))
        .env("HF_HUB_OFFLINE", "1")
        .env_remove("HF_HUB_CACHE")
        .output()
        .unwrap()
}

fn json(scene: &Scene, arguments: &[&str]) -> serde_json::Value {
    let output = run(scene, &[arguments, &["--json"]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn the_command_says_what_is_in_a_set_and_draws_it() {
    let scene = Scene::new();
    (0..3).for_each(|i| scene.write(&format!("set/a/{i}.png"), &png(51 * i, 8, 8)));
    scene.write("set/b/x.png", &png(255, 8, 8));
    scene.write("set/b/y.png", b"");
    let said = json(&scene, &["set"]);
    assert_eq!((&said["pictures"], &said["shape"]), (&4.into(), &serde_json::json!([3, 8, 8])));
    assert_eq!(said["classes"][0], serde_json::json!({"name": "a", "pictures": 3}));
    // Red is 0, 51, 102, 255 of 255.
    assert!((said["mean"][0].as_f64().unwrap() - 0.4).abs() < 1e-12);
    assert_eq!(said["report"]["bad"]["empty"], 1);
    assert!(said["cache"].as_str().unwrap().ends_with(said["sha256"].as_str().unwrap()));
    let sheet = image::open(scene.path("contact.png")).unwrap().to_rgb8();
    // Two by two cells of 8x8, enlarged to 32x32, two pixels around each.
    assert_eq!(sheet.dimensions(), (70, 70));
    let output = run(&scene, &["set", "--resolution", "4", "--channels", "1", "--sheet", "s.png"]);
    let (out, log) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(out.contains("4 of 1x4x4") && out.contains("1  empty"), "{out}");
    assert!(log.contains("s.png") && log.contains("b/y.png"), "{log}");
}

#[test]
fn the_sheet_shows_what_is_drawn_and_comes_back_from_the_logit() {
    let scene = Scene::new();
    scene.write("set/x.png", &png(200, 32, 32));
    let draw = |sheet: &str, set: &[&str]| {
        let set: Vec<&str> = set.iter().flat_map(|s| ["--set", s]).collect();
        json(&scene, &[&["set", "--sheet", sheet], set.as_slice()].concat());
        image::open(scene.path(sheet)).unwrap().to_rgb8()
    };
    let plain = draw("plain.png", &[]);
    assert_eq!(draw("logit.png", &["data.transform=logit"]), plain);
    assert_eq!(plain.get_pixel(2 + 5, 2 + 3).0, [200, 21, 55]);
    // One of the first seeds mirrors the picture.
    let mirrored = (0..20).any(|seed| {
        let seed = format!("seed={seed}");
        let sheet = draw("flip.png", &["data.flip=true", &seed]);
        sheet.get_pixel(2 + 5, 2 + 3).0 == [200, 21, (11 * 26u32) as u8]
    });
    assert!(mirrored);
}

#[test]
fn a_data_set_of_the_hub_is_found_in_its_cache() {
    let scene = hub();
    for source in ["cifar10", "hub:cifar10", "hub:cifar10@refs/convert/parquet"] {
        let said = json(&scene, &[source]);
        assert_eq!((&said["pictures"], &said["source"]), (&2.into(), &source.into()));
        let test = json(&scene, &[source, "--split", "test"]);
        assert_eq!(test["classes"][3]["pictures"], 1);
    }
    let output = run(&scene, &["hub:none/such"]);
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("none/such"));
}

#[test]
fn bad_usage_is_told_apart_from_bad_files() {
    let scene = Scene::new();
    scene.write("set/x.png", b"");
    for (arguments, code, words) in [
        (&["digist"][..], 2, "did you mean `digits`"),
        (&["digits", "--fit", "corp"], 2, "did you mean `crop`"),
        (&["digits", "--channels", "2"], 2, "data.channels"),
        (&["digits", "--set", "data.flipp=true"], 2, "did you mean `flip`"),
        (&["digits", "--split", "val"], 2, "val"),
        (&["hub:"], 2, "hub:org/name"),
        (&["set"], 1, "no pictures left"),
        (&["digits", "--sheet", "/dev/null/x.png"], 1, "/dev/null"),
    ] {
        let output = run(&scene, arguments);
        let log = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {log}");
        assert!(log.contains(words), "{arguments:?}: {log}");
    }
}

#[test]
fn processes_that_prepare_the_same_pictures_at_once_both_end_well() {
    let scene = Scene::new();
    (0..100).for_each(|i| scene.write(&format!("set/{i}.png"), &png(i, 64, 64)));
    let outputs: Vec<Output> = std::thread::scope(|scope| {
        let start = |i| {
            let scene = &scene;
            scope.spawn(move || run(scene, &["set", "--json", "--sheet", &format!("{i}.png")]))
        };
        let running: Vec<_> = (0..3).map(start).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for output in &outputs {
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(scene.cached("data").len(), 1);
}

#[test]
fn damage_is_told_once() {
    let scene = Scene::new();
    scene.write("set/x.png", &png(1, 8, 8));
    let said = json(&scene, &["set"]);
    let folder = std::path::PathBuf::from(said["cache"].as_str().unwrap());
    std::fs::write(folder.join("labels.bin"), b"").unwrap();
    let log = String::from_utf8_lossy(&run(&scene, &["set"]).stderr).into_owned();
    assert_eq!(log.matches("preparing the pictures again").count(), 1, "{log}");
    assert!(log.contains("labels.bin"), "{log}");
    // The same size, another content: whoever reads all of it notices.
    std::fs::write(folder.join("labels.bin"), [1, 0, 0, 0]).unwrap();
    let output = run(&scene, &["set"]);
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && log.contains("is damaged"), "{log}");
}
