//! Formats that are data sets by themselves, opened by their layout.

use crate::common::{Scene, listing, zip};
use diff_train::data::{DataConfig, Split, open};

fn idx(dimensions: &[u32], bytes: &[u8]) -> Vec<u8> {
    let sizes = dimensions.iter().flat_map(|n| n.to_be_bytes());
    [0, 0, 8, dimensions.len() as u8]
        .into_iter()
        .chain(sizes)
        .chain(bytes.iter().copied())
        .collect()
}

fn test(scene: &Scene, source: &str) -> DataConfig {
    DataConfig { split: Split::Test, ..scene.config(source) }
}

#[test]
fn a_folder_of_idx_files_is_mnist() {
    let scene = Scene::new();
    let pixels: Vec<u8> = (0..12).collect();
    scene.write("mnist/train-images-idx3-ubyte", &idx(&[2, 2, 3], &pixels));
    scene.write("mnist/train-labels-idx1-ubyte", &idx(&[2], &[4, 1]));
    scene.write("mnist/t10k-images-idx3-ubyte", &idx(&[1, 2, 3], &pixels[6..]));
    scene.write("mnist/t10k-labels-idx1-ubyte", &idx(&[1], &[3]));
    let train = scene.open("mnist");
    assert_eq!((train.shape(), train.pixels()), ([1, 2, 3], pixels.as_slice()));
    assert_eq!(listing(&train), [(0, Some(4), 0), (1, Some(1), 6)]);
    assert_eq!(listing(&open(&test(&scene, "mnist")).unwrap()), [(0, Some(3), 6)]);
}

#[test]
fn a_folder_of_binary_batches_is_cifar_10() {
    let scene = Scene::new();
    let record = |label: u8| [vec![label], vec![10 * label; 3072]].concat();
    for batch in 1..=5u8 {
        scene.write(&format!("cifar/data_batch_{batch}.bin"), &record(batch));
    }
    scene.write("cifar/test_batch.bin", &record(9));
    let train = scene.open("cifar");
    assert_eq!((train.len(), train.shape(), train.classes()), (5, [3, 32, 32], 10));
    assert_eq!(listing(&train)[2], (2, Some(3), 30));
    assert_eq!(listing(&open(&test(&scene, "cifar")).unwrap()), [(0, Some(9), 90)]);
    scene.write("pickles/data_batch_1", b"\x80\x02");
    scene.write("pickles/test_batch", b"\x80\x02");
    assert!(scene.error("pickles").contains("binary"), "{}", scene.error("pickles"));
}

#[test]
fn an_npz_file_is_a_batch_of_samples() {
    let scene = Scene::new();
    let mut header =
        "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 2, 2, 3), }".to_string();
    header += &" ".repeat(128 - 11 - header.len());
    let pixels: Vec<u8> = (0..24).collect();
    let file = [b"\x93NUMPY\x01\0\x76\0", header.as_bytes(), b"\n", &pixels].concat();
    scene.write("samples.npz", &zip(&[("arr_0.npy", file)]));
    let data = scene.open("samples.npz");
    assert_eq!((data.len(), data.shape()), (2, [3, 2, 2]));
    assert_eq!(data.picture(1), [12, 15, 18, 21, 13, 16, 19, 22, 14, 17, 20, 23]);
}

#[test]
fn an_lmdb_is_divided_by_index() {
    let scene = Scene::new();
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/celeba-hq.mdb");
    scene.write("lmdb/data.mdb", &std::fs::read(file).unwrap());
    let all = scene.open("lmdb");
    assert!(all.len() >= 2 && all.classes() == 0);
    assert!(crate::common::error(&test(&scene, "lmdb")).contains("data.range"));
    let some = open(&DataConfig { range: Some([1, 2]), ..scene.config("lmdb") }).unwrap();
    assert_eq!((some.index(0), some.picture(0)), (1, all.picture(1)));
    let held = open(&DataConfig { held_out: 2, ..test(&scene, "lmdb") }).unwrap();
    assert_eq!((held.len(), held.picture(0)), (all.len().div_ceil(2), all.picture(0)));
}
