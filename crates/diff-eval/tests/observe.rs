//! Pictures of every kind on their way to a network that takes all sizes.

#![allow(clippy::unwrap_used, clippy::panic)] // a test

use candle_core::{DType, Device, Tensor};
use diff_eval::{
    Account, Features, KidSettings, Metric, Needs, Neighbours, PictureSource, Result, Rows, Seen,
    SpaceId, SplitOrder, Statistics, Tallied, Tally,
    measures::{MeasureSettings, Side, measure, take},
    observe,
    pictures::Pictures,
};
use diff_sample::sinks::write_npz;
use diff_train::data::Fault;
use png::{BitDepth, ColorType};
use std::{fs, path::Path};

/// The mean of red, green and blue.
struct Means {
    batch: usize,
}

impl Features for Means {
    fn name(&self) -> &str {
        "means"
    }

    fn id(&self) -> SpaceId {
        let preprocessing = "none".into();
        SpaceId { name: "means".into(), preprocessing, weights_sha256: String::new(), width: 3 }
    }

    fn width(&self) -> usize {
        3
    }

    fn shape(&self) -> Option<[usize; 3]> {
        None
    }

    fn batch(&self) -> usize {
        self.batch
    }

    fn prepare(&self, pictures: &Pictures) -> Result<Tensor> {
        let [h, w, c] = pictures.shape;
        assert_eq!(c, 3);
        let x = Tensor::from_slice(&pictures.bytes, (pictures.len(), h * w, c), &Device::Cpu)?;
        Ok(x.to_dtype(DType::F64)?.mean(1)?)
    }

    fn see(&self, prepared: &Tensor) -> Result<Seen> {
        assert!(prepared.dim(0)? <= self.batch);
        let rows = Rows::new(3, prepared.flatten_all()?.to_vec1()?)?;
        Ok(Seen { features: rows.clone(), logits: rows, spatial: None })
    }
}

/// A PNG of one row, all of whose pixels are `pixel`.
fn png(path: &Path, width: u32, (color, depth): (ColorType, BitDepth), pixel: &[u8]) {
    let mut encoder = png::Encoder::new(fs::File::create(path).unwrap(), width, 1);
    encoder.set_color(color);
    encoder.set_depth(depth);
    if color == ColorType::Indexed {
        encoder.set_palette(vec![1, 2, 3, 40, 50, 60]);
    }
    let data = pixel.repeat(width as usize);
    encoder.write_header().unwrap().write_image_data(&data).unwrap();
}

fn seen(folder: &Path, batch: usize) -> (Account, Tallied) {
    let source = PictureSource::open(&folder.display().to_string(), &Device::Cpu).unwrap();
    let needs = Needs { pooled: true, rows: true, ..Needs::default() };
    let mut tally = Tally::new(needs, 0, &SplitOrder::default()).unwrap();
    let account = observe(&source, &Means { batch }, &mut tally).unwrap();
    (account, tally.finish().unwrap())
}

#[test]
fn every_kind_of_picture_is_decided_about_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    use BitDepth::{Eight, Sixteen};
    png(&at("0 plain.png"), 2, (ColorType::Rgb, Eight), &[10, 20, 30]);
    png(&at("1 grey.png"), 3, (ColorType::Grayscale, Eight), &[77]);
    png(&at("2 palette.png"), 4, (ColorType::Indexed, Eight), &[1]);
    png(&at("3 alpha.png"), 2, (ColorType::Rgba, Eight), &[5, 6, 7, 0]);
    png(&at("4 sixteen.png"), 2, (ColorType::Rgb, Sixteen), &[9, 255, 8, 255, 7, 255]);
    png(&at("5 large.png"), 300, (ColorType::Rgb, Eight), &[100, 110, 120]);
    let whole = fs::read(at("5 large.png")).unwrap();
    fs::write(at("6 truncated.png"), &whole[..whole.len() - 20]).unwrap();
    fs::write(at("7 empty.png"), b"").unwrap();
    fs::write(at("8 text.png"), b"no picture, whatever its name says").unwrap();
    fs::write(at("notes.txt"), b"no picture").unwrap();

    let (account, found) = seen(dir.path(), 4);
    let rows = found.rows.unwrap();
    let values: Vec<&[f32]> = (0..rows.len()).map(|i| rows.row(i)).collect();
    let expected: [&[f32]; 6] = [
        &[10.0, 20.0, 30.0],
        &[77.0; 3],
        &[40.0, 50.0, 60.0],
        // Alpha is dropped and nothing is blended; of 16 bits the high ones stay.
        &[5.0, 6.0, 7.0],
        &[9.0, 8.0, 7.0],
        &[100.0, 110.0, 120.0],
    ];
    assert_eq!(values, expected);
    assert_eq!(rows.places(), [0, 1, 2, 3, 4, 5]);
    assert_eq!((account.images, account.ignored), (6, 1));
    let left_out: Vec<(Fault, u64)> = account.left_out.iter().map(|(f, n)| (*f, *n)).collect();
    assert_eq!(left_out.iter().map(|(_, n)| n).sum::<u64>(), 3, "{left_out:?}");
    for fault in [Fault::Empty, Fault::Truncated] {
        assert_eq!(account.left_out[&fault], 1, "{left_out:?}");
    }
    for kind in ["grey", "palette", "alpha", "16-bit"] {
        assert_eq!(account.converted[kind], 1, "{:?}", account.converted);
    }
    let sizes = [("1 x 2", 3), ("1 x 3", 1), ("1 x 4", 1), ("1 x 300", 1)];
    assert_eq!(account.sizes.len(), 4);
    assert!(sizes.iter().all(|(size, count)| account.sizes[*size] == *count));
}

