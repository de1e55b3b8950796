//! Operations against finite differences, and their two number types against each other.

use super::{relative, values, wave};
use candle_core::{DType, Device, Tensor, Var};

/// Sines in f64.
pub fn input(shape: &[usize], step: f64) -> Tensor {
    wave(shape, step, 0.3).to_dtype(DType::F64).unwrap()
}

/// Compares the gradients of sum(out * wave) with central differences, for every input element.
pub fn check_gradients(
    name: &str,
    inputs: &[Tensor],
    op: impl Fn(&[Tensor]) -> diff_models::Result<Tensor>,
) {
    let loss = |inputs: &[Tensor]| -> Tensor {
        let out = op(inputs).unwrap();
        let weights = input(out.dims(), 0.77);
        (out * weights).unwrap().sum_all().unwrap()
    };
    let vars: Vec<Var> = inputs.iter().map(|x| Var::from_tensor(x).unwrap()).collect();
    let tracked: Vec<Tensor> = vars.iter().map(|v| v.as_tensor().clone()).collect();
    let grads = loss(&tracked).backward().unwrap();
    for (which, var) in vars.iter().enumerate() {
        let ours =
            values(grads.get(var).unwrap_or_else(|| panic!("{name}: input {which} has none")));
        let numeric: Vec<f64> = (0..ours.len())
            .map(|i| {
                let at = |delta: f64| {
                    let mut moved: Vec<Tensor> = inputs.to_vec();
                    let mut flat = values(&inputs[which]);
                    flat[i] += delta;
                    moved[which] =
                        Tensor::from_vec(flat, inputs[which].shape(), &Device::Cpu).unwrap();
                    loss(&moved).to_scalar::<f64>().unwrap()
                };
                (at(1e-5) - at(-1e-5)) / 2e-5
            })
            .collect();
        let error = relative(&ours, &numeric);
        assert!(error < 1e-7, "{name}: gradient of input {which} differs by {error}");
    }
}

/// An operation on its inputs.
pub type Op = Box<dyn Fn(&[Tensor]) -> diff_models::Result<Tensor>>;

/// Output, and gradients of sum(out * wave) by every input.
fn run(op: &Op, inputs: &[Tensor]) -> Vec<Vec<f64>> {
    let vars: Vec<Var> = inputs.iter().map(|x| Var::from_tensor(x).unwrap()).collect();
    let tracked: Vec<Tensor> = vars.iter().map(|v| v.as_tensor().clone()).collect();
    let out = op(&tracked).unwrap();
    let weights = input(out.dims(), 0.77).to_dtype(out.dtype()).unwrap();
    let grads = (&out * weights).unwrap().sum_all().unwrap().backward().unwrap();
    let all = vars.iter().map(|var| values(grads.get(var).unwrap()));
    [values(&out)].into_iter().chain(all).collect()
}

/// Holds an operation in f32, outputs and gradients, against itself in f64.
pub fn check_f32(name: &str, op: &Op, tensors: &[Tensor]) {
    let narrow: Vec<Tensor> = tensors.iter().map(|x| x.to_dtype(DType::F32).unwrap()).collect();
    let (exact, found) = (run(op, tensors), run(op, &narrow));
    for (which, (found, exact)) in found.iter().zip(&exact).enumerate() {
        let bound = if which == 0 { 2e-5 } else { 1e-4 };
        let error = relative(found, exact);
        assert!(error < bound, "{name}: {error} in part {which}");
    }
}
