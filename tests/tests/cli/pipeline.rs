//! Train, sample, measure.

use super::{array, json, run, run_with, trained};
use std::{collections::BTreeSet, fs, fs::File, io::BufReader, path::Path};

const DDIM: &str = "diff-sample generate --checkpoint %/base --sampler ddim --eta 1 --steps 5";

#[test]
fn a_run_folder_holds_everything_and_a_second_run_repeats_it() {
    let folder = trained();
    let base = folder.join("base");
    let summary = json(folder, "diff-train run --config %/tiny.toml --set out=%/again --json");
    assert_eq!((&summary["steps"], &summary["images"]), (&12.into(), &96.into()));
    for file in [
        "model/unet/diffusion_pytorch_model.safetensors",
        "model/unet/config.json",
        "model/scheduler/scheduler_config.json",
        "model/model_index.json",
        "checkpoints/0000000096/training/state.safetensors",
    ] {
        let read = |run: &str| fs::read(folder.join(run).join(file)).unwrap();
        assert!(read("base") == read("again"), "{file}");
    }
    let log = fs::read_to_string(base.join("log.jsonl")).unwrap();
    let steps: Vec<u64> = log
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .inspect(|line| assert!(line["loss"].as_f64().unwrap().is_finite()))
        .map(|line| line["step"].as_u64().unwrap())
        .collect();
    assert_eq!(steps, [5, 10, 12]);
}

#[test]
fn the_resolved_configuration_runs_again() {
    let folder = trained();
    let text = fs::read_to_string(folder.join("base/config.toml")).unwrap();
    assert!(text.contains("antithetic = true") && text.contains("beta2 = 0.999"), "{text}");
    let line = "diff-train run --config %/base/config.toml --set out=%/other --dry-run --json";
    let plan = json(folder, line);
    assert_eq!(plan["pictures"], 1437);
    let parameters = json(folder, "diff-models inspect %/base --json")["parameters"].clone();
    assert_eq!(plan["parameters"], parameters);
    assert!(plan["flops"].as_f64().unwrap() > 1e7 && plan["seconds"].as_f64().unwrap() > 0.0);
    assert!(!folder.join("other").exists(), "a dry run writes nothing");
}

#[test]
fn a_sample_has_the_same_bits_in_any_batch_and_on_any_number_of_threads() {
    let folder = trained();
    let sample = |name: &str, batch: usize, threads: &str| {
        let line = format!("{DDIM} --num 65 --batch {batch} --seed 3 --f32 --out %/{name}.npz");
        let output = run_with(folder, &line, &[("RAYON_NUM_THREADS", threads)]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let path = folder.join(format!("{name}.npz"));
        (array(&path, "arr_0"), array(&path, "raw"))
    };
    let (bytes, raw) = sample("b64", 64, "2");
    assert_eq!((&bytes.0, &raw.0), (&vec![65, 8, 8, 1], &vec![65, 1, 8, 8]));
    for (batch, threads) in [(1, "1"), (2, "2"), (7, "3"), (64, "1"), (64, "3")] {
        let (other_bytes, other) = sample("other", batch, threads);
        assert!(other == raw, "batch {batch}, {threads} threads: values differ");
        assert!(other_bytes == bytes, "batch {batch}, {threads} threads: bytes differ");
    }
    // Bytes are the rounded values: floor(255 (x+1)/2 + 0.5), clamped.
    for (byte, x) in bytes.1.iter().zip(&raw.1) {
        let exact = ((x + 1.0) * 127.5).clamp(0.0, 255.0);
        assert!((byte - exact).abs() <= 0.5 + 1e-4, "{byte} {exact}");
    }
    let distinct: BTreeSet<Vec<u8>> =
        bytes.1.chunks(64).map(|p| p.iter().map(|v| *v as u8).collect()).collect();
    assert_eq!(distinct.len(), 65, "every sample is a picture of its own");
}

fn read_png(path: &Path) -> ((u32, u32), Vec<u8>) {
    let mut reader =
        png::Decoder::new(BufReader::new(File::open(path).unwrap())).read_info().unwrap();
    let mut bytes = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut bytes).unwrap();
    bytes.truncate(info.buffer_size());
    ((info.width, info.height), bytes)
}

#[test]
fn exactly_n_pictures_in_every_form_and_single_ones_again() {
    let folder = trained();
    let line = format!("{DDIM} --num 10 --batch 4 --out %/n.png --out %/n.npz --out %/n --json");
    let report = json(folder, &line);
    assert_eq!((&report["images"], &report["network_calls"]), (&10.into(), &15.into()));
    let (shape, bytes) = array(&folder.join("n.npz"), "arr_0");
    assert_eq!(shape, [10, 8, 8, 1]);
    // A 4 x 3 grid of cells enlarged from 8 to 32, 2 pixels apart.
    assert_eq!(read_png(&folder.join("n.png")).0, (4 * 34 + 2, 3 * 34 + 2));
    let mut names: Vec<_> =
        fs::read_dir(folder.join("n")).unwrap().map(|f| f.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names.len(), 11);
    assert!(names[0] == "000000.png" && names[9] == "000009.png" && names[10] == "manifest.json");
    let manifest = fs::read_to_string(folder.join("n/manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    assert_eq!((&manifest["count"], &manifest["provenance"]["seed"]), (&10.into(), &0.into()));

    json(folder, &format!("{DDIM} --indices 7,2 --out %/two --json"));
    for i in [7usize, 2] {
        let (size, picture) = read_png(&folder.join(format!("two/00000{i}.png")));
        assert_eq!(size, (8, 8));
        let expected: Vec<u8> = bytes[i * 64..(i + 1) * 64].iter().map(|v| *v as u8).collect();
        assert_eq!(picture, expected, "sample {i}");
    }
}

#[test]
fn a_grid_may_show_the_first_pictures_only() {
    let folder = trained();
    json(folder, &format!("{DDIM} --num 5 --out %/five.png --json"));
    json(folder, &format!("{DDIM} --num 12 --batch 4 --grid 5 --out %/first.png --json"));
    assert_eq!(read_png(&folder.join("first.png")), read_png(&folder.join("five.png")));
    json(folder, &format!("{DDIM} --num 5 --grid 64 --out %/all.png --json"));
    assert_eq!(read_png(&folder.join("all.png")), read_png(&folder.join("five.png")));
    let refused = run(folder, &format!("{DDIM} --num 5 --grid 0 --out %/none.png"));
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("grid"));
}

#[test]
fn samples_are_measured_against_the_held_out_digits() {
    let folder = trained();
    json(folder, &format!("{DDIM} --num 20 --out %/m.npz --json"));
    let report = json(folder, "diff-eval pixels --samples %/m.npz --reference digits:test --json");
    assert_eq!((&report["images"], &report["reference_images"]), (&20.into(), &360.into()));
    let (_, bytes) = array(&folder.join("m.npz"), "arr_0");
    let mean = bytes.iter().sum::<f64>() / bytes.len() as f64 / 255.0;
    assert!((report["mean"].as_f64().unwrap() - mean).abs() < 1e-12);
    let text = String::from_utf8(
        run(folder, "diff-eval pixels --samples digits:train --reference digits:test").stdout,
    );
    assert!(text.unwrap().contains("1437 (360 in the reference)"));
}

#[test]
fn a_closed_pipe_is_no_error() {
    use std::process::{Command, Stdio};
    let mut child = Command::new(super::binaries().join("diff-core"))
        .args(["schedule", "--all", "--timesteps", "20000"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}
