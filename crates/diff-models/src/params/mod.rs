//! Named parameters in PyTorch's registration order: one order for optimiser, EMA and checkpoint.

mod init;

pub use init::Init;

use crate::error::{Error, Result};
use crate::ops::{Algorithm, Prepared};
use candle_core::{DType, Device, Shape, Tensor, Var};
use init::draw;
use std::{collections::HashMap, sync::Arc};

/// The trainable parameters of a network, in order.
#[derive(Clone, Debug, Default)]
pub struct Params {
    entries: Vec<(String, Var)>,
    index: HashMap<String, usize>,
    frozen: bool,
}

impl Params {
    /// Every parameter with its name, in registration order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Var)> {
        self.entries.iter().map(|(name, var)| (name.as_str(), var))
    }

    /// The parameter called `name`.
    pub fn get(&self, name: &str) -> Option<&Var> {
        self.index.get(name).map(|i| &self.entries[*i].1)
    }

    /// How many parameters (tensors) there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True for a network without parameters.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many numbers all parameters hold together.
    pub fn numel(&self) -> usize {
        self.entries.iter().map(|(_, var)| var.elem_count()).sum()
    }

    /// The current values, detached; they share memory with the parameters.
    pub fn tensors(&self) -> Vec<(String, Tensor)> {
        self.entries.iter().map(|(name, var)| (name.clone(), var.as_detached_tensor())).collect()
    }

    /// Overwrites every parameter with the tensor of its name.
    ///
    /// # Errors
    /// When a tensor is missing, unexpected or of another shape, all of which are listed, or when
    /// the network is frozen; nothing is changed then.
    pub fn load(&self, weights: &HashMap<String, Tensor>) -> Result<()> {
        if self.frozen {
            return Err(Error::Input("the weights of a frozen network are final".into()));
        }
        let mut problems = Vec::new();
        for (name, var) in self.iter() {
            match weights.get(name) {
                None => problems.push(missing(name, var.shape())),
                Some(found) if found.shape() != var.shape() => {
                    problems.push(misshapen(name, var.shape(), found.shape()));
                }
                Some(_) => {}
            }
        }
        problems.extend(unexpected(weights.iter().filter(|(name, _)| self.get(name).is_none())));
        if !problems.is_empty() {
            return Err(Error::Weights { file: "weights".into(), problems });
        }
        for (name, var) in self.iter() {
            var.set(&weights[name].to_device(var.device())?.to_dtype(var.dtype())?)?;
        }
        Ok(())
    }

    fn push(&mut self, name: String, var: Var) {
        self.index.insert(name.clone(), self.entries.len());
        self.entries.push((name, var));
    }
}

/// Where parameters come from while a network is built.
enum Source {
    Init { seed: u64 },
    Weights { file: String, left: HashMap<String, Tensor> },
    Shapes,
}

/// Hands parameters out to the layers of a network under construction and remembers their order.
pub struct ParamBuilder {
    source: Source,
    dtype: DType,
    device: Device,
    frozen: bool,
    fixed: bool,
    algorithm: Algorithm,
    prefix: Vec<String>,
    shapes: Vec<(String, Shape)>,
    params: Params,
    problems: Vec<String>,
}

impl ParamBuilder {
    /// Fresh parameters. Parameter number n of the network is drawn at index n of the seed's
    /// initialisation stream, whatever the device.
    pub fn init(seed: u64, dtype: DType, device: &Device) -> Self {
        Self::new(Source::Init { seed }, dtype, device)
    }

    /// Parameters from `weights`, converted to `dtype`; `file` names them in errors.
    pub fn weights(
        weights: HashMap<String, Tensor>,
        file: impl Into<String>,
        dtype: DType,
        device: &Device,
    ) -> Self {
        Self::new(Source::Weights { file: file.into(), left: weights }, dtype, device)
    }

