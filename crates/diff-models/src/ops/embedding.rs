use super::{
    cpu::{Real, Values, tensor},
    graph::{Operation, Step, apply},
};
use crate::error::{Error, Result};
use candle_core::{DType, Device, Tensor};
use std::ops::Range;

/// Sinusoidal time embedding (Vaswani et al., 2017), in the variants its heirs use.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TimeEmbedding {
    /// Width of the embedding; a last odd entry is zero.
    pub width: usize,
    /// Cosines before sines (true) or after (false).
    pub flip_sin_to_cos: bool,
    /// Frequencies are 10000^(-i / (width / 2 - freq_shift)).
    pub freq_shift: f64,
}

/// The embedding of network times, `[times, width]`, computed in f64.
pub fn timestep_embedding(
    times: &[f64],
    spec: TimeEmbedding,
    dtype: DType,
    device: &Device,
) -> Result<Tensor> {
    let half = spec.width / 2;
    let decay = -(10_000f64.ln()) / (half as f64 - spec.freq_shift);
    let mut values = vec![0f64; times.len() * spec.width];
    for (row, time) in values.chunks_mut(spec.width.max(1)).zip(times) {
        let (sines, cosines) = if spec.flip_sin_to_cos { (half, 0) } else { (0, half) };
        for i in 0..half {
            let (sin, cos) = (time * (decay * i as f64).exp()).sin_cos();
            row[sines + i] = sin;
            row[cosines + i] = cos;
        }
    }
    Ok(Tensor::from_vec(values, (times.len(), spec.width), device)?.to_dtype(dtype)?)
}

/// Row `labels[i]` of `table` `[rows, width]` for every i: `[labels, width]`. No gradient flows to the row
/// `fixed`, if one is named (PyTorch's `padding_idx`).
///
/// # Errors
/// When a label is no row of the table.
pub fn embedding(table: &Tensor, labels: &[u32], fixed: Option<u32>) -> Result<Tensor> {
    let (rows, width) = table.dims2()?;
    if let Some(label) = labels.iter().find(|label| **label as usize >= rows) {
        return Err(Error::Input(format!("label {label}: expected 0..{rows}")));
    }
    if !table.device().is_cpu() {
        return expression(table, labels, fixed);
    }
    let labels = labels.iter().map(|label| *label as usize).collect();
    apply(Lookup { labels, width, fixed: fixed.map(|row| row as usize) }, &[table])
}

fn expression(table: &Tensor, labels: &[u32], fixed: Option<u32>) -> Result<Tensor> {
    let rows = table.index_select(&Tensor::new(labels, table.device())?, 0)?;
    let Some(fixed) = fixed else { return Ok(rows) };
    let keep: Vec<f32> = labels.iter().map(|l| if *l == fixed { 0.0 } else { 1.0 }).collect();
    let keep = Tensor::from_vec(keep, (labels.len(), 1), rows.device())?.to_dtype(rows.dtype())?;
    let held = rows.detach().broadcast_mul(&(1.0 - &keep)?)?;
    Ok((rows.broadcast_mul(&keep)? + held)?)
}

struct Lookup {
    labels: Vec<usize>,
    width: usize,
    fixed: Option<usize>,
}

impl Operation for Lookup {
    fn name(&self) -> &'static str {
        "embedding"
    }

    fn parameters(&self) -> Range<usize> {
        0..1
    }

    fn forward<T: Real>(&self, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        let table: &[T] = &Values::of(&inputs[0])?;
        let rows = self.labels.iter().map(|label| &table[label * self.width..][..self.width]);
        let rows: Vec<T> = rows.flatten().copied().collect();
        tensor(rows, (self.labels.len(), self.width), &inputs[0])
    }

    fn backward<T: Real>(&self, step: &Step) -> candle_core::Result<Vec<Option<Tensor>>> {
        let table = &step.inputs[0];
        let dys: &[T] = &Values::of(step.dy)?;
        let mut sums = vec![T::zero(); table.elem_count()];
        let pairs = self.labels.iter().zip(dys.chunks(self.width.max(1)));
        for (label, dy) in pairs.filter(|(label, _)| Some(**label) != self.fixed) {
            let row = &mut sums[label * self.width..][..self.width];
            row.iter_mut().zip(dy).for_each(|(sum, dy)| *sum += *dy);
        }
        Ok(vec![Some(tensor(sums, table.shape().clone(), table)?)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::graph::compare::{same, wave};

    fn row(width: usize, flip_sin_to_cos: bool, freq_shift: f64) -> Vec<f64> {
        let spec = TimeEmbedding { width, flip_sin_to_cos, freq_shift };
        let table = timestep_embedding(&[500.0], spec, DType::F64, &Device::Cpu).unwrap();
        table.to_vec2().unwrap().remove(0)
    }

    #[test]
    fn golden_embeddings_of_both_families() {
        let ddpm = [-0.4677718, -0.9996816, 0.5741007, 0.0499792, -0.8838493, 0.0252322, 0.9987503];
        let adm = [-0.8838493, 0.8485145, -0.4557525, 0.9983336, -0.4677718, -0.5291721, 0.0577070];
        for (row, golden) in [(row(128, false, 1.0), ddpm), (row(128, true, 0.0), adm)] {
            for (i, expected) in [0, 1, 2, 63, 64, 65, 127].into_iter().zip(golden) {
                assert!((row[i] - expected).abs() < 6e-8, "{i}: {} {expected}", row[i]);
            }
        }
    }

    #[test]
    fn an_odd_width_ends_in_zero() {
        let odd = row(9, false, 1.0);
        assert_eq!(odd[8], 0.0);
        assert_eq!(odd[..8], row(8, false, 1.0));
    }

    #[test]
    fn the_cpu_path_equals_the_expression_with_a_fixed_row_and_without() {
        for fixed in [None, Some(2)] {
            same(
                &[wave(&[4, 5], 0.7)],
                |x| embedding(&x[0], &[2, 0, 2, 3], fixed),
                |x| expression(&x[0], &[2, 0, 2, 3], fixed),
            );
        }
    }
}
