use crate::common::{Scene, hub_pictures, labels, listing, parquet, png};
use arrow_array::{
    ArrayRef, BinaryArray, Int32Array, LargeBinaryArray, StringArray, types::Int64Type,
};
use diff_train::data::{DataConfig, Split, open};
use std::{fs, sync::Arc};

fn pictures(seeds: std::ops::Range<u8>) -> ArrayRef {
    hub_pictures(&seeds.map(|seed| Some(png(seed, 4, 4))).collect::<Vec<_>>())
}

fn numbers(values: &[i64]) -> ArrayRef {
    Arc::new(arrow_array::PrimitiveArray::<Int64Type>::from(values.to_vec()))
}

#[test]
fn rows_keep_their_order_labels_and_names_over_row_groups_and_nulls() {
    let scene = Scene::new();
    let files: Vec<_> = (0..5).map(|i| (i != 2).then(|| png(i, 4, 4))).collect();
    let label = labels(&[Some(1), Some(0), Some(1), None, Some(-1)]);
    let metadata = r#"{"info": {"features": {"label":
        {"names": ["cat", "dog"], "_type": "ClassLabel"}}}}"#;
    let columns = vec![("img", hub_pictures(&files)), ("label", label)];
    parquet(&scene.path("set.parquet"), columns, Some(metadata));
    let data = scene.open("set.parquet");
    let expected = [(0, Some(1), 0), (1, Some(0), 1), (3, None, 3), (4, None, 4)];
    assert_eq!(listing(&data), expected);
    assert_eq!(data.class_names(), ["cat", "dog"]);
    let bad = &data.report().examples[0];
    assert_eq!((bad.name.as_str(), bad.reason.as_str()), ("set.parquet row 2", "null"));
}

#[test]
fn the_picture_column_is_the_first_that_holds_pictures() {
    let scene = Scene::new();
    let files: Vec<Vec<u8>> = (0..3).map(|seed| png(seed, 4, 4)).collect();
    let blobs: BinaryArray = (0..3).map(|_| Some(b"blob".as_slice())).collect();
    let binary: BinaryArray = files.iter().map(|file| Some(file.as_slice())).collect();
    let large: LargeBinaryArray = files.iter().map(|file| Some(file.as_slice())).collect();
    let text: StringArray = (0..3).map(|_| Some("text")).collect();
    let of: [(&str, ArrayRef); 2] = [("binary", Arc::new(binary)), ("large", Arc::new(large))];
    for (name, column) in of {
        let columns = vec![
            ("text", Arc::new(text.clone()) as ArrayRef),
            ("blob", Arc::new(blobs.clone()) as ArrayRef),
            (name, column),
            ("fine_label", Arc::new(Int32Array::from(vec![2, 1, 0])) as ArrayRef),
        ];
        let file = format!("{name}.parquet");
        parquet(&scene.path(&file), columns, None);
        let data = scene.open(&file);
        assert_eq!(listing(&data), [(0, Some(2), 0), (1, Some(1), 1), (2, Some(0), 2)], "{name}");
        assert_eq!(data.classes(), 3);
    }
}

#[test]
fn columns_can_be_named_and_wrong_names_list_them() {
    let scene = Scene::new();
    let columns = vec![
        ("a", pictures(0..2)),
        ("b", pictures(5..7)),
        ("label", numbers(&[0, 1])),
        ("other", numbers(&[1, 0])),
    ];
    parquet(&scene.path("set.parquet"), columns, None);
    let config = DataConfig {
        picture_column: Some("b".into()),
        label_column: Some("other".into()),
        ..scene.config("set.parquet")
    };
    assert_eq!(listing(&open(&config).unwrap()), [(0, Some(1), 5), (1, Some(0), 6)]);
    let wrong = |picture: Option<&str>, label: Option<&str>| {
        let (picture_column, label_column) = (picture.map(String::from), label.map(String::from));
        crate::common::error(&DataConfig { picture_column, label_column, ..config.clone() })
    };
    let error = wrong(Some("c"), None);
    assert!(error.contains("data.picture_column") && error.contains("`a` ({bytes, path})"));
    let error = wrong(None, Some("a"));
    assert!(error.contains("data.label_column") && error.contains("`other` (int64)"), "{error}");
    parquet(&scene.path("none.parquet"), vec![("x", numbers(&[1]))], None);
    let error = scene.error("none.parquet");
    assert!(error.contains("no column holds pictures; found `x` (int64)"), "{error}");
}