    /// Names and shapes only; nothing is allocated, [`ParamBuilder::finish`] yields no parameters.
    pub fn shapes_only() -> Self {
        Self::new(Source::Shapes, DType::F32, &Device::Cpu)
    }

    fn new(source: Source, dtype: DType, device: &Device) -> Self {
        ParamBuilder {
            source,
            dtype,
            device: device.clone(),
            frozen: false,
            fixed: false,
            algorithm: Algorithm::default(),
            prefix: Vec::new(),
            shapes: Vec::new(),
            params: Params::default(),
            problems: Vec::new(),
        }
    }

    /// The same builder, for inference: the network records nothing to differentiate, so that its
    /// activations are freed as it goes. Its parameters are final: layers keep them in the form in
    /// which they compute with them, and [`Params::load`] refuses.
    pub fn frozen(self) -> Self {
        ParamBuilder { frozen: true, ..self }
    }

    /// The same builder, for a network whose convolutions are computed by `algorithm`.
    pub fn computing(self, algorithm: Algorithm) -> Self {
        ParamBuilder { algorithm, ..self }
    }

    /// The type of the parameters' numbers.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// How convolutions are to be computed.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Where a layer of a frozen network may keep what it makes of its weights.
    pub fn prepared(&self) -> Option<Arc<Prepared>> {
        self.frozen.then(Prepared::new)
    }

