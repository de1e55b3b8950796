//! The fill rules of `tests/golden/fill.py`.
// Every test binary uses its part.
#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used)]

use candle_core::{Device, Shape, Tensor};
use std::collections::HashMap;

/// Tensors for `shapes`: element i of the key numbered n is 0.05 sin(0.37 i + 1.3 n), plus 1 for
/// norm scales.
pub fn fill(shapes: &[(String, Shape)]) -> HashMap<String, Tensor> {
    by_rule(shapes, |_, i, n| 0.05 * (0.37 * i + 1.3 * n).sin())
}

/// Tensors for `shapes` with the spread of a fresh network.
pub fn scatter(shapes: &[(String, Shape)]) -> HashMap<String, Tensor> {
    by_rule(shapes, |dims, i, n| {
        let u = 43758.5453 * (0.7 * i + 1.3 * n).sin();
        let fan_in: usize = dims.iter().skip(1).product();
        let scale = if dims.len() > 1 { (3.0 / fan_in as f64).sqrt() } else { 0.1 };
        (2.0 * (u - u.floor()) - 1.0) * scale
    })
}

/// [`scatter`] for networks of convolutions with ReLU: weights are sqrt(2) times as large, LPIPS' heads
/// positive, running variances greater by 1.
pub fn rectified(shapes: &[(String, Shape)]) -> HashMap<String, Tensor> {
    let change = |(name, tensor): (String, Tensor)| {
        let gain = if tensor.rank() > 1 { 2f64.sqrt() } else { 1.0 };
        let more = if name.ends_with("running_var") { 1.0 } else { 0.0 };
        let tensor = tensor.affine(gain, more).unwrap();
        let tensor = if name.starts_with("lin") { tensor.abs().unwrap() } else { tensor };
        (name, tensor)
    };
    scatter(shapes).into_iter().map(change).collect()
}

/// [`scatter`], all but norm scales a thousandth of it.
pub fn faint(shapes: &[(String, Shape)]) -> HashMap<String, Tensor> {
    let change = |(name, tensor): (String, Tensor)| {
        let is_scale = tensor.rank() == 1 && name.ends_with("weight");
        let factor = if is_scale { 1.0 } else { 1e-3 };
        (name, tensor.affine(factor, 0.0).unwrap())
    };
    scatter(shapes).into_iter().map(change).collect()
}

fn by_rule(
    shapes: &[(String, Shape)],
    rule: impl Fn(&[usize], f64, f64) -> f64,
) -> HashMap<String, Tensor> {
    let mut sorted: Vec<&(String, Shape)> = shapes.iter().collect();
    sorted.sort_by(|a, b| a.0.as_bytes().cmp(b.0.as_bytes()));
    let tensor = |(n, (name, shape)): (usize, &(String, Shape))| {
        let one = if shape.rank() == 1 && name.ends_with("weight") { 1.0 } else { 0.0 };
        let value = |i: usize| (rule(shape.dims(), i as f64, n as f64) + one) as f32;
        let values: Vec<f32> = (0..shape.elem_count()).map(value).collect();
        (name.clone(), Tensor::from_vec(values, shape, &Device::Cpu).unwrap())
    };
    sorted.into_iter().enumerate().map(tensor).collect()
}

/// Element i is sin(step i + start).
pub fn wave(shape: &[usize], step: f64, start: f64) -> Tensor {
    let count: usize = shape.iter().product();
    let values: Vec<f32> = (0..count).map(|i| (step * i as f64 + start).sin() as f32).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}
