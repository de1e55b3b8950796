//! Pooling: a value per channel of every window of a map.

use super::{
    bhwc,
    cpu::{Real, Values, filled_chunks, tensor},
    graph::{Operation, Step, apply},
};
use crate::error::{Error, Result};
use candle_core::{Shape, Tensor};
use pulp::{Simd, WithSimd};
use rayon::prelude::*;

/// Square windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    /// Rows and columns of a window.
    pub size: usize,
    /// Step between windows, in both directions.
    pub stride: usize,
    /// Rows and columns by which the first window begins before the map, and the last one may end
    /// after it: at most half its size. What lies there does not count.
    pub padding: usize,
    /// Whether there is another window where the rest is too small for a whole one.
    pub ceil: bool,
}

impl Windows {
    /// Windows that lie in the map.
    pub const fn new(size: usize, stride: usize) -> Self {
        Windows { size, stride, padding: 0, ceil: false }
    }

    /// As many windows as there are pixels; `size` is odd.
    pub const fn around(size: usize) -> Self {
        Windows { size, stride: 1, padding: size / 2, ceil: false }
    }

    /// Windows along an axis of `length`; `None` if not even one fits.
    pub fn outputs(self, length: usize) -> Option<usize> {
        let Windows { size, stride, padding, ceil } = self;
        let rest = (length + 2 * padding).checked_sub(size)?;
        let count = if ceil { rest.div_ceil(stride) } else { rest / stride } + 1;
        // None begins beyond the end.
        Some(count - usize::from(ceil && (count - 1) * stride >= length + padding))
    }

    /// Where window `index` lies on an axis of `length`.
    fn range(self, index: usize, length: usize) -> std::ops::Range<usize> {
        let start = index * self.stride;
        start.saturating_sub(self.padding)..(start + self.size - self.padding).min(length)
    }
}

/// The largest value of every window, per channel: `[B, H, W, C]` to `[B, H', W', C]`. Where there are
/// several the first one, row by row, gets the gradient.
///
/// # Errors
/// When no window fits into the map, or the padding is more than half a window.
pub fn max_pool(x: &Tensor, windows: Windows) -> Result<Tensor> {
    pool(x, windows, Kind::Max)
}

/// The mean of every window, per channel: `[B, H, W, C]` to `[B, H', W', C]`.
///
/// # Errors
/// As [`max_pool`].
pub fn average_pool(x: &Tensor, windows: Windows) -> Result<Tensor> {
    pool(x, windows, Kind::Average)
}

fn pool(x: &Tensor, windows: Windows, kind: Kind) -> Result<Tensor> {
    let op = Pool::new(x, windows, kind)?;
    if x.device().is_cpu() && x.elem_count() > 0 { apply(op, &[x]) } else { op.expression(x) }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Max,
    Average,
}

struct Pool {
    kind: Kind,
    windows: Windows,
    image: (usize, usize),
    out_image: (usize, usize),
    channels: usize,
    shape: Shape,
}

impl Pool {
    fn new(x: &Tensor, windows: Windows, kind: Kind) -> Result<Self> {
        let (batch, height, width, channels) = bhwc(kind.name(), x)?;
        if 2 * windows.padding > windows.size || windows.stride == 0 {
            return Err(Error::Input(format!("{}: {windows:?} do not cover a map", kind.name())));
        }
        match (windows.outputs(height), windows.outputs(width)) {
            (Some(rows), Some(columns)) => Ok(Pool {
                kind,
                windows,
                image: (height, width),
                out_image: (rows, columns),
                channels,
                shape: Shape::from((batch, rows, columns, channels)),
            }),
            _ => {
                let (name, size) = (kind.name(), windows.size);
                Err(Error::Input(format!(
                    "{name}: a map of {height} x {width} is smaller than a window of {size} x {size}"
                )))
            }
        }
    }

    /// A window at a time, by candle's operations.
    fn expression(&self, x: &Tensor) -> Result<Tensor> {
        let (rows, columns) = self.out_image;
        let mut lines = Vec::new();
        for row in 0..rows {
            let mut pixels = Vec::new();
            for column in 0..columns {
                let (ys, xs) = self.range(row, column);
                let window = x.narrow(1, ys.start, ys.len())?.narrow(2, xs.start, xs.len())?;
                let window = window.contiguous()?.flatten(1, 2)?;
                pixels.push(match self.kind {
                    Kind::Max => window.max_keepdim(1)?,
                    Kind::Average => window.mean_keepdim(1)?,
                });
            }
            lines.push(Tensor::cat(&pixels, 1)?.unsqueeze(1)?);
        }
        Ok(Tensor::cat(&lines, 1)?)
    }

    fn range(&self, row: usize, column: usize) -> (std::ops::Range<usize>, std::ops::Range<usize>) {
        (self.windows.range(row, self.image.0), self.windows.range(column, self.image.1))
    }

    /// Numbers of a map, and of a result.
    fn lengths(&self) -> (usize, usize) {
        let pixels = |(rows, columns): (usize, usize)| rows * columns * self.channels;
        (pixels(self.image), pixels(self.out_image))
    }

