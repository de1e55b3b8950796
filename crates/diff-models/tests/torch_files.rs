//! Files of `torch.save`, whole and damaged. The fixtures were made by `tests/golden/torch_files.py`.

#![allow(clippy::unwrap_used)] // a test

mod common;

use candle_core::{DType, Tensor};
use common::values;
use diff_models::checkpoint::read_tensors;
use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

type Tensors = HashMap<String, Tensor>;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/torch_{name}.pth"))
}

fn read(name: &str) -> Tensors {
    read_tensors(&fixture(name)).unwrap()
}

/// Element i of the tensor numbered n, before a type with a point takes a fourth of it.
fn numbered(n: usize, count: usize) -> Vec<f64> {
    (0..count).map(|i| ((5 * i + 3 * n) % 37) as f64).collect()
}

fn fourths(n: usize, count: usize) -> Vec<f64> {
    numbered(n, count).into_iter().map(|value| value / 4.0).collect()
}

/// Names, shapes and values of the network numbered from `start`, and nothing else.
fn expect_network(tensors: &Tensors, prefix: &str, start: usize) {
    let shapes: [(&str, &[usize]); 4] = [
        ("conv.weight", &[3, 2, 1, 1]),
        ("conv.bias", &[3]),
        ("out.weight", &[2, 3]),
        ("out.bias", &[2]),
    ];
    assert_eq!(tensors.len(), shapes.len(), "{:?}", tensors.keys());
    for (n, (name, shape)) in shapes.into_iter().enumerate() {
        let tensor = &tensors[&format!("{prefix}{name}")];
        assert_eq!((tensor.dims(), tensor.dtype()), (shape, DType::F32), "{name}");
        assert_eq!(values(tensor), fourths(start + n, tensor.elem_count()), "{name}");
    }
}

#[test]
fn a_state_dict_is_read_from_either_container_and_any_protocol() {
    for name in ["zip_flat", "legacy_flat", "legacy_protocol5"] {
        expect_network(&read(name), "", 0);
    }
}

#[test]
fn the_types_of_weights_are_kept() {
    for name in ["zip_dtypes", "legacy_dtypes"] {
        let tensors = read(name);
        assert_eq!(tensors.len(), 5);
        for (n, (name, dtype)) in [
            ("float16", DType::F16),
            ("bfloat16", DType::BF16),
            ("float32", DType::F32),
            ("float64", DType::F64),
            ("int64", DType::I64),
        ]
        .into_iter()
        .enumerate()
        {
            let tensor = &tensors[name];
            assert_eq!((tensor.dims(), tensor.dtype()), ([2, 5].as_slice(), dtype));
            let whole = dtype == DType::I64;
            let expected = if whole { numbered(n, 10) } else { fourths(n, 10) };
            assert_eq!(values(tensor), expected, "{name}");
        }
    }
    let message = read_tensors(&fixture("legacy_uint8")).unwrap_err().to_string();
    assert!(message.contains("torch_legacy_uint8.pth: table: its elements are uint8"), "{message}");
    assert!(message.contains("supported: float16, bfloat16, float32, float64, int64"), "{message}");
}

#[test]
fn views_of_one_storage_are_what_they_show() {
    for name in ["zip_views", "legacy_views"] {
        let tensors = read(name);
        let whole = tensors["whole"].clone();
        assert_eq!(values(&whole), fourths(0, 24));
        let columns = Tensor::new(&[0i64, 3], whole.device()).unwrap();
        let rows = Tensor::new(&[1i64, 3], whole.device()).unwrap();
        for (name, expected) in [
            ("transposed", whole.t().unwrap()),
            ("strided", whole.index_select(&rows, 0).unwrap().index_select(&columns, 1).unwrap()),
            ("offset", whole.get(2).unwrap()),
            ("permuted", whole.reshape((2, 2, 6)).unwrap().permute((2, 0, 1)).unwrap()),
            ("scalar", whole.get(3).unwrap().get(5).unwrap()),
            ("empty", whole.narrow(0, 4, 0).unwrap()),
        ] {
            assert_eq!(tensors[name].dims(), expected.dims(), "{name}");
            assert_eq!(values(&tensors[name]), values(&expected), "{name}");
        }
        assert_eq!(tensors.len(), 7);
    }
}

