//! Convolution on the CPU: bands of output lines are gathered into a small matrix that stays in
//! cache and multiplied at once. Nothing larger than a band is ever stored, in either direction.

use super::{ConvGeometry, Sizes};
use crate::{
    error::Result,
    ops::{
        cpu::{Forward, Real, tensor},
        gemm::{Matrix, product},
        matmul::least_rows,
    },
};
use candle_core::{CpuStorage, CustomOp3, DType, Layout, Shape, Tensor};
use rayon::prelude::*;

/// Output pixels of a band, about: enough for the matrix kernel, little enough for the cache.
const BAND: usize = 128;
/// Parts a batch is cut into for the weight's gradient, whatever the number of threads.
const PARTS: usize = 16;

pub(super) fn conv2d(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    geometry: ConvGeometry,
    sizes: Sizes,
) -> Result<Tensor> {
    let (x, weight, bias) = (x.contiguous()?, weight.contiguous()?, bias.contiguous()?);
    Ok(x.apply_op3(&weight, &bias, Conv2d { geometry, sizes })?)
}

struct Conv2d {
    geometry: ConvGeometry,
    sizes: Sizes,
}

impl CustomOp3 for Conv2d {
    fn name(&self) -> &'static str {
        "conv2d"
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
        let Sizes { batch, out_image: (rows, columns), outputs, .. } = self.sizes;
        let y = self.on_storage((x, lx), (weight, lw), (bias, lb))?;
        Ok((y, Shape::from((batch, rows, columns, outputs))))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _bias: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        match x.dtype() {
            DType::F32 => self.backward::<f32>(x, weight, dy),
            _ => self.backward::<f64>(x, weight, dy),
        }
    }
}

impl Forward for Conv2d {
    fn forward<T: Real>(&self, x: &[T], weight: &[T], bias: &[T]) -> Vec<T> {
        let s = self.sizes;
        let (terms, columns) = (s.terms(), s.out_image.1);
        let matrix = self.matrix(weight);
        let matrix = Matrix::new(&matrix, terms, s.outputs);
        let lines = BAND.div_ceil(columns);
        let mut y = vec![T::zero(); s.batch * s.out_image.0 * columns * s.outputs];
        y.par_chunks_mut(lines * columns * s.outputs).enumerate().for_each_init(
            Vec::new,
            |windows, (band, out)| {
                let pixels = out.len() / s.outputs;
                // Bands may be short; below this many rows the kernel would add up otherwise.
                let padded = pixels.max(least_rows(terms, s.outputs));
                self.gather(x, band * lines, pixels / columns, padded, windows);
                let windows = Matrix::new(windows, padded, terms);
                if padded == pixels {
                    product(out, windows, matrix, false);
                } else {
                    let mut wide = vec![T::zero(); padded * s.outputs];
                    product(&mut wide, windows, matrix, false);
                    out.copy_from_slice(&wide[..out.len()]);
                }
                for pixel in out.chunks_exact_mut(s.outputs) {
                    pixel.iter_mut().zip(bias).for_each(|(y, b)| *y += *b);
                }
            },
        );
        y
    }
}

impl Conv2d {
    #[allow(clippy::type_complexity)] // the signature of candle's trait
    fn backward<T: Real>(
        &self,
        x: &Tensor,
        weight: &Tensor,
        dy: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let s = self.sizes;
        let dy = dy.contiguous()?;
        let (xs, ws, dys) = (T::values(x)?, T::values(weight)?, T::values(&dy)?);
        let matrix = self.matrix(&ws);
        let per_image = s.image.0 * s.image.1 * s.inputs;
        let mut dx = vec![T::zero(); if x.track_op() { s.batch * per_image } else { 0 }];
        let images = s.batch.div_ceil(PARTS);
        let starts: Vec<usize> = (0..s.batch).step_by(images).collect();
        // Without a gradient for x, every part gets an empty slice of it.
        let mut dx_parts: Vec<&mut [T]> = match dx.is_empty() {
            true => starts.iter().map(|_| Default::default()).collect(),
            false => dx.chunks_mut(images * per_image).collect(),
        };
        let sums: Vec<(Vec<T>, Vec<T>)> = dx_parts
            .par_iter_mut()
            .zip(&starts)
            .map(|(dx, first)| {
                let last = (first + images).min(s.batch);
                self.backward_part(&xs, &matrix, &dys, *first..last, dx)
            })
            .collect();
        let (dw, db) = sums.into_iter().reduce(add_both).unwrap_or_default();
        let dw = tensor(self.weight(&dw), weight.shape().clone(), x)?;
        let dx = match dx.is_empty() {
            true => None,
            false => Some(tensor(dx, x.shape().clone(), x)?),
        };
        Ok((dx, Some(dw), Some(tensor(db, s.outputs, x)?)))
    }

