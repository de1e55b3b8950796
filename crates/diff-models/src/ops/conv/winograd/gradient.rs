//! The gradient of the weights: products of transformed pictures with transformed gradients.
//!
//! A piece of work is a block of input channels by a block of output channels, over some of the
//! tiles: its sums and the tiles at hand stay in the second-level cache.
#![allow(unsafe_code)] // threads write disjoint parts of one buffer
#![allow(clippy::needless_range_loop)] // vectors in plain loops, see `cpu::product`

use super::{GAP, Place, Plan, Tiles, transform, transform_input};
use crate::ops::{
    conv::Sizes,
    cpu::{Left, Piece, Real, Right, Shared, Target, filled, widths, with_scratch},
};
use pulp::{Simd, WithSimd};
use rayon::prelude::*;
use std::ops::Range;

/// Input channels of a block, at most: whole vectors, and whole rows of a product.
const INPUTS: usize = 48;
/// Tiles that are transformed before they are multiplied.
const TOGETHER: usize = 64;
/// Pieces of work, about; and tiles of one, at least.
const PIECES: usize = 12;
const LEAST: usize = 2 * TOGETHER;
/// Input channels whose kernels are made before they are written.
const STRIP: usize = 16;

/// How the work is cut, which depends on its size alone and not on the threads: so do the bits.
#[derive(Clone, Copy)]
struct Cut {
    frequencies: usize,
    /// Channels of a block, in whole vectors: going in, coming out.
    width: (usize, usize),
    /// Blocks of output channels.
    across: usize,
    /// Groups of tiles, and tiles of one.
    groups: usize,
    tiles: usize,
}

impl Cut {
    fn new<T: Real>(sizes: &Sizes, plan: Plan, tiles: usize) -> Self {
        let (lanes, panel) = widths::<T>();
        let width = (
            INPUTS.min(sizes.inputs.next_multiple_of(lanes)),
            panel.min(sizes.outputs.next_multiple_of(lanes)),
        );
        let (down, across) = (sizes.inputs.div_ceil(width.0), sizes.outputs.div_ceil(width.1));
        let groups = PIECES.div_ceil(down * across).min(tiles.div_ceil(LEAST));
        let tiles = tiles.div_ceil(groups).next_multiple_of(TOGETHER);
        Cut { frequencies: plan.length() * plan.length(), width, across, groups, tiles }
    }

    /// Numbers of the sums of a piece.
    fn sums(&self) -> usize {
        self.frequencies * self.width.0 * self.width.1
    }
}

/// The gradient `[O, I, 3, 3]` of the weights of a convolution of `x` `[B, H, W, I]`, where that of
/// its result is `dy` `[B, H', W', O]`.
pub(in crate::ops::conv) fn weight_gradient<T: Real>(
    sizes: &Sizes,
    plan: Plan,
    x: &[T],
    dy: &[T],
) -> Vec<T> {
    let tiles = Tiles::new(sizes, plan);
    let cut = Cut::new::<T>(sizes, plan, tiles.count());
    let pieces = sizes.inputs.div_ceil(cut.width.0) * cut.across * cut.groups;
    with_scratch(pieces * cut.sums(), |sums| {
        sums.par_chunks_mut(cut.sums()).enumerate().with_max_len(1).for_each(|(piece, sums)| {
            let (block, group) = (piece / cut.groups, piece % cut.groups);
            let first = (block / cut.across * cut.width.0, block % cut.across * cut.width.1);
            let at = group * cut.tiles..tiles.count().min((group + 1) * cut.tiles);
            let needed = cut.frequencies * (TOGETHER * (cut.width.0 + cut.width.1) + 2 * GAP);
            with_scratch(needed, |scratch| {
                let products =
                    Products { sizes, tiles: &tiles, cut, x, dy, first, at, sums, scratch };
                match plan {
                    Plan::Two => T::run(Sized::<T, 4, 2>(products)),
                    Plan::Four => T::run(Sized::<T, 6, 4>(products)),
                }
            });
        });
        finish(sizes, plan, cut, sums)
    })
}

/// The sums over some tiles of products of both transforms, frequency by frequency.
struct Products<'a, T> {
    sizes: &'a Sizes,
    tiles: &'a Tiles,
    cut: Cut,
    x: &'a [T],
    dy: &'a [T],
    /// Channels: the first going in, the first coming out.
    first: (usize, usize),
    /// Tiles.
    at: Range<usize>,
    sums: &'a mut [T],
    scratch: &'a mut [T],
}

struct Sized<'a, T, const N: usize, const M: usize>(Products<'a, T>);

impl<T: Real, const N: usize, const M: usize> WithSimd for Sized<'_, T, N, M> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Products { sizes, tiles, cut, x, dy, first, at, sums, scratch } = self.0;
        if at.is_empty() {
            sums.fill(T::zero());
        }
        let steps = (TOGETHER * cut.width.0 + GAP, TOGETHER * cut.width.1 + GAP);
        let (pictures, gradients) = scratch.split_at_mut(N * N * steps.0);
        let inputs = cut.width.0.min(sizes.inputs - first.0);
        let outputs = cut.width.1.min(sizes.outputs - first.1);
        for start in at.clone().step_by(TOGETHER) {
            let count = TOGETHER.min(at.end - start);
            let places = (
                Place::rows(Shared::new(pictures), cut.width.0, steps.0),
                Place::rows(Shared::new(gradients), cut.width.1, steps.1),
            );
            for tile in 0..count {
                let at = tiles.at(start + tile);
                let channels = (first.0, inputs);
                let place = places.0.row(tile);
                transform_input::<T, S, N>(simd, (x, sizes.inputs), tiles, at, channels, place);
                let channels = (first.1, outputs);
                let place = places.1.row(tile);
                transform_gradient::<T, S, N, M>(
                    simd,
                    (dy, sizes.outputs),
                    tiles,
                    at,
                    channels,
                    place,
                );
            }
            for frequency in 0..N * N {
                let sums = &mut sums[frequency * cut.width.0 * cut.width.1..];
                simd.vectorize(Piece {
                    target: Target::new(sums, cut.width.1).adding(start > at.start),
                    left: Left {
                        values: &pictures[frequency * steps.0..][..count * cut.width.0],
                        row: 1,
                        term: cut.width.0,
                    },
                    right: Right {
                        values: &gradients[frequency * steps.1..][..count * cut.width.1],
                        term: cut.width.1,
                        stride: 0,
                    },
                    extent: (inputs, count, outputs),
                });
            }
        }
    }
}

