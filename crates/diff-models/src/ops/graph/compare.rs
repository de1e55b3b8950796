//! An operation's CPU path against its expression, for the tests beside them.

use crate::error::Result;
use candle_core::{Device, Tensor, Var};

/// Sines in f64.
pub(in crate::ops) fn wave(shape: &[usize], step: f64) -> Tensor {
    let count: usize = shape.iter().product();
    let values: Vec<f64> = (0..count).map(|i| (step * i as f64 + 0.2).sin()).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

/// Holds results and gradients of both against each other.
pub(in crate::ops) fn same(
    inputs: &[Tensor],
    fast: impl Fn(&[Tensor]) -> Result<Tensor>,
    plain: impl Fn(&[Tensor]) -> Result<Tensor>,
) {
    let run = |op: &dyn Fn(&[Tensor]) -> Result<Tensor>| {
        let vars: Vec<Var> = inputs.iter().map(|x| Var::from_tensor(x).unwrap()).collect();
        let tracked: Vec<Tensor> = vars.iter().map(|v| v.as_tensor().clone()).collect();
        let out = op(&tracked).unwrap();
        let weighted = (&out * wave(out.dims(), 0.41)).unwrap();
        let grads = weighted.sum_all().unwrap().backward().unwrap();
        let flat = |x: &Tensor| x.flatten_all().unwrap().to_vec1::<f64>().unwrap();
        let all = vars.iter().map(|v| flat(grads.get(v).unwrap()));
        (out.dims().to_vec(), [flat(&out)].into_iter().chain(all).collect::<Vec<_>>())
    };
    let ((shape, fast), (expected, plain)) = (run(&fast), run(&plain));
    assert_eq!(shape, expected);
    for (part, (fast, plain)) in fast.iter().zip(&plain).enumerate() {
        let close = |(a, b): (&f64, &f64)| (a - b).abs() < 1e-12 * (1.0 + b.abs());
        assert!(fast.iter().zip(plain).all(close), "part {part}: {fast:?} {plain:?}");
    }
}
