//! Group normalisation, alone or with the SiLU that follows it, with scale and shift in between or not.

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
    apply(&[x, weight, bias], spec, false)
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
    apply(&[x, weight, bias], spec, true)
}

/// The SiLU of y (1 + scale) + shift, in one pass, where y is the [`group_norm`] of `x` and
/// `scale_shift` `[B, 2 C]` holds every sample's scales first (Dhariwal & Nichol, 2021, "adaptive
/// group normalization").
///
/// # Errors
/// As [`group_norm`].
pub fn group_norm_scale_shift_silu(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    scale_shift: &Tensor,
    spec: GroupNormSpec,
) -> Result<Tensor> {
    let (batch, _, _, channels) = bhwc("group_norm", x)?;
    if scale_shift.dims() != [batch, 2 * channels] {
        return Err(mismatch("group_norm", x, "scale_shift", scale_shift));
    }
    apply(&[x, weight, bias, scale_shift], spec, true)
}

/// `inputs` are maps, weight, bias and, perhaps, scale and shift.
fn apply(inputs: &[&Tensor], spec: GroupNormSpec, silu: bool) -> Result<Tensor> {
    let [x, weight, bias, ..] = *inputs else {
        return Err(Error::Input("group_norm: expected maps, weight and bias".into()));
    };
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
        (_, true) => cpu::group_norm(inputs, spec, silu),
        (_, false) => expression::group_norm(inputs, spec, silu),
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
            for (silu, scale_shift) in [(false, false), (true, false), (true, true)] {
                let spec = GroupNormSpec { groups, eps: 1e-3 };
                let (batch, channels) = (shape[0], shape[3]);
                let mut inputs =
                    vec![wave(&shape, 0.7), wave(&[channels], 0.3), wave(&[channels], 0.9)];
                if scale_shift {
                    inputs.push(wave(&[batch, 2 * channels], 0.5));
                }
                let run = |op: fn(&[&Tensor], GroupNormSpec, bool) -> Result<Tensor>| {
                    let vars: Vec<Var> =
                        inputs.iter().map(|x| Var::from_tensor(x).unwrap()).collect();
                    let tracked: Vec<&Tensor> = vars.iter().map(|v| v.as_tensor()).collect();
                    let out = op(&tracked, spec, silu).unwrap();
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