#[test]
fn of_a_training_checkpoint_the_averages_are_read() {
    // ermongroup/ddim's list, and SA-DPM's dict, whose optimiser has them by the place of the parameter.
    for name in ["zip_ermongroup", "legacy_ermongroup"] {
        expect_network(&read(name), "", 4);
    }
    expect_network(&read("zip_sadpm"), "module.", 4);
}

#[test]
fn tensors_of_a_list_are_named_by_their_place() {
    for name in ["zip_list", "legacy_list"] {
        let tensors = read(name);
        assert_eq!(tensors.len(), 5);
        for n in 0..5 {
            let tensor = &tensors[&n.to_string()];
            assert_eq!((tensor.dims(), tensor.dtype()), ([1, n + 2, 1, 1].as_slice(), DType::F32));
            assert_eq!(values(tensor), fourths(n, n + 2), "{name}: {n}");
        }
    }
}

#[test]
fn objects_beside_and_around_the_tensors_are_passed_over() {
    // Parameters, beside a Namespace, a numpy scalar and a numpy array.
    expect_network(&read("zip_study"), "", 0);
}

#[test]
fn weights_without_averages_are_read_with_a_word_of_it() {
    let path = fixture("legacy_sadpm_raw");
    expect_network(&read_tensors(&path).unwrap(), "module.", 0);
    let out = tempfile::tempdir().unwrap();
    let import = Command::new(env!("CARGO_BIN_EXE_diff-models"))
        .args(["import", "--weights", path.to_str().unwrap(), "--out"])
        .arg(out.path().join("model"))
        .output()
        .unwrap();
    let said = String::from_utf8(import.stderr).unwrap();
    let note = "the optimizer keeps no averages (ema); these are model_dict's weights";
    assert!(said.contains(note), "{said}");
}

/// What comes of a damaged file, which must be the same tensors or an error that names it.
fn of_bytes(bytes: &[u8], scratch: &Path) -> Option<Tensors> {
    fs::write(scratch, bytes).unwrap();
    let read = read_tensors(scratch);
    // Some file systems flush a file that is written over.
    fs::remove_file(scratch).unwrap();
    match read {
        Ok(tensors) => Some(tensors),
        Err(error) => {
            let message = error.to_string();
            assert!(message.contains("scratch.pth: "), "{message}");
            assert!(message.len() < 4000, "{message}");
            None
        }
    }
}

#[test]
fn a_truncated_file_is_refused_wherever_it_ends() {
    let dir = tempfile::tempdir().unwrap();
    let scratch = dir.path().join("scratch.pth");
    for name in ["zip_views", "legacy_views"] {
        let whole = fs::read(fixture(name)).unwrap();
        for length in 0..whole.len() {
            let found = of_bytes(&whole[..length], &scratch);
            assert!(found.is_none(), "{name}: {length} bytes of {}", whole.len());
        }
        assert!(of_bytes(&whole, &scratch).is_some());
    }
}

#[test]
fn a_zip_archive_with_a_changed_byte_is_refused_or_reads_as_before() {
    let dir = tempfile::tempdir().unwrap();
    let scratch = dir.path().join("scratch.pth");
    let (whole, before) = (fs::read(fixture("zip_views")).unwrap(), read("zip_views"));
    let mut refused = 0;
    for place in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[place] ^= 1 << (place % 8);
        let Some(after) = of_bytes(&bytes, &scratch) else {
            refused += 1;
            continue;
        };
        assert_eq!(after.len(), before.len(), "byte {place}");
        for (name, expected) in &before {
            assert_eq!(values(&after[name]), values(expected), "{name}: byte {place}");
        }
    }
    assert!(refused > 500, "{refused} of {}", whole.len());
}

#[test]
fn a_legacy_file_with_a_changed_byte_does_no_harm() {
    // It has no checksums: weights may change, but nothing panics, hangs or takes what is not there.
    let dir = tempfile::tempdir().unwrap();
    let scratch = dir.path().join("scratch.pth");
    for (name, step) in [("legacy_flat", 1), ("legacy_protocol5", 1), ("legacy_ermongroup", 3)] {
        let whole = fs::read(fixture(name)).unwrap();
        let (mut refused, mut changed) = (0, 0);
        for place in (0..whole.len()).step_by(step) {
            let mut bytes = whole.clone();
            bytes[place] ^= if place % 2 == 0 { 0xff } else { 1 << (place % 8) };
            changed += 1;
            refused += usize::from(of_bytes(&bytes, &scratch).is_none());
        }
        assert!(refused > changed / 4, "{name}: {refused} of {changed}");
    }
}
