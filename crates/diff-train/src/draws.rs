//! The random draws of a training step, or given ones.

use crate::{Error, Result};
use candle_core::Tensor;
use diff_core::rng::{Address, Purpose};
use diff_models::{Context, noise::normals};

/// Where an objective gets its time steps and noise from.
pub trait Draws {
    /// One paper time per row, uniform over `low..=high`.
    fn times(&self, rows: usize, low: i64, high: i64) -> Result<Vec<i64>>;

    /// Noise shaped like `x0`, for place `window` of a window of time steps.
    fn noise(&self, x0: &Tensor, window: usize) -> Result<Tensor>;

    /// How the network runs on `k` consecutive rows a picture.
    fn context(&self, k: usize) -> Context;
}

/// Draws of a training step: addressed by (seed, step, row), so that resuming, sharding and
/// splitting a step change nothing.
#[derive(Clone, Copy, Debug)]
pub struct StepDraws {
    /// The run's seed.
    pub seed: u64,
    /// The step, counted from 0.
    pub step: u32,
    /// Rows of the whole step.
    pub step_rows: usize,
    /// Row of the step at which this part of it starts.
    pub first_row: usize,
    /// Pair every time t with its mirror image (low + high - t), as ermongroup/ddim does.
    pub antithetic: bool,
}

impl StepDraws {
    fn at(&self, purpose: Purpose) -> Address {
        Address::new(self.seed, purpose).step(self.step)
    }
}

impl Draws for StepDraws {
    fn times(&self, rows: usize, low: i64, high: i64) -> Result<Vec<i64>> {
        // ermongroup/ddim draws n/2 + 1 times, appends their mirror images, keeps the first n.
        let drawn = if self.antithetic { self.step_rows / 2 + 1 } else { self.step_rows };
        let base = self.at(Purpose::TrainTime);
        let count = (high - low + 1) as u64;
        let draw = |row: usize| low + base.index(row as u64).below(count) as i64;
        let time = |row: usize| match row < drawn {
            true => draw(row),
            false => low + high - draw(row - drawn),
        };
        Ok((self.first_row..self.first_row + rows).map(time).collect())
    }

    fn noise(&self, x0: &Tensor, window: usize) -> Result<Tensor> {
        let base = self.at(Purpose::TrainNoise).lane(window as u16);
        let part = self.first_row..self.first_row + x0.dim(0)?;
        let rows: Vec<_> = part.map(|row| base.index(row as u64)).collect();
        Ok(normals(&rows, &x0.dims()[1..], x0.dtype(), x0.device())?)
    }

    fn context(&self, k: usize) -> Context {
        Context::Train { dropout: self.at(Purpose::Dropout).index((self.first_row * k) as u64) }
    }
}

/// Time steps and noise from outside, for measuring a loss; the network runs without dropout.
#[derive(Clone, Debug)]
pub struct GivenDraws {
    /// Paper times, one per row.
    pub times: Vec<i64>,
    /// `[K, B, C, H, W]`.
    pub noise: Tensor,
}

impl Draws for GivenDraws {
    fn times(&self, rows: usize, low: i64, high: i64) -> Result<Vec<i64>> {
        if self.times.len() != rows {
            let expected = format!("{rows} times, one per row of x0");
            return Err(argument("t", format!("{} values", self.times.len()), expected));
        }
        match self.times.iter().find(|t| !(low..=high).contains(*t)) {
            Some(t) => Err(argument("t", t.to_string(), format!("paper times in {low}..={high}"))),
            None => Ok(self.times.clone()),
        }
    }

    fn noise(&self, x0: &Tensor, window: usize) -> Result<Tensor> {
        let mut expected = vec![self.noise.dim(0)?];
        expected.extend_from_slice(x0.dims());
        if self.noise.dims() != expected || window >= expected[0] {
            let wanted = format!("[K, {:?}] with K > {window}", x0.dims());
            return Err(argument("noise", format!("shape {:?}", self.noise.dims()), wanted));
        }
        Ok(self.noise.get(window)?)
    }

    fn context(&self, _k: usize) -> Context {
        Context::Eval
    }
}

fn argument(name: &str, value: String, expected: String) -> Error {
    diff_core::Error::argument(name, value, expected).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};

    fn draws(antithetic: bool, step_rows: usize) -> StepDraws {
        StepDraws { seed: 1, step: 3, step_rows, first_row: 0, antithetic }
    }

    #[test]
    fn antithetic_times_come_in_mirror_pairs() {
        for rows in [1, 2, 7, 128] {
            let t = draws(true, rows).times(rows, 1, 1000).unwrap();
            assert_eq!(t.len(), rows);
            let half = rows / 2 + 1;
            for i in half..rows {
                assert_eq!(t[i] + t[i - half], 1001);
            }
        }
    }

    #[test]
    fn times_cover_their_range_evenly_with_both_ends() {
        for antithetic in [false, true] {
            let t = draws(antithetic, 40_000).times(40_000, -1, 8).unwrap();
            for value in -1..=8 {
                let count = t.iter().filter(|v| **v == value).count() as f64;
                assert!((count - 4000.0).abs() < 5.0 * 4000f64.sqrt(), "{value}: {count}");
            }
            assert!(t.iter().all(|v| (-1..=8).contains(v)));
        }
    }

    #[test]
    fn draws_do_not_depend_on_how_a_step_is_split() {
        let tail = StepDraws { first_row: 3, ..draws(true, 5) };
        let all = draws(true, 5).times(5, 1, 1000).unwrap();
        assert_eq!(all[3..], tail.times(2, 1, 1000).unwrap());
        let whole = Tensor::zeros((5, 1, 2, 2), DType::F32, &Device::Cpu).unwrap();
        let part = Tensor::zeros((2, 1, 2, 2), DType::F32, &Device::Cpu).unwrap();
        let flat = |t: Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let all = flat(draws(true, 5).noise(&whole, 1).unwrap());
        assert_eq!(all[12..], flat(tail.noise(&part, 1).unwrap()));
        assert_ne!(all, flat(draws(true, 5).noise(&whole, 0).unwrap()));
    }
}