#[test]
fn batches_change_nothing_and_places_count_what_was_left_out() {
    let dir = tempfile::tempdir().unwrap();
    for i in 0..75u8 {
        let path = dir.path().join(format!("{i:02}.png"));
        let width = 1 + u32::from(i % 3);
        png(&path, width, (ColorType::Rgb, BitDepth::Eight), &[i, 2 * i, 255 - i]);
    }
    fs::write(dir.path().join("40.png"), b"").unwrap();
    let (account, whole) = seen(dir.path(), 100);
    assert_eq!((account.images, account.left_out[&Fault::Empty]), (74, 1));
    let rows = whole.rows.as_ref().unwrap();
    let places: Vec<u64> = (0..75).filter(|place| *place != 40).collect();
    assert_eq!(rows.places(), places);
    for batch in [1, 7, 32] {
        let (other, found) = seen(dir.path(), batch);
        assert_eq!((&other, found.rows.as_ref()), (&account, Some(rows)));
        let (a, b) = (found.pooled.unwrap(), whole.pooled.clone().unwrap());
        assert_eq!(a.count, 74);
        let close = |a: &[f64], b: &[f64]| {
            a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 1e-12 * b.abs().max(1.0))
        };
        assert!(close(&a.mean, &b.mean) && close(&a.covariance, &b.covariance));
    }
}

#[test]
fn neither_an_empty_folder_nor_one_without_pictures_is_a_set() {
    let dir = tempfile::tempdir().unwrap();
    let error = || {
        let source = PictureSource::open(&dir.path().display().to_string(), &Device::Cpu);
        let needs = Needs { pooled: true, ..Needs::default() };
        let mut tally = Tally::new(needs, 0, &SplitOrder::default()).unwrap();
        let account = source.and_then(|source| observe(&source, &Means { batch: 4 }, &mut tally));
        account.unwrap_err().to_string()
    };
    let nothing = error();
    assert!(nothing.contains("no pictures"), "{nothing}");
    fs::write(dir.path().join("0.png"), b"").unwrap();
    let bad = error();
    assert!(bad.contains("0.png") && bad.contains("empty"), "{bad}");
}

#[test]
fn files_of_guided_diffusion_give_statistics_and_pictures() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("reference.npz");
    let pictures: Vec<u8> = (0..12 * 2 * 2 * 3).map(|i| (i * 37 % 251) as u8).collect();
    let bytes = |values: &[f64]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
    let identity = bytes(&[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]);
    let (mu, mu_s) = (bytes(&[1.0, 2.0, 3.0]), bytes(&[4.0, 5.0, 6.0]));
    let (row, square) = (&[3][..], &[3, 3][..]);
    let statistics = [
        ("mu", "<f8", row, &mu[..]),
        ("sigma", "<f8", square, &identity),
        ("mu_s", "<f8", row, &mu_s),
    ];
    let spatial = ("sigma_s", "<f8", square, &identity[..]);
    let images = ("arr_0", "|u1", &[12, 2, 2, 3][..], &pictures[..]);
    write_npz(&path, &[&statistics[..], &[spatial, images]].concat()).unwrap();
    let read = Statistics::read_spatial(&path).unwrap().unwrap();
    assert_eq!(read.gaussian.mean, [4.0, 5.0, 6.0]);

    let settings = MeasureSettings {
        bootstrap: 0,
        seed: 0,
        order: SplitOrder::default(),
        kid: KidSettings::default(),
        neighbours: Neighbours::default(),
        cache: None,
    };
    let plain = dir.path().join("plain.npz");
    write_npz(&plain, &[images]).unwrap();
    let open = |path: &Path| Side::open(&path.display().to_string(), &Device::Cpu).unwrap();
    let side = || open(&path);
    let found = |samples: &Path, names: &[&str]| -> Vec<f64> {
        let measures: Vec<_> = names.iter().map(|name| measure(name).unwrap()).collect();
        let sides = (&open(samples), Some(&side()));
        let found = take(&measures, sides, &Means { batch: 5 }, &settings).unwrap();
        found.iter().map(|one| one.value).collect()
    };
    // For a distance its statistics count, which are not those of its pictures; else the pictures.
    assert!(found(&path, &["fid"])[0].abs() < 1e-12);
    assert!(found(&plain, &["fid"])[0] > 1e3);
    assert_eq!(found(&plain, &["precision", "recall", "coverage"]), [1.0; 3]);
    // Without pictures only distances can be taken.
    write_npz(&path, &statistics[..2]).unwrap();
    assert_eq!(Statistics::read_spatial(&path).unwrap(), None);
    let precision = [measure("precision").unwrap()];
    let error = take(&precision, (&side(), Some(&side())), &Means { batch: 5 }, &settings);
    let error = error.unwrap_err().to_string();
    assert!(error.contains("reference.npz") && error.contains("pictures"), "{error}");
}
