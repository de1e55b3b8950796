//! Files of `torch.save` that torch would not write: lies, code, riddles, and things to choose between.

#![allow(clippy::unwrap_used)] // a test

mod common;

use candle_core::Tensor;
use common::values;
use diff_models::checkpoint::read_tensors;
use std::{collections::HashMap, fs, io::Write, path::Path};
use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

const MAGIC: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";

/// A legacy file of a pickled object, and storages by key, told number of elements, and elements.
fn legacy(object: &[u8], storages: &[(&str, u64, &[f32])]) -> Vec<u8> {
    let mut file =
        [MAGIC, b"\x80\x02M\xe9\x03.\x80\x02}.\x80\x02", object, b".\x80\x02]("].concat();
    file.extend(storages.iter().flat_map(|(key, ..)| text(key)));
    file.extend(b"e.");
    for (_, count, elements) in storages {
        file.extend(count.to_le_bytes());
        file.extend(elements.iter().flat_map(|value| value.to_le_bytes()));
    }
    file
}

fn text(text: &str) -> Vec<u8> {
    [b"X", (text.len() as u32).to_le_bytes().as_slice(), text.as_bytes()].concat()
}

fn int(number: i64) -> Vec<u8> {
    [b"\x8a\x08".as_slice(), &number.to_le_bytes()].concat()
}

fn tuple(items: &[Vec<u8>]) -> Vec<u8> {
    [b"(", items.concat().as_slice(), b"t"].concat()
}

fn list(items: &[Vec<u8>]) -> Vec<u8> {
    [b"](", items.concat().as_slice(), b"e"].concat()
}

fn dict(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let entries: Vec<_> =
        entries.iter().map(|(key, value)| [text(key), value.clone()].concat()).collect();
    [b"}(", entries.concat().as_slice(), b"u"].concat()
}

fn call(function: &str, arguments: &[Vec<u8>]) -> Vec<u8> {
    let (module, name) = function.rsplit_once('.').unwrap();
    [format!("c{module}\n{name}\n").as_bytes(), &tuple(arguments), b"R"].concat()
}

struct View {
    key: &'static str,
    elements: i64,
    /// What old files say of storages that are a part of another.
    part: Vec<u8>,
    offset: i64,
    shape: &'static [i64],
    strides: &'static [i64],
}

impl Default for View {
    /// Two elements, the whole storage.
    fn default() -> Self {
        View { key: "7", elements: 2, part: b"N".into(), offset: 0, shape: &[2], strides: &[1] }
    }
}

impl View {
    fn pickled(&self) -> Vec<u8> {
        let ints =
            |numbers: &[i64]| tuple(&numbers.iter().map(|&number| int(number)).collect::<Vec<_>>());
        let storage = tuple(&[
            text("storage"),
            b"ctorch\nFloatStorage\n".into(),
            text(self.key),
            text("cpu"),
            int(self.elements),
            self.part.clone(),
        ]);
        let storage = [storage.as_slice(), b"Q"].concat();
        let (shape, strides) = (ints(self.shape), ints(self.strides));
        let rest = [b"\x89".to_vec(), call("collections.OrderedDict", &[])];
        let arguments = [[storage, int(self.offset), shape, strides].as_slice(), &rest].concat();
        call("torch._utils._rebuild_tensor_v2", &arguments)
    }
}

fn pair() -> Vec<u8> {
    View::default().pickled()
}

const PAIR: (&str, u64, &[f32]) = ("7", 2, &[1.5, -2.0]);

fn read(bytes: &[u8]) -> diff_models::Result<HashMap<String, Tensor>> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("made.pth");
    fs::write(&path, bytes).unwrap();
    read_tensors(&path)
}

/// The file's only tensor, called `w`.
fn only(bytes: &[u8]) -> Vec<f64> {
    let tensors = read(bytes).unwrap();
    assert_eq!(tensors.len(), 1, "{:?}", tensors.keys());
    values(&tensors["w"])
}

