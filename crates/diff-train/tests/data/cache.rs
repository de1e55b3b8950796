use crate::common::{Scene, listing, png};
use diff_train::data::{DataConfig, Dataset, open};
use std::{
    fs::{self, File},
    path::PathBuf,
    time::Duration,
};

fn scene() -> Scene {
    let scene = Scene::new();
    (0..20).for_each(|i| scene.write(&format!("set/{i:02}.png"), &png(i, 4, 4)));
    scene
}

fn pixels_file(data: &Dataset) -> PathBuf {
    data.folder().unwrap().join("pixels.bin")
}

#[test]
fn an_unchanged_source_opens_without_decoding_and_a_changed_one_is_noticed() {
    let scene = scene();
    let first = scene.open("set");
    // Other bytes, same size and time: only decoding would tell.
    let path = scene.path("set/00.png");
    let modified = fs::metadata(&path).unwrap().modified().unwrap();
    let size = fs::metadata(&path).unwrap().len() as usize;
    fs::write(&path, vec![0; size]).unwrap();
    let set = |time| File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
    set(modified);
    let second = scene.open("set");
    assert_eq!((second.sha256(), listing(&second)), (first.sha256(), listing(&first)));
    set(modified + Duration::from_secs(1));
    let third = scene.open("set");
    assert_eq!((third.len(), third.report().left_out()), (19, 1));
    assert_ne!(third.sha256(), first.sha256());
    scene.write("set/20.png", &png(20, 4, 4));
    assert_eq!(scene.open("set").len(), 20);
    fs::remove_file(scene.path("set/01.png")).unwrap();
    assert_eq!(scene.open("set").len(), 19);
}

#[test]
fn every_option_that_decides_the_content_has_its_own_entry() {
    let scene = scene();
    let config = scene.config("set");
    let of = |config: DataConfig| open(&config).unwrap().sha256().to_string();
    let plain = of(config.clone());
    assert_ne!(of(DataConfig { resolution: Some(2), ..config.clone() }), plain);
    assert_ne!(of(DataConfig { channels: Some(1), ..config.clone() }), plain);
    assert_ne!(of(DataConfig { held_out: 5, ..config.clone() }), plain);
    assert_ne!(of(DataConfig { range: Some([0, 5]), ..config.clone() }), plain);
    // What happens when a picture is drawn does not change what is stored.
    assert_eq!(of(DataConfig { flip: true, dequantise: true, ..config }), plain);
    assert_eq!(scene.cached("data").len(), 5);
}

#[test]
fn a_damaged_cache_is_made_again() {
    let scene = scene();
    let first = scene.open("set");
    let folder = first.folder().unwrap().to_path_buf();
    let memo = scene.path("cache/sources").join(&scene.cached("sources")[0]);
    let cut = |file: &str| {
        let path = folder.join(file);
        let size = fs::metadata(&path).unwrap().len();
        // A copy, as the maps of an open data set show the file itself.
        let bytes = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, &bytes[..size as usize - 1]).unwrap();
    };
    let damages: [&dyn Fn(); 8] = [
        &|| cut("pixels.bin"),
        &|| cut("labels.bin"),
        &|| cut("indices.bin"),
        &|| cut("meta.json"),
        &|| fs::remove_file(folder.join("meta.json")).unwrap(),
        &|| fs::remove_dir_all(&folder).unwrap(),
        &|| fs::write(&memo, "{").unwrap(),
        &|| fs::remove_file(&memo).unwrap(),
    ];
    for (i, damage) in damages.iter().enumerate() {
        damage();
        let again = scene.open("set");
        assert_eq!(listing(&again), listing(&first), "damage {i}");
        assert_eq!((again.sha256(), again.folder()), (first.sha256(), first.folder()));
        assert_eq!(scene.cached("data"), [first.sha256()], "no other folder may stay");
    }
}

#[test]
fn sets_opened_at_once_are_prepared_once_and_are_the_same() {
    let scene = scene();
    let opened: Vec<Dataset> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..6).map(|_| scope.spawn(|| scene.open("set"))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(opened.iter().all(|data| listing(data) == listing(&opened[0])));
    assert_eq!(scene.cached("data"), [opened[0].sha256()]);
    assert_eq!(scene.cached("sources").len(), 1);
}

#[test]
fn a_cache_that_cannot_be_written_is_named() {
    let scene = scene();
    scene.write("file", b"");
    let cache = Some(scene.path("file/cache"));
    let error = crate::common::error(&DataConfig { cache, ..scene.config("set") });
    assert!(error.contains("file/cache"), "{error}");
}

#[test]
fn the_stored_pictures_are_the_bytes_in_order() {
    let scene = scene();
    let data = scene.open("set");
    let expected: Vec<u8> = (0..20).flat_map(|i| crate::common::planes(i, 4, 4)).collect();
    assert_eq!(fs::read(pixels_file(&data)).unwrap(), expected);
    assert_eq!(data.pixels(), expected);
}