#[test]
fn the_one_class_label_is_the_label_whatever_its_name() {
    let scene = Scene::new();
    let metadata = r#"{"info": {"features": {"breed": {"names": ["x", "y"], "_type": "ClassLabel"},
        "year": {"dtype": "int64", "_type": "Value"}}}}"#;
    let columns =
        vec![("year", numbers(&[9, 8])), ("image", pictures(0..2)), ("breed", numbers(&[1, 0]))];
    parquet(&scene.path("set.parquet"), columns.clone(), Some(metadata));
    let data = scene.open("set.parquet");
    assert_eq!(listing(&data), [(0, Some(1), 0), (1, Some(0), 1)]);
    assert_eq!(data.class_names(), ["x", "y"]);
    parquet(&scene.path("plain.parquet"), columns, None);
    assert_eq!(listing(&scene.open("plain.parquet")), [(0, None, 0), (1, None, 1)]);
}

#[test]
fn a_folder_of_the_hub_has_configurations_splits_and_several_files() {
    let scene = Scene::new();
    let write = |name: &str, seeds: std::ops::Range<u8>| {
        let label = numbers(&seeds.clone().map(i64::from).collect::<Vec<_>>());
        let columns = vec![("image", pictures(seeds)), ("label", label)];
        parquet(&scene.path("hub").join(name), columns, None);
    };
    write("small/train/0001.parquet", 3..4);
    write("small/train/0000.parquet", 0..3);
    write("small/validation/0000.parquet", 7..8);
    let seeds = |config: &DataConfig| -> Vec<u8> {
        listing(&open(config).unwrap()).iter().map(|entry| entry.2).collect()
    };
    let config = scene.config("hub");
    assert_eq!(seeds(&config), [0, 1, 2, 3]);
    assert_eq!(listing(&open(&config).unwrap())[3], (3, Some(3), 3));
    assert_eq!(seeds(&DataConfig { split: Split::Test, ..config.clone() }), [7]);
    write("large/train-00000-of-00001.parquet", 5..6);
    assert!(scene.error("hub").contains("`large`, `small`"));
    assert_eq!(seeds(&DataConfig { config: Some("large".into()), ..config }), [5]);
}

#[test]
fn a_damaged_file_and_one_with_other_columns_are_named() {
    let scene = Scene::new();
    parquet(&scene.path("set/train-0.parquet"), vec![("image", pictures(0..4))], None);
    parquet(&scene.path("set/train-1.parquet"), vec![("picture", pictures(0..1))], None);
    let error = scene.error("set");
    assert!(error.contains("train-1.parquet") && error.contains("no column `image`"), "{error}");
    let whole = fs::read(scene.path("set/train-0.parquet")).unwrap();
    scene.write("cut.parquet", &whole[..whole.len() / 2]);
    assert!(scene.error("cut.parquet").contains("cut.parquet"));
    let mut changed = whole;
    changed[4..200].fill(0xff);
    scene.write("changed.parquet", &changed);
    assert!(scene.error("changed.parquet").contains("changed.parquet"));
    scene.write("empty.parquet", b"");
    assert!(scene.error("empty.parquet").contains("empty.parquet"));
    assert!(scene.cached("data").is_empty(), "nothing may stay of a failed build");
}

#[test]
fn labels_out_of_range_are_refused() {
    let scene = Scene::new();
    let metadata = r#"{"info": {"features": {"label":
        {"names": ["cat", "dog"], "_type": "ClassLabel"}}}}"#;
    let columns = |label: i64| vec![("image", pictures(0..1)), ("label", numbers(&[label]))];
    parquet(&scene.path("named.parquet"), columns(2), Some(metadata));
    assert!(scene.error("named.parquet").contains("label 2, expected below 2"));
    parquet(&scene.path("large.parquet"), columns(1 << 20), None);
    assert!(scene.error("large.parquet").contains("label 1048576"));
    parquet(&scene.path("huge.parquet"), columns(1 << 40), None);
    assert!(scene.error("huge.parquet").contains("too large"));
}