fn refused(bytes: &[u8], expected: &str) {
    let message = read(bytes).unwrap_err().to_string();
    assert!(message.contains("made.pth: ") && message.contains(expected), "{message}");
}

fn with(view: View) -> Vec<u8> {
    legacy(&dict(&[("w", view.pickled())]), &[PAIR])
}

#[test]
fn the_files_made_here_are_read_if_nothing_is_wrong_with_them() {
    assert_eq!(only(&with(View::default())), [1.5, -2.0]);
    let backwards = View { offset: 1, shape: &[1, 1], strides: &[5, 3], ..View::default() };
    assert_eq!(only(&with(backwards)), [-2.0]);
    // A part of another storage, which has a key of its own.
    let part = tuple(&[text("8"), int(1), int(1)]);
    assert_eq!(only(&with(View { part, shape: &[1], ..View::default() })), [-2.0]);
}

#[test]
fn what_python_2_wrote_is_read() {
    let name = b"U\x01w".to_vec();
    let entries = list(&[list(&[name, pair()])]);
    let object = call("collections.OrderedDict", &[entries]);
    assert_eq!(only(&legacy(&object, &[PAIR])), [1.5, -2.0]);
}

#[test]
fn tensors_beyond_their_storage_are_refused() {
    let whole = || View::default();
    for view in [
        View { shape: &[3], ..whole() },
        View { offset: 1, ..whole() },
        View { offset: 2, shape: &[1], ..whole() },
        View { strides: &[2], ..whole() },
        View { shape: &[1 << 40], strides: &[0], ..whole() },
        View { shape: &[1 << 40, 1 << 40], strides: &[0, 0], ..whole() },
        View { shape: &[2, 1 << 62], strides: &[i64::MAX, i64::MAX], ..whole() },
        View { shape: &[2, 1], ..whole() },
        View { offset: i64::MAX, ..whole() },
    ] {
        refused(&with(view), "reach beyond the 2 elements of storage 7");
    }
    for view in [View { offset: -1, ..whole() }, View { shape: &[-1], ..whole() }] {
        refused(&with(view), "w: a tensor without storage, offset, shape or strides");
    }
    let part = tuple(&[text("8"), int(1), int(2)]);
    refused(&with(View { part, ..whole() }), "a part that is not within it");
}

#[test]
fn sizes_that_the_file_has_no_room_for_are_refused() {
    let huge = View { elements: 1 << 40, ..View::default() };
    let object = dict(&[("w", huge.pickled())]);
    refused(&legacy(&object, &[("7", 1 << 40, PAIR.2)]), "storage 7 takes 4398046511104 bytes");
    let huge = View { elements: i64::MAX, ..View::default() };
    let object = dict(&[("w", huge.pickled())]);
    refused(
        &legacy(&object, &[("7", u64::MAX, PAIR.2)]),
        "impossible 9223372036854775807 elements",
    );
    let object = dict(&[("w", pair())]);
    refused(&legacy(&object, &[("7", 3, PAIR.2)]), "storage 7 has 3 elements, expected 2");
    refused(&legacy(&object, &[]), "storage 7: not in the file");
    refused(&legacy(b"X\xff\xff\xff\xffabc", &[]), "truncated: it ends within a pickle");
    refused(&legacy(b"\x8d\xff\xff\xff\xff\xff\xff\xff\x7fabc", &[]), "truncated");
    // Many tensors, each as large as the storage that they share.
    let elements = [0.0; 1000];
    let all = View { elements: 1000, shape: &[1000], ..View::default() }.pickled();
    let names: Vec<String> = (0..2000).map(|i| i.to_string()).collect();
    let again = |name: &String| (name.clone(), b"h\x00".to_vec());
    let mut entries = vec![("w".to_string(), [all.as_slice(), b"q\x00"].concat())];
    entries.extend(names.iter().map(again));
    let entries: Vec<_> =
        entries.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
    refused(&legacy(&dict(&entries), &[("7", 1000, &elements)]), "tensors of 8004000 bytes");
    assert_eq!(read(&legacy(&dict(&entries[..9]), &[("7", 1000, &elements)])).unwrap().len(), 9);
}

