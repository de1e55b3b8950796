//! Bilinear resizing.

use super::{
    bhwc,
    cpu::{Real, Values, filled_chunks, tensor},
    graph::{Operation, Step, apply},
};
use crate::error::{Error, Result};
use candle_core::{Device, Shape, Tensor};
use rayon::prelude::*;

/// Where the pixels of a resized picture lie on the picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PixelGrid {
    /// Pixel i covers i to i + 1: PyTorch's `interpolate(align_corners=False)`.
    HalfPixel,
    /// Pixel i lies at i, so that the first pixels coincide: TensorFlow 1.
    Corner,
}

/// Resizes `x` `[B, H, W, C]` to `[B, size.0, size.1, C]`, bilinearly and without antialiasing: a new pixel
/// is made of the four around its place.
///
/// # Errors
/// When a side of either size is 0.
pub fn resize_bilinear(x: &Tensor, size: (usize, usize), grid: PixelGrid) -> Result<Tensor> {
    let (batch, height, width, channels) = bhwc("resize_bilinear", x)?;
    if [height, width, size.0, size.1].contains(&0) {
        let (from, to) = (format!("{height} x {width}"), format!("{} x {}", size.0, size.1));
        return Err(Error::Input(format!(
            "resize_bilinear: {from} to {to}: expected sides above 0"
        )));
    }
    let shape = Shape::from((batch, size.0, size.1, channels));
    let op = Resize { image: (height, width), size, channels, grid, shape };
    if x.device().is_cpu() && x.elem_count() > 0 { apply(op, &[x]) } else { op.expression(x) }
}

struct Resize {
    image: (usize, usize),
    size: (usize, usize),
    channels: usize,
    grid: PixelGrid,
    shape: Shape,
}

/// What a pixel is made of, along an axis.
#[derive(Clone, Copy)]
struct Mix<T> {
    low: usize,
    high: usize,
    /// Parts of both.
    parts: [T; 2],
}

/// The pixels of an axis. Places are computed in the working precision, as PyTorch does.
fn mixes<T: Real>(from: usize, to: usize, grid: PixelGrid) -> Vec<Mix<T>> {
    let scale = T::from_f64(from as f64) / T::from_f64(to as f64);
    let half = T::from_f64(0.5);
    let place = |i: usize| {
        let i = T::from_f64(i as f64);
        match grid {
            PixelGrid::HalfPixel => num_traits::Float::max(scale * (i + half) - half, T::zero()),
            PixelGrid::Corner => i * scale,
        }
    };
    (0..to)
        .map(|i| {
            let place = place(i);
            let low = (candle_core::WithDType::to_f64(place) as usize).min(from - 1);
            let part = place - T::from_f64(low as f64);
            Mix { low, high: (low + 1).min(from - 1), parts: [T::one() - part, part] }
        })
        .collect()
}

impl Resize {
    /// A matrix product along each axis.
    fn expression(&self, x: &Tensor) -> Result<Tensor> {
        let (batch, channels) = (x.dim(0)?, self.channels);
        let ((height, width), (rows, columns)) = (self.image, self.size);
        let matrix = |from: usize, to: usize| -> Result<Tensor> {
            let mut matrix = vec![0f64; to * from];
            for (row, mix) in matrix.chunks_mut(from).zip(mixes::<f64>(from, to, self.grid)) {
                row[mix.low] += mix.parts[0];
                row[mix.high] += mix.parts[1];
            }
            let matrix = Tensor::from_vec(matrix, (1, to, from), &Device::Cpu)?;
            Ok(matrix.to_dtype(x.dtype())?.to_device(x.device())?)
        };
        let lines = x.reshape((batch, height, width * channels))?;
        let lines = matrix(height, rows)?.broadcast_matmul(&lines)?;
        let pixels = lines.reshape((batch * rows, width, channels))?;
        let pixels = matrix(width, columns)?.broadcast_matmul(&pixels)?;
        Ok(pixels.reshape(self.shape.clone())?)
    }

