//! Networks against their originals: outputs, and the gradients of all parameters.

use super::{faint, norm, relative, scatter, values, wave};
use candle_core::{DType, Device, Shape, Tensor};
use diff_models::{
    Condition, Context, Label,
    params::{ParamBuilder, Params},
};
use safetensors::SafeTensors;
use serde::de::DeserializeOwned;
use std::{collections::HashMap, path::Path};

/// What a script stored of a network.
pub struct Golden {
    about: HashMap<String, String>,
    pub shape: Vec<usize>,
    times: Vec<f64>,
    pub labels: Option<Vec<Label>>,
    /// Whether the network is given an image: `wave(0.11, 0.5)`.
    image: bool,
    order: Vec<String>,
    tensors: HashMap<String, Tensor>,
}

/// The network's raw forward pass.
pub type Forward<'a> =
    &'a dyn Fn(&Tensor, &[f64], &Condition, &Context) -> diff_models::Result<Tensor>;

/// Builds a network.
pub type Build<'a, N> = &'a dyn Fn(&mut ParamBuilder) -> diff_models::Result<N>;

/// Its raw forward pass, without dropout.
pub type Raw<'a, N> = &'a dyn Fn(&N, &Tensor, &[f64], &Condition) -> diff_models::Result<Tensor>;

impl Golden {
    /// The fixture `NAME.safetensors`.
    pub fn read(name: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join(format!("tests/fixtures/{name}.safetensors"));
        let bytes = std::fs::read(&path).unwrap();
        let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
        let about = header.metadata().clone().unwrap();
        fn read<T: DeserializeOwned>(about: &HashMap<String, String>, key: &str) -> T {
            serde_json::from_str(&about[key]).unwrap()
        }
        fn optional<T: DeserializeOwned>(about: &HashMap<String, String>, key: &str) -> Option<T> {
            about.contains_key(key).then(|| read(about, key))
        }
        Golden {
            shape: read(&about, "shape"),
            times: read(&about, "times"),
            labels: optional::<Option<Vec<Label>>>(&about, "labels").flatten(),
            image: optional(&about, "image").unwrap_or_default(),
            order: optional(&about, "order").unwrap_or_default(),
            tensors: candle_core::safetensors::load(path, &Device::Cpu).unwrap(),
            about,
        }
    }

    /// What else the script noted.
    pub fn about<T: DeserializeOwned>(&self, key: &str) -> T {
        serde_json::from_str(&self.about[key]).unwrap()
    }

    /// A result.
    pub fn tensor(&self, name: &str) -> Option<&Tensor> {
        self.tensors.get(name)
    }

    /// The configuration of the original.
    pub fn config<C: DeserializeOwned>(&self) -> C {
        serde_json::from_str(&self.about["config"]).unwrap()
    }

    /// Holds a network with the weights of [`filled`] against the original.
    pub fn check(&self, name: &str, params: &Params, forward: Forward) {
        let order: Vec<&str> = params.iter().map(|(name, _)| name).collect();
        assert_eq!(order, self.order, "{name}: parameter order");
        let x = wave(&self.shape, 0.11, 0.0);
        let image = self.image.then(|| wave(&self.shape, 0.11, 0.5));
        let condition = Condition { class: self.labels.clone(), image };
        let out = forward(&x, &self.times, &condition, &Context::Eval).unwrap();
        let error = relative(&values(&out), &values(&self.tensors["out"]));
        println!("{name}: output {error:.2e}");
        assert!(error < 1e-5, "{name}: output differs by {error}");

        let loss = (&out * wave(out.dims(), 0.23, 0.5)).unwrap().sum_all().unwrap();
        let grads = loss.backward().unwrap();
        let mut worst = (0.0, "");
        for (parameter, var) in params.iter() {
            let grad = grads.get(var).unwrap_or_else(|| panic!("{parameter} has no gradient"));
            let error = self.gradient_error(parameter, &values(grad));
            if error > worst.0 {
                worst = (error, parameter);
            }
        }
        println!("{name}: worst gradient {worst:?}");
        assert!(worst.0 < 1e-4, "{name}: gradient of {} differs by {}", worst.1, worst.0);
    }

    /// The relative distance of a network's output to the original's.
    pub fn error<N>(&self, build: Build<N>, forward: Raw<N>) -> f64 {
        self.distance(&filled(build).0, forward, &self.tensors["out"])
    }

    /// The same of a network with weights by the rule `faint`, in the file that `tests/golden/faint.py`
    /// made: its norms divide by little more than what they add.
    pub fn faint_error<N>(&self, name: &str, build: Build<N>, forward: Raw<N>) -> f64 {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/faint.safetensors");
        let expected = &candle_core::safetensors::load(path, &Device::Cpu).unwrap()[name];
        let error = self.distance(&built(build, faint).0, forward, expected);
        println!("{name}, faint: {error:.2e}");
        error
    }

    fn distance<N>(&self, network: &N, forward: Raw<N>, expected: &Tensor) -> f64 {
        let image = self.image.then(|| wave(&self.shape, 0.11, 0.5));
        let condition = Condition { class: self.labels.clone(), image };
        let x = wave(&self.shape, 0.11, 0.0);
        let out = forward(network, &x, &self.times, &condition).unwrap();
        relative(&values(&out), &values(expected))
    }

    /// The relative error of one parameter's gradient.
    pub fn gradient_error(&self, parameter: &str, ours: &[f64]) -> f64 {
        let theirs =
            |kind: &str, name: &str| self.tensors.get(&format!("{kind}.{name}")).map(values);
        let key_bias = ["to_k.bias", "proj_k.bias"].into_iter().find(|k| parameter.ends_with(k));
        if let Some(key) = key_bias {
            // Softmax does not see the key bias: both gradients are rounding. They must be small
            // beside the query bias's.
            let query = parameter.replace(key, &key.replace("_k", "_q"));
            let whole = theirs("grad", &query).map(|g| norm(&g));
            return norm(ours) / whole.unwrap_or_else(|| theirs("norm", &query).unwrap()[0]);
        }
        match theirs("grad", parameter) {
            Some(theirs) => relative(ours, &theirs),
            None => {
                let theirs_some = theirs("some", parameter).unwrap();
                let stride = ours.len() / theirs_some.len();
                let some: Vec<f64> =
                    ours.iter().copied().step_by(stride).take(theirs_some.len()).collect();
                let norms = relative(&[norm(ours)], &theirs("norm", parameter).unwrap());
                relative(&some, &theirs_some).max(norms)
            }
        }
    }
}

/// A network of weights by the rule `scatter`.
pub fn filled<N>(build: impl Fn(&mut ParamBuilder) -> diff_models::Result<N>) -> (N, Params) {
    built(build, scatter)
}

/// A network of weights by a rule.
fn built<N>(
    build: impl Fn(&mut ParamBuilder) -> diff_models::Result<N>,
    rule: impl Fn(&[(String, Shape)]) -> HashMap<String, Tensor>,
) -> (N, Params) {
    let mut shapes = ParamBuilder::shapes_only();
    build(&mut shapes).unwrap();
    let weights = rule(shapes.shapes());
    let mut builder = ParamBuilder::weights(weights, "weights", DType::F32, &Device::Cpu);
    let network = build(&mut builder).unwrap();
    (network, builder.finish().unwrap())
}
