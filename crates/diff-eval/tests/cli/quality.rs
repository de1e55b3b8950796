//! `fd` and `floor`.

use super::{json, judges, refused, run};
use serde_json::Value;
use std::fs;

fn number(report: &Value, key: &str) -> f64 {
    report[key].as_f64().unwrap_or_else(|| panic!("{key}: {report}"))
}

#[test]
fn pictures_are_at_no_distance_from_themselves() {
    let line = "fd --samples digits:train --classifier %/judge --bootstrap 20 --splits 3 --json";
    let own = json(judges(), line);
    assert_eq!(own["metric"], "FD-digits");
    assert_eq!((&own["images"], &own["reference_images"]), (&1437.into(), &1437.into()));
    assert!(number(&own, "fd").abs() < 1e-9 && number(&own, "fd_mean_term").abs() < 1e-12);
    assert_eq!((number(&own, "copies"), number(&own, "nn_train")), (1.0, 0.0));
    assert!(number(&own, "closer_to_train") > 0.5 && number(&own, "nn_held_out") > 0.5);
    assert!(number(&own, "cs_split_mean") >= 1.0 && number(&own, "cs_split_deviation") >= 0.0);
    assert_eq!(own["provenance"]["features"]["width"], 16);
    assert_eq!(own["provenance"]["samples"], own["provenance"]["reference"]);
    assert!(own.get("warning").is_none());
    assert_eq!(own, json(judges(), line), "a second time, the same");
}

#[test]
fn held_out_pictures_have_intervals_and_other_pictures_are_farther() {
    let test = json(judges(), "fd --samples digits:test --classifier %/judge --json");
    let (fd, low, high) = (number(&test, "fd"), number(&test, "fd_low"), number(&test, "fd_high"));
    assert!(0.0 < fd && low < fd && fd < high, "{low} {fd} {high}");
    assert_eq!(test["fd_replicates"].as_array().unwrap().len(), 200);
    assert_eq!(test["cs_replicates"].as_array().unwrap().len(), 200);
    assert!(number(&test, "cs_low") < number(&test, "cs_high"));
    assert_eq!((number(&test, "nn_held_out"), number(&test, "closer_to_train") < 0.1), (0.0, true));
    let floor = json(judges(), "floor --classifier %/judge --num 500 --json");
    assert_eq!(number(&floor, "fd_held_out"), fd);
    assert_eq!(number(&floor, "cs_held_out"), number(&test, "cs"));
    assert_eq!(number(&floor, "nn_held_out_train"), number(&test, "nn_train"));
    let remembered = number(&floor, "fd_memoriser");
    assert!(0.0 < remembered && remembered < fd, "{remembered}");
    let (low, high) = (number(&floor, "fd_memoriser_low"), number(&floor, "fd_memoriser_high"));
    assert!(low < remembered && remembered < high);
    for key in ["accuracy_train", "accuracy_held_out"] {
        assert!((0.0..=1.0).contains(&number(&floor, key)));
    }
    assert_eq!(floor["provenance"]["held_out"]["source"], "digits:test");
}

#[test]
fn people_get_lines_and_a_warning_for_few_pictures() {
    let few = "fd --samples %/few.npz --classifier %/judge --bootstrap 0";
    let bytes: Vec<u8> = (0..5 * 64).map(|i| (i * 37 % 256) as u8).collect();
    let array = candle_core::Tensor::from_vec(bytes, (5, 8, 8, 1), &candle_core::Device::Cpu);
    candle_core::Tensor::write_npz(&[("arr_0", array.unwrap())], judges().join("few.npz")).unwrap();
    let output = run(judges(), few);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("FD-digits") && text.contains("5 (1437 in the reference)"), "{text}");
    let messages = String::from_utf8(output.stderr).unwrap();
    assert!(messages.contains("warning: 5 pictures span at most 4 of 16"), "{messages}");
    let report = json(judges(), &format!("{few} --json"));
    assert!(report["warning"].as_str().unwrap().contains("of 16 feature dimensions"));
    assert!(report["fd_low"].is_null() && report["fd_replicates"].as_array().unwrap().is_empty());
    assert!(run(judges(), "floor --classifier %/judge --bootstrap 5").status.success());
}

#[test]
fn what_cannot_be_judged_is_refused_by_name() {
    let (gone, code) = refused(judges(), "fd --samples digits:test --classifier %/none");
    assert!(gone.contains("none") && code == Some(1), "{gone}");
    let damaged = judges().join("damaged");
    fs::create_dir_all(&damaged).unwrap();
    for file in ["config.json", "model.safetensors"] {
        let bytes = fs::read(judges().join("judge").join(file)).unwrap();
        let kept = if file == "config.json" { bytes.len() } else { bytes.len() / 2 };
        fs::write(damaged.join(file), &bytes[..kept]).unwrap();
    }
    let (broken, _) = refused(judges(), "fd --samples digits:test --classifier %/damaged");
    assert!(broken.contains("model.safetensors"), "{broken}");
    let array =
        candle_core::Tensor::zeros((3, 4, 4, 3), candle_core::DType::U8, &candle_core::Device::Cpu);
    candle_core::Tensor::write_npz(&[("arr_0", array.unwrap())], judges().join("small.npz"))
        .unwrap();
    let (shape, _) = refused(judges(), "fd --samples %/small.npz --classifier %/judge");
    assert!(shape.contains("[4, 4, 3]") && shape.contains("[8, 8, 1]"), "{shape}");
    let (nameless, code) = refused(judges(), "fd --samples digits:test --classifier %/nameless");
    assert!(nameless.contains("--reference") && code == Some(2), "{nameless}");
    let named = "--classifier %/nameless --reference digits:train --held-out digits:test";
    let line = format!("fd --samples digits:test {named} --bootstrap 0 --json");
    assert_eq!(json(judges(), &line)["metric"], "FD-classifier");
    let (splits, code) =
        refused(judges(), "fd --samples digits:test --classifier %/judge --splits 361");
    assert!(splits.contains("splits") && code == Some(2), "{splits}");
    let (num, code) = refused(judges(), "floor --classifier %/judge --num 1");
    assert!(num.contains("num") && code == Some(2), "{num}");
}