    /// Calls `f` with every new pixel's number, and the places and parts of those it is made of.
    fn each<T: Real>(&self, mut f: impl FnMut(usize, [(usize, T); 4])) {
        let rows = mixes::<T>(self.image.0, self.size.0, self.grid);
        let columns = mixes::<T>(self.image.1, self.size.1, self.grid);
        for (i, y) in rows.iter().enumerate() {
            for (j, x) in columns.iter().enumerate() {
                let at = |y: usize, x: usize| (y * self.image.1 + x) * self.channels;
                f(
                    i * columns.len() + j,
                    [
                        (at(y.low, x.low), y.parts[0] * x.parts[0]),
                        (at(y.low, x.high), y.parts[0] * x.parts[1]),
                        (at(y.high, x.low), y.parts[1] * x.parts[0]),
                        (at(y.high, x.high), y.parts[1] * x.parts[1]),
                    ],
                );
            }
        }
    }
}

impl Operation for Resize {
    fn name(&self) -> &'static str {
        "resize_bilinear"
    }

    fn forward<T: Real>(&self, of: &[Tensor]) -> candle_core::Result<Tensor> {
        let x: &[T] = &Values::of(&of[0])?;
        let (channels, (height, width)) = (self.channels, self.image);
        let rows = mixes::<T>(height, self.size.0, self.grid);
        let columns = mixes::<T>(width, self.size.1, self.grid);
        let line = columns.len() * channels;
        let count = self.shape.elem_count();
        let y = filled_chunks(count, line, |piece, y| {
            let (image, row) = (piece / rows.len(), rows[piece % rows.len()]);
            let line = |y: usize| &x[(image * height + y) * width * channels..][..width * channels];
            let (upper, lower) = (line(row.low), line(row.high));
            for (y, column) in y.chunks_exact_mut(channels).zip(&columns) {
                let (low, high) = (column.low * channels, column.high * channels);
                let [left, right] = column.parts;
                let mix = |line: &[T], c: usize| left * line[low + c] + right * line[high + c];
                for (c, y) in y.iter_mut().enumerate() {
                    *y = row.parts[0] * mix(upper, c) + row.parts[1] * mix(lower, c);
                }
            }
        });
        tensor(y, self.shape.clone(), &of[0])
    }

    fn backward<T: Real>(&self, step: &Step) -> candle_core::Result<Vec<Option<Tensor>>> {
        let x = &step.inputs[0];
        let dys: &[T] = &Values::of(step.dy)?;
        let channels = self.channels;
        let mut dx = vec![T::zero(); x.elem_count()];
        let maps = dx.par_chunks_mut(self.image.0 * self.image.1 * channels);
        maps.zip(dys.par_chunks(self.size.0 * self.size.1 * channels)).for_each(|(dx, dy)| {
            self.each::<T>(|pixel, of| {
                let dy = &dy[pixel * channels..][..channels];
                for (at, part) in of {
                    let dx = &mut dx[at..at + channels];
                    dx.iter_mut().zip(dy).for_each(|(dx, dy)| *dx += *dy * part);
                }
            });
        });
        Ok(vec![Some(tensor(dx, x.shape().clone(), x)?)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::graph::compare::{same, wave};

    #[test]
    fn the_cpu_path_equals_the_expression() {
        for grid in [PixelGrid::HalfPixel, PixelGrid::Corner] {
            for size in [(7, 3), (5, 6), (1, 1), (11, 13)] {
                let op = |x: &Tensor| {
                    let (batch, height, width, channels) = bhwc("resize_bilinear", x)?;
                    let shape = Shape::from((batch, size.0, size.1, channels));
                    Resize { image: (height, width), size, channels, grid, shape }.expression(x)
                };
                same(
                    &[wave(&[2, 5, 6, 3], 0.7)],
                    |x| resize_bilinear(&x[0], size, grid),
                    |x| op(&x[0]),
                );
            }
        }
    }
}