    /// Builds a part of the network whose parameter names start with `name.`.
    pub fn under<T>(
        &mut self,
        name: impl ToString,
        build: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<T> {
        self.prefix.push(name.to_string());
        let built = build(self);
        self.prefix.pop();
        built
    }

    /// The parameter called `name` under the current prefix. It stays connected: optimiser steps
    /// and [`Params::load`] show through the tensor returned.
    ///
    /// # Errors
    /// Only when the device fails; weights that do not fit are reported by
    /// [`ParamBuilder::finish`], all at once.
    pub fn param(&mut self, name: &str, shape: impl Into<Shape>, init: Init) -> Result<Tensor> {
        let shape = shape.into();
        let name = self.full(name);
        let position = self.shapes.len();
        self.shapes.push((name.clone(), shape.clone()));
        let value = match &mut self.source {
            Source::Init { seed } => Some(draw(init, &shape, *seed, position)?),
            Source::Weights { left, .. } => match left.remove(&name) {
                None => {
                    self.problems.push(missing(&name, &shape));
                    None
                }
                Some(found) => check(&name, found, &shape, &mut self.problems)?,
            },
            Source::Shapes => None,
        };
        let Some(value) = value else {
            // Stands in for the parameter without memory, so that building can go on.
            return Ok(Tensor::zeros((), self.dtype, &Device::Cpu)?.broadcast_as(shape)?);
        };
        let value = value.to_device(&self.device)?.to_dtype(self.dtype)?.contiguous()?;
        let var = Var::from_tensor(&value)?;
        let tensor = match self.frozen || self.fixed {
            true => var.as_detached_tensor(),
            false => var.as_tensor().clone(),
        };
        self.params.push(name, var);
        Ok(tensor)
    }

    /// Builds a part of the network that takes no gradient, though its parameters may be loaded anew.
    pub fn fixed<T>(&mut self, build: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let before = std::mem::replace(&mut self.fixed, true);
        let built = build(self);
        self.fixed = before;
        built
    }

    /// A tensor of the network that is no parameter though files hold it (a statistic, say), under the
    /// current prefix; `value` everywhere in a fresh network.
    ///
    /// # Errors
    /// As [`ParamBuilder::param`].
    pub fn buffer(&mut self, name: &str, shape: impl Into<Shape>, value: f32) -> Result<Tensor> {
        let (name, shape) = (self.full(name), shape.into());
        let found = match &mut self.source {
            Source::Init { .. } | Source::Shapes => None,
            Source::Weights { left, .. } => match left.remove(&name) {
                None => {
                    self.problems.push(missing(&name, &shape));
                    None
                }
                Some(found) => check(&name, found, &shape, &mut self.problems)?,
            },
        };
        let found = found.map_or_else(|| Tensor::full(value, shape, &Device::Cpu), Ok)?;
        Ok(found.to_device(&self.device)?.to_dtype(self.dtype)?.contiguous()?)
    }

    /// Notes a tensor that files of other projects hold beside the parameters, though it never changes:
    /// one that is there is taken for known, and not looked at.
    pub fn known(&mut self, name: &str) {
        let name = self.full(name);
        if let Source::Weights { left, .. } = &mut self.source {
            left.remove(&name);
        }
    }

    /// Whether the network's numbers stay what they are: it is [frozen](ParamBuilder::frozen), or has none.
    pub(crate) fn is_final(&self) -> bool {
        self.frozen || matches!(self.source, Source::Shapes)
    }

    /// `name` under the current prefix.
    pub(crate) fn full(&self, name: &str) -> String {
        self.prefix.iter().map(String::as_str).chain([name]).collect::<Vec<_>>().join(".")
    }

    /// Names and shapes handed out so far, in order.
    pub fn shapes(&self) -> &[(String, Shape)] {
        &self.shapes
    }

    /// The finished set.
    ///
    /// # Errors
    /// [`Error::Weights`] with every missing, unexpected, misshapen and non-finite tensor.
    pub fn finish(mut self) -> Result<Params> {
        if let Source::Weights { file, left } = self.source {
            self.problems.extend(unexpected(left.iter()));
            if !self.problems.is_empty() {
                return Err(Error::Weights { file, problems: self.problems });
            }
        }
        self.params.frozen = self.frozen;
        Ok(self.params)
    }
}

fn check(
    name: &str,
    found: Tensor,
    shape: &Shape,
    problems: &mut Vec<String>,
) -> Result<Option<Tensor>> {
    if found.shape() != shape {
        problems.push(misshapen(name, shape, found.shape()));
        return Ok(None);
    }
    let values = found.flatten_all()?.to_dtype(DType::F32)?.to_vec1::<f32>()?;
    let bad = values.iter().filter(|v| !v.is_finite()).count();
    if bad > 0 {
        problems.push(format!("{name}: {bad} of {} values are not finite", values.len()));
        return Ok(None);
    }
    Ok(Some(found))
}

fn missing(name: &str, expected: &Shape) -> String {
    format!("{name}: missing, expected shape {:?}", expected.dims())
}

fn misshapen(name: &str, expected: &Shape, found: &Shape) -> String {
    format!("{name}: expected shape {:?}, found {:?}", expected.dims(), found.dims())
}

fn unexpected<'a>(left: impl Iterator<Item = (&'a String, &'a Tensor)>) -> Vec<String> {
    let mut lines: Vec<String> = left
        .map(|(name, found)| format!("{name}: not expected, found shape {:?}", found.dims()))
        .collect();
    lines.sort_unstable();
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(builder: &mut ParamBuilder) -> Tensor {
        builder
            .under("a", |b| {
                b.param("bias", 2, Init::Zeros)?;
                b.under(0, |b| b.param("weight", (64, 100), Init::FanIn(100)))
            })
            .unwrap()
    }

    #[test]
    fn names_carry_their_path_and_keep_their_order() {
        let mut builder = ParamBuilder::init(1, DType::F32, &Device::Cpu);
        build(&mut builder);
        let params = builder.finish().unwrap();
        assert_eq!(params.iter().map(|(n, _)| n).collect::<Vec<_>>(), ["a.bias", "a.0.weight"]);
        assert_eq!(params.numel(), 6402);
    }

