//! Group norm on the CPU: statistics, then the result; SiLU rides along. Pictures, and groups where
//! pictures are few, are shared out among the threads.
#![allow(unsafe_code)] // threads write disjoint channels of one buffer

use super::GroupNormSpec;
use crate::{
    error::Result,
    ops::{
        Prepared,
        cpu::{Forward, Real, Shared, Values, filled, sigmoid, tensor},
    },
};
use candle_core::{CpuStorage, CustomOp3, DType, Layout, Shape, Tensor, WithDType};
use rayon::prelude::*;
use std::sync::Arc;

pub(super) fn group_norm(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    spec: GroupNormSpec,
    silu: bool,
) -> Result<Tensor> {
    let (x, weight, bias) = (x.contiguous()?, weight.contiguous()?, bias.contiguous()?);
    let sample = x.elem_count() / x.dim(0)?;
    let op = GroupNorm { sample, channels: weight.dim(0)?, spec, silu, kept: Prepared::new() };
    Ok(x.apply_op3(&weight, &bias, op)?)
}

struct GroupNorm {
    /// Values of one sample.
    sample: usize,
    channels: usize,
    spec: GroupNormSpec,
    silu: bool,
    /// The forward pass' [`Statistics`], for the backward pass.
    kept: Arc<Prepared>,
}

/// Mean and reciprocal deviation of every channel's group, picture by picture: `[B, C]`.
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

/// Some neighbouring channels of one picture.
#[derive(Clone, Copy)]
struct Piece {
    image: usize,
    first: usize,
    count: usize,
}

impl Piece {
    /// Where its channels are in `[B, C]`.
    fn rows(self, channels: usize) -> std::ops::Range<usize> {
        let start = self.image * channels + self.first;
        start..start + self.count
    }

    /// Its channels of one weight.
    fn of<T>(self, values: &[T]) -> &[T] {
        &values[self.first..self.first + self.count]
    }
}

impl Forward for GroupNorm {
    fn forward<T: Real>(&self, x: &[T], weight: &[T], bias: &[T]) -> candle_core::Result<Vec<T>> {
        let total = x.len() / self.sample * self.channels;
        let (mut mean, mut scale) = (vec![T::zero(); total], vec![T::zero(); total]);
        let kept = (Shared::new(&mut mean), Shared::new(&mut scale));
        let y = filled(x.len(), |y| {
            self.pieces(x.len()).into_par_iter().for_each(|piece| {
                let rows = piece.rows(self.channels);
                // SAFETY: these channels are this piece's alone.
                let (mean, scale) = unsafe { (kept.0.part(rows.clone()), kept.1.part(rows)) };
                let (weight, bias) = (piece.of(weight), piece.of(bias));
                T::run(
                    #[inline(always)]
                    || {
                        self.statistics(x, piece, mean, scale);
                        self.normalise((x, y), piece, (mean, scale), (weight, bias));
                    },
                );
            });
        });
        self.kept.with(|| Statistics { mean, scale }, |_| y)
    }
}

impl GroupNorm {
    /// All channels of all pictures, in as many pieces as there are threads, or in pictures.
    fn pieces(&self, length: usize) -> Vec<Piece> {
        let batch = length / self.sample;
        let each = self.channels / self.spec.groups;
        let groups = match rayon::current_num_threads().div_ceil(batch) {
            1 => self.spec.groups,
            parts => self.spec.groups.div_ceil(parts),
        };
        let mut pieces = Vec::new();
        for image in 0..batch {
            for first in (0..self.channels).step_by(groups * each) {
                let count = (groups * each).min(self.channels - first);
                pieces.push(Piece { image, first, count });
            }
        }
        pieces
    }

