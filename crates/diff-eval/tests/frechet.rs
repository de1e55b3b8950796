//! Fréchet distances against pytorch-fid's; see tests/golden/frechet.py.

#![cfg(test)]

use diff_eval::{Gaussian, frechet};
use serde_json::Value;

fn gaussian(set: &Value) -> Gaussian {
    let values = |name: &str| -> Vec<f64> {
        set[name].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
    };
    let count = set["count"].as_u64().unwrap();
    Gaussian { count, mean: values("mean"), covariance: values("covariance") }
}

#[test]
fn distances_are_those_of_pytorch_fid() {
    let cases: Value = serde_json::from_str(include_str!("fixtures/frechet.json")).unwrap();
    for case in cases.as_array().unwrap() {
        let ours = frechet(&gaussian(&case["a"]), &gaussian(&case["b"])).unwrap();
        let theirs = case["frechet"].as_f64().unwrap();
        assert!((ours - theirs).abs() < 1e-9 * theirs, "{}: {ours} {theirs}", case["name"]);
    }
}
