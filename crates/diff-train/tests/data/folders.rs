use crate::common::{Scene, listing, planes, png, zip};
use diff_train::data::{DataConfig, Split, open};

/// Two classes and a part to test on.
fn tree() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("train/dog/b.png", png(3, 4, 5)),
        ("train/cat/x/z.png", png(2, 4, 5)),
        ("train/cat/a.png", png(1, 4, 5)),
        ("test/dog/c.png", png(4, 4, 5)),
        ("readme.txt", b"no picture".to_vec()),
    ]
}

#[test]
fn a_folder_and_an_archive_of_it_are_the_same_data_set() {
    let scene = Scene::new();
    for (name, bytes) in tree() {
        scene.write(&format!("folder/{name}"), &bytes);
    }
    scene.write("set.zip", &zip(&tree()));
    for source in ["folder", "set.zip"] {
        let data = scene.open(source);
        assert_eq!((data.len(), data.shape()), (3, [3, 4, 5]));
        assert_eq!(listing(&data), [(0, Some(0), 1), (1, Some(0), 2), (2, Some(1), 3)]);
        for (i, seed) in [1, 2, 3].into_iter().enumerate() {
            assert_eq!(data.picture(i), planes(seed, 4, 5), "{source} {i}");
        }
        assert_eq!(
            (data.class_names(), data.report().ignored),
            (&["cat", "dog"].map(String::from)[..], 1)
        );
        let test = DataConfig { split: Split::Test, ..scene.config(source) };
        assert_eq!(listing(&open(&test).unwrap()), [(0, Some(1), 4)], "{source}");
    }
    assert_eq!(scene.open("folder").sha256(), scene.open("set.zip").sha256());
    assert_eq!(scene.cached("data").len(), 2, "one folder for train, one for test");
}

#[test]
fn labels_come_from_names_or_from_dataset_json() {
    let scene = Scene::new();
    scene.write("names/7_1.png", &png(1, 2, 2));
    scene.write("names/0_2.png", &png(2, 2, 2));
    let data = scene.open("names");
    assert_eq!(listing(&data), [(0, Some(0), 2), (1, Some(7), 1)]);
    assert_eq!((data.classes(), data.class_names()[7].as_str()), (8, "7"));
    let json = br#"{"labels": [["00000/img00000000.png", 6], ["00000/img00000001.png", 1]]}"#;
    let entries = [
        ("00000/img00000001.png", png(2, 2, 2)),
        ("00000/img00000000.png", png(1, 2, 2)),
        ("dataset.json", json.to_vec()),
    ];
    scene.write("edm.zip", &zip(&entries));
    entries.iter().for_each(|(name, bytes)| scene.write(&format!("edm/{name}"), bytes));
    for source in ["edm", "edm.zip"] {
        let data = scene.open(source);
        assert_eq!(listing(&data), [(0, Some(6), 1), (1, Some(1), 2)], "{source}");
        assert_eq!(data.classes(), 7);
    }
    scene.write("edm/dataset.json", br#"{"labels": [["img.png", 6]]}"#);
    assert!(scene.error("edm").contains("00000/img00000000.png"));
}

#[test]
fn a_source_without_parts_is_divided_by_index() {
    let scene = Scene::new();
    (0..10).for_each(|i| scene.write(&format!("flat/{i}.png"), &png(i, 2, 2)));
    let seeds = |config: &DataConfig| -> Vec<u8> {
        listing(&open(config).unwrap())
            .iter()
            .map(|(index, label, seed)| {
                assert_eq!((*index, *label), (u64::from(*seed), None));
                *seed
            })
            .collect()
    };
    let flat = scene.config("flat");
    let test = DataConfig { split: Split::Test, ..flat.clone() };
    let error = crate::common::error(&test);
    assert!(error.contains("data.held_out = n") && error.contains("data.range"), "{error}");
    assert_eq!(seeds(&DataConfig { held_out: 4, ..flat.clone() }), [1, 2, 3, 5, 6, 7, 9]);
    assert_eq!(seeds(&DataConfig { held_out: 4, ..test.clone() }), [0, 4, 8]);
    assert_eq!(seeds(&DataConfig { range: Some([7, 20]), ..flat.clone() }), [7, 8, 9]);
    // What `train` names cannot be `test` as well.
    let both = crate::common::error(&DataConfig { range: Some([7, 20]), ..test.clone() });
    assert!(both.contains("data.held_out = n"), "{both}");
    let parts = DataConfig { range: Some([3, 9]), held_out: 4, ..test };
    assert_eq!(seeds(&parts), [4, 8]);
    assert_eq!(seeds(&DataConfig { split: Split::Train, ..parts }), [3, 5, 6, 7]);
    assert_eq!(seeds(&DataConfig { range: Some([0, 2]), ..flat.clone() }), [0, 1]);
    let none = crate::common::error(&DataConfig { range: Some([10, 20]), ..flat });
    assert!(none.contains("no pictures") && none.contains("data.range"), "{none}");
}

#[test]
fn an_unknown_source_and_one_without_pictures_are_refused() {
    let scene = Scene::new();
    for (source, words) in [("digist", "did you mean `digits`"), ("cifar01", "`cifar10`")] {
        let error =
            crate::common::error(&DataConfig { source: source.into(), ..Default::default() });
        assert!(error.contains(source) && error.contains(words), "{error}");
    }
    scene.write("text/a.txt", b"a");
    let error = scene.error("text");
    assert!(error.contains("no pictures; 1 files are no pictures by their names"), "{error}");
    let error = scene.error("text/a.txt");
    assert!(error.contains("a.txt") && error.contains(".parquet"), "{error}");
}

#[test]
fn a_damaged_archive_is_named() {
    let scene = Scene::new();
    let whole = zip(&tree());
    scene.write("cut.zip", &whole[..whole.len() / 2]);
    let error = scene.error("cut.zip");
    assert!(error.contains("cut.zip") && error.contains("complete zip archive"), "{error}");
    // One entry whose bytes do not match their checksum: the others are read.
    let stored = zip(&[("a.png", png(1, 2, 2)), ("b.png", png(2, 2, 2))]);
    let mut changed = stored.clone();
    let data = stored.windows(5).position(|w| w == b"a.png").unwrap() + 12;
    changed[data] ^= 0xff;
    scene.write("changed.zip", &changed);
    let data = scene.open("changed.zip");
    assert_eq!(listing(&data), [(1, None, 2)]);
    assert_eq!(data.report().examples[0].name, "a.png");
}

#[test]
fn embedded_digits_are_prepared_like_everything_else_and_stay_in_memory() {
    let scene = Scene::new();
    let digits = DataConfig { cache: Some(scene.path("cache")), ..DataConfig::default() };
    let large =
        open(&DataConfig { resolution: Some(16), channels: Some(3), ..digits.clone() }).unwrap();
    assert_eq!((large.shape(), large.len(), large.folder()), ([3, 16, 16], 1437, None));
    assert_eq!(large.report().decided["enlarged"], 1437);
    assert_ne!(large.sha256(), open(&digits).unwrap().sha256());
    assert!(!scene.path("cache").exists());
}
