//! The published metrics against pytorch-fid, torch-fidelity and prdc. The fixture was made by
//! `tests/golden/metrics.py`.

#![allow(clippy::unwrap_used, clippy::panic)] // a test

#[path = "../../diff-models/tests/common/fill.rs"]
mod fill;

use candle_core::{DType, Device, Tensor};
use diff_eval::{
    Features, FrechetReference, Gaussian, KeptRows, KidSettings, Neighbours, NetworkFeatures, Rows,
    SplitOrder, SplitScore, frechet, kid, manifold,
    measures::{Measure, MeasureSettings, Measurement, Side, measure, take},
    pictures::Pictures,
    space,
};
use diff_models::{
    checkpoint::write_tensors,
    digest::sha256,
    nets::features::{Inception, Vgg16},
    params::ParamBuilder,
};
use fill::rectified;
use serde_json::Value;
use std::{collections::HashMap, fs, path::Path, sync::OnceLock};
use tempfile::TempDir;

/// What the script stored.
fn golden() -> &'static Value {
    static GOLDEN: OnceLock<Value> = OnceLock::new();
    GOLDEN.get_or_init(|| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/metrics.json");
        serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
    })
}

fn number(at: &str) -> f64 {
    golden().pointer(at).and_then(Value::as_f64).unwrap_or_else(|| panic!("no number at {at}"))
}

/// Fails where ours is not the number at `at` to within `bound` of it.
fn near(ours: f64, at: &str, bound: f64) {
    let theirs = number(at);
    println!("{at}: {ours} against {theirs}, {:.1e}", (ours - theirs).abs() / theirs.abs());
    assert!((ours - theirs).abs() <= bound * theirs.abs(), "{at}: {ours}, expected {theirs}");
}

/// Bytes of the script's generator.
fn noise(seed: u32) -> impl Iterator<Item = u32> {
    let next = |state: &u32| Some(state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223));
    std::iter::successors(Some(seed), next).skip(1).map(|state| state >> 24)
}

/// Rows of sums of four such bytes.
fn rows(seed: u32, count: usize, width: usize, shift: f64) -> Rows {
    let bytes: Vec<u32> = noise(seed).take(count * width * 4).collect();
    let sums = bytes.chunks(4).map(|four| f64::from(four.iter().sum::<u32>()));
    Rows::new(width, sums.map(|sum| (sum - 510.0 + shift) / 64.0).collect()).unwrap()
}

fn kept(rows: &Rows) -> KeptRows {
    let mut kept = KeptRows::default();
    kept.add_at(&(0..rows.len() as u64).collect::<Vec<_>>(), rows).unwrap();
    kept
}

#[test]
fn scores_of_parts_are_torch_fidelitys() {
    let logits = rows(3, 203, 10, 0.0);
    let places: Vec<u64> = (0..203).collect();
    let mut score = SplitScore::new(203, &SplitOrder::default()).unwrap();
    score.add_at(&places, &logits).unwrap();
    let found = score.finish().unwrap();
    near(found.mean, "/rows/isc/inception_score_mean", 1e-9);
    near(found.deviation, "/rows/isc/inception_score_std", 1e-9);
    // Seven parts of 29, in order.
    let mut score = SplitScore::new(203, &SplitOrder::Consecutive(29)).unwrap();
    score.add_at(&places, &logits).unwrap();
    let found = score.finish().unwrap();
    near(found.mean, "/rows/isc_in_order/inception_score_mean", 1e-9);
    near(found.deviation, "/rows/isc_in_order/inception_score_std", 1e-9);
}

/// The two sets of rows of the script.
fn sides() -> [KeptRows; 2] {
    [kept(&rows(1, 230, 24, 60.0)), kept(&rows(2, 301, 24, 0.0))]
}

#[test]
fn kernel_distances_are_torch_fidelitys_on_the_same_subsets() {
    let [samples, reference] = sides();
    let with = KidSettings { subsets: 25, size: 90, ..KidSettings::default() };
    let found = kid(&samples, &reference, &with).unwrap();
    // Theirs is in f32.
    near(found.mean, "/rows/kid/kernel_inception_distance_mean", 1e-5);
    near(found.deviation, "/rows/kid/kernel_inception_distance_std", 1e-5);
    let other = kid(&samples, &reference, &KidSettings { seed: 1, ..with }).unwrap();
    assert!((other.mean / found.mean - 1.0).abs() > 1e-3, "other subsets give another number");
}

#[test]
fn neighbourhoods_are_those_of_torch_fidelity_and_prdc() {
    let [samples, reference] = sides();
    let found = manifold(&samples, &reference, Neighbours::default()).unwrap();
    // Theirs are means of f32.
    near(found.precision.value(), "/rows/neighbours/precision", 1e-6);
    near(found.recall.value(), "/rows/neighbours/recall", 1e-6);
    near(found.density.value(), "/rows/neighbours/density", 1e-12);
    near(found.coverage.value(), "/rows/neighbours/coverage", 1e-12);
    let wider = Neighbours { precise: 5, dense: 5 };
    let found = manifold(&samples, &reference, wider).unwrap();
    near(found.precision.value(), "/rows/prc_of_5/precision", 1e-6);
    near(found.recall.value(), "/rows/prc_of_5/recall", 1e-6);
}

