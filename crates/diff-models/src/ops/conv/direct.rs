//! Convolution by its definition: bands of output pixels are gathered into a matrix that stays in
//! cache and multiplied at once.
#![allow(unsafe_code)] // threads write disjoint parts of one buffer

use super::{ConvGeometry, Sizes, cpu::Finish};
use crate::ops::activation::relu;
use crate::ops::cpu::{
    Aligned, Left, Panels, Piece, Real, Rows, Shared, Target, filled, multiply, with_scratch,
};
use rayon::prelude::*;

/// Output pixels of a band, about.
const BAND: usize = 96;
/// Output pixels whose windows are kept at once for the gradient of the weights.
const WINDOWS: usize = 1024;

/// The weight as the right matrix: a row per tap and input channel, a column per output channel.
pub(super) fn weights<T: Real>(s: &Sizes, weight: &[T]) -> Panels<T> {
    Panels::new(&matrix(s, weight), (s.terms(), s.outputs), (s.outputs, 1))
}

/// The convolution of `x`.
pub(super) fn forward<T: Real>(
    s: &Sizes,
    x: &[T],
    weights: &Panels<T>,
    finish: Finish<T>,
) -> Vec<T> {
    let (terms, columns) = (s.terms(), s.out_image.1);
    // A band lies in one picture, so that its bias is one row.
    let lines = BAND.div_ceil(columns).min(s.out_image.0);
    let bands = s.out_image.0.div_ceil(lines);
    filled(s.batch * s.out_image.0 * columns * s.outputs, |out| {
        (0..s.batch * bands).into_par_iter().for_each(|piece| {
            let (image, line) = (piece / bands, piece % bands * lines);
            let count = lines.min(s.out_image.0 - line);
            let pixels = count * columns;
            let at = (image * s.out_image.0 + line) * columns * s.outputs;
            let range = at..at + pixels * s.outputs;
            // SAFETY: these lines are this piece's alone.
            let out = unsafe { out.part(range.clone()) };
            with_scratch(pixels * terms, |windows| {
                gather(s, x, image * s.out_image.0 + line, count, windows);
                T::run(Piece {
                    target: Target::new(out, s.outputs),
                    left: Left { values: windows, row: terms, term: 1 },
                    right: weights.right(),
                    extent: (pixels, terms, s.outputs),
                });
            });
            let bias = finish.bias_of(image, s.outputs);
            let residual = finish.residual.map(|values| &values[range]);
            match finish.rectified {
                false => complete(out, bias, residual, |v| v),
                true => complete(out, bias, residual, relu),
            }
        });
    })
}

/// Adds bias and residual, and applies `f`.
#[inline(always)]
fn complete<T: Real>(out: &mut [T], bias: &[T], residual: Option<&[T]>, f: impl Fn(T) -> T) {
    let outputs = bias.len();
    match residual {
        None => out.chunks_exact_mut(outputs).for_each(|pixel| {
            pixel.iter_mut().zip(bias).for_each(|(y, b)| *y = f(*y + *b));
        }),
        Some(residual) => {
            let pixels = out.chunks_exact_mut(outputs).zip(residual.chunks_exact(outputs));
            pixels.for_each(|(pixel, residual)| {
                let each = pixel.iter_mut().zip(bias).zip(residual);
                each.for_each(|((y, b), r)| *y = f(*y + *b + *r));
            });
        }
    }
}

/// The gradient `[O, I, kh, kw]` of the weights.
pub(super) fn weight_gradient<T: Real>(s: &Sizes, x: &[T], dy: &[T]) -> Vec<T> {
    let (terms, columns) = (s.terms(), s.out_image.1);
    let lines = WINDOWS.div_ceil(columns);
    let last = s.batch * s.out_image.0;
    let mut windows = Aligned::<T>::zeros(lines.min(last) * columns * terms);
    let mut sums = Aligned::<T>::zeros(terms * s.outputs);
    for line in (0..last).step_by(lines) {
        let count = lines.min(last - line);
        let pixels = count * columns;
        let windows = &mut windows[..pixels * terms];
        let of_line = columns * terms;
        windows.par_chunks_mut(of_line).enumerate().for_each(|(i, out)| {
            gather(s, x, line + i, 1, out);
        });
        let dy = &dy[line * columns * s.outputs..][..pixels * s.outputs];
        let right = Rows::new(dy, (pixels, s.outputs), s.outputs);
        let left = Left { values: windows, row: 1, term: terms };
        let sums = Shared::new(&mut sums);
        multiply(sums, line > 0, left, right.right(), (terms, pixels, s.outputs));
    }
    from_matrix(s, &sums)
}