#[test]
fn a_call_in_a_file_is_not_made() {
    let dir = tempfile::tempdir().unwrap();
    let witness = dir.path().join("witness");
    let command = format!("touch {}", witness.display());
    let system = call("os.system", &[text(&command)]);
    let beside = dict(&[("w", pair()), ("x", system.clone())]);
    assert_eq!(only(&legacy(&beside, &[PAIR])), [1.5, -2.0]);
    refused(&legacy(&system, &[]), "found a call of os.system, which is not made");
    let inside = dict(&[("w", call("torch._utils._rebuild_parameter", &[system]))]);
    refused(&legacy(&inside, &[]), "w: made by os.system; supported: plain tensors");
    let other = dict(&[("w", call("torch._utils._rebuild_sparse_tensor", &[]))]);
    refused(&legacy(&other, &[]), "w: made by torch._utils._rebuild_sparse_tensor");
    assert!(!witness.exists());
    let mut newer = vec![b"N".to_vec(); 6];
    newer.push(b"ctorch\nuint16\n".into());
    let newer = dict(&[("w", call("torch._utils._rebuild_tensor_v3", &newer))]);
    refused(&legacy(&newer, &[]), "w: its elements are torch.uint16; supported: float16,");
}

#[test]
fn streams_that_nest_or_grow_without_end_are_refused() {
    let deep = [b")".to_vec(), vec![0x85; 1_000_000]].concat();
    refused(&legacy(&deep, &[]), "found a tuple of 1");
    // Each tuple holds the one before twice: 2^100000 items if they were copied.
    let doubled = [b")".to_vec(), b"2\x86".repeat(100_000)].concat();
    refused(&legacy(&doubled, &[]), "found a tuple of 2");
    refused(&legacy(b"]q\x00h\x00a", &[]), "found a list of 1");
    refused(&legacy(&b"N".repeat(5_000_000), &[]), "more than 4194304 operations");
    // One long list of pairs, made a dict over and over.
    let pairs = list(&vec![b"NN\x86".to_vec(); 100_000]);
    let again = b"ccollections\nOrderedDict\nh\x00\x85R".repeat(1000);
    let again = [pairs.as_slice(), b"q\x00", &again].concat();
    refused(&legacy(&again, &[]), "more than 4194304 operations");
    // Long dicts and lists that are named in many places: going through all of them would not end.
    let long = [b"}(".as_slice(), &b"NN".repeat(500_000), b"u"].concat();
    let groups = list(&[[long.as_slice(), b"q\x00"].concat(), b"h\x00".repeat(500_000)]);
    let optimizer = dict(&[("param_groups", groups), ("state", b"h\x00".into())]);
    let object = dict(&[("model", dict(&[("w", pair())])), ("optimizer", optimizer)]);
    assert_eq!(only(&legacy(&object, &[PAIR])), [1.5, -2.0]);
    // A short file in which one tensor has a great many names.
    let numbered = [list(&[[pair().as_slice(), b"q\x00"].concat(), b"h\x00".repeat(1 << 20)])];
    refused(&legacy(&numbered.concat(), &[PAIR]), "found a list of 1048577 (a tensor, ");
    let wrapped = (0..5).fold(pair(), |inner, _| call("torch._utils._rebuild_parameter", &[inner]));
    refused(&legacy(&dict(&[("w", wrapped)]), &[PAIR]), "w: a tensor wrapped again and again");
}

