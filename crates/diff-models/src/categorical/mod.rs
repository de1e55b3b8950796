//! The seam of discrete diffusion (DDIM, appendix A): pictures of K grey levels, whose pixels are
//! classes, and what says of noisy ones what they were.

mod oracle;

pub use oracle::Enumerated;

use crate::{Context, Error, Result};
use candle_core::{D, DType, Tensor};
use std::ops::RangeInclusive;

/// The numbers K of levels there may be.
pub const LEVELS: RangeInclusive<usize> = 2..=16;

/// A network, or an oracle, that says what the pixels of noisy pictures were.
pub trait Categorizer: Send + Sync {
    /// K.
    fn levels(&self) -> usize;

    /// Logits `[B, K, H, W]` of the levels of x_0, finite, from the levels `x_t` `[B, H, W]` (u32, below
    /// K) at paper time `t` (one per row, in 1..=T).
    ///
    /// # Errors
    /// When shapes disagree with each other or with the network.
    fn forward(&self, x_t: &Tensor, t: &[f64], context: &Context) -> Result<Tensor>;
}

/// 1 at the level of each pixel, 0 at the others: `[B, H, W]` (u32) to `[B, K, H, W]`.
pub fn one_hot(x: &Tensor, levels: usize, dtype: DType) -> Result<Tensor> {
    let planes = (0..levels as u32).map(|level| x.eq(level)?.to_dtype(dtype));
    Ok(Tensor::stack(&planes.collect::<candle_core::Result<Vec<_>>>()?, 1)?)
}

/// The logarithms of the levels' probabilities, `[B, K, H, W]` like the logits.
pub fn log_softmax(logits: &Tensor) -> Result<Tensor> {
    // What is taken off a pixel cancels out of its gradient.
    let shifted = logits.broadcast_sub(&logits.detach().max_keepdim(1)?)?;
    let norm = shifted.exp()?.sum_keepdim(1)?.log()?;
    Ok(shifted.broadcast_sub(&norm)?)
}

/// One level a pixel, `[B, H, W]` (u32): the first whose probability, added to those of the levels
/// below, is above `u` `[B, H, W]` in (0, 1). The `probabilities` `[B, K, H, W]` are taken relative
/// to their sum; a level without any is never drawn.
pub fn draw(probabilities: &Tensor, u: &Tensor) -> Result<Tensor> {
    let levels = probabilities.dim(1)?;
    let plane = |level: usize| probabilities.narrow(1, level, 1)?.squeeze(1);
    let mut sums = vec![plane(0)?];
    for level in 1..levels {
        sums.push((&sums[level - 1] + plane(level)?)?);
    }
    let mark = (u.to_dtype(probabilities.dtype())? * &sums[levels - 1])?;
    let mut drawn = mark.zeros_like()?.to_dtype(DType::U32)?;
    for sum in &sums[..levels - 1] {
        drawn = (drawn + sum.le(&mark)?.to_dtype(DType::U32)?)?;
    }
    Ok(drawn)
}

/// The likeliest level of each pixel, the lowest of equals: `[B, K, H, W]` to `[B, H, W]` (u32).
pub fn likeliest(logits: &Tensor) -> Result<Tensor> {
    Ok(logits.permute((0, 2, 3, 1))?.contiguous()?.argmax(D::Minus1)?)
}

/// Pictures in [-1, 1], `[B, 1, H, W]` f32, of levels `[B, H, W]`: black is 0, white K - 1.
pub fn pictures(x: &Tensor, levels: usize) -> Result<Tensor> {
    let scale = 2.0 / (levels - 1) as f64;
    Ok(x.to_dtype(DType::F32)?.affine(scale, -1.0)?.unsqueeze(1)?)
}

