//! Group norm on the CPU: one pass for the statistics, one for the result; SiLU rides along.

use super::GroupNormSpec;
use crate::{
    error::Result,
    ops::cpu::{Forward, Real, tensor},
};
use candle_core::{CpuStorage, CustomOp3, DType, Layout, Shape, Tensor, WithDType};
use rayon::prelude::*;

pub(super) fn group_norm(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    spec: GroupNormSpec,
    silu: bool,
) -> Result<Tensor> {
    let (x, weight, bias) = (x.contiguous()?, weight.contiguous()?, bias.contiguous()?);
    let sample = x.elem_count() / x.dim(0)?;
    Ok(x.apply_op3(&weight, &bias, GroupNorm { sample, spec, silu })?)
}

struct GroupNorm {
    /// Values of one sample.
    sample: usize,
    spec: GroupNormSpec,
    silu: bool,
}

/// Mean and reciprocal deviation of every channel's group.
struct Statistics<T> {
    mean: Vec<T>,
    scale: Vec<T>,
}

impl CustomOp3 for GroupNorm {
    fn name(&self) -> &'static str {
        "group_norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        weight: &CpuStorage,
        lw: &Layout,
        bias: &CpuStorage,
        lb: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let y = self.on_storage((x, lx), (weight, lw), (bias, lb))?;
        Ok((y, lx.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        match x.dtype() {
            DType::F32 => self.backward::<f32>(x, weight, bias, dy),
            _ => self.backward::<f64>(x, weight, bias, dy),
        }
    }
}

impl Forward for GroupNorm {
    fn forward<T: Real>(&self, x: &[T], weight: &[T], bias: &[T]) -> Vec<T> {
        let sample = self.sample;
        let mut y = vec![T::zero(); x.len()];
        y.par_chunks_mut(sample).zip(x.par_chunks(sample)).for_each(|(y, x)| {
            let statistics = self.statistics(x, weight.len());
            let Affine { slope, offset } = statistics.affine(weight, bias);
            for (y, x) in y.chunks_exact_mut(slope.len()).zip(x.chunks_exact(slope.len())) {
                for c in 0..slope.len() {
                    y[c] = x[c] * slope[c] + offset[c];
                }
                if self.silu {
                    y.iter_mut().for_each(|y| *y = *y * sigmoid(*y));
                }
            }
        });
        y
    }
}

impl GroupNorm {
    #[allow(clippy::type_complexity)] // the signature of candle's trait
    fn backward<T: Real>(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        dy: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (w, b) = (T::values(weight)?, T::values(bias)?);
        let (xs, dys) = (T::values(x)?, T::values(dy)?);
        let mut dx = vec![T::zero(); xs.len()];
        let sums: Vec<(Vec<T>, Vec<T>)> = dx
            .par_chunks_mut(self.sample)
            .zip(xs.par_chunks(self.sample).zip(dys.par_chunks(self.sample)))
            .map(|(dx, (x, dy))| self.backward_sample(x, &w, &b, dy, dx))
            .collect();
        let (mut dw, mut db) = (vec![T::zero(); w.len()], vec![T::zero(); w.len()]);
        for (sample_dw, sample_db) in sums {
            dw.iter_mut().zip(sample_dw).for_each(|(sum, v)| *sum += v);
            db.iter_mut().zip(sample_db).for_each(|(sum, v)| *sum += v);
        }
        let channels = w.len();
        Ok((
            Some(tensor(dx, x.shape().clone(), x)?),
            Some(tensor(dw, channels, x)?),
            Some(tensor(db, channels, x)?),
        ))
    }

