//! The gradient of the weights: products of transformed pictures with transformed gradients.
#![allow(unsafe_code)] // threads write disjoint parts of one buffer
#![allow(clippy::needless_range_loop)] // vectors in plain loops, see `cpu::product`

use super::{GAP, Plan, Tiles, transform, transform_input};
use crate::ops::{
    conv::Sizes,
    cpu::{Left, Piece, Real, Right, Shared, Target, filled, widths, with_scratch},
};
use pulp::{Simd, WithSimd};
use rayon::prelude::*;

/// Tiles that are transformed before they are multiplied.
const TOGETHER: usize = 512;
/// Input channels of a piece of work.
const ROWS: usize = 128;

/// The gradient `[O, I, 3, 3]` of the weights of a convolution of `x` `[B, H, W, I]`, where that of
/// its result is `dy` `[B, H, W, O]`.
pub(in crate::ops::conv) fn weight_gradient<T: Real>(
    sizes: &Sizes,
    plan: Plan,
    x: &[T],
    dy: &[T],
) -> Vec<T> {
    let tiles = Tiles::new(sizes, plan);
    let (lanes, _) = widths::<T>();
    let frequencies = plan.length() * plan.length();
    let together = TOGETHER.min(tiles.count());
    let inputs = sizes.inputs.next_multiple_of(lanes);
    let outputs = sizes.outputs.next_multiple_of(lanes);
    let steps = (together * inputs + GAP, together * outputs + GAP);
    let sums = frequencies * sizes.inputs * outputs;
    with_scratch(frequencies * (steps.0 + steps.1) + sums, |scratch| {
        let (pictures, rest) = scratch.split_at_mut(frequencies * steps.0);
        let (gradients, sums) = rest.split_at_mut(frequencies * steps.1);
        products(sizes, plan, (x, dy), &tiles, together, (pictures, gradients, sums));
        finish(sizes, plan, sums, outputs)
    })
}

/// The sums over all tiles of products of both transforms, frequency by frequency.
fn products<T: Real>(
    sizes: &Sizes,
    plan: Plan,
    (x, dy): (&[T], &[T]),
    tiles: &Tiles,
    together: usize,
    (pictures, gradients, sums): (&mut [T], &mut [T], &mut [T]),
) {
    let (lanes, width) = widths::<T>();
    let frequencies = plan.length() * plan.length();
    let inputs = sizes.inputs.next_multiple_of(lanes);
    let outputs = sizes.outputs.next_multiple_of(lanes);
    let steps = (together * inputs + GAP, together * outputs + GAP);
    for first in (0..tiles.count()).step_by(together) {
        let count = together.min(tiles.count() - first);
        let both = (Shared::new(pictures), Shared::new(gradients));
        (0..count).into_par_iter().with_min_len(4).for_each(|tile| {
            let at = tiles.at(first + tile);
            let out = [(both.0, tile * inputs, steps.0), (both.1, tile * outputs, steps.1)];
            let pair = Pair { sizes, tiles, x, dy, at, out };
            match plan {
                Plan::Two => T::run(Sized::<T, 4, 2>(pair)),
                Plan::Four => T::run(Sized::<T, 6, 4>(pair)),
            }
        });
        let (pictures, gradients, sums) = (&*pictures, &*gradients, Shared::new(sums));
        let parts = sizes.inputs.div_ceil(ROWS);
        (0..frequencies * parts).into_par_iter().with_max_len(1).for_each(|piece| {
            let (frequency, row) = (piece / parts, piece % parts * ROWS);
            let at = (frequency * sizes.inputs + row) * outputs;
            // SAFETY: these rows of this frequency are this piece's alone.
            let target = unsafe { Target::within(sums, at, outputs) };
            let values = &pictures[frequency * steps.0 + row..][..count * inputs - row];
            T::run(Piece {
                target: target.adding(first > 0),
                left: Left { values, row: 1, term: inputs },
                right: Right {
                    values: &gradients[frequency * steps.1..][..count * outputs],
                    term: outputs,
                    stride: width,
                },
                extent: (ROWS.min(sizes.inputs - row), count, outputs),
            });
        });
    }
}