#[test]
fn streams_that_make_no_sense_are_refused() {
    for (object, expected) in [
        (b"0".as_slice(), "a value where there is none"),
        (b"(0", "a value where there is none"),
        (b"t", "a group of values that it has not begun"),
        (b"N(Nu", "a key without a value"),
        (b"NNa", "appends to what is no list"),
        (b"NNNs", "entries to what is no dict"),
        (b"h\x05", "recalls value 5"),
        (b"NN\x93", "names a class by what is no name"),
        (b"cos", "a name in a pickle has no end"),
        (b"I1\n", "operation 0x49 in a pickle, which is not known"),
    ] {
        refused(&legacy(object, &[]), expected);
    }
    refused(b"\x80\x02N.", "does not begin with torch.save's magic number");
    let whole = with(View::default());
    for place in 4..MAGIC.len() - 1 {
        let mut other = whole.clone();
        other[place] ^= 1;
        refused(&other, "does not begin with torch.save's magic number");
    }
    refused(&[MAGIC, b"\x80\x02K\x01."].concat(), "not of protocol 1001");
    let big =
        [MAGIC, b"\x80\x02M\xe9\x03.", &dict(&[("little_endian", b"\x89".into())]), b"."].concat();
    refused(&big, "highest byte first");
    refused(b"weights", "neither a zip archive nor a pickle");
    refused(b"", "neither a zip archive nor a pickle");
}

#[test]
fn what_cannot_be_chosen_is_listed() {
    let state = || dict(&[("w", pair())]);
    let file = |object: &[u8]| legacy(object, &[PAIR]);
    for entries in [
        vec![("state_dict", state())],
        vec![("model", state()), ("epoch", int(3)), ("ema", b"G\0\0\0\0\0\0\0\0".into())],
        vec![("ema", state()), ("model", dict(&[("v", pair())]))],
        vec![("ema_state_dict", state()), ("state_dict", dict(&[("v", pair())])), ("t", pair())],
        vec![("w", pair()), ("epoch", int(3)), ("args", call("argparse.Namespace", &[]))],
    ] {
        assert_eq!(only(&file(&dict(&entries))), [1.5, -2.0]);
    }
    assert_eq!(only(&file(&list(&[state(), dict(&[]), int(5), int(6)]))), [1.5, -2.0]);
    for (object, expected) in [
        (dict(&[("net", state()), ("epoch", int(3))]), "\"net\": a state dict, \"epoch\": an int"),
        (dict(&[("model", state()), ("state_dict", state())]), "several state dicts in it"),
        (dict(&[("ema", state()), ("ema_state_dict", state())]), "several averages in it"),
        (
            dict(&[("model", state()), ("ema", dict(&[("shadow", list(&[pair()]))]))]),
            "ema is no state dict: found a dict of 2 without tensors (\"model\": a state dict, \
             \"ema\": a dict of 1 without tensors)",
        ),
        (list(&[pair(), int(5), pair()]), "(a tensor, an int, a tensor)"),
        (list(&[state(), int(5), state()]), "several state dicts in it: found a list of 3"),
        (pair(), "no state dict in it: found a tensor"),
    ] {
        refused(&file(&object), expected);
    }
    for (object, expected) in [
        (list(&vec![int(5); 20]), "an int, 8 more); expected a dict of tensors by name"),
        (dict(&[]), "no state dict in it: found a dict of 0"),
        (call("models.Net", &[]), "found a call of models.Net, which is not made"),
    ] {
        refused(&legacy(&object, &[]), expected);
    }
}

/// SA-DPM's file with averages of some shapes, in an order of its own.
fn sa_dpm(order: &[i64], averages: &[(i64, Vec<u8>)]) -> Vec<u8> {
    let order = list(&order.iter().map(|&parameter| int(parameter)).collect::<Vec<_>>());
    let state: Vec<u8> = averages
        .iter()
        .flat_map(|(parameter, entries)| [int(*parameter), entries.clone()].concat())
        .collect();
    let state = [b"}(", state.as_slice(), b"u"].concat();
    let groups = list(&[dict(&[("params", order)])]);
    let single = View { shape: &[1], ..View::default() }.pickled();
    let object = dict(&[
        ("model_dict", dict(&[("a", pair()), ("b", single)])),
        ("optimizer", dict(&[("state", state), ("param_groups", groups)])),
    ]);
    legacy(&object, &[PAIR, ("9", 2, &[8.0, 9.0])])
}