/// The gradient of the input.
pub(super) fn input_gradient<T: Real>(s: &Sizes, weight: &[T], dy: &[T]) -> Vec<T> {
    let (terms, (rows, columns)) = (s.terms(), s.out_image);
    let matrix = matrix(s, weight);
    let matrix = Panels::new(&matrix, (s.outputs, terms), (1, s.outputs));
    let per_image = s.image.0 * s.image.1 * s.inputs;
    let mut dx = vec![T::zero(); s.batch * per_image];
    let lines = BAND.div_ceil(columns).min(rows);
    dx.par_chunks_mut(per_image.max(1)).enumerate().for_each(|(image, dx)| {
        for line in (0..rows).step_by(lines) {
            let count = lines.min(rows - line);
            let pixels = count * columns;
            let first = image * rows + line;
            with_scratch(pixels * terms, |windows| {
                T::run(Piece {
                    target: Target::new(windows, terms),
                    left: Left {
                        values: &dy[first * columns * s.outputs..][..pixels * s.outputs],
                        row: s.outputs,
                        term: 1,
                    },
                    right: matrix.right(),
                    extent: (pixels, s.outputs, terms),
                });
                let skipped = image * per_image;
                each_run(s, first, count, |at, from, length| {
                    let to = &mut dx[from - skipped..from - skipped + length];
                    to.iter_mut().zip(&windows[at..at + length]).for_each(|(sum, v)| *sum += *v);
                });
            });
        }
    });
    dx
}

/// The weight as [kh * kw * inputs, outputs], row-major: a transposition per tap, in tiles that
/// stay in the first-level cache.
fn matrix<T: Real>(s: &Sizes, weight: &[T]) -> Vec<T> {
    const TILE: usize = 16;
    let Sizes { inputs, outputs, kernel, .. } = *s;
    let taps = kernel.0 * kernel.1;
    let mut matrix = vec![T::zero(); weight.len()];
    let of_tap = (inputs * outputs).max(1);
    matrix.par_chunks_mut(of_tap).enumerate().for_each(|(tap, matrix)| {
        for first in (0..outputs).step_by(TILE) {
            for (i, row) in matrix.chunks_exact_mut(outputs).enumerate() {
                let last = (first + TILE).min(outputs);
                for (o, value) in (first..last).zip(&mut row[first..last]) {
                    *value = weight[(o * inputs + i) * taps + tap];
                }
            }
        }
    });
    matrix
}

/// The inverse of [`matrix`].
fn from_matrix<T: Real>(s: &Sizes, matrix: &[T]) -> Vec<T> {
    const TILE: usize = 16;
    let Sizes { inputs, outputs, kernel, .. } = *s;
    let taps = kernel.0 * kernel.1;
    let each = inputs * taps;
    let mut weight = vec![T::zero(); matrix.len()];
    weight.par_chunks_mut((TILE * each).max(1)).enumerate().for_each(|(tile, weight)| {
        for (term, row) in matrix.chunks_exact(outputs).enumerate() {
            let (tap, i) = (term / inputs, term % inputs);
            let row = &row[tile * TILE..];
            for (weight, value) in weight.chunks_exact_mut(each).zip(row) {
                weight[i * taps + tap] = *value;
            }
        }
    });
    weight
}

/// The windows of `count` output lines from line `first` (image-major) on, a row a pixel.
fn gather<T: Real>(s: &Sizes, x: &[T], first: usize, count: usize, out: &mut [T]) {
    out.fill(T::zero());
    each_run(s, first, count, |at, from, length| {
        out[at..at + length].copy_from_slice(&x[from..from + length]);
    });
}

/// Calls with (offset in the windows, offset in the input, length) for every run of values that
/// lie side by side in both: the taps of a kernel row that hit the image.
fn each_run(s: &Sizes, first: usize, count: usize, mut visit: impl FnMut(usize, usize, usize)) {
    let ConvGeometry { stride, before: (above, before), .. } = s.geometry;
    let ((height, width), (kh, kw)) = (s.image, s.kernel);
    let (rows, columns) = s.out_image;
    for line in 0..count {
        let (image, row) = ((first + line) / rows, (first + line) % rows);
        for column in 0..columns {
            let pixel = (line * columns + column) * s.terms();
            // Taps dx with 0 <= left + dx - before < width.
            let left = column * stride;
            let low = before.saturating_sub(left).min(kw);
            let high = (width + before).saturating_sub(left).min(kw);
            for dy in 0..kh {
                let y = (row * stride + dy).wrapping_sub(above);
                if y < height && low < high {
                    let at = pixel + (dy * kw + low) * s.inputs;
                    let from = ((image * height + y) * width + left + low - before) * s.inputs;
                    visit(at, from, (high - low) * s.inputs);
                }
            }
        }
    }
}