/// G' u G of all of them.
fn finish<T: Real>(sizes: &Sizes, plan: Plan, sums: &[T], outputs: usize) -> Vec<T> {
    let (lanes, _) = widths::<T>();
    let each = lanes * sizes.inputs * 9;
    let length = sizes.outputs * sizes.inputs * 9;
    filled(length, |out| {
        (0..length.div_ceil(each)).into_par_iter().for_each(|vector| {
            // SAFETY: the kernels of these output channels are this piece's alone.
            let weight = unsafe { out.part(vector * each..((vector + 1) * each).min(length)) };
            let first = vector * lanes;
            let finish = Finish { sums, inputs: sizes.inputs, outputs, first, weight };
            match plan {
                Plan::Two => T::run(Finished::<T, 4>(finish)),
                Plan::Four => T::run(Finished::<T, 6>(finish)),
            }
        });
    })
}

/// One tile of the picture and of the gradient.
struct Pair<'a, T> {
    sizes: &'a Sizes,
    tiles: &'a Tiles,
    x: &'a [T],
    dy: &'a [T],
    at: (usize, usize, usize),
    out: [(Shared<'a, T>, usize, usize); 2],
}

struct Sized<'a, T, const N: usize, const M: usize>(Pair<'a, T>);

impl<T: Real, const N: usize, const M: usize> WithSimd for Sized<'_, T, N, M> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Pair { sizes, tiles, x, dy, at, out } = self.0;
        let channels = (0, sizes.inputs);
        transform_input::<T, S, N>(simd, (x, sizes.inputs), tiles, at, channels, out[0]);
        transform_gradient::<T, S, N, M>(simd, (dy, sizes.outputs), tiles, at, out[1]);
    }
}

/// A dy A' of one tile, to where [`transform_input`] would put it.
#[inline(always)]
fn transform_gradient<T: Real, S: Simd, const N: usize, const M: usize>(
    simd: S,
    (dy, depth): (&[T], usize),
    tiles: &Tiles,
    (image, top, left): (usize, usize, usize),
    (out, base, step): (Shared<T>, usize, usize),
) {
    let (height, width) = tiles.image;
    let lanes = T::lanes::<S>();
    let zero = T::splat(simd, T::zero());
    for channel in (0..depth).step_by(lanes) {
        let length = lanes.min(depth - channel);
        let mut columns = [[zero; M]; N];
        for j in 0..M.min(width - left) {
            let mut values = [zero; M];
            for i in 0..M.min(height - top) {
                let at = ((image * height + top + i) * width + left + j) * depth + channel;
                values[i] = T::load_some(simd, &dy[at..at + length]);
            }
            let values = transform::output_transposed::<T, S, N, M>(simd, values);
            for i in 0..N {
                columns[i][j] = values[i];
            }
        }
        for i in 0..N {
            let row = transform::output_transposed::<T, S, N, M>(simd, columns[i]);
            for j in 0..N {
                let at = base + (i * N + j) * step + channel;
                // SAFETY: this row is this tile's alone.
                T::store(simd, unsafe { out.part(at..at + lanes) }, row[j]);
            }
        }
    }
}

/// G' u G for a vector of output channels from `first` on.
struct Finish<'a, T> {
    sums: &'a [T],
    inputs: usize,
    /// Output channels, in whole vectors.
    outputs: usize,
    first: usize,
    weight: &'a mut [T],
}

struct Finished<'a, T, const N: usize>(Finish<'a, T>);

impl<T: Real, const N: usize> WithSimd for Finished<'_, T, N> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Finish { sums, inputs, outputs, first, weight } = self.0;
        let lanes = T::lanes::<S>();
        let zero = T::splat(simd, T::zero());
        let mut values = [T::zero(); 16];
        for input in 0..inputs {
            let mut rows = [[zero; 3]; N];
            for i in 0..N {
                let mut line = [zero; N];
                for j in 0..N {
                    let at = ((i * N + j) * inputs + input) * outputs + first;
                    line[j] = T::load(simd, &sums[at..]);
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
                    T::store(simd, &mut values[..lanes], column[i]);
                    for (kernel, value) in weight.chunks_exact_mut(inputs * 9).zip(&values) {
                        kernel[input * 9 + i * 3 + j] = *value;
                    }
                }
            }
        }
    }
}