/// The levels `[B, H, W]` (u32) of pictures `[B, 1, H, W]` in [-1, 1].
///
/// # Errors
/// When the pictures have more than one channel, or hold grey between two of the K levels (further
/// than bytes round).
pub fn levels_of(pictures: &Tensor, levels: usize) -> Result<Tensor> {
    let grey = pictures.squeeze(1)?;
    if grey.rank() != 3 {
        let found = pictures.dims();
        return Err(Error::Input(format!("pictures {found:?}: expected [B, 1, H, W], all grey")));
    }
    let steps = (levels - 1) as f64;
    let scaled = grey.affine(steps / 2.0, steps / 2.0)?;
    let nearest = scaled.clamp(0.0, steps)?.round()?;
    let off = (&scaled - &nearest)?.abs()?.max_all()?.to_dtype(DType::F64)?.to_scalar::<f64>()?;
    // Half a byte, and a little for f32; what is not a number is off as well.
    match off <= 0.51 / 255.0 * steps {
        true => Ok(nearest.to_dtype(DType::U32)?),
        false => Err(Error::Input(format!(
            "pictures have grey {off:.3} of a level away from {levels} levels (data.levels = {levels} \
             makes them so)"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    fn tensor(values: &[f64], shape: &[usize]) -> Tensor {
        Tensor::from_vec(values.to_vec(), shape, &Device::Cpu).unwrap()
    }

    fn drawn(probabilities: &[f64], u: f64) -> u32 {
        let p = tensor(probabilities, &[1, probabilities.len(), 1, 1]);
        let drawn = draw(&p, &tensor(&[u], &[1, 1, 1])).unwrap();
        assert_eq!((drawn.dims(), drawn.dtype()), ([1, 1, 1].as_slice(), DType::U32));
        drawn.flatten_all().unwrap().to_vec1::<u32>().unwrap()[0]
    }

    #[test]
    fn a_level_is_drawn_where_its_share_of_the_unit_interval_lies() {
        let p = [0.2, 0.0, 0.5, 0.3];
        for (u, level) in [(1e-9, 0), (0.199, 0), (0.2, 2), (0.699, 2), (0.701, 3), (1.0 - 1e-9, 3)]
        {
            assert_eq!(drawn(&p, u), level, "{u}");
            let doubled = p.map(|p| 2.0 * p);
            assert_eq!(drawn(&doubled, u), level, "{u}, weights");
        }
    }

    #[test]
    fn a_level_without_probability_is_never_drawn() {
        let ends = [f64::from(diff_core::rng::unit(0)), f64::from(diff_core::rng::unit(u32::MAX))];
        for u in ends {
            let sums_round_down = [0.0, 0.1, 0.2, 0.7 - 1e-12, 0.0, 0.0];
            assert!([1, 2, 3].contains(&drawn(&sums_round_down, u)), "{u}");
            assert_eq!(drawn(&[0.0, 1.0], u), 1);
            assert_eq!(drawn(&[1.0, 0.0], u), 0);
        }
    }

    #[test]
    fn log_softmax_is_the_definition_for_logits_of_any_size() {
        let logits = tensor(&[0.3, -1.2, 2.0, 1e4, 0.0, -1e4], &[2, 3, 1, 1]);
        let got = log_softmax(&logits).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
        let norm = [0.3f64, -1.2, 2.0].map(f64::exp).iter().sum::<f64>().ln();
        for (got, expected) in
            got.iter().zip([0.3 - norm, -1.2 - norm, 2.0 - norm, 0.0, -1e4, -2e4])
        {
            assert!((got - expected).abs() < 1e-12, "{got} {expected}");
        }
    }

    #[test]
    fn of_equals_the_lowest_is_the_likeliest() {
        for (logits, level) in [([1.0, 2.0, 2.0], 1), ([0.0, 0.0, 0.0], 0), ([0.0, 1.0, 5.0], 2)] {
            let chosen = likeliest(&tensor(&logits, &[1, 3, 1, 1])).unwrap();
            assert_eq!(chosen.flatten_all().unwrap().to_vec1::<u32>().unwrap(), [level]);
        }
    }

    #[test]
    fn levels_survive_as_pictures_and_as_bytes() {
        for levels in LEVELS {
            let all: Vec<u32> = (0..levels as u32).collect();
            let x = Tensor::from_vec(all.clone(), (1, 1, levels), &Device::Cpu).unwrap();
            let shown = pictures(&x, levels).unwrap();
            assert_eq!(shown.dims(), [1, 1, 1, levels]);
            let bytes = crate::pictures::Pictures::from_tensor(&shown).unwrap().bytes;
            assert_eq!((bytes[0], bytes[levels - 1]), (0, 255));
            let again: Vec<f32> = bytes.iter().map(|v| f32::from(*v) / 127.5 - 1.0).collect();
            let again = Tensor::from_vec(again, shown.shape(), &Device::Cpu).unwrap();
            for pictures in [shown, again] {
                let back = levels_of(&pictures, levels).unwrap().flatten_all().unwrap();
                assert_eq!(back.to_vec1::<u32>().unwrap(), all, "{levels}");
            }
            let planes = one_hot(&x, levels, DType::F64).unwrap();
            assert_eq!(planes.dims(), [1, levels, 1, levels]);
            let index = likeliest(&planes).unwrap().flatten_all().unwrap();
            assert_eq!(index.to_vec1::<u32>().unwrap(), all);
            assert_eq!(planes.sum_all().unwrap().to_scalar::<f64>().unwrap(), levels as f64);
        }
    }

    #[test]
    fn grey_between_the_levels_and_colour_are_refused() {
        for (value, shape, word) in [
            (0.0, vec![1, 1, 2, 2], "0.500 of a level away from 2 levels"),
            (f64::NAN, vec![1, 1, 2, 2], "NaN of a level"),
            (1.0, vec![1, 3, 2, 2], "[1, 3, 2, 2]: expected [B, 1, H, W]"),
        ] {
            let x = tensor(&vec![value; shape.iter().product()], &shape);
            let message = levels_of(&x, 2).unwrap_err().to_string();
            assert!(message.contains(word), "{message}");
        }
        assert!(levels_of(&tensor(&[0.0; 4], &[1, 1, 2, 2]), 3).is_ok());
    }
}
