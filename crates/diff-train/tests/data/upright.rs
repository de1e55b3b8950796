//! Pictures stand upright, also where another reader of the same files turns them.

use crate::common::{Scene, hub_pictures, labels, parquet, planes, png};
use ::parquet::{file::reader::SerializedFileReader, record::RowAccessor};
use candle_core::{DType, Device};
use diff_train::data::{DataConfig, Dataset, Loader, Split, decode, open};
use std::{env, fs, path::PathBuf, process::Command};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A cache of the Hub with a CIFAR-10 of two pictures to train on and one to test on.
pub(crate) fn hub() -> Scene {
    let scene = Scene::new();
    let folder = format!("home/hub/datasets--cifar10/snapshots/{COMMIT}/plain_text");
    for (split, seeds) in [("train", 1..3), ("test", 3..4)] {
        let files: Vec<_> = seeds.clone().map(|seed| Some(png(seed, 32, 32))).collect();
        let label: Vec<_> = seeds.map(|seed| Some(i64::from(seed))).collect();
        let columns = vec![("img", hub_pictures(&files)), ("label", labels(&label))];
        parquet(&scene.path(&format!("{folder}/{split}/0000.parquet")), columns, None);
    }
    let reference = "home/hub/datasets--cifar10/refs/refs/convert/parquet";
    scene.write(reference, COMMIT.as_bytes());
    scene
}

fn cifar(split: Split, cache: PathBuf) -> Dataset {
    let config =
        DataConfig { source: "cifar10".into(), split, cache: Some(cache), ..DataConfig::default() };
    open(&config).unwrap()
}

/// The location of the Hub's cache is a variable of the process, hence the second process.
#[test]
fn pictures_of_the_hub_are_upright_where_candles_own_loader_transposes_them() {
    if let Ok(cache) = env::var("DIFF_TEST_CACHE") {
        return compare(cache.into());
    }
    let scene = hub();
    let name = "upright::pictures_of_the_hub_are_upright_where_candles_own_loader_transposes_them";
    let output = Command::new(env::current_exe().unwrap())
        .args(["--exact", name])
        .env("DIFF_TEST_CACHE", scene.path("cache"))
        .env("HF_HOME", scene.path("home"))
        .env("HF_HUB_OFFLINE", "1")
        .env_remove("HF_HUB_CACHE")
        .output()
        .unwrap();
    let (out, error) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && out.contains("1 passed"), "{out}\n{error}");
}

fn compare(cache: PathBuf) {
    let theirs = candle_datasets::vision::cifar::load().unwrap();
    for (split, images) in [(Split::Train, theirs.train_images), (Split::Test, theirs.test_images)]
    {
        let ours = cifar(split, cache.clone());
        assert_eq!(ours.len(), images.dim(0).unwrap());
        for i in 0..ours.len() {
            let seed = ours.label(i).unwrap() as u8;
            assert_eq!(ours.picture(i), planes(seed, 32, 32));
            let turned = images.get(i).unwrap().transpose(1, 2).unwrap();
            let turned = (turned * 255.0).unwrap().round().unwrap().to_dtype(DType::U8).unwrap();
            let turned: Vec<u8> = turned.flatten_all().unwrap().to_vec1().unwrap();
            assert_eq!(ours.picture(i), turned, "theirs is a transpose of ours");
        }
    }
}

#[test]
fn rows_of_a_batch_are_rows_of_the_picture() {
    let scene = Scene::new();
    scene.write("set/a.png", &png(1, 4, 6));
    let mut loader = Loader::new(scene.open("set"), Default::default(), 0, 1, false).unwrap();
    let x = loader.batch(0, &Device::Cpu).unwrap().x0;
    assert_eq!(x.dims(), [1, 3, 4, 6]);
    let at = |c: usize, y: usize, x_: usize| {
        let value = x.get(0).unwrap().get(c).unwrap().get(y).unwrap().get(x_).unwrap();
        ((value.to_scalar::<f32>().unwrap() + 1.0) * 127.5).round() as usize
    };
    for (y, x_) in [(0, 0), (3, 0), (0, 5), (2, 4)] {
        assert_eq!([at(0, y, x_), at(1, y, x_), at(2, y, x_)], [1, 7 * y, 11 * x_]);
    }
}

/// The folder shared beside the repository, if it is there.
fn shared() -> Option<PathBuf> {
    let beside = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let folder = env::var_os("DIFF_SHARED").map_or_else(beside, PathBuf::from);
    folder.join("data/hf-home").is_dir().then_some(folder)
}

#[test]
fn cifar_10_is_what_its_jpegs_decode_to() {
    let Some(shared) = shared() else {
        println!("skipped: no CIFAR-10 in ../shared or DIFF_SHARED");
        return;
    };
    let snapshots = shared.join("data/hf-home/hub/datasets--cifar10/snapshots");
    let snapshot = fs::read_dir(snapshots).unwrap().next().unwrap().unwrap().path();
    let scene = Scene::new();
    let config = DataConfig {
        source: snapshot.to_string_lossy().into_owned(),
        split: Split::Test,
        range: Some([0, 40]),
        cache: Some(scene.path("cache")),
        ..DataConfig::default()
    };
    let data = open(&config).unwrap();
    assert_eq!((data.len(), data.shape()), (40, [3, 32, 32]));
    let file = fs::File::open(snapshot.join("plain_text/test/0000.parquet")).unwrap();
    let rows = SerializedFileReader::new(file).unwrap();
    for (i, row) in rows.into_iter().take(40).enumerate() {
        let row = row.unwrap();
        let bytes = row.get_group(0).unwrap().get_bytes(0).unwrap().data().to_vec();
        assert_eq!(data.label(i), row.get_long(1).ok().map(|label| label as u32));
        let pixels = decode(&bytes, None).unwrap().pixels;
        let planes = (0..3).flat_map(|c| pixels.bytes[c..].iter().step_by(3).copied());
        assert_eq!(data.picture(i), planes.collect::<Vec<u8>>(), "row {i}");
        let direct = image::load_from_memory(&bytes).unwrap().to_rgb8();
        for (x, y) in [(0, 0), (31, 0), (0, 31), (20, 7)] {
            let at = |c: usize| data.picture(i)[c * 1024 + y as usize * 32 + x as usize];
            assert_eq!([at(0), at(1), at(2)], direct.get_pixel(x, y).0, "row {i}: {x}, {y}");
        }
    }
}
