//! Gathering convolution windows from an image, and adding them back.

use super::ConvGeometry;
use candle_core::WithDType;
use rayon::prelude::*;

/// The sizes of one convolution.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) batch: usize,
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) channels: usize,
    pub(super) kernel: (usize, usize),
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) geometry: ConvGeometry,
}

impl Plan {
    /// Elements of one window.
    pub(super) fn window(&self) -> usize {
        self.kernel.0 * self.kernel.1 * self.channels
    }

    /// Windows of the whole batch.
    pub(super) fn count(&self) -> usize {
        self.batch * self.rows * self.columns
    }

    /// `x` `[B, H, W, C]` to `[B, rows, columns, kh, kw, C]`; zeros outside the image.
    pub(super) fn gather<T: WithDType>(&self, x: &[T]) -> Vec<T> {
        let mut windows = vec![T::zero(); self.count() * self.window()];
        let line = (self.columns * self.window()).max(1);
        windows.par_chunks_mut(line).enumerate().for_each(|(line, windows)| {
            let image = &x[line / self.rows * self.image()..][..self.image()];
            self.runs(line % self.rows, |pixels, taps| {
                windows[taps.clone()].copy_from_slice(&image[pixels..pixels + taps.len()]);
            });
        });
        windows
    }

    /// The adjoint of [`Plan::gather`]: every pixel receives the sum of its copies.
    pub(super) fn scatter<T: WithDType>(&self, windows: &[T]) -> Vec<T> {
        let mut x = vec![T::zero(); self.batch * self.image()];
        let line = (self.columns * self.window()).max(1);
        x.par_chunks_mut(self.image().max(1)).enumerate().for_each(|(sample, image)| {
            for row in 0..self.rows {
                let windows = &windows[(sample * self.rows + row) * line..][..line];
                self.runs(row, |pixels, taps| {
                    let target = image[pixels..pixels + taps.len()].iter_mut();
                    target.zip(&windows[taps]).for_each(|(pixel, tap)| *pixel += *tap);
                });
            }
        });
        x
    }

    fn image(&self) -> usize {
        self.height * self.width * self.channels
    }

    /// Calls `each(start in the image, range in the windows of this row)` for every run of pixels
    /// that lie side by side in both.
    fn runs(&self, row: usize, mut each: impl FnMut(usize, std::ops::Range<usize>)) {
        let ConvGeometry { stride, before, .. } = self.geometry;
        let (kh, kw) = self.kernel;
        for column in 0..self.columns {
            // Taps dx with 0 <= column * stride + dx - before < width.
            let left = column * stride;
            let first = before.saturating_sub(left).min(kw);
            let last = (self.width + before).saturating_sub(left).min(kw);
            for dy in 0..kh {
                let y = (row * stride + dy).wrapping_sub(before);
                if y >= self.height || first >= last {
                    continue;
                }
                let pixels = (y * self.width + left + first - before) * self.channels;
                let taps = (column * kh + dy) * kw * self.channels;
                each(pixels, taps + first * self.channels..taps + last * self.channels);
            }
        }
    }
}