    /// The gradients of some images: fills `dx` (unless empty), returns those of matrix and bias.
    fn backward_part<T: Real>(
        &self,
        x: &[T],
        matrix: &[T],
        dy: &[T],
        images: std::ops::Range<usize>,
        dx: &mut [T],
    ) -> (Vec<T>, Vec<T>) {
        let s = self.sizes;
        let (terms, (rows, columns)) = (s.terms(), s.out_image);
        let lines = BAND.div_ceil(columns);
        let mut dw = vec![T::zero(); terms * s.outputs];
        let mut db = vec![T::zero(); s.outputs];
        let (mut windows, mut dwindows) = (Vec::new(), Vec::new());
        let matrix = Matrix::new(matrix, terms, s.outputs).transposed();
        let last = images.end * rows;
        let first_image = images.start;
        for line in (images.start * rows..last).step_by(lines) {
            let count = lines.min(last - line);
            let pixels = count * columns;
            let dy = &dy[line * columns * s.outputs..][..pixels * s.outputs];
            self.gather(x, line, count, pixels, &mut windows);
            let dy_matrix = Matrix::new(dy, pixels, s.outputs);
            product(&mut dw, Matrix::new(&windows, pixels, terms).transposed(), dy_matrix, true);
            for pixel in dy.chunks_exact(s.outputs) {
                db.iter_mut().zip(pixel).for_each(|(sum, v)| *sum += *v);
            }
            if !dx.is_empty() {
                dwindows.resize(pixels * terms, T::zero());
                product(&mut dwindows, dy_matrix, matrix, false);
                self.scatter(&dwindows, line, count, first_image, dx);
            }
        }
        (dw, db)
    }

    /// The weight as [kh * kw * inputs, outputs], row-major: a transposition per tap, in tiles that
    /// stay in the first-level cache.
    fn matrix<T: Real>(&self, weight: &[T]) -> Vec<T> {
        const TILE: usize = 16;
        let Sizes { inputs, outputs, kernel, .. } = self.sizes;
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

    /// The inverse of [`Conv2d::matrix`].
    fn weight<T: Real>(&self, matrix: &[T]) -> Vec<T> {
        const TILE: usize = 16;
        let Sizes { inputs, outputs, kernel, .. } = self.sizes;
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

    /// The windows of `count` output lines from line `first` (image-major) on, a row a pixel; rows
    /// up to `padded` are zero.
    fn gather<T: Real>(
        &self,
        x: &[T],
        first: usize,
        count: usize,
        padded: usize,
        out: &mut Vec<T>,
    ) {
        out.clear();
        out.resize(padded * self.sizes.terms(), T::zero());
        self.each_run(first, count, |at, from, length| {
            out[at..at + length].copy_from_slice(&x[from..from + length]);
        });
    }

    /// Adds windows back to the pixels they came from; `dx` starts at image `first_image`.
    fn scatter<T: Real>(
        &self,
        windows: &[T],
        first: usize,
        count: usize,
        first_image: usize,
        dx: &mut [T],
    ) {
        let s = self.sizes;
        let skipped = first_image * s.image.0 * s.image.1 * s.inputs;
        self.each_run(first, count, |at, from, length| {
            let to = &mut dx[from - skipped..from - skipped + length];
            to.iter_mut().zip(&windows[at..at + length]).for_each(|(sum, v)| *sum += *v);
        });
    }

    /// Calls with (offset in the windows, offset in the input, length) for every run of values that
    /// lie side by side in both: the taps of a kernel row that hit the image.
    fn each_run(&self, first: usize, count: usize, mut visit: impl FnMut(usize, usize, usize)) {
        let s = self.sizes;
        let ConvGeometry { stride, before, .. } = self.geometry;
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
                    let y = (row * stride + dy).wrapping_sub(before);
                    if y < height && low < high {
                        let at = pixel + (dy * kw + low) * s.inputs;
                        let from = ((image * height + y) * width + left + low - before) * s.inputs;
                        visit(at, from, (high - low) * s.inputs);
                    }
                }
            }
        }
    }
}

fn add_both<T: Real>(mut a: (Vec<T>, Vec<T>), b: (Vec<T>, Vec<T>)) -> (Vec<T>, Vec<T>) {
    a.0.iter_mut().zip(b.0).for_each(|(sum, v)| *sum += v);
    a.1.iter_mut().zip(b.1).for_each(|(sum, v)| *sum += v);
    a
}
