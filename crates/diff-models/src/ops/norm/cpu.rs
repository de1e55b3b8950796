//! Group norm on the CPU: statistics, then the result; SiLU rides along. Pictures, and groups where
//! pictures are few, are shared out among the threads.
#![allow(unsafe_code)] // threads write disjoint channels of one buffer

use super::{
    GroupNormSpec,
    kernel::{Channels, Pass, Run},
};
use crate::{
    error::Result,
    ops::{
        Prepared, bhwc,
        cpu::{Real, Shared, Values, filled, tensor},
        graph::{self, Operation, Step},
    },
};
use candle_core::{Tensor, WithDType};
use rayon::prelude::*;
use std::{ops::Range, sync::Arc};

pub(super) fn group_norm(inputs: &[&Tensor], spec: GroupNormSpec, silu: bool) -> Result<Tensor> {
    let (batch, _, _, channels) = bhwc("group_norm", inputs[0])?;
    let sample = inputs[0].elem_count() / batch;
    let op = GroupNorm { sample, channels, spec, silu, kept: Prepared::new() };
    graph::apply(op, inputs)
}

/// Inputs: maps, weight, bias and, perhaps, scale and shift `[B, 2 C]`.
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

impl Operation for GroupNorm {
    fn name(&self) -> &'static str {
        "group_norm"
    }

    fn parameters(&self) -> Range<usize> {
        1..3
    }

    fn forward<T: Real>(&self, of: &[Tensor]) -> candle_core::Result<Tensor> {
        let x: &[T] = &Values::of(&of[0])?;
        let (weight, bias): (&[T], &[T]) = (&Values::of(&of[1])?, &Values::of(&of[2])?);
        let scale_shift = of.get(3).map(Values::<T>::of).transpose()?;
        let affine = Affine { weight, bias, scale_shift: scale_shift.as_deref() };
        let total = x.len() / self.sample * self.channels;
        let (mut mean, mut scale) = (vec![T::zero(); total], vec![T::zero(); total]);
        let kept = (Shared::new(&mut mean), Shared::new(&mut scale));
        let y = filled(x.len(), |y| {
            self.pieces(x.len()).into_par_iter().for_each(|piece| {
                let rows = piece.rows(self.channels);
                // SAFETY: these channels are this piece's alone.
                let (mean, scale) = unsafe { (kept.0.part(rows.clone()), kept.1.part(rows)) };
                self.statistics(x, piece, mean, scale);
                let (weight, bias) = affine.of(piece);
                let (slope, offset) = slopes((mean, scale), (&weight, &bias));
                let (slope, offset) = (&slope[..], &offset[..]);
                let pass = Pass::Normalise { x, y, slope, offset, silu: self.silu };
                self.run(piece, pass, Default::default());
            });
        });
        self.kept.with(|| Statistics { mean, scale }, |_| ())?;
        tensor(y, of[0].shape().clone(), &of[0])
    }

    fn backward<T: Real>(&self, step: &Step) -> candle_core::Result<Vec<Option<Tensor>>> {
        let [x, weight, bias, modulation @ ..] = step.inputs else {
            candle_core::bail!("group_norm: expected maps, weight and bias")
        };
        let (w, b): (&[T], &[T]) = (&Values::of(weight)?, &Values::of(bias)?);
        let scale_shift = modulation.first().map(Values::<T>::of).transpose()?;
        let affine = Affine { weight: w, bias: b, scale_shift: scale_shift.as_deref() };
        let (xs, dys): (&[T], &[T]) = (&Values::of(x)?, &Values::of(step.dy)?);
        let total = xs.len() / self.sample * self.channels;
        let (mut dws, mut dbs) = (vec![0.0; total], vec![0.0; total]);
        let sums = (Shared::new(&mut dws), Shared::new(&mut dbs));
        let none = || Statistics { mean: Vec::new(), scale: Vec::new() };
        let dx = self.kept.with(none, |kept: &Statistics<T>| {
            filled(xs.len(), |dx| {
                self.pieces(xs.len()).into_par_iter().for_each(|piece| {
                    let rows = piece.rows(self.channels);
                    // SAFETY: these channels are this piece's alone.
                    let sums = unsafe { (sums.0.part(rows.clone()), sums.1.part(rows.clone())) };
                    let statistics = (&kept.mean[rows.clone()], &kept.scale[rows]);
                    self.backward_piece((xs, dys, dx), piece, statistics, affine, sums);
                });
            })
        })?;
        let dx = tensor(dx, x.shape().clone(), x)?;
        let mut gradients = vec![Some(dx)];
        let modulated = affine.modulation_gradient(&mut dws, &mut dbs);
        for sums in [&dws, &dbs] {
            let mut total = vec![0.0; self.channels];
            for sums in sums.chunks_exact(self.channels) {
                total.iter_mut().zip(sums).for_each(|(total, v)| *total += *v);
            }
            let total: Vec<T> = total.into_iter().map(T::from_f64).collect();
            gradients.push(Some(tensor(total, self.channels, x)?));
        }
        if let (Some(modulated), [like]) = (modulated, modulation) {
            gradients.push(Some(tensor(modulated, like.shape().clone(), x)?));
        }
        Ok(gradients)
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

    fn run<T: Real>(&self, piece: Piece, pass: Pass<T>, sums: [&mut [f64]; 2]) {
        let channels = Channels {
            start: piece.image * self.sample + piece.first,
            count: piece.count,
            pixels: self.sample / self.channels,
            step: self.channels,
        };
        T::run(Run { channels, pass, sums });
    }

    /// Means over groups of what was summed channel by channel, for every channel.
    fn over_groups<T: Real>(
        &self,
        sums: impl Iterator<Item = f64>,
        f: impl Fn(f64) -> f64,
    ) -> Vec<T> {
        let each = self.channels / self.spec.groups;
        let count = (self.sample / self.channels * each) as f64;
        let sums: Vec<f64> = sums.collect();
        let means = sums.chunks_exact(each).map(|group| f(group.iter().sum::<f64>() / count));
        means.flat_map(|mean| std::iter::repeat_n(T::from_f64(mean), each)).collect()
    }

    /// Two passes in the working precision, sums kept per channel: short sums of like numbers.
    fn statistics<T: Real>(&self, x: &[T], piece: Piece, mean: &mut [T], scale: &mut [T]) {
        let mut sums = vec![0.0; piece.count];
        self.run(piece, Pass::Sum { x }, [&mut sums, &mut []]);
        mean.copy_from_slice(&self.over_groups(sums.drain(..), |v| v));
        sums.resize(piece.count, 0.0);
        self.run(piece, Pass::Squares { x, mean }, [&mut sums, &mut []]);
        let deviation = |v: f64| 1.0 / (v + self.spec.eps).sqrt();
        scale.copy_from_slice(&self.over_groups(sums.drain(..), deviation));
    }

    /// With n the normalised value and z = w n + b, y = z or silu(z): dw and db of one picture, and
    /// dx = scale (w dz - mean(dn) - n mean(dn n)), means over a group.
    fn backward_piece<T: Real>(
        &self,
        (x, dy, dx): (&[T], &[T], Shared<T>),
        piece: Piece,
        (mean, scale): (&[T], &[T]),
        affine: Affine<T>,
        (dw, db): (&mut [f64], &mut [f64]),
    ) {
        let (weight, bias) = affine.of(piece);
        let (slope, offset) = slopes((mean, scale), (&weight, &bias));
        let (slope, offset) = (&slope[..], &offset[..]);
        // dx holds dz until the means over the groups are known.
        let silu = self.silu;
        let pass = Pass::Slopes { x, dy, dz: dx, scale, mean, slope, offset, silu };
        self.run(piece, pass, [db, dw]);
        let weighted = |sums: &[f64]| -> Vec<T> {
            let sums = sums.iter().zip(&weight);
            self.over_groups(sums.map(|(sum, w)| *sum * WithDType::to_f64(*w)), |v| v)
        };
        let (mean_dn, mean_dn_n) = (weighted(db), weighted(dw));
        // The same as a dz + b x + c.
        let b = scale.iter().zip(&mean_dn_n).map(|(s, dn_n)| -(*s * *s * *dn_n));
        let b: Vec<T> = b.collect();
        let c = scale.iter().zip(&mean_dn).zip(b.iter().zip(mean));
        let c: Vec<T> = c.map(|((s, dn), (b, m))| -(*s * *dn) - *b * *m).collect();
        self.run(piece, Pass::Combine { x, dx, a: slope, b: &b, c: &c }, Default::default());
    }
}

