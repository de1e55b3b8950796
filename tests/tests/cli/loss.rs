//! `diff-train loss` against torch, on a checkpoint that diffusers wrote (tests/golden/loss.py).

use super::{json, run};
use serde_json::Value;
use std::{fs, path::Path};

fn fixtures() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/loss")
}

fn close(ours: &Value, theirs: &Value, tolerance: f64) -> bool {
    match (ours.as_f64(), theirs.as_f64()) {
        (Some(a), Some(b)) => (a - b).abs() <= tolerance * b.abs().max(1e-3),
        _ => ours.is_null() && theirs.is_null(),
    }
}

#[test]
fn losses_and_every_gradient_norm_equal_torchs() {
    let expected = fs::read_to_string(fixtures().join("expected.json")).unwrap();
    let expected: Value = serde_json::from_str(&expected).unwrap();
    for (name, case) in expected.as_object().unwrap() {
        let objective = match name.as_str() {
            "simple" => "--set objective.kind=simple".to_string(),
            _ => format!(
                "--set objective.kind=sa --set objective.steps={} --set objective.lambda={}",
                case["steps"], case["weight"]
            ),
        };
        let line = format!(
            "diff-train loss --checkpoint %/model --input %/input.safetensors {objective} --json"
        );
        let ours = json(&fixtures(), &line);
        for part in ["simple", "sa", "total"] {
            let pair = (&ours[part], &case[part]);
            assert!(close(pair.0, pair.1, 2e-5), "{name} {part}: {} {}", pair.0, pair.1);
        }
        let norms = case["grad_norms"].as_object().unwrap();
        assert_eq!(ours["grad_norms"].as_object().unwrap().len(), norms.len());
        for (parameter, norm) in norms {
            let found = &ours["grad_norms"][parameter];
            assert!(close(found, norm, 1e-4), "{name} {parameter}: {found} {norm}");
        }
    }
}

#[test]
fn the_plain_output_holds_the_same_numbers() {
    let line = "diff-train loss --checkpoint %/model --input %/input.safetensors";
    let output = run(&fixtures(), line);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && text.starts_with("simple  60.82"), "{text}");
    assert!(text.contains("sa      -\n") && text.contains("conv_in.weight"), "{text}");
}

#[test]
fn the_bound_is_measured_where_the_network_can_have_it() {
    let line = "diff-train loss --checkpoint %/model --input %/input.safetensors";
    let found = json(&fixtures(), &format!("{line} --set objective.kind=vlb --json"));
    assert!(found["vlb"].as_f64().unwrap() > 0.0 && found["simple"].is_null(), "{found}");
    assert_eq!(found["vlb"], found["total"]);
    let output = run(&fixtures(), &format!("{line} --set objective.kind=hybrid"));
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert!(message.contains("objective.kind = hybrid") && message.contains("learn_sigma"));
}
