//! Networks of published metrics against pytorch-fid, torch-fidelity, torchvision, lpips and piq. The
//! fixtures were made by `tests/golden/features.py`.

#![allow(clippy::unwrap_used, clippy::panic)] // a test

mod common;

use candle_core::{DType, Device, Shape, Tensor, Var};
use common::{norm, rectified, relative, values, wave};
use diff_models::{
    Result,
    checkpoint::{read_features, read_lpips, write_tensors},
    nets::features::{
        FeatureNetwork, Inception, KINDS, Lpips, LpipsConfig, Trunk, Vgg16, alexnet, squeezenet,
    },
    ops::Algorithm,
    params::ParamBuilder,
};
use safetensors::SafeTensors;
use std::{collections::HashMap, path::Path};

/// What the script stored: the shape of the pictures; norms, and some numbers.
struct Fixture {
    shape: Vec<usize>,
    tensors: HashMap<String, Tensor>,
}

impl Fixture {
    fn read(name: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join(format!("tests/fixtures/features_{name}.safetensors"));
        let bytes = std::fs::read(&path).unwrap();
        let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
        let shape = serde_json::from_str(&header.metadata().as_ref().unwrap()["shape"]).unwrap();
        Fixture { shape, tensors: candle_core::safetensors::load(path, &Device::Cpu).unwrap() }
    }

    fn names(&self) -> Vec<&str> {
        self.tensors.keys().filter_map(|key| key.strip_prefix("norm.")).collect()
    }

    fn error(&self, name: &str, ours: &Tensor) -> f64 {
        const MANY: usize = 256;
        let ours = values(ours);
        let some: Vec<f64> = ours.iter().copied().step_by(ours.len().div_ceil(MANY)).collect();
        let theirs = |kind: &str| values(&self.tensors[&format!("{kind}.{name}")]);
        relative(&some, &theirs("some")).max(relative(&[norm(&ours)], &theirs("norm")))
    }
}

/// Names and shapes of all that a file of the network holds; running statistics are no parameters.
fn entries(build: &dyn Fn(&mut ParamBuilder) -> Result<()>) -> Vec<(String, Shape)> {
    let mut builder = ParamBuilder::shapes_only();
    build(&mut builder).unwrap();
    let mut entries = builder.shapes().to_vec();
    for (name, shape) in builder.shapes() {
        if let Some(norm) = name.strip_suffix("bn.weight") {
            entries.push((format!("{norm}bn.running_mean"), shape.clone()));
            entries.push((format!("{norm}bn.running_var"), shape.clone()));
        }
    }
    entries
}

/// The network with weights by the rule, by either algorithm.
fn built<N>(build: impl Fn(&mut ParamBuilder) -> Result<N>, algorithm: Algorithm) -> N {
    built_as(build, algorithm, DType::F32)
}

fn built_as<N>(
    build: impl Fn(&mut ParamBuilder) -> Result<N>,
    algorithm: Algorithm,
    dtype: DType,
) -> N {
    let weights = rectified(&entries(&|b| build(b).map(|_| ())));
    let builder = ParamBuilder::weights(weights, "rectified", dtype, &Device::Cpu);
    let mut builder = builder.frozen().computing(algorithm);
    let network = build(&mut builder).unwrap();
    builder.finish().unwrap();
    network
}

const WAYS: [(Algorithm, f64); 2] = [(Algorithm::Exact, 1e-5), (Algorithm::Fast, 1e-4)];

/// Holds all taps of a fixture against the network's.
fn check<N: FeatureNetwork>(network: &N, name: &str, bound: f64, x: impl Fn(&[usize]) -> Tensor) {
    let fixture = Fixture::read(name);
    let names = fixture.names();
    let found = network.forward(&x(&fixture.shape), &names).unwrap();
    let taps = network.taps();
    for (tap, found) in names.iter().zip(&found) {
        let error = fixture.error(tap, found);
        println!("{name} {tap}: {error:.2e}");
        assert!(error < bound, "{name} {tap}: {error}");
        let channels = taps.iter().find(|t| t.name == *tap).unwrap().channels;
        let known = found.dims().last() == Some(&channels);
        // The spatial features are counted for pictures of 299 x 299.
        assert!(known || *tap == "spatial", "{name} {tap}: {:?}", found.dims());
    }
}

