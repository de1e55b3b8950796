//! The passes of a group norm over some channels of one picture. Channels are taken a few vectors
//! at a time, so that their sums stay in registers while the pixels go by.
#![allow(unsafe_code)] // threads write disjoint channels of one buffer
#![allow(clippy::needless_range_loop)] // vectors in plain loops, see `cpu::product`

use crate::ops::{
    activation::silu_slope,
    cpu::{Real, Shared, sigmoid},
};
use candle_core::WithDType;
use pulp::{Simd, WithSimd};

/// Pixels that are summed in the working precision before they join the f64 sum.
const BLOCK: usize = 64;
/// Vectors of channels that are taken together.
const WIDE: usize = 4;
/// Numbers of a vector, at most.
const MOST: usize = 16;

/// Where some neighbouring channels of one picture are.
#[derive(Clone, Copy)]
pub(super) struct Channels {
    /// The picture's first pixel, first of these channels.
    pub(super) start: usize,
    /// How many channels.
    pub(super) count: usize,
    pub(super) pixels: usize,
    /// From one pixel to the next.
    pub(super) step: usize,
}

/// What a pass does at every value.
#[derive(Clone, Copy)]
pub(super) enum Pass<'a, T> {
    /// Sums of x.
    Sum { x: &'a [T] },
    /// Sums of (x - mean)^2.
    Squares { x: &'a [T], mean: &'a [T] },
    /// y = slope x + offset, or the SiLU of that.
    Normalise { x: &'a [T], y: Shared<'a, T>, slope: &'a [T], offset: &'a [T], silu: bool },
    /// With n = scale (x - mean) and z = weight n + bias: dz from dy, and sums of dz and dz n.
    Slopes {
        x: &'a [T],
        dy: &'a [T],
        dz: Shared<'a, T>,
        scale: &'a [T],
        mean: &'a [T],
        /// slope x + offset is z.
        slope: &'a [T],
        offset: &'a [T],
        silu: bool,
    },
    /// dx = a dz + b x + c, in place of dz.
    Combine { x: &'a [T], dx: Shared<'a, T>, a: &'a [T], b: &'a [T], c: &'a [T] },
}

/// A pass, and where its sums go: one a channel, each.
pub(super) struct Run<'a, T> {
    pub(super) channels: Channels,
    pub(super) pass: Pass<'a, T>,
    pub(super) sums: [&'a mut [f64]; 2],
}

impl<T: Real> WithSimd for Run<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let lanes = T::lanes::<S>();
        let mut first = 0;
        while first < self.channels.count {
            let left = self.channels.count - first;
            match left >= WIDE * lanes {
                true => self.vectors::<S, WIDE>(simd, first, lanes),
                false => self.vectors::<S, 1>(simd, first, left.min(lanes)),
            }
            first += if left >= WIDE * lanes { WIDE * lanes } else { lanes };
        }
    }
}

impl<T: Real> Run<'_, T> {
    /// V vectors of channels from `first` on, `length` channels each.
    #[inline(always)]
    fn vectors<S: Simd, const V: usize>(&mut self, simd: S, first: usize, length: usize) {
        let Channels { start, pixels, step, .. } = self.channels;
        let zero = T::splat(simd, T::zero());
        let part = |j: usize| first + j * length..first + (j + 1) * length;
        let mut constants = [[zero; V]; 4];
        let empty: &[T] = &[];
        let pass = self.pass;
        let of_channels = match pass {
            Pass::Sum { .. } => [empty; 4],
            Pass::Squares { mean, .. } => [mean, empty, empty, empty],
            Pass::Normalise { slope, offset, .. } => [slope, offset, empty, empty],
            Pass::Slopes { scale, mean, slope, offset, .. } => [slope, offset, mean, scale],
            Pass::Combine { a, b, c, .. } => [a, b, c, empty],
        };
        for k in 0..4 {
            for j in 0..V {
                if !of_channels[k].is_empty() {
                    constants[k][j] = T::load_some(simd, &of_channels[k][part(j)]);
                }
            }
        }
        for block in (0..pixels).step_by(BLOCK) {
            let mut sums = [[zero; V]; 2];
            for pixel in block..pixels.min(block + BLOCK) {
                for j in 0..V {
                    let channels = part(j);
                    let at = start + pixel * step;
                    let at = at + channels.start..at + channels.end;
                    let (a, b) = (constants[0][j], constants[1][j]);
                    let (c, d) = (constants[2][j], constants[3][j]);
                    match pass {
                        Pass::Sum { x } => {
                            let x = T::load_some(simd, &x[at]);
                            sums[0][j] = T::plus(simd, sums[0][j], x);
                        }
                        Pass::Squares { x, .. } => {
                            let x = T::minus(simd, T::load_some(simd, &x[at]), a);
                            sums[0][j] = T::fused(simd, x, x, sums[0][j]);
                        }
                        Pass::Normalise { x, y, silu, .. } => {
                            let mut z = T::fused(simd, T::load_some(simd, &x[at.clone()]), a, b);
                            if silu {
                                z = T::times(simd, z, sigmoid::<T, S>(simd, z));
                            }
                            // SAFETY: these channels are this thread's alone.
                            T::store_some(simd, unsafe { y.part(at) }, z);
                        }
                        Pass::Slopes { x, dy, dz, silu, .. } => {
                            let x = T::load_some(simd, &x[at.clone()]);
                            let mut slope = T::load_some(simd, &dy[at.clone()]);
                            if silu {
                                let z = T::fused(simd, x, a, b);
                                slope = T::times(simd, slope, silu_slope::<T, S>(simd, z));
                            }
                            let n = T::times(simd, T::minus(simd, x, c), d);
                            sums[0][j] = T::plus(simd, sums[0][j], slope);
                            sums[1][j] = T::fused(simd, slope, n, sums[1][j]);
                            // SAFETY: as above.
                            T::store_some(simd, unsafe { dz.part(at) }, slope);
                        }
                        Pass::Combine { x, dx, .. } => {
                            let x = T::load_some(simd, &x[at.clone()]);
                            // SAFETY: as above.
                            let dx = unsafe { dx.part(at) };
                            let sum = T::fused(simd, b, x, c);
                            let sum = T::fused(simd, a, T::load_some(simd, dx), sum);
                            T::store_some(simd, dx, sum);
                        }
                    }
                }
            }
            for k in 0..2 {
                for j in 0..V {
                    if !self.sums[k].is_empty() {
                        let mut values = [T::zero(); MOST];
                        T::store(simd, &mut values, sums[k][j]);
                        let totals = &mut self.sums[k][part(j)];
                        for i in 0..length {
                            totals[i] += WithDType::to_f64(values[i]);
                        }
                    }
                }
            }
        }
    }
}