    /// Where the pixels of a window start in a map.
    fn pixels(&self, row: usize, column: usize) -> impl Iterator<Item = usize> + Clone + use<> {
        let (ys, xs) = self.range(row, column);
        let (width, channels) = (self.image.1, self.channels);
        ys.flat_map(move |y| xs.clone().map(move |x| (y * width + x) * channels))
    }
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Max => "max_pool",
            Kind::Average => "average_pool",
        }
    }
}

impl Operation for Pool {
    fn name(&self) -> &'static str {
        self.kind.name()
    }

    fn keeps_output(&self) -> bool {
        self.kind == Kind::Max
    }

    fn forward<T: Real>(&self, of: &[Tensor]) -> candle_core::Result<Tensor> {
        let x: &[T] = &Values::of(&of[0])?;
        let ((map, result), (rows, columns)) = (self.lengths(), self.out_image);
        let line = columns * self.channels;
        let y = filled_chunks(x.len() / map * result, line, |piece, y| {
            let x = &x[piece / rows * map..][..map];
            T::run(Line { of: self, x, row: piece % rows, y });
        });
        tensor(y, self.shape.clone(), &of[0])
    }

    fn backward<T: Real>(&self, step: &Step) -> candle_core::Result<Vec<Option<Tensor>>> {
        let x = &step.inputs[0];
        let (xs, dys): (&[T], &[T]) = (&Values::of(x)?, &Values::of(step.dy)?);
        let (map, result) = self.lengths();
        let mut dx = vec![T::zero(); xs.len()];
        let maps = dx.par_chunks_mut(map).zip(dys.par_chunks(result));
        match self.kind {
            Kind::Average => maps.for_each(|(dx, dy)| self.spread(dx, dy)),
            Kind::Max => {
                let ys: &[T] = &Values::of(step.output()?)?;
                let values = xs.par_chunks(map).zip(ys.par_chunks(result));
                maps.zip(values).for_each(|((dx, dy), (x, y))| self.return_to(dx, dy, x, y));
            }
        }
        Ok(vec![Some(tensor(dx, x.shape().clone(), x)?)])
    }
}

impl Pool {
    /// Every pixel of a window gets its part of the gradient.
    fn spread<T: Real>(&self, dx: &mut [T], dy: &[T]) {
        let channels = self.channels;
        for (i, dy) in dy.chunks_exact(channels).enumerate() {
            let pixels = self.pixels(i / self.out_image.1, i % self.out_image.1);
            let part = T::one() / T::from_f64(pixels.clone().count() as f64);
            for at in pixels {
                let dx = &mut dx[at..at + channels];
                dx.iter_mut().zip(dy).for_each(|(dx, dy)| *dx += *dy * part);
            }
        }
    }

    /// The first pixel of a window that has its result gets the gradient.
    fn return_to<T: Real>(&self, dx: &mut [T], dy: &[T], x: &[T], y: &[T]) {
        let channels = self.channels;
        let mut left = vec![T::zero(); channels];
        let results = y.chunks_exact(channels).zip(dy.chunks_exact(channels));
        for (i, (y, dy)) in results.enumerate() {
            left.copy_from_slice(dy);
            for at in self.pixels(i / self.out_image.1, i % self.out_image.1) {
                let window = dx[at..at + channels].iter_mut().zip(&x[at..at + channels]);
                for (((dx, x), y), left) in window.zip(y).zip(&mut left) {
                    let here = if *x == *y { *left } else { T::zero() };
                    *dx += here;
                    *left -= here;
                }
            }
        }
    }
}

/// A line of a result.
struct Line<'a, T> {
    of: &'a Pool,
    x: &'a [T],
    row: usize,
    y: &'a mut [T],
}

impl<T: Real> WithSimd for Line<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Line { of, x, row, y } = self;
        let channels = of.channels;
        for (column, y) in y.chunks_exact_mut(channels).enumerate() {
            let mut pixels = of.pixels(row, column);
            let Some(first) = pixels.next() else { continue };
            y.copy_from_slice(&x[first..first + channels]);
            let mut count = 1.0;
            for at in pixels {
                count += 1.0;
                let pixel = y.iter_mut().zip(&x[at..at + channels]);
                match of.kind {
                    Kind::Average => pixel.for_each(|(y, x)| *y += *x),
                    // What is not a number stays that.
                    Kind::Max => pixel.for_each(|(y, x)| {
                        *y = if *x > *y || x.is_nan() { *x } else { *y };
                    }),
                }
            }
            if of.kind == Kind::Average {
                let count = T::from_f64(count);
                y.iter_mut().for_each(|y| *y /= count);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::graph::compare::{same, wave};

    #[test]
    fn the_cpu_path_equals_the_expression() {
        let ceil = |size, stride| Windows { ceil: true, ..Windows::new(size, stride) };
        let all = [
            Windows::new(2, 2),
            Windows::new(3, 2),
            ceil(3, 2),
            ceil(2, 3),
            Windows::around(3),
            Windows { padding: 1, ..ceil(3, 2) },
        ];
        for windows in all {
            for shape in [[2, 7, 8, 3], [1, 3, 3, 17], [3, 4, 9, 1]] {
                for kind in [Kind::Max, Kind::Average] {
                    same(
                        &[wave(&shape, 0.7)],
                        |x| pool(&x[0], windows, kind),
                        |x| Pool::new(&x[0], windows, kind)?.expression(&x[0]),
                    );
                }
            }
        }
    }
}
