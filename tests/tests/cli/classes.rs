//! Networks that know classes: trained with labels dropped, sampled by class, guided.

use super::{
    errors::refuse,
    json, run,
    train::{picture, pixels},
    trained,
};
use std::{path::Path, sync::Once};

/// The run `classes`: the tiny network with ten classes and a null label.
fn conditional() -> &'static Path {
    static TRAINED: Once = Once::new();
    let folder = trained();
    TRAINED.call_once(|| {
        json(
            folder,
            "diff-train run --config %/tiny.toml --set network.classes=10 \
             --set network.null_class=true --set train.label_drop=0.3 --set train.lr=0.01 \
             --set preview.every=96 --set out=%/classes --json",
        );
    });
    folder
}

/// Runs `diff-sample generate` with these options and gives the picture it leaves.
fn sampled(options: &str) -> Vec<u8> {
    let folder = conditional();
    let name = options.replace(|c: char| !c.is_ascii_alphanumeric(), "-");
    let line = format!(
        "diff-sample generate --checkpoint %/classes --steps 4 --out %/{name}.png {options}"
    );
    let output = run(folder, &line);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    pixels(&folder.join(format!("{name}.png")))
}

#[test]
fn a_sample_has_the_class_of_its_index_and_another_class_is_another_picture() {
    let third = sampled("--indices 3 --class 3");
    assert!(third == sampled("--indices 3 --classes all"));
    assert!(third == sampled("--indices 3"));
    assert!(third == sampled("--indices 3 --class 7,none,2,3,1"));
    assert!(third != sampled("--indices 3 --class 4"));
    assert!(third != sampled("--indices 3 --class none"));
    assert!(sampled("--indices 3 --class random") == sampled("--indices 3 --class random"));
}

#[test]
fn a_grid_of_all_classes_has_a_column_for_each() {
    sampled("--num 20 --classes all");
    let (width, height) = picture(&conditional().join("--num-20---classes-all.png"));
    assert_eq!((width / 34, height / 34), (10, 2));
}

#[test]
fn guidance_of_nothing_is_no_guidance_and_that_of_something_is_counted() {
    let plain = sampled("--indices 3 --class 3");
    assert!(plain == sampled("--indices 3 --class 3 --guidance 0 --guidance-rescale 0.5"));
    assert!(plain != sampled("--indices 3 --class 3 --guidance 4"));
    let null = sampled("--indices 3 --class none");
    assert!(null == sampled("--indices 3 --class 3 --guidance -1"));
    let line = |options: &str| {
        let generate = "diff-sample generate --checkpoint %/classes --steps 4 --num 6 --batch 4";
        let counted =
            json(conditional(), &format!("{generate} --out %/counted.png --json {options}"));
        (counted["network_calls"].as_u64().unwrap(), counted["evaluations"].as_u64().unwrap())
    };
    assert_eq!(line(""), (8, 24));
    assert_eq!(line("--guidance 1.8"), (8, 48));
    // Times are 1, 334, 667, 1000.
    assert_eq!(line("--guidance 1.8 --guidance-interval 300,700"), (8, 36));
}

#[test]
fn pictures_are_encoded_and_decoded_under_the_classes_that_are_said() {
    let folder = conditional();
    let encode = "diff-sample encode --checkpoint %/classes --data digits:test --num 3 --steps 20";
    refuse(folder, &format!("{encode} --out %/no.safetensors"), 2, &["class = nothing", "index"]);
    assert!(!folder.join("no.safetensors").exists());
    json(folder, &format!("{encode} --class 4 --out %/4.safetensors --json"));
    let decode = "diff-sample decode --checkpoint %/classes --latents %/4.safetensors --steps 20";
    refuse(folder, &format!("{decode} --out %/no.png"), 2, &["class = nothing"]);
    let decoded = |class: u32| {
        json(folder, &format!("{decode} --class {class} --out %/decoded-{class}.png --json"));
        pixels(&folder.join(format!("decoded-{class}.png")))
    };
    assert!(decoded(4) != decoded(5), "the class is of account");
}

#[test]
fn classes_and_guidance_that_do_not_go_with_the_network_are_refused() {
    let folder = conditional();
    for (run, options, words) in [
        ("classes", "--class 10", ["class = 10", "all, random, none, or classes in 0..=9"]),
        ("classes", "--class ten", ["class = ten", "0..=9"]),
        ("classes", "--guidance -2", ["guidance = -2", "at least -1"]),
        ("classes", "--guidance 1 --guidance-interval 5", ["guidance-interval", "two"]),
        (
            "classes",
            "--guidance 1 --guidance-interval 0,5",
            ["guidance-interval = 0,5", "T = 1000"],
        ),
        ("classes", "--guidance 1 --guidance-rescale 2", ["guidance-rescale = 2", "[0, 1]"]),
        ("base", "--class 1", ["class = 1", "knows no classes"]),
        ("base", "--guidance 1", ["guidance = 1", "knows no classes"]),
    ] {
        let line = format!(
            "diff-sample generate --checkpoint %/{run} --steps 4 --num 1 --out %/refused.png {options}"
        );
        refuse(folder, &line, 2, &words);
    }
    assert!(!folder.join("refused.png").exists());
    let train = "diff-train run --config %/tiny.toml --set out=%/never";
    for (settings, words) in [
        ("--set train.label_drop=0.1", ["train.label_drop = 0.1", "null_class"]),
        ("--set train.label_drop=1.0", ["train.label_drop = 1", "below 1"]),
        ("--set train.label_drop_by=picture", ["picture", "sample"]),
    ] {
        refuse(folder, &format!("{train} {settings}"), 2, &words);
    }
}