#[test]
fn a_distance_of_2048_features_is_pytorch_fids() {
    const D: usize = 2048;
    let gaussian = |shift: f64| {
        let at = |i: usize| i as f64;
        let mean = (0..D).map(|i| 0.4 + 0.3 * (0.37 * at(i) + shift).sin()).collect();
        let ways: Vec<Vec<f64>> = (0..8)
            .map(|k| {
                (0..D).map(|i| 0.3 * (0.1 * at(k + 1) * at(i) + shift + at(k)).sin()).collect()
            })
            .collect();
        let mut covariance = vec![0.0; D * D];
        for (i, row) in covariance.chunks_mut(D).enumerate() {
            for way in &ways {
                row.iter_mut().zip(way).for_each(|(sum, value)| *sum += way[i] * value);
            }
            row[i] += 0.05 + (-at(i) / 300.0).exp() * (1.0 + 0.5 * (0.2 * at(i) + shift).cos());
        }
        Gaussian { count: 50_000, mean, covariance }
    };
    let reference = FrechetReference::new(&gaussian(0.7)).unwrap();
    near(reference.distance(&gaussian(0.0)).unwrap().value(), "/moments", 1e-9);
}

/// Height, width and channels of the script's pictures.
const SHAPE: [usize; 3] = [40, 32, 3];

/// Picture `i` of a set.
fn picture(kind: usize, i: usize) -> Vec<u8> {
    let [_, w, c] = SHAPE;
    let grain = noise((1000 * kind + i) as u32).take(SHAPE.iter().product());
    let value = |(at, grain): (usize, u32)| {
        let (y, x, c) = (at / (w * c), at / c % w, at % c);
        let base = [(x / 4) % 2 * 120 + 20, (y * 4 + c * 25) % 192][kind];
        (base + grain as usize % (i % 8 * 8 + 8)) as u8
    };
    grain.enumerate().map(value).collect()
}

fn write_png(path: &Path, bytes: &[u8]) {
    let file = fs::File::create(path).unwrap();
    let mut encoder = png::Encoder::new(file, SHAPE[1] as u32, SHAPE[0] as u32);
    encoder.set_color(png::ColorType::Rgb);
    encoder.write_header().unwrap().write_image_data(bytes).unwrap();
}

/// The weights of FID's Inception by the rule, as a file has them.
fn weights() -> Vec<(String, Tensor)> {
    let mut builder = ParamBuilder::shapes_only();
    Inception::new(&mut builder).unwrap();
    let mut entries = builder.shapes().to_vec();
    for (name, shape) in builder.shapes() {
        if let Some(norm) = name.strip_suffix("bn.weight") {
            let running = ["mean", "var"].map(|kind| format!("{norm}bn.running_{kind}"));
            entries.extend(running.map(|name| (name, shape.clone())));
        }
    }
    rectified(&entries).into_iter().collect()
}

/// The script's files: `set0`, `set1`, the halves `half0` and `half1` of the first, and the weights.
fn files() -> &'static (TempDir, String) {
    static FILES: OnceLock<(TempDir, String)> = OnceLock::new();
    FILES.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let folders = ["set0", "set1", "half0", "half1"].map(|name| dir.path().join(name));
        folders.iter().for_each(|folder| fs::create_dir(folder).unwrap());
        for i in 0..32usize {
            let name = format!("{i:02}.png");
            write_png(&folders[1].join(&name), &picture(1, i));
            for folder in [&folders[0], &folders[2 + i.count_ones() as usize % 2]] {
                write_png(&folder.join(&name), &picture(0, i));
            }
        }
        let path = dir.path().join("weights.safetensors");
        write_tensors(&path, &weights()).unwrap();
        let sha256 = sha256(&path).unwrap();
        (dir, sha256)
    })
}

/// What is measured of two folders, by the name a measure has in commands.
fn measured(mode: &str, names: &[&str], sides: [&str; 2]) -> HashMap<String, Measurement> {
    let (dir, sha256) = files();
    let weights = dir.path().join("weights.safetensors").display().to_string();
    let device = Device::Cpu;
    let features =
        NetworkFeatures::open(space(mode).unwrap(), &weights, Some(sha256), (16, &device)).unwrap();
    let [samples, reference] = sides
        .map(|name| Side::open(&dir.path().join(name).display().to_string(), &device).unwrap());
    let measures: Vec<Measure> = names.iter().map(|name| measure(name).unwrap()).collect();
    let settings = MeasureSettings {
        bootstrap: 0,
        seed: 0,
        order: SplitOrder::Shuffled { splits: 5, seed: 2020 },
        kid: KidSettings { subsets: 12, size: 20, seed: 2020 },
        neighbours: Neighbours::default(),
        cache: None,
    };
    let found = take(&measures, (&samples, Some(&reference)), &features, &settings).unwrap();
    names.iter().map(|name| name.to_string()).zip(found).collect()
}