/// Pictures of whole numbers, as the script makes them, in [-1, 1] by torch-fidelity's rule.
fn whole(shape: &[usize], scale: impl Fn(f32) -> f32) -> Tensor {
    let waves = wave(shape, 0.11, 0.0).flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let pixels: Vec<f32> = waves.into_iter().map(|v| scale(((v + 1.0) * 127.5).floor())).collect();
    Tensor::from_vec(pixels, shape, &Device::Cpu).unwrap()
}

#[test]
fn inception_is_that_of_fid() {
    for (algorithm, bound) in WAYS {
        let network = built(Inception::new, algorithm);
        check(&network, "inception299", bound, |shape| whole(shape, |v| (v - 128.0) / 128.0));
        check(&network, "inception139x171", bound, |shape| whole(shape, |v| v / 127.5 - 1.0));
    }
}

#[test]
fn networks_of_torchvision() {
    let x = |shape: &[usize]| wave(shape, 0.11, 0.0);
    for (algorithm, bound) in WAYS {
        let vgg = built(|b| Vgg16::features(b, false), algorithm);
        let (alex, squeeze) = (built(alexnet, algorithm), built(squeezenet, algorithm));
        for size in ["64x96", "67x83"] {
            check(&vgg, &format!("vgg16_{size}"), bound, x);
            check(&alex, &format!("alexnet_{size}"), bound, x);
            check(&squeeze, &format!("squeezenet_{size}"), bound, x);
        }
        let whole = built(|b| Vgg16::with_hidden(b, 48), algorithm);
        check(&whole, "vgg16_classifier", bound, x);
    }
}

#[test]
fn perceptual_distances() {
    let of = LpipsConfig::of;
    let cases = [
        ("vgg", of(Trunk::Vgg), ["64x96", "67x83"]),
        ("alex", of(Trunk::Alex), ["64x96", "67x83"]),
        ("squeeze", of(Trunk::Squeeze), ["64x96", "67x83"]),
        ("piq", LpipsConfig::piq(), ["32x32", "48x256"]),
    ];
    for (name, config, sizes) in cases {
        for (algorithm, bound) in WAYS {
            let lpips = built(|b| Lpips::new(config, b), algorithm);
            for size in sizes {
                let fixture = Fixture::read(&format!("lpips_{name}_{size}"));
                let (x, y) = (wave(&fixture.shape, 0.11, 0.0), wave(&fixture.shape, 0.13, 0.5));
                let distance = lpips.distance(&x, &y).unwrap();
                let error = fixture.error("distance", &distance);
                println!("{name} {size} {algorithm:?}: {error:.2e}");
                assert!(error < bound, "{name} {size} {algorithm:?}: {error}");
                // A distance: none of a picture to itself, and the same both ways.
                assert_eq!(values(&lpips.distance(&y, &y).unwrap()), vec![0.0; fixture.shape[0]]);
                let back = lpips.distance(&y, &x).unwrap();
                assert_eq!(values(&back), values(&distance));
            }
        }
    }
}

