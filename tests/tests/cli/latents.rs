//! Pictures to latents and back, and pictures of latents in between, with a checkpoint of the repository.

use super::{array, json, run, trained};
use candle_core::Device;
use std::{fs, path::Path};

/// The options that name the shipped network.
fn shipped() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../checkpoints/digits-base");
    format!("--checkpoint {}", path.display())
}

fn refuse(folder: &Path, line: &str, words: &[&str]) {
    let output = run(folder, line);
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{line}: {message}");
    assert!(output.stdout.is_empty(), "{line}");
    assert!(words.iter().all(|word| message.contains(word)), "{line}: {message}");
}

/// Width and height of a PNG.
fn size(path: &Path) -> (u32, u32) {
    let file = std::io::BufReader::new(fs::File::open(path).unwrap());
    let reader = png::Decoder::new(file).read_info().unwrap();
    (reader.info().width, reader.info().height)
}

#[test]
fn digits_come_back_from_their_latents() {
    let (dir, network) = (tempfile::tempdir().unwrap(), shipped());
    let folder = dir.path();
    let encode =
        format!("diff-sample encode {network} --data digits:test --num 9 --steps 50 --json");
    let report = json(folder, &format!("{encode} --out %/l.safetensors"));
    assert_eq!((&report["images"], &report["network_calls"]), (&9.into(), &50.into()));
    json(folder, &format!("{encode} --batch 4 --out %/again.safetensors"));
    let read = |name: &str| fs::read(folder.join(name)).unwrap();
    assert!(read("l.safetensors") == read("again.safetensors"), "batches show");

    let decode =
        format!("diff-sample decode {network} --latents %/l.safetensors --steps 50 --json");
    json(folder, &format!("{decode} --f32 --out %/back.npz"));
    json(folder, &format!("{decode} --batch 4 --out %/back"));
    let (shape, back) = array(&folder.join("back.npz"), "raw");
    assert_eq!(shape, [9, 1, 8, 8]);
    json(folder, &format!("{decode} --f32 --indices 7,2 --out %/two.npz"));
    let two = array(&folder.join("two.npz"), "raw").1;
    assert_eq!((&two[..64], &two[64..]), (&back[7 * 64..8 * 64], &back[2 * 64..3 * 64]));
    // What came back, as a folder of pictures, is encoded to latents that are nearest to its own.
    let pictures = "--data %/back?channels=1 --steps 50 --out %/folder.safetensors";
    json(folder, &format!("diff-sample encode {network} {pictures} --json"));
    let values = |name: &str| -> Vec<f32> {
        let file = candle_core::safetensors::load(folder.join(name), &Device::Cpu).unwrap();
        file["latents"].flatten_all().unwrap().to_vec1().unwrap()
    };
    let (first, second) = (values("l.safetensors"), values("folder.safetensors"));
    let apart = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f32>();
    for (number, latent) in second.chunks(64).enumerate() {
        let to: Vec<f32> = first.chunks(64).map(|other| apart(latent, other)).collect();
        let others = to.iter().enumerate().filter(|(i, _)| *i != number);
        assert!(others.clone().all(|(_, other)| to[number] < *other), "{number}: {to:?}");
        assert!(to[number] > 0.0, "{number}: bytes are rounded");
    }
}

#[test]
fn the_more_steps_the_better_digits_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let line = format!("diff-eval reconstruction {} --data digits:test --num 40", shipped());
    let found = json(dir.path(), &format!("{line} --steps 10,20,50,100,200 --json"));
    assert_eq!(found["trajectory"], "quadratic");
    let rows = found["checkpoints"][0]["reconstruction"].as_array().unwrap();
    let errors: Vec<f64> = rows.iter().map(|row| row["mse"].as_f64().unwrap()).collect();
    assert!(errors.windows(2).all(|pair| pair[1] < pair[0]), "{errors:?}");
    assert!(errors[0] < 0.05 && errors[4] < 1e-4, "{errors:?}");
    let text = run(dir.path(), &format!("{line} --steps 10,20")).stdout;
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains("40 pictures of digits:test") && text.contains("psnr"), "{text}");
}

