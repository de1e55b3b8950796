//! Up- and down-sampling without weights.

use super::{
    bhwc,
    cpu::{Real, Values, filled_chunks, tensor},
    graph::{Operation, Step, apply},
};
use crate::error::{Error, Result};
use candle_core::Tensor;

/// Doubles height and width of `x` `[B, H, W, C]` by repeating pixels.
pub fn upsample_nearest2x(x: &Tensor) -> Result<Tensor> {
    let (batch, height, width, channels) = bhwc("upsample_nearest2x", x)?;
    if x.device().is_cpu() {
        return apply(Upsample, &[x]);
    }
    Ok(x.reshape((batch, height, 1, width, 1, channels))?
        .broadcast_as((batch, height, 2, width, 2, channels))?
        .contiguous()?
        .reshape((batch, 2 * height, 2 * width, channels))?)
}

/// Halves height and width of `x` `[B, H, W, C]`: the means of squares of four pixels.
///
/// # Errors
/// When height or width is odd.
pub fn downsample_average2x(x: &Tensor) -> Result<Tensor> {
    let (batch, height, width, channels) = bhwc("downsample_average2x", x)?;
    if height % 2 != 0 || width % 2 != 0 {
        return Err(Error::Input(format!(
            "downsample_average2x: {height} x {width}: expected even sides"
        )));
    }
    if x.device().is_cpu() {
        return apply(Downsample, &[x]);
    }
    let squares = x.reshape((batch, height / 2, 2, width / 2, 2, channels))?;
    Ok(squares.mean((2, 4))?)
}

struct Upsample;
struct Downsample;

impl Operation for Upsample {
    fn name(&self) -> &'static str {
        "upsample_nearest2x"
    }

    fn forward<T: Real>(&self, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        spread(&inputs[0], T::one())
    }

    /// Every pixel gets the sum of its four copies' gradients.
    fn backward<T: Real>(&self, step: &Step) -> candle_core::Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(gather(step.dy, T::one())?)])
    }
}

impl Operation for Downsample {
    fn name(&self) -> &'static str {
        "downsample_average2x"
    }

    fn forward<T: Real>(&self, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        gather(&inputs[0], T::from_f64(0.25))
    }

    fn backward<T: Real>(&self, step: &Step) -> candle_core::Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(spread(step.dy, T::from_f64(0.25))?)])
    }
}

/// Every pixel, times `factor`, in four places.
fn spread<T: Real>(x: &Tensor, factor: T) -> candle_core::Result<Tensor> {
    let (batch, height, width, channels) = x.dims4()?;
    let values: &[T] = &Values::of(x)?;
    let line = width * channels;
    let y = filled_chunks(4 * values.len(), 2 * line, |row, y: &mut [T]| {
        let x = &values[row / 2 * line..][..line];
        for (x, y) in x.chunks_exact(channels).zip(y.chunks_exact_mut(2 * channels)) {
            let (left, right) = y.split_at_mut(channels);
            for ((x, left), right) in x.iter().zip(left).zip(right) {
                (*left, *right) = (*x * factor, *x * factor);
            }
        }
    });
    tensor(y, (batch, 2 * height, 2 * width, channels), x)
}

/// The sums of squares of four pixels, times `factor`.
fn gather<T: Real>(x: &Tensor, factor: T) -> candle_core::Result<Tensor> {
    let (batch, height, width, channels) = x.dims4()?;
    let values: &[T] = &Values::of(x)?;
    let line = width * channels;
    let y = filled_chunks(values.len() / 4, line / 2, |row, y: &mut [T]| {
        let (upper, lower) = values[2 * row * line..][..2 * line].split_at(line);
        let pairs = upper.chunks_exact(2 * channels).zip(lower.chunks_exact(2 * channels));
        for (y, (upper, lower)) in y.chunks_exact_mut(channels).zip(pairs) {
            let (a, b) = upper.split_at(channels);
            let (c, d) = lower.split_at(channels);
            for ((((y, a), b), c), d) in y.iter_mut().zip(a).zip(b).zip(c).zip(d) {
                *y = ((*a + *b) + (*c + *d)) * factor;
            }
        }
    });
    tensor(y, (batch, height / 2, width / 2, channels), x)
}