/// By the picture. Pooling and ReLU choose, and rounding can change a choice: where windows give their
/// largest values, gradients are compared in f64.
#[test]
fn gradients_of_perceptual_distances() {
    let of = LpipsConfig::of;
    for (name, config, size, algorithm, dtype) in [
        ("vgg", of(Trunk::Vgg), "67x83", Algorithm::Fast, DType::F64),
        ("alex", of(Trunk::Alex), "67x83", Algorithm::Fast, DType::F64),
        ("squeeze", of(Trunk::Squeeze), "67x83", Algorithm::Fast, DType::F64),
        ("piq", LpipsConfig::piq(), "32x32", Algorithm::Fast, DType::F64),
        ("piq", LpipsConfig::piq(), "48x256", Algorithm::Fast, DType::F64),
    ] {
        let lpips = built_as(|b| Lpips::new(config, b), algorithm, dtype);
        let fixture = Fixture::read(&format!("lpips_{name}_{size}"));
        let picture = |step, start| wave(&fixture.shape, step, start).to_dtype(dtype).unwrap();
        let x = Var::from_tensor(&picture(0.11, 0.0)).unwrap();
        let distance = lpips.distance(&x, &picture(0.13, 0.5)).unwrap();
        let grads = distance.sum_all().unwrap().backward().unwrap();
        let error = fixture.error("gradient", grads.get(&x).unwrap());
        println!("{name} {size}: gradient {error:.2e}");
        assert!(error < 1e-4, "{name} {size}: gradient {error}");
    }
}

/// Counted by instantiating torchvision's classes.
#[test]
fn parameters_are_as_many_as_the_originals() {
    let counts = [23_850_960, 138_357_544, 14_714_688, 2_469_696, 722_496];
    for (kind, expected) in KINDS.iter().zip(counts) {
        let mut builder = ParamBuilder::shapes_only();
        (kind.build)(&mut builder).unwrap();
        let found: usize = builder.shapes().iter().map(|(_, shape)| shape.elem_count()).sum();
        assert_eq!(found, expected, "{}", kind.name);
    }
    // Weights, and the norms' statistics and counters.
    let inception = entries(&|b| Inception::new(b).map(|_| ()));
    let norms = inception.iter().filter(|(name, _)| name.ends_with("running_var")).count();
    assert_eq!(inception.len() + norms, 566);
}

#[test]
fn what_does_not_fit_is_named() {
    let network = built(alexnet, Algorithm::Fast);
    let refused = |x: &Tensor, taps: &[&str]| network.forward(x, taps).unwrap_err().to_string();
    let picture = wave(&[1, 3, 64, 64], 0.1, 0.0);
    let message = refused(&picture, &["relu9"]);
    assert!(message.contains("relu9") && message.contains("relu1, relu2"), "{message}");
    let message = refused(&wave(&[1, 1, 64, 64], 0.1, 0.0), &["relu1"]);
    assert!(message.contains("[B, 3, H, W]"), "{message}");
    let message = refused(&wave(&[1, 3, 8, 8], 0.1, 0.0), &["relu5"]);
    assert!(message.contains("smaller"), "{message}");
    let config = LpipsConfig { average_pooling: true, ..LpipsConfig::of(Trunk::Alex) };
    let message = Lpips::new(config, &mut ParamBuilder::shapes_only()).unwrap_err().to_string();
    assert!(message.contains("VGG16 only"), "{message}");
    let vgg = built(|b| Vgg16::with_hidden(b, 8), Algorithm::Fast);
    let message = vgg.forward(&picture, &["fc2"]).unwrap_err().to_string();
    assert!(message.contains("64 x 64") && message.contains("224 x 224"), "{message}");
    // Statistics of a norm that no pictures have.
    let mut weights = rectified(&entries(&|b| Inception::new(b).map(|_| ())));
    let name = "Mixed_6c.branch_pool.bn.running_var";
    weights.insert(name.into(), Tensor::full(-1f32, 192, &Device::Cpu).unwrap());
    let mut builder = ParamBuilder::weights(weights, "file", DType::F32, &Device::Cpu).frozen();
    let message = Inception::new(&mut builder).unwrap_err().to_string();
    assert!(message.contains(name) && message.contains("-1"), "{message}");
    let message = Inception::new(&mut ParamBuilder::init(0, DType::F32, &Device::Cpu)).unwrap_err();
    assert!(message.to_string().contains("frozen"), "{message}");
}

/// Writes weights under other names.
fn written(
    path: &Path,
    weights: &HashMap<String, Tensor>,
    rename: impl Fn(&str) -> Option<String>,
) {
    let named = weights.iter().filter_map(|(name, tensor)| Some((rename(name)?, tensor.clone())));
    write_tensors(path, &named.collect::<Vec<_>>()).unwrap();
}