#[test]
fn lines_and_grids_end_at_the_samples_they_are_between() {
    let (dir, network) = (tempfile::tempdir().unwrap(), shipped());
    let folder = dir.path();
    let raw = |name: &str| array(&folder.join(name), "arr_0").1;
    let same = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 1.0);
    json(
        folder,
        &format!(
            "diff-sample generate {network} --steps 10 --indices 3,17,5,8 --out %/ends.npz --json"
        ),
    );
    let ends = raw("ends.npz");
    let between = format!("diff-sample interpolate {network} --steps 10 --json");
    json(
        folder,
        &format!("{between} --from 3 --to 17 --line 11 --out %/line.npz --out %/line.png"),
    );
    let line = raw("line.npz");
    assert!(same(&line[..64], &ends[..64]) && same(&line[640..], &ends[64..128]));
    // Eleven cells of 32 pixels, 2 apart, in one row.
    assert_eq!(size(&folder.join("line.png")), (11 * 34 + 2, 34 + 2));
    json(
        folder,
        &format!("{between} --corners 3,17,5,8 --grid 4 --out %/grid.npz --out %/grid.png"),
    );
    let grid = raw("grid.npz");
    let cell = |u: usize, v: usize| &grid[64 * (4 * u + v)..64 * (4 * u + v + 1)];
    for (corner, end) in
        [cell(0, 0), cell(3, 0), cell(0, 3), cell(3, 3)].iter().zip(ends.chunks(64))
    {
        assert!(same(corner, end));
    }
    assert_eq!(size(&folder.join("grid.png")), (4 * 34 + 2, 4 * 34 + 2));

    json(
        folder,
        &format!(
            "diff-sample encode {network} --data digits:test --num 3 --steps 10 --out %/l.safetensors --json"
        ),
    );
    json(
        folder,
        &format!(
            "diff-sample decode {network} --latents %/l.safetensors --steps 10 --out %/three.npz --json"
        ),
    );
    json(
        folder,
        &format!("{between} --latents %/l.safetensors --from 2 --to 0 --line 2 --out %/pair.npz"),
    );
    let (three, pair) = (raw("three.npz"), raw("pair.npz"));
    assert!(same(&pair[..64], &three[128..]) && same(&pair[64..], &three[..64]));
}

#[test]
fn more_steps_of_the_same_latents_converge() {
    let (dir, network) = (tempfile::tempdir().unwrap(), shipped());
    let folder = dir.path();
    let line = format!("diff-sample consistency {network} --steps 5,20,100 --num 4 --json");
    let report = json(folder, &format!("{line} --out %/c.png --out %/c.npz"));
    assert_eq!((&report["images"], &report["network_calls"]), (&12.into(), &125.into()));
    let distance = |i: usize| report["consistency"][i]["mean_square"].as_f64().unwrap();
    assert!(distance(0) > distance(1) && distance(1) > 0.0 && distance(2) == 0.0, "{report}");
    assert_eq!(size(&folder.join("c.png")), (4 * 34 + 2, 3 * 34 + 2));
    json(
        folder,
        &format!("diff-sample generate {network} --steps 20 --num 4 --out %/g.npz --json"),
    );
    let (shape, bytes) = array(&folder.join("c.npz"), "arr_0");
    assert_eq!(shape, [12, 8, 8, 1]);
    assert_eq!(bytes[4 * 64..8 * 64], array(&folder.join("g.npz"), "arr_0").1);
}

#[test]
fn strips_and_shifts_show_the_samples_they_are_of() {
    let (dir, network) = (tempfile::tempdir().unwrap(), shipped());
    let folder = dir.path();
    let args = format!("{network} --steps 10 --num 2 --json");
    json(folder, &format!("diff-sample generate {args} --out %/g.npz"));
    let report = json(
        folder,
        &format!("diff-sample strip {args} --times 1000,500,0 --out %/s.npz --out %/s.png"),
    );
    assert_eq!(report["times"], serde_json::json!([1000, 445, 0]));
    assert_eq!((&report["images"], &report["network_calls"]), (&2.into(), &12.into()));
    let samples = array(&folder.join("g.npz"), "arr_0").1;
    let cells = array(&folder.join("s.npz"), "arr_0").1;
    let cell =
        |row: usize, column: usize| &cells[64 * (3 * row + column)..64 * (3 * row + column + 1)];
    for sample in 0..2 {
        let expected = &samples[64 * sample..64 * (sample + 1)];
        assert_eq!((cell(2 * sample, 2), cell(2 * sample + 1, 2)), (expected, expected));
        assert!(cell(2 * sample, 0) != cell(2 * sample + 1, 0), "noise is no prediction");
    }
    assert_eq!(size(&folder.join("s.png")), (3 * 34 + 2, 4 * 34 + 2));

    let report = json(
        folder,
        &format!("diff-sample shift {args} --by -0.1,0,0.1 --out %/h.npz --out %/h.png"),
    );
    let mean = |i: usize| report["shifts"][i]["mean"].as_f64().unwrap();
    assert!(mean(0) < 0.0 && mean(1) == 0.0 && mean(2) > 0.0, "{report}");
    assert_eq!(report["shifts"][0]["per_dimension"].as_array().unwrap().len(), 64);
    let shifted = array(&folder.join("h.npz"), "arr_0").1;
    assert_eq!(shifted[2 * 64..4 * 64], samples);
    assert_eq!(size(&folder.join("h.png")), (2 * 34 + 2, 3 * 34 + 2));
}