    /// With n the normalised value and z = w n + b, y = z or silu(z): returns (dw, db) of one sample
    /// and fills dx = scale (dn - mean(dn) - n mean(dn n)), means over a group.
    fn backward_sample<T: Real>(
        &self,
        x: &[T],
        weight: &[T],
        bias: &[T],
        dy: &[T],
        dx: &mut [T],
    ) -> (Vec<T>, Vec<T>) {
        let channels = weight.len();
        let Statistics { mean, scale } = self.statistics(x, channels);
        let (mut dw, mut db) = (vec![T::zero(); channels], vec![T::zero(); channels]);
        // dx holds dz until the means over the groups are known.
        for ((x, dy), dz) in
            pixels(x, channels).zip(pixels(dy, channels)).zip(dx.chunks_exact_mut(channels))
        {
            for c in 0..channels {
                let n = (x[c] - mean[c]) * scale[c];
                dz[c] = match self.silu {
                    false => dy[c],
                    true => {
                        let z = n * weight[c] + bias[c];
                        let s = sigmoid(z);
                        dy[c] * s * (T::one() + z * (T::one() - s))
                    }
                };
                dw[c] += dz[c] * n;
                db[c] += dz[c];
            }
        }
        let each = channels / self.spec.groups;
        let count = T::from_f64((x.len() / self.spec.groups) as f64);
        let over_group = |sums: &[T]| -> Vec<T> {
            let weighted: Vec<T> = sums.iter().zip(weight).map(|(s, w)| *s * *w).collect();
            let means = weighted
                .chunks_exact(each)
                .map(|g| g.iter().fold(T::zero(), |sum, v| sum + *v) / count);
            means.flat_map(|m| std::iter::repeat_n(m, each)).collect()
        };
        let (mean_dn, mean_dn_n) = (over_group(&db), over_group(&dw));
        for (x, dx) in pixels(x, channels).zip(dx.chunks_exact_mut(channels)) {
            for c in 0..channels {
                let n = (x[c] - mean[c]) * scale[c];
                dx[c] = scale[c] * (dx[c] * weight[c] - mean_dn[c] - n * mean_dn_n[c]);
            }
        }
        (dw, db)
    }

    /// Two passes in the working precision, sums kept per channel: short sums of like numbers.
    fn statistics<T: Real>(&self, x: &[T], channels: usize) -> Statistics<T> {
        let each = channels / self.spec.groups;
        let count = (x.len() / self.spec.groups) as f64;
        let over_group = |sums: &[f64]| -> Vec<f64> {
            sums.chunks_exact(each)
                .flat_map(|g| std::iter::repeat_n(g.iter().sum::<f64>() / count, each))
                .collect()
        };
        let sums = channel_sums(x, channels, |v, _| v);
        let mean: Vec<T> = over_group(&sums).into_iter().map(T::from_f64).collect();
        let squares = channel_sums(x, channels, |v, c| (v - mean[c]) * (v - mean[c]));
        let deviation = |v: f64| T::from_f64(1.0 / (v + self.spec.eps).sqrt());
        let scale = over_group(&squares).into_iter().map(deviation).collect();
        Statistics { mean, scale }
    }
}

/// y = slope x + offset per channel.
struct Affine<T> {
    slope: Vec<T>,
    offset: Vec<T>,
}

impl<T: Real> Statistics<T> {
    fn affine(&self, weight: &[T], bias: &[T]) -> Affine<T> {
        let slope: Vec<T> = self.scale.iter().zip(weight).map(|(s, w)| *s * *w).collect();
        let offset = bias.iter().zip(&self.mean).zip(&slope).map(|((b, m), s)| *b - *m * *s);
        Affine { offset: offset.collect(), slope }
    }
}

/// Pixels summed in the working precision before they join the f64 sum.
const BLOCK: usize = 64;

fn channel_sums<T: Real>(x: &[T], channels: usize, f: impl Fn(T, usize) -> T) -> Vec<f64> {
    let mut sums = vec![0.0; channels];
    let mut block = vec![T::zero(); channels];
    for chunk in x.chunks(BLOCK * channels) {
        block.fill(T::zero());
        for pixel in chunk.chunks_exact(channels) {
            for c in 0..channels {
                block[c] += f(pixel[c], c);
            }
        }
        sums.iter_mut().zip(&block).for_each(|(sum, v)| *sum += WithDType::to_f64(*v));
    }
    sums
}

fn pixels<T>(x: &[T], channels: usize) -> std::slice::ChunksExact<'_, T> {
    x.chunks_exact(channels)
}

fn sigmoid<T: Real>(x: T) -> T {
    T::one() / (T::one() + (-x).exp())
}