#[test]
fn files_are_measured_as_pytorch_fid_measures_them() {
    let found = measured("pytorch-fid", &["fid", "sfid"], ["set0", "set1"]);
    near(found["fid"].value, "/pictures/fid", 1e-4);
    near(found["sfid"].value, "/pictures/sfid", 1e-4);
    // Over weights that are not the published ones it is no FID.
    let name = format!("FD-inception-fid-{}", &files().1[..8]);
    assert_eq!(found["fid"].metric, name);
    let warning = found["fid"].warning.as_deref().unwrap();
    assert!(warning.contains("32 pictures span at most 31 of 2048"), "{warning}");
}

#[test]
fn files_are_measured_as_torch_fidelity_measures_them() {
    let names = ["fid", "is", "kid", "precision", "recall"];
    let found = measured("torch-fidelity", &names, ["set0", "set1"]);
    let at = |name: &str| format!("/pictures/torch_fidelity/{name}");
    near(found["fid"].value, &at("frechet_inception_distance"), 1e-4);
    near(found["kid"].value, &at("kernel_inception_distance_mean"), 1e-4);
    near(found["is"].value, &at("inception_score_mean"), 1e-4);
    // Without training every score is nearly 1: what is above it counts.
    let above = number(&at("inception_score_mean")) - 1.0;
    assert!(((found["is"].value - 1.0) / above - 1.0).abs() < 1e-3, "{}", found["is"].value);
    for name in ["precision", "recall"] {
        assert_eq!((found[name].value, number(&at(name))), (0.0, 0.0));
    }
}

#[test]
fn vgg16_sees_files_as_torch_fidelity_shows_them() {
    let mut builder = ParamBuilder::shapes_only();
    Vgg16::with_hidden(&mut builder, 32).unwrap();
    let weights = rectified(builder.shapes());
    let mut builder =
        ParamBuilder::weights(weights, "rectified", DType::F32, &Device::Cpu).frozen();
    let network = Box::new(Vgg16::with_hidden(&mut builder, 32).unwrap());
    builder.finish().unwrap();
    let space = space("vgg16").unwrap();
    let features = NetworkFeatures::over(space, network, "none".into(), (2, &Device::Cpu));
    let bytes = [picture(1, 0), picture(1, 1)].concat();
    let seen = features.rows(&Pictures { shape: SHAPE, bytes }).unwrap();
    let ours: Vec<f64> = seen.features.iter().flatten().copied().collect();
    let theirs = golden().pointer("/pictures/vgg16").unwrap().as_array().unwrap();
    let theirs: Vec<f64> = theirs.iter().map(|value| value.as_f64().unwrap()).collect();
    assert_eq!((ours.len(), theirs.len(), features.width()), (64, 64, 32));
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    let apart = norm(&mut ours.iter().zip(&theirs).map(|(a, b)| a - b));
    let error = apart / norm(&mut theirs.iter().copied());
    assert!(error < 1e-4 && theirs.iter().any(|value| *value > 0.0), "{error}");
}

#[test]
fn neither_batches_nor_order_change_a_distance_and_a_set_is_at_none_of_itself() {
    let (dir, sha256) = files();
    let path = dir.path().join("weights.safetensors").display().to_string();
    let rows = |batch: usize, numbers: &[usize]| {
        let how = (batch, &Device::Cpu);
        let space = space("pytorch-fid").unwrap();
        let features = NetworkFeatures::open(space, &path, Some(sha256), how).unwrap();
        let bytes = numbers.iter().flat_map(|i| picture(0, *i)).collect();
        features.rows(&Pictures { shape: SHAPE, bytes }).unwrap().features
    };
    let forth: Vec<usize> = (0..6).collect();
    let back: Vec<usize> = (0..6).rev().collect();
    let one = Gaussian::of(&rows(6, &forth)).unwrap();
    let other = Gaussian::of(&rows(4, &back)).unwrap();
    let far = Gaussian::of(&rows(5, &[28, 29, 30, 31, 15])).unwrap();
    assert!(frechet(&one, &one).unwrap().abs() < 1e-6);
    let (a, b) = (frechet(&one, &far).unwrap(), frechet(&other, &far).unwrap());
    assert!(a > 1e-3 && (a - b).abs() < 1e-9 * a, "{a} {b}");
}

#[test]
fn a_split_of_one_set_is_near_and_lies_among_itself() {
    let names = ["precision", "recall", "density", "coverage"];
    let found = measured("torch-fidelity", &names, ["half0", "half1"]);
    for name in names {
        near(found[name].value, &format!("/pictures/of_halves/{name}"), 1e-6);
    }
    let halves = measured("pytorch-fid", &["fid"], ["half0", "half1"]);
    // 16 of 2048 directions: the root of theirs is of a singular product, and has an error of its own.
    near(halves["fid"].value, "/pictures/fid_of_halves", 1e-3);
    assert!(number("/pictures/fid") > 100.0 * number("/pictures/fid_of_halves"));
}
