//! 3x3 convolutions of stride 1, whatever their padding, by Winograd's algorithm: a tile of the result costs a product per
//! transformed value instead of nine per value.
//!
//! Tiles go through transform, products and inverse in blocks that stay in the second-level cache.
#![allow(unsafe_code)] // threads write disjoint parts of one buffer
#![allow(clippy::needless_range_loop)] // vectors in plain loops, see `cpu::product`

mod gradient;
mod transform;
mod weights;

pub(super) use gradient::weight_gradient;
pub(in crate::ops) use weights::Weights;

use super::{Sizes, cpu::Finish};
use crate::ops::cpu::{
    Left, Piece, ROWS, Real, Shared, TERMS, Target, filled, panel, widths, with_scratch,
};
use pulp::{Simd, WithSimd};
use rayon::prelude::*;

/// Which algorithm: F(2,3) or F(4,3) in both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ops) enum Plan {
    Two,
    Four,
}

impl Plan {
    /// Large maps take large tiles. Small ones do where that saves multiplications, and channels are so few
    /// that the weights, more than twice as many then, stay in cache. Whatever the batch: bits do not depend on it.
    pub(super) fn of(sizes: &Sizes) -> Self {
        let (height, width) = sizes.out_image;
        let products = |plan: Plan| {
            let side = plan.length() - 2;
            height.div_ceil(side) * width.div_ceil(side) * plan.length().pow(2)
        };
        let large = height.min(width) >= 16;
        let narrow = sizes.inputs + sizes.outputs <= NARROW;
        match large || narrow && products(Plan::Four) * 5 <= products(Plan::Two) * 4 {
            true => Plan::Four,
            false => Plan::Two,
        }
    }

    /// Length of a transformed row.
    fn length(self) -> usize {
        match self {
            Plan::Two => 4,
            Plan::Four => 6,
        }
    }
}

/// Channels, those that go in and those that come out, up to which small maps may take large tiles.
const NARROW: usize = 192;

/// The tiles of a batch of maps.
#[derive(Clone, Copy)]
struct Tiles {
    batch: usize,
    /// Height and width of what goes in, and of what comes out.
    image: (usize, usize),
    out_image: (usize, usize),
    /// Zeros before the first row, and before the first column.
    before: (usize, usize),
    /// Rows and columns of tiles.
    grid: (usize, usize),
    /// Side of a tile.
    side: usize,
}

impl Tiles {
    fn new(sizes: &Sizes, plan: Plan) -> Self {
        let side = plan.length() - 2;
        let Sizes { batch, image, out_image, geometry, .. } = *sizes;
        let grid = (out_image.0.div_ceil(side), out_image.1.div_ceil(side));
        Tiles { batch, image, out_image, before: geometry.before, grid, side }
    }

    fn count(&self) -> usize {
        self.batch * self.grid.0 * self.grid.1
    }

    /// Picture, first row and first column of a tile of what comes out.
    #[inline(always)]
    fn at(&self, tile: usize) -> (usize, usize, usize) {
        let (image, tile) =
            (tile / (self.grid.0 * self.grid.1), tile % (self.grid.0 * self.grid.1));
        (image, tile / self.grid.1 * self.side, tile % self.grid.1 * self.side)
    }
}

/// Bytes of transformed tiles that are worked on together.
const WORKING_SET: usize = 3 << 19;
/// Output channels that are worked on together, at most.
const OUTPUTS: usize = 256;