#[test]
fn latents_that_do_not_fit_are_usage_errors() {
    let folder = trained();
    let base = "diff-sample encode --checkpoint %/base --data digits:test --num 2";
    json(folder, &format!("{base} --steps 3 --out %/fit.safetensors --json"));
    json(
        folder,
        &format!("{base} --steps 3 --trajectory ddim-quad --out %/low.safetensors --json"),
    );
    let short =
        "diff-train run --config %/tiny.toml --set out=%/short --set schedule.timesteps=100";
    json(folder, &format!("{short} --set train.steps=1 --json"));
    let wide = "diff-train run --config %/tiny.toml --set out=%/wide --set network.resolution=16";
    let wide = format!("{wide} --set network.attention_resolutions=[8] --set data.resolution=16");
    json(folder, &format!("{wide} --set train.steps=1 --json"));
    let decode = "diff-sample decode --out %/never.png --steps 3";
    let fit = "--latents %/fit.safetensors";
    refuse(folder, &format!("{decode} {fit} --checkpoint %/short"), &["T = 1000", "T = 100"]);
    refuse(folder, &format!("{decode} {fit} --checkpoint %/wide"), &["[1, 8, 8]", "[1, 16, 16]"]);
    let low = format!("{decode} --latents %/low.safetensors --checkpoint %/base");
    refuse(folder, &low, &["at time 801", "time 1000"]);
    refuse(
        folder,
        &format!("{decode} {fit} --checkpoint %/base --num 3"),
        &["num = 3", "2 latents"],
    );
    refuse(folder, &format!("{decode} {fit} --checkpoint %/base --indices 2"), &["indices = 2"]);
    for sampler in ["--eta 0.5", "--sampler ddpm"] {
        let line = format!("{decode} {fit} --checkpoint %/base {sampler}");
        refuse(folder, &line, &["sampler", "without noise"]);
    }
    refuse(
        folder,
        &format!("{base} --num 361 --steps 3 --out %/never.png").replace("--num 2 ", ""),
        &["num = 361", "360 pictures of digits:test"],
    );
    refuse(
        folder,
        &format!("{base} --steps 3 --sampler heun --out %/never.png"),
        &["heun", "pf-euler"],
    );
    refuse(
        folder,
        &format!("{base} --steps 3 --start last --out %/never.png"),
        &["clean or first"],
    );
    assert!(!folder.join("never.png").exists());
}

#[test]
fn impossible_studies_are_usage_errors() {
    let folder = trained();
    let ask = |command: &str, words: &[&str]| {
        let (name, rest) = command.split_once(' ').unwrap();
        let line = format!("diff-sample {name} --checkpoint %/base --out %/nothing {rest}");
        refuse(folder, &line, words);
    };
    ask("generate --steps 5,6 --num 1", &["steps = 5,6", "consistency"]);
    ask("interpolate --steps 5 --line 1 --from 1 --to 2", &["line = 1", "at least 2"]);
    ask("interpolate --steps 5 --line 3", &["--from I --to J"]);
    ask("interpolate --steps 5 --grid 3 --corners 1,2,3", &["3 samples", "A,B,C,D"]);
    ask("interpolate --steps 5 --line 3 --from 1 --to 2 --num 4", &["num", "--line and --grid"]);
    ask("interpolate --steps 5 --line 3 --from 1 --to 2 --eta 1", &["without noise"]);
    ask("consistency --steps 5 --num 1", &["steps = 5", "two or more"]);
    ask("consistency --steps 5,4 --num 1", &["steps = 5,4", "increase"]);
    ask("consistency --steps 5,1001 --num 1", &["1001", "1000"]);
    ask("strip --steps 5 --num 1 --times 1001", &["times = 1001", "T = 1000"]);
    ask("shift --steps 5 --num 1 --by 0,inf", &["by = inf", "finite"]);
    ask("shift --steps 5 --num 1 --sampler ddpm", &["without noise"]);
    assert!(!folder.join("nothing").exists(), "a refused study leaves nothing");
    let line = "diff-eval reconstruction --checkpoint %/base --data digits:test --num 361";
    refuse(folder, line, &["num = 361", "1..=360"]);
    let line = "diff-eval reconstruction --checkpoint %/base --num 4 --steps 10,1001";
    refuse(folder, line, &["1001", "1000"]);
}
