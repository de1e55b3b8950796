//! The checkpoints of the repository, as one uses them after a clone.

use super::{array, json};
use std::path::Path;

#[test]
fn shipped_checkpoints_sample_digits() {
    let folder = tempfile::tempdir().unwrap();
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../checkpoints");
    for name in ["digits-base", "digits-sa2"] {
        let checkpoint = shipped.join(name);
        let line = format!(
            "diff-sample generate --checkpoint {} --num 64 --out %/{name}.png --out %/{name}.npz \
             --json",
            checkpoint.display()
        );
        assert_eq!(json(folder.path(), &line)["images"], 64);
        let (shape, bytes) = array(&folder.path().join(format!("{name}.npz")), "arr_0");
        assert_eq!(shape, [64, 8, 8, 1]);
        // Digits are ink on black: the ground is dark, the strokes are not.
        let share = |from: f64| bytes.iter().filter(|v| **v >= from).count() as f64 / 4096.0;
        assert!(
            share(40.0) < 0.6 && share(180.0) > 0.1,
            "{name}: {} {}",
            share(40.0),
            share(180.0)
        );
        let line =
            format!("diff-eval pixels --samples %/{name}.npz --reference digits:test --json");
        let distance = json(folder.path(), &line)["fd"].as_f64().unwrap();
        assert!(distance < 1.0, "{name}: FD-pixels {distance}");
    }
}
