//! Group normalisation, alone or with the SiLU that follows it.

mod cpu;
mod expression;
mod kernel;

use super::{bhwc, mismatch};
use crate::error::{Error, Result};
use candle_core::Tensor;

/// The settings of a group norm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GroupNormSpec {
    /// How many groups the channels fall into.
    pub groups: usize,
    /// Added to the variance.
    pub eps: f64,
}

/// Normalises every sample of `x` `[B, H, W, C]` to mean 0 and variance 1 within each group of
/// neighbouring channels, then scales by `weight` `[C]` and adds `bias` `[C]` (Wu & He, 2018).
///
/// # Errors
/// When the channels do not fall into equal groups or the shapes do not fit.
pub fn group_norm(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    spec: GroupNormSpec,
) -> Result<Tensor> {
    apply(x, weight, bias, spec, false)
}

/// [`group_norm`] followed by SiLU, in one pass.
///
/// # Errors
/// As [`group_norm`].
pub fn group_norm_silu(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    spec: GroupNormSpec,
) -> Result<Tensor> {
    apply(x, weight, bias, spec, true)
}

fn apply(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    spec: GroupNormSpec,
    silu: bool,
) -> Result<Tensor> {
    let (_, _, _, channels) = bhwc("group_norm", x)?;
    if spec.groups == 0 || channels % spec.groups != 0 {
        return Err(Error::Input(format!(
            "group_norm: {channels} channels do not fall into {} equal groups",
            spec.groups
        )));
    }
    for (name, parameter) in [("weight", weight), ("bias", bias)] {
        if parameter.dims() != [channels] {
            return Err(mismatch("group_norm", x, name, parameter));
        }
    }
    match (x.elem_count(), x.device().is_cpu()) {
        (0, _) => Ok(x.clone()),
        (_, true) => cpu::group_norm(x, weight, bias, spec, silu),
        (_, false) => expression::group_norm(x, weight, bias, spec, silu),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};

    fn wave(shape: &[usize], step: f64) -> Tensor {
        let count: usize = shape.iter().product();
        let values: Vec<f64> = (0..count).map(|i| (step * (i * i) as f64 + 0.2).sin()).collect();
        Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
    }

    #[test]
    fn the_cpu_path_equals_the_expression() {
        for (shape, groups) in [([1, 1, 1, 6], 2), ([3, 5, 4, 6], 3), ([2, 11, 13, 8], 8)] {
            for silu in [false, true] {
                let spec = GroupNormSpec { groups, eps: 1e-3 };
                let channels = shape[3];
                let inputs = [wave(&shape, 0.7), wave(&[channels], 0.3), wave(&[channels], 0.9)];
                let run =
                    |op: fn(&Tensor, &Tensor, &Tensor, GroupNormSpec, bool) -> Result<Tensor>| {
                        let vars = inputs.each_ref().map(|x| Var::from_tensor(x).unwrap());
                        let out = op(&vars[0], &vars[1], &vars[2], spec, silu).unwrap();
                        let weighted = (out.clone() * wave(&shape, 0.41)).unwrap();
                        let grads = weighted.sum_all().unwrap().backward().unwrap();
                        let flat = |x: &Tensor| x.flatten_all().unwrap().to_vec1::<f64>().unwrap();
                        let all = vars.iter().map(|v| flat(grads.get(v).unwrap()));
                        all.chain([flat(&out)]).collect::<Vec<_>>()
                    };
                for (fast, plain) in run(cpu::group_norm).iter().zip(run(expression::group_norm)) {
                    let close = |(a, b): (&f64, &f64)| (a - b).abs() < 1e-11 * (1.0 + b.abs());
                    assert!(fast.iter().zip(&plain).all(close), "{shape:?} {groups} {silu}");
                }
            }
        }
    }
}
