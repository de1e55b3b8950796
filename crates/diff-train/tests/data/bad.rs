use crate::common::{Scene, error, listing, png};
use diff_train::data::{Bad, DataConfig, Fault, open};

/// A PNG that claims to be `side` wide and high, with the right checksum.
fn huge(side: u32) -> Vec<u8> {
    let header = [&side.to_be_bytes()[..], &side.to_be_bytes(), &[8, 2, 0, 0, 0]].concat();
    let mut check = flate2::Crc::new();
    check.update(&[b"IHDR", &header[..]].concat());
    let parts: [&[u8]; 6] = [
        b"\x89PNG\r\n\x1a\n",
        &13u32.to_be_bytes(),
        b"IHDR",
        &header,
        &check.sum().to_be_bytes(),
        b"\0\0\0\0IDAT\x35\xaf\x06\x1e",
    ];
    parts.concat()
}

/// A folder with three good pictures among bad ones.
fn scene() -> Scene {
    let scene = Scene::new();
    let whole = png(9, 8, 8);
    scene.write("set/1.png", &png(1, 8, 8));
    scene.write("set/2_empty.png", b"");
    scene.write("set/3_cut.png", &whole[..whole.len() / 2]);
    scene.write("set/4.png", &png(4, 8, 8));
    scene.write("set/5_page.jpg", b"<html>not found</html>");
    scene.write("set/6_huge.png", &huge(100_000));
    #[cfg(unix)]
    std::os::unix::fs::symlink("nowhere.png", scene.path("set/7_gone.png")).unwrap();
    scene.write("set/8.png", &png(8, 8, 8));
    scene.write("set/notes.txt", b"");
    scene
}

#[test]
fn bad_pictures_are_counted_by_kind_and_named_and_the_others_keep_their_index() {
    let scene = scene();
    for _ in 0..2 {
        let data = scene.open("set");
        let last = if cfg!(unix) { 7 } else { 6 };
        assert_eq!(listing(&data), [(0, None, 1), (3, None, 4), (last, None, 8)]);
        let report = data.report();
        let mut expected =
            vec![Fault::Empty, Fault::Truncated, Fault::NotAPicture, Fault::TooLarge];
        if cfg!(unix) {
            expected.push(Fault::Unreadable);
        }
        assert!(expected.iter().all(|fault| report.bad.get(fault) == Some(&1)), "{report:?}");
        assert_eq!((report.bad.len(), report.ignored), (expected.len(), 1));
        assert_eq!(report.examples[1].name, "3_cut.png");
        let warning = report.warning().unwrap();
        assert!(warning.contains("1 empty, 1 truncated"), "{warning}");
    }
}

#[test]
fn bad_pictures_can_be_refused_also_when_the_others_are_stored() {
    let scene = scene();
    let refuse = DataConfig { bad: Bad::Refuse, ..scene.config("set") };
    let before = error(&refuse);
    assert!(before.contains("2_empty.png is empty") && before.contains("data.bad"), "{before}");
    assert!(scene.cached("data").is_empty(), "nothing may stay of a failed build");
    scene.open("set");
    assert_eq!(error(&refuse), before);
}

#[test]
fn a_set_of_bad_pictures_alone_is_refused_with_their_names() {
    let scene = Scene::new();
    scene.write("set/a.png", b"");
    scene.write("set/b.png", b"x");
    let error = scene.error("set");
    assert!(error.contains("no pictures left; 2 bad") && error.contains("b.png"), "{error}");
    assert!(scene.cached("data").is_empty());
}

#[test]
fn pictures_of_several_shapes_need_a_resolution() {
    let scene = Scene::new();
    scene.write("set/a.png", &png(1, 8, 8));
    scene.write("set/b.png", &png(2, 1, 1));
    let mixed = scene.error("set");
    for word in ["a.png", "[3, 8, 8]", "b.png", "[3, 1, 1]", "data.resolution"] {
        assert!(mixed.contains(word), "{word}: {mixed}");
    }
    assert!(scene.cached("data").is_empty(), "nothing may stay of a failed build");
    let data = open(&DataConfig { resolution: Some(8), ..scene.config("set") }).unwrap();
    assert_eq!((data.len(), data.shape()), (2, [3, 8, 8]));
    assert_eq!(data.report().decided["enlarged"], 1);
}

#[cfg(unix)]
#[test]
fn a_picture_without_permission_is_unreadable() {
    use std::os::unix::fs::PermissionsExt;
    let scene = Scene::new();
    scene.write("set/a.png", &png(1, 8, 8));
    scene.write("set/b.png", &png(2, 8, 8));
    let path = scene.path("set/a.png");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o000)).unwrap();
    if std::fs::read(&path).is_ok() {
        println!("skipped: this user may read everything");
        return;
    }
    let data = scene.open("set");
    assert_eq!(listing(&data), [(1, None, 2)]);
    assert_eq!(data.report().bad[&Fault::Unreadable], 1);
}

#[test]
fn what_was_decided_about_pictures_is_counted() {
    let scene = Scene::new();
    let save = |name: &str, picture: image::DynamicImage| {
        let mut file = std::io::Cursor::new(Vec::new());
        picture.write_to(&mut file, image::ImageFormat::Png).unwrap();
        scene.write(name, file.get_ref());
    };
    save("set/a.png", image::DynamicImage::new_rgba8(4, 4));
    save("set/b.png", image::DynamicImage::new_rgb16(4, 4));
    save("set/c.png", image::DynamicImage::new_luma8(4, 4));
    let data = scene.open("set");
    let decided = &data.report().decided;
    let counts = ["alpha", "16-bit", "grey"].map(|kind| decided[kind]);
    assert_eq!((data.shape(), counts, decided.len()), ([3, 4, 4], [1; 3], 3));
}