/// The convolution of `x` `[B, H, W, I]`.
pub(super) fn forward<T: Real>(
    sizes: &Sizes,
    plan: Plan,
    x: &[T],
    weights: &Weights<T>,
    finish: Finish<T>,
) -> Vec<T> {
    let tiles = Tiles::new(sizes, plan);
    let (lanes, width) = widths::<T>();
    let threads = rayon::current_num_threads();
    let (terms, outputs) = (TERMS.min(sizes.inputs), OUTPUTS.min(sizes.outputs));
    let each = plan.length() * plan.length() * (terms + outputs) * size_of::<T>();
    let most = (WORKING_SET / each / ROWS * ROWS).max(ROWS);
    // Equal blocks for all threads; where there are too few tiles for that, channels are shared out.
    let blocks = tiles.count().div_ceil(most).next_multiple_of(threads);
    let mut count = tiles.count().div_ceil(blocks).next_multiple_of(ROWS);
    let mut channels = outputs;
    if count < most.min(4 * ROWS) {
        count = most.min(tiles.count().next_multiple_of(ROWS));
        let pieces = threads.div_ceil(tiles.count().div_ceil(count));
        channels = sizes.outputs.div_ceil(pieces).next_multiple_of(width).min(outputs);
    }
    let strips = sizes.outputs.div_ceil(channels);
    let length = sizes.batch * sizes.out_image.0 * sizes.out_image.1 * sizes.outputs;
    filled(length, |out| {
        let blocks = tiles.count().div_ceil(count);
        (0..blocks * strips).into_par_iter().with_max_len(1).for_each(|piece| {
            let (first, strip) = (piece / strips * count, piece % strips * channels);
            let block = Block {
                sizes,
                tiles,
                x,
                weights,
                finish,
                out,
                first,
                count: count.min(tiles.count() - first),
                channels: (strip, channels.min(sizes.outputs - strip)),
                lanes,
            };
            let wide = terms.next_multiple_of(lanes) + channels.next_multiple_of(lanes);
            let needed = plan.length() * plan.length() * (count * wide + 2 * GAP);
            with_scratch(needed, |scratch| match plan {
                Plan::Two => T::run(Sized::<T, 4, 2>(block, scratch)),
                Plan::Four => T::run(Sized::<T, 6, 4>(block, scratch)),
            });
        });
    })
}

/// Some tiles, for some of the output channels.
struct Block<'a, T> {
    sizes: &'a Sizes,
    tiles: Tiles,
    x: &'a [T],
    weights: &'a Weights<T>,
    finish: Finish<'a, T>,
    out: Shared<'a, T>,
    /// Tiles: the first, how many.
    first: usize,
    count: usize,
    /// Output channels: the first (a panel's), how many.
    channels: (usize, usize),
    lanes: usize,
}

/// With the memory it works in.
struct Sized<'a, T, const N: usize, const M: usize>(Block<'a, T>, &'a mut [T]);

/// Numbers between the matrices of two frequencies: so that their rows do not share cache sets.
const GAP: usize = 16;

impl<T: Real, const N: usize, const M: usize> WithSimd for Sized<'_, T, N, M> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Sized(block, scratch) = self;
        let (inputs, count) = (block.sizes.inputs, block.count);
        let (wide_in, wide_out) = (
            TERMS.min(inputs).next_multiple_of(block.lanes),
            block.channels.1.next_multiple_of(block.lanes),
        );
        let (step_in, step_out) = (count * wide_in + GAP, count * wide_out + GAP);
        let (picture, result) = scratch.split_at_mut(N * N * step_in);
        for input in (0..inputs).step_by(TERMS) {
            let terms = TERMS.min(inputs - input);
            let out = Shared::new(picture);
            for tile in 0..count {
                let at = block.tiles.at(block.first + tile);
                let (x, channels) = ((block.x, inputs), (input, terms));
                let place = Place::rows(out, wide_in, step_in).row(tile);
                transform_input::<T, S, N>(simd, x, &block.tiles, at, channels, place);
            }
            let first = block.channels.0 / panel::<T, S>();
            for frequency in 0..N * N {
                let values = &picture[frequency * step_in..][..count * wide_in];
                let out = &mut result[frequency * step_out..][..count * wide_out];
                simd.vectorize(Piece {
                    target: Target::new(out, wide_out).adding(input > 0),
                    left: Left { values, row: wide_in, term: 1 },
                    right: block.weights.right(frequency, input, first),
                    extent: (count, terms, block.channels.1),
                });
            }
        }
        for tile in 0..count {
            block.complete::<S, N, M>(simd, tile, &result[tile * wide_out..], step_out);
        }
    }
}