/// The numbers that turn normalised values into z, channel by channel: of all pictures, and where
/// there are scale and shift, of every picture `[B, 2 C]`.
#[derive(Clone, Copy)]
struct Affine<'a, T> {
    weight: &'a [T],
    bias: &'a [T],
    scale_shift: Option<&'a [T]>,
}

impl<T: Real> Affine<'_, T> {
    /// Weight and bias of the piece's channels: z = weight n + bias.
    fn of(&self, piece: Piece) -> (Vec<T>, Vec<T>) {
        let (mut weight, mut bias) = (piece.of(self.weight).to_vec(), piece.of(self.bias).to_vec());
        if let Some(scale_shift) = self.scale_shift {
            let channels = self.weight.len();
            let of_picture = &scale_shift[2 * piece.image * channels..][..2 * channels];
            let (scale, shift) = of_picture.split_at(channels);
            for (i, (scale, shift)) in piece.of(scale).iter().zip(piece.of(shift)).enumerate() {
                let factor = *scale + T::one();
                weight[i] *= factor;
                bias[i] = bias[i] * factor + *shift;
            }
        }
        (weight, bias)
    }

    /// The gradient of scale and shift, from the sums of dz n and dz in every picture; these become
    /// those of dy n and dy, where y = weight n + bias and z = y (1 + scale) + shift.
    fn modulation_gradient(&self, dn: &mut [f64], d: &mut [f64]) -> Option<Vec<T>> {
        let channels = self.weight.len();
        let mut gradient = Vec::with_capacity(2 * d.len());
        let pictures = dn.chunks_exact_mut(channels).zip(d.chunks_exact_mut(channels));
        for ((dn, d), values) in pictures.zip(self.scale_shift?.chunks_exact(2 * channels)) {
            for i in 0..channels {
                let (weight, bias) = (self.weight[i], self.bias[i]);
                let scale = WithDType::to_f64(weight) * dn[i] + WithDType::to_f64(bias) * d[i];
                gradient.push(T::from_f64(scale));
            }
            gradient.extend(d.iter().map(|shift| T::from_f64(*shift)));
            for i in 0..channels {
                let factor = 1.0 + WithDType::to_f64(values[i]);
                dn[i] *= factor;
                d[i] *= factor;
            }
        }
        Some(gradient)
    }
}

/// Slope and offset that turn x into z, channel by channel.
fn slopes<T: Real>((mean, scale): (&[T], &[T]), (weight, bias): (&[T], &[T])) -> (Vec<T>, Vec<T>) {
    let slope: Vec<T> = scale.iter().zip(weight).map(|(s, w)| *s * *w).collect();
    let offset = bias.iter().zip(mean).zip(&slope).map(|((b, m), s)| *b - *m * *s);
    let offset = offset.collect();
    (slope, offset)
}