/// G' u G of all of them.
fn finish<T: Real>(sizes: &Sizes, plan: Plan, cut: Cut, sums: &[T]) -> Vec<T> {
    let (lanes, _) = widths::<T>();
    let each = lanes * sizes.inputs * 9;
    let length = sizes.outputs * sizes.inputs * 9;
    filled(length, |out| {
        (0..length.div_ceil(each)).into_par_iter().for_each(|vector| {
            // SAFETY: the kernels of these output channels are this piece's alone.
            let weight = unsafe { out.part(vector * each..((vector + 1) * each).min(length)) };
            let finish = Finish { sums, cut, inputs: sizes.inputs, first: vector * lanes, weight };
            match plan {
                Plan::Two => T::run(Finished::<T, 4>(finish)),
                Plan::Four => T::run(Finished::<T, 6>(finish)),
            }
        });
    })
}

/// A dy A' of one tile, for some channels.
#[inline(always)]
fn transform_gradient<T: Real, S: Simd, const N: usize, const M: usize>(
    simd: S,
    (dy, depth): (&[T], usize),
    tiles: &Tiles,
    (image, top, left): (usize, usize, usize),
    (first, count): (usize, usize),
    place: Place<T>,
) {
    let (height, width) = tiles.out_image;
    let lanes = T::lanes::<S>();
    let zero = T::splat(simd, T::zero());
    let mut columns = [[zero; M]; N];
    for channel in (0..count).step_by(lanes) {
        let length = lanes.min(count - channel);
        for j in 0..M.min(width - left) {
            let mut values = [zero; M];
            for i in 0..M.min(height - top) {
                let at = ((image * height + top + i) * width + left + j) * depth;
                values[i] = T::load_some(simd, &dy[at + first + channel..][..length]);
            }
            let values = transform::output_transposed::<T, S, N, M>(simd, values);
            for i in 0..N {
                columns[i][j] = values[i];
            }
        }
        for i in 0..N {
            let row = transform::output_transposed::<T, S, N, M>(simd, columns[i]);
            for j in 0..N {
                let at = place.start + (i * N + j) * place.frequency + channel;
                // SAFETY: this row is this tile's alone.
                T::store(simd, unsafe { place.out.part(at..at + lanes) }, row[j]);
            }
        }
    }
}

/// G' u G for a vector of output channels from `first` on.
struct Finish<'a, T> {
    sums: &'a [T],
    cut: Cut,
    inputs: usize,
    first: usize,
    weight: &'a mut [T],
}

struct Finished<'a, T, const N: usize>(Finish<'a, T>);

impl<T: Real, const N: usize> WithSimd for Finished<'_, T, N> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Finish { sums, cut, inputs, first, weight } = self.0;
        let lanes = T::lanes::<S>();
        let zero = T::splat(simd, T::zero());
        // Kernels of some input channels, of a vector of output channels each: written out one by
        // one they would go to as many rows, far apart, as a vector has channels.
        let mut strip = [[[T::zero(); 16]; 9]; STRIP];
        let mut rows = [[zero; 3]; N];
        for from in (0..inputs).step_by(STRIP) {
            let count = STRIP.min(inputs - from);
            for at in 0..count {
                let input = from + at;
                let block = input / cut.width.0 * cut.across + first / cut.width.1;
                let start = block * cut.groups * cut.sums()
                    + input % cut.width.0 * cut.width.1
                    + first % cut.width.1;
                for i in 0..N {
                    let mut line = [zero; N];
                    for j in 0..N {
                        let at = start + (i * N + j) * cut.width.0 * cut.width.1;
                        line[j] = T::load(simd, &sums[at..]);
                        for group in 1..cut.groups {
                            let more = T::load(simd, &sums[at + group * cut.sums()..]);
                            line[j] = T::plus(simd, line[j], more);
                        }
                    }
                    rows[i] = transform::kernel_transposed::<T, S, N>(simd, line);
                }
                for j in 0..3 {
                    let mut column = [zero; N];
                    for i in 0..N {
                        column[i] = rows[i][j];
                    }
                    let column = transform::kernel_transposed::<T, S, N>(simd, column);
                    for i in 0..3 {
                        T::store(simd, &mut strip[at][i * 3 + j][..lanes], column[i]);
                    }
                }
            }
            for (o, kernel) in weight.chunks_exact_mut(inputs * 9).enumerate() {
                let kernel = &mut kernel[from * 9..(from + count) * 9];
                for (taps, values) in kernel.chunks_exact_mut(9).zip(&strip) {
                    for i in 0..9 {
                        taps[i] = values[i][o];
                    }
                }
            }
        }
    }
}