/// Where the transform of a tile goes: frequency f at f `frequency`s from `start`.
#[derive(Clone, Copy)]
struct Place<'a, T> {
    out: Shared<'a, T>,
    start: usize,
    /// Numbers of a row, which is one tile's.
    width: usize,
    frequency: usize,
}

impl<'a, T> Place<'a, T> {
    fn rows(out: Shared<'a, T>, width: usize, frequency: usize) -> Self {
        Place { out, start: 0, width, frequency }
    }

    /// That of a tile.
    #[inline(always)]
    fn row(self, tile: usize) -> Self {
        Place { start: tile * self.width, ..self }
    }
}

/// B' d B of one tile's surroundings, for some channels.
#[inline(always)]
fn transform_input<T: Real, S: Simd, const N: usize>(
    simd: S,
    (x, depth): (&[T], usize),
    tiles: &Tiles,
    (image, top, left): (usize, usize, usize),
    (first, count): (usize, usize),
    place: Place<T>,
) {
    let ((height, width), (above, before)) = (tiles.image, tiles.before);
    let lanes = T::lanes::<S>();
    let zero = T::splat(simd, T::zero());
    let mut columns = [[zero; N]; N];
    for channel in (0..count).step_by(lanes) {
        let length = lanes.min(count - channel);
        for j in 0..N {
            let column = left + j;
            let mut values = [zero; N];
            if (before..width + before).contains(&column) {
                for i in 0..N {
                    let row = top + i;
                    if (above..height + above).contains(&row) {
                        let pixel = (image * height + row - above) * width + column - before;
                        let at = pixel * depth;
                        values[i] = T::load_some(simd, &x[at + first + channel..][..length]);
                    }
                }
            }
            let values = transform::input::<T, S, N>(simd, values);
            for i in 0..N {
                columns[i][j] = values[i];
            }
        }
        for i in 0..N {
            let row = transform::input::<T, S, N>(simd, columns[i]);
            for j in 0..N {
                let at = place.start + (i * N + j) * place.frequency + channel;
                // SAFETY: this row is this tile's alone.
                T::store(simd, unsafe { place.out.part(at..at + lanes) }, row[j]);
            }
        }
    }
}

impl<T: Real> Block<'_, T> {
    /// A' m A of one tile, completed, to where it belongs.
    #[inline(always)]
    fn complete<S: Simd, const N: usize, const M: usize>(
        &self,
        simd: S,
        tile: usize,
        values: &[T],
        step: usize,
    ) {
        let (height, width) = self.tiles.out_image;
        let (image, top, left) = self.tiles.at(self.first + tile);
        let outputs = self.sizes.outputs;
        let lanes = T::lanes::<S>();
        let zero = T::splat(simd, T::zero());
        let bias = self.finish.bias_of(image, outputs);
        let mut columns = [[zero; N]; M];
        for channel in (0..self.channels.1).step_by(lanes) {
            let length = lanes.min(self.channels.1 - channel);
            let first = self.channels.0 + channel;
            let bias = if bias.is_empty() {
                zero
            } else {
                T::load_some(simd, &bias[first..first + length])
            };
            for j in 0..N {
                let mut column = [zero; N];
                for i in 0..N {
                    column[i] = T::load(simd, &values[(i * N + j) * step + channel..]);
                }
                let column = transform::output::<T, S, N, M>(simd, column);
                for i in 0..M {
                    columns[i][j] = column[i];
                }
            }
            for i in 0..M.min(height - top) {
                let row = transform::output::<T, S, N, M>(simd, columns[i]);
                for j in 0..M.min(width - left) {
                    let pixel = (image * height + top + i) * width + left + j;
                    let at = pixel * outputs + first..pixel * outputs + first + length;
                    let mut value = T::plus(simd, row[j], bias);
                    if let Some(residual) = self.finish.residual {
                        value = T::plus(simd, value, T::load_some(simd, &residual[at.clone()]));
                    }
                    if self.finish.rectified {
                        value = T::rectified(simd, value);
                    }
                    // SAFETY: these pixels and channels are this block's alone.
                    let out = unsafe { self.out.part(at) };
                    T::store_some(simd, out, value);
                }
            }
        }
    }
}