    #[test]
    fn fan_in_weights_are_uniform_within_the_bound_and_follow_the_seed() {
        let weight = |seed| {
            let weight = build(&mut ParamBuilder::init(seed, DType::F32, &Device::Cpu));
            weight.flatten_all().unwrap().to_vec1::<f32>().unwrap()
        };
        let values = weight(1);
        let n = values.len() as f64;
        let mean = values.iter().map(|v| *v as f64).sum::<f64>() / n;
        let square = values.iter().map(|v| (*v as f64).powi(2)).sum::<f64>() / n;
        // Uniform on (-0.1, 0.1): variance 0.01 / 3; its estimate deviates by 0.01 sqrt(4/45/n).
        assert!(mean.abs() < 4.0 * (0.01 / 3.0 / n).sqrt(), "{mean}");
        assert!((square - 0.01 / 3.0).abs() < 4.0 * 0.01 * (4.0 / 45.0 / n).sqrt(), "{square}");
        assert!(values.iter().all(|v| v.abs() <= 0.1) && values.iter().any(|v| v.abs() > 0.0995));
        assert_eq!(values, weight(1));
        assert_ne!(values, weight(2));
    }

    #[test]
    fn shapes_only_allocates_nothing_and_knows_every_shape() {
        let mut builder = ParamBuilder::shapes_only();
        assert_eq!(build(&mut builder).dims(), [64, 100]);
        assert_eq!(builder.shapes()[1].0, "a.0.weight");
        assert!(builder.finish().unwrap().is_empty());
    }

    #[test]
    fn every_problem_with_the_weights_is_listed_at_once() {
        let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
        let weights = HashMap::from([
            ("a.0.weight".to_string(), zeros(&[100, 64])),
            ("z".to_string(), zeros(&[3])),
            ("b".to_string(), zeros(&[1])),
        ]);
        let mut builder = ParamBuilder::weights(weights, "w.safetensors", DType::F32, &Device::Cpu);
        build(&mut builder);
        let message = builder.finish().unwrap_err().to_string();
        for part in [
            "w.safetensors",
            "a.bias: missing, expected shape [2]",
            "a.0.weight: expected shape [64, 100], found [100, 64]",
            "b: not expected, found shape [1]\n  z: not expected",
        ] {
            assert!(message.contains(part), "{part} is not in {message}");
        }
    }

    #[test]
    fn a_frozen_network_records_no_gradient_and_takes_no_other_weights() {
        let mut builder = ParamBuilder::init(1, DType::F32, &Device::Cpu).frozen();
        let weight = build(&mut builder);
        let params = builder.finish().unwrap();
        let grads = weight.sqr().unwrap().sum_all().unwrap().backward().unwrap();
        assert!(grads.get(params.get("a.0.weight").unwrap()).is_none());
        let same = params.tensors().into_iter().collect();
        assert!(params.load(&same).unwrap_err().to_string().contains("final"));
    }

    #[test]
    fn a_nan_weight_is_refused() {
        let weights = HashMap::from([(
            "x".to_string(),
            Tensor::new(&[1f32, f32::NAN], &Device::Cpu).unwrap(),
        )]);
        let mut builder = ParamBuilder::weights(weights, "w", DType::F32, &Device::Cpu);
        builder.param("x", 2, Init::Ones).unwrap();
        let message = builder.finish().unwrap_err().to_string();
        assert!(message.contains("x: 1 of 2 values are not finite"), "{message}");
    }

    #[test]
    fn load_changes_everything_or_nothing() {
        let mut builder = ParamBuilder::init(1, DType::F32, &Device::Cpu);
        let weight = build(&mut builder);
        let params = builder.finish().unwrap();
        let mut weights: HashMap<String, Tensor> =
            params.tensors().into_iter().map(|(name, t)| (name, t.ones_like().unwrap())).collect();
        let bias = weights.remove("a.bias").unwrap();
        assert!(params.load(&weights).unwrap_err().to_string().contains("a.bias"));
        assert_ne!(weight.mean_all().unwrap().to_scalar::<f32>().unwrap(), 1.0);
        weights.insert("a.bias".into(), bias);
        params.load(&weights).unwrap();
        assert_eq!(weight.mean_all().unwrap().to_scalar::<f32>().unwrap(), 1.0);
    }
}