#[test]
fn files_of_torchvision_and_of_lpips_are_read() {
    let (dir, cpu) = (tempfile::tempdir().unwrap(), Device::Cpu);
    let file = |name: &str| dir.path().join(name);
    let config = LpipsConfig::of(Trunk::Squeeze);
    let mut weights = rectified(&entries(&|b| Lpips::new(config, b).map(|_| ())));
    let lpips = built(|b| Lpips::new(config, b), Algorithm::Fast);
    let (x, y) = (wave(&[2, 3, 40, 40], 0.11, 0.0), wave(&[2, 3, 40, 40], 0.13, 0.5));
    let expected = values(&lpips.distance(&x, &y).unwrap());
    let distance = |files: &[&Path]| {
        values(&read_lpips("lpips-squeeze", files, &cpu).unwrap().distance(&x, &y).unwrap())
    };
    // torchvision's file has a classifier too.
    let (trunk, heads, both) =
        (file("trunk.safetensors"), file("heads.safetensors"), file("both.safetensors"));
    weights.insert("classifier.1.bias".into(), Tensor::zeros(1000, DType::F32, &cpu).unwrap());
    let is_head = |name: &str| name.starts_with("lin");
    written(&trunk, &weights, |name| (!is_head(name)).then(|| name.into()));
    written(&heads, &weights, |name| is_head(name).then(|| name.into()));
    assert_eq!(distance(&[&trunk, &heads]), expected);
    // Heads without dropout, and piq's list.
    written(&heads, &weights, |name| is_head(name).then(|| name.replace("model.1", "model.0")));
    assert_eq!(distance(&[&trunk, &heads]), expected);
    let number =
        |name: &str| name.strip_prefix("lin").map(|rest| rest.replace(".model.1.weight", ""));
    written(&heads, &weights, number);
    assert_eq!(distance(&[&trunk, &heads]), expected);
    // The package's own state.
    weights.insert(
        "scaling_layer.shift".into(),
        Tensor::zeros((1, 3, 1, 1), DType::F32, &cpu).unwrap(),
    );
    let sliced = |name: &str| match name.strip_prefix("features.") {
        Some(layer) => format!("net.slice1.{layer}"),
        None => name.into(),
    };
    written(&both, &weights, |name| Some(sliced(name)));
    assert_eq!(distance(&[&both]), expected);
    // What does not fit is listed, all of it.
    let message = read_lpips("lpips-squeeze", &[&trunk, &both], &cpu).unwrap_err().to_string();
    assert!(message.contains("both.safetensors") && message.contains("another file"), "{message}");
    let message = read_lpips("lpips-squeeze", &[&trunk], &cpu).unwrap_err().to_string();
    assert!(
        (0..7).all(|i| message.contains(&format!("lin{i}.model.1.weight: missing"))),
        "{message}"
    );
    let message = read_lpips("lpips", &[&trunk], &cpu).unwrap_err().to_string();
    assert!(message.contains("lpips-vgg, lpips-alex, lpips-squeeze, lpips-piq"), "{message}");
    weights.remove("features.3.squeeze.bias");
    weights.insert("features.0.bias".into(), Tensor::zeros(3, DType::F32, &cpu).unwrap());
    weights.insert("fc.weight".into(), Tensor::zeros((2, 3), DType::F32, &cpu).unwrap());
    written(&trunk, &weights, |name| (!is_head(name)).then(|| name.into()));
    let message = read_features("squeezenet-features", &trunk, &cpu).unwrap_err().to_string();
    for part in [
        "trunk.safetensors",
        "features.3.squeeze.bias: missing, expected shape [16]",
        "features.0.bias: expected shape [64], found [3]",
        "fc.weight",
    ] {
        assert!(message.contains(part), "{part}: {message}");
    }
    let message = read_features("inception", &trunk, &cpu).unwrap_err().to_string();
    assert!(message.contains("inception-fid"), "{message}");
}