#[test]
fn averages_of_an_optimiser_fit_the_model_or_are_refused() {
    let ema = |view: View| dict(&[("step", int(1)), ("ema", view.pickled())]);
    let two = || ema(View { key: "9", ..View::default() });
    let one = || ema(View { key: "9", offset: 1, shape: &[1], ..View::default() });
    // Old files number parameters by where they lay in memory.
    let tensors = read(&sa_dpm(&[90, 40], &[(40, one()), (90, two())])).unwrap();
    assert_eq!((values(&tensors["a"]), values(&tensors["b"])), (vec![8.0, 9.0], vec![9.0]));
    let without = dict(&[("moments", two())]);
    let tensors = read(&sa_dpm(&[0, 1], &[(0, without.clone()), (1, without)])).unwrap();
    assert_eq!((values(&tensors["a"]), values(&tensors["b"])), (vec![1.5, -2.0], vec![1.5]));
    for (order, averages, expected) in [
        (vec![40, 90], vec![(40, one()), (90, two())], "a: expected shape [2], found [1]"),
        (vec![0], vec![(0, two())], "not those of 2 parameters, as the model has"),
        (vec![0, 1, 1], vec![(0, two()), (1, one())], "not those of 2 parameters"),
        (vec![0, 1], vec![(0, two())], "not those of 2 parameters"),
        (vec![0, 1], vec![(0, dict(&[("ema", int(1))])), (1, one())], "a: ema: not a tensor"),
    ] {
        refused(&sa_dpm(&order, &averages), expected);
    }
}

fn archive(files: &[(&str, &[u8])], method: CompressionMethod) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("archive");
    let mut zip = ZipWriter::new(fs::File::create(&path).unwrap());
    for (name, content) in files {
        zip.start_file(*name, SimpleFileOptions::default().compression_method(method)).unwrap();
        zip.write_all(content).unwrap();
    }
    zip.finish().unwrap();
    fs::read(Path::new(&path)).unwrap()
}

#[test]
fn an_archive_has_one_pickle_and_its_storages_as_they_are() {
    let pickle = [b"\x80\x02", dict(&[("w", pair())]).as_slice(), b"."].concat();
    let storage: Vec<u8> = PAIR.2.iter().flat_map(|value| value.to_le_bytes()).collect();
    let stored = |files: &[(&str, &[u8])]| archive(files, CompressionMethod::Stored);
    let (root, data) = (("a/data.pkl", pickle.as_slice()), ("a/data/7", storage.as_slice()));
    assert_eq!(only(&stored(&[root, data])), [1.5, -2.0]);
    assert_eq!(only(&stored(&[root, data, ("a/byteorder", b"little")])), [1.5, -2.0]);
    for (files, expected) in [
        (vec![root, data, ("a/byteorder", b"big")], "byteorder = big: supported: little"),
        (vec![root, data, ("b/data.pkl", &pickle)], "a zip archive with 2 data.pkl, expected one"),
        (vec![data], "a zip archive with 0 data.pkl, expected one"),
        (vec![root], "w: storage 7: data/7: "),
        (vec![root, ("a/data/7", &storage[..5])], "w: storage 7: expected 8 bytes, found 5"),
        (vec![("a/data.pkl", &pickle[..9]), data], "data.pkl: truncated"),
    ] {
        refused(&stored(&files), expected);
    }
    refused(&archive(&[root, data], CompressionMethod::Deflated), "data.pkl: compressed; expected");
}