    /// The values of every pixel that a piece has.
    #[inline(always)]
    fn pixels<'a, T>(&self, x: &'a [T], piece: Piece) -> impl Iterator<Item = &'a [T]> {
        let x = &x[piece.image * self.sample..][..self.sample];
        let (first, count) = (piece.first, piece.count);
        x.chunks_exact(self.channels).map(move |pixel| &pixel[first..first + count])
    }

    /// The same, to write to.
    #[inline(always)]
    fn pixels_mut<'a, T: Real>(
        &self,
        y: Shared<'a, T>,
        piece: Piece,
    ) -> impl Iterator<Item = &'a mut [T]> {
        let start = piece.image * self.sample + piece.first;
        let (channels, count) = (self.channels, piece.count);
        (0..self.sample / channels).map(move |pixel| {
            let at = start + pixel * channels;
            // SAFETY: every piece has its own channels.
            unsafe { y.part(at..at + count) }
        })
    }

    /// Two passes in the working precision, sums kept per channel: short sums of like numbers.
    #[inline(always)]
    fn statistics<T: Real>(&self, x: &[T], piece: Piece, mean: &mut [T], scale: &mut [T]) {
        let each = self.channels / self.spec.groups;
        let count = (self.sample / self.channels * each) as f64;
        let over_group = |sums: &[f64], out: &mut [T], f: &dyn Fn(f64) -> f64| {
            for (sums, out) in sums.chunks_exact(each).zip(out.chunks_exact_mut(each)) {
                out.fill(T::from_f64(f(sums.iter().sum::<f64>() / count)));
            }
        };
        let sums = sums(self.pixels(x, piece), piece.count, |block: &mut [T], pixel| {
            block.iter_mut().zip(pixel).for_each(|(sum, v)| *sum += *v);
        });
        over_group(&sums, mean, &|v| v);
        let mean = &*mean;
        let squares = self::sums(self.pixels(x, piece), piece.count, |block: &mut [T], pixel| {
            for ((sum, v), m) in block.iter_mut().zip(pixel).zip(mean) {
                *sum += (*v - *m) * (*v - *m);
            }
        });
        over_group(&squares, scale, &|v| 1.0 / (v + self.spec.eps).sqrt());
    }

    #[inline(always)]
    fn normalise<T: Real>(
        &self,
        (x, y): (&[T], Shared<T>),
        piece: Piece,
        (mean, scale): (&[T], &[T]),
        (weight, bias): (&[T], &[T]),
    ) {
        let slope: Vec<T> = scale.iter().zip(weight).map(|(s, w)| *s * *w).collect();
        let offset = bias.iter().zip(mean).zip(&slope).map(|((b, m), s)| *b - *m * *s);
        let offset: Vec<T> = offset.collect();
        for (x, y) in self.pixels(x, piece).zip(self.pixels_mut(y, piece)) {
            for (((y, x), slope), offset) in y.iter_mut().zip(x).zip(&slope).zip(&offset) {
                *y = *x * *slope + *offset;
            }
            if self.silu {
                y.iter_mut().for_each(|y| *y = *y * sigmoid(*y));
            }
        }
    }

    #[allow(clippy::type_complexity)] // the signature of candle's trait
    fn backward<T: Real>(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        dy: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let dy = dy.contiguous()?;
        let (w, b): (&[T], &[T]) = (&Values::of(weight)?, &Values::of(bias)?);
        let (xs, dys): (&[T], &[T]) = (&Values::of(x)?, &Values::of(&dy)?);
        let total = xs.len() / self.sample * self.channels;
        let (mut dws, mut dbs) = (vec![0.0; total], vec![0.0; total]);
        let sums = (Shared::new(&mut dws), Shared::new(&mut dbs));
        let none = || Statistics { mean: Vec::new(), scale: Vec::new() };
        let dx = self.kept.with(none, |kept: &Statistics<T>| {
            filled(xs.len(), |dx| {
                self.pieces(xs.len()).into_par_iter().for_each(|piece| {
                    let rows = piece.rows(self.channels);
                    // SAFETY: these channels are this piece's alone.
                    let (dw, db) =
                        unsafe { (sums.0.part(rows.clone()), sums.1.part(rows.clone())) };
                    let statistics = (&kept.mean[rows.clone()], &kept.scale[rows]);
                    let affine = (piece.of(w), piece.of(b));
                    T::run(
                        #[inline(always)]
                        || {
                            let values = (xs, dys, dx);
                            self.backward_piece(values, piece, statistics, affine, (dw, db));
                        },
                    );
                });
            })
        })?;
        let over_batch = |sums: &[f64]| -> candle_core::Result<Tensor> {
            let mut total = vec![0.0; self.channels];
            for sums in sums.chunks_exact(self.channels) {
                total.iter_mut().zip(sums).for_each(|(total, v)| *total += *v);
            }
            let total: Vec<T> = total.into_iter().map(T::from_f64).collect();
            tensor(total, self.channels, x)
        };
        let dx = tensor(dx, x.shape().clone(), x)?;
        Ok((Some(dx), Some(over_batch(&dws)?), Some(over_batch(&dbs)?)))
    }

    /// With n the normalised value and z = w n + b, y = z or silu(z): dw and db of one picture, and
    /// dx = scale (dn - mean(dn) - n mean(dn n)), means over a group.
    #[inline(always)]
    fn backward_piece<T: Real>(
        &self,
        (x, dy, dx): (&[T], &[T], Shared<T>),
        piece: Piece,
        (mean, scale): (&[T], &[T]),
        (weight, bias): (&[T], &[T]),
        (dw, db): (&mut [f64], &mut [f64]),
    ) {
        // dx holds dz until the means over the groups are known.
        if self.silu {
            let all = self.pixels(x, piece).zip(self.pixels(dy, piece));
            for ((x, dy), dz) in all.zip(self.pixels_mut(dx, piece)) {
                let constants = mean.iter().zip(scale).zip(weight).zip(bias);
                for (((dz, x), dy), (((m, s), w), b)) in dz.iter_mut().zip(x).zip(dy).zip(constants)
                {
                    let z = (*x - *m) * *s * *w + *b;
                    let sigmoid = sigmoid(z);
                    *dz = *dy * sigmoid * (T::one() + z * (T::one() - sigmoid));
                }
            }
        } else {
            let all = self.pixels(dy, piece).zip(self.pixels_mut(dx, piece));
            all.for_each(|(dy, dz)| dz.copy_from_slice(dy));
        }
        let dz = || self.pixels_mut(dx, piece).map(|dz| &*dz);
        db.copy_from_slice(&sums(dz(), piece.count, |block: &mut [T], dz| {
            block.iter_mut().zip(dz).for_each(|(sum, v)| *sum += *v);
        }));
        let both = self.pixels(x, piece).zip(dz());
        dw.copy_from_slice(&sums(both, piece.count, |block: &mut [T], (x, dz)| {
            for ((((sum, x), dz), m), s) in block.iter_mut().zip(x).zip(dz).zip(mean).zip(scale) {
                *sum += *dz * ((*x - *m) * *s);
            }
        }));
        let each = self.channels / self.spec.groups;
        let count = (self.sample / self.channels * each) as f64;
        let over_group = |sums: &[f64]| -> Vec<T> {
            let weighted = sums.iter().zip(weight).map(|(s, w)| *s * WithDType::to_f64(*w));
            let weighted: Vec<f64> = weighted.collect();
            let means = weighted.chunks_exact(each).map(|g| g.iter().sum::<f64>() / count);
            means.flat_map(|m| std::iter::repeat_n(T::from_f64(m), each)).collect()
        };
        let (mean_dn, mean_dn_n) = (over_group(db), over_group(dw));
        for (x, dx) in self.pixels(x, piece).zip(self.pixels_mut(dx, piece)) {
            let constants = mean.iter().zip(scale).zip(weight).zip(mean_dn.iter().zip(&mean_dn_n));
            for ((dx, x), (((m, s), w), (dn, dn_n))) in dx.iter_mut().zip(x).zip(constants) {
                let n = (*x - *m) * *s;
                *dx = *s * (*dx * *w - *dn - n * *dn_n);
            }
        }
    }
}

/// Pixels summed in the working precision before they join the f64 sum.
const BLOCK: usize = 64;

/// Sums per channel over pixels; `add` adds a pixel to a block's sums.
#[inline(always)]
fn sums<T: Real, P>(
    pixels: impl Iterator<Item = P>,
    channels: usize,
    add: impl Fn(&mut [T], P),
) -> Vec<f64> {
    let mut sums = vec![0.0; channels];
    let mut block = vec![T::zero(); channels];
    let mut empty = |block: &mut [T]| {
        for (sum, v) in sums.iter_mut().zip(block) {
            *sum += WithDType::to_f64(*v);
            *v = T::zero();
        }
    };
    for (i, pixel) in pixels.enumerate() {
        if i % BLOCK == 0 {
            empty(&mut block);
        }
        add(&mut block, pixel);
    }
    empty(&mut block);
    sums
}
