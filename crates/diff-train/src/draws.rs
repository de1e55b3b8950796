//! The random draws of a training step, or given ones.

use crate::{Error, Result};
use candle_core::{DType, Tensor};
use diff_core::rng::{Address, Purpose};
use diff_models::{
    Context, Label,
    noise::{normals, uniforms},
};
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Where an objective gets its time steps and noise from.
///
/// A step may be taken in parts (gradient accumulation): an objective divides by the rows of the
/// whole step, so that the losses and gradients of its parts add up to those of the step.
pub trait Draws {
    /// One paper time for every row of the whole step, uniform over `low..=high`.
    fn times(&self, low: i64, high: i64) -> Result<Vec<i64>>;

    /// How many rows the whole step has.
    fn step_rows(&self) -> usize;

    /// The rows of the step that are at hand.
    fn part(&self) -> Range<usize>;

    /// Noise shaped like `x0`, the rows at hand, for place `window` of a window of time steps.
    fn noise(&self, x0: &Tensor, window: usize) -> Result<Tensor>;

    /// The labels of the rows at hand as the network is told them: some may be dropped.
    fn labels(&self, labels: &[u32]) -> Vec<Label>;

    /// Uniform numbers in (0, 1), otherwise as [`Draws::noise`]; an objective asks for one or the other.
    fn uniforms(&self, x0: &Tensor, window: usize) -> Result<Tensor>;

    /// How the network runs on `k` consecutive rows a picture.
    fn context(&self, k: usize) -> Context;
}

/// Draws of a training step: addressed by (seed, step, row), so that resuming, sharding and
/// splitting a step change nothing.
#[derive(Clone, Debug, Default)]
pub struct StepDraws {
    /// The run's seed.
    pub seed: u64,
    /// The step, counted from 0.
    pub step: u32,
    /// Rows of the whole step.
    pub step_rows: usize,
    /// The rows at hand.
    pub part: Range<usize>,
    /// Pair every time t with its mirror image (low + high - t), as ermongroup/ddim does.
    pub antithetic: bool,
    /// How often labels are dropped.
    pub label_drop: LabelDrop,
    /// Whether to train, or to measure: other draws than any training step's, no
    /// dropout, and every label told.
    pub mode: Mode,
}

/// How often the network is told the null label instead of a picture's class, so that it can be guided.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LabelDrop {
    /// In [0, 1).
    pub probability: f64,
    /// What is drawn for.
    pub by: DropBy,
}

/// What the dropping of labels is drawn for. Papers and the study's released code differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DropBy {
    /// Every picture.
    #[default]
    Sample,
    /// All pictures of a step together (the study's code).
    Batch,
}

/// What draws are for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// A training step.
    #[default]
    Train,
    /// A measurement.
    Measure,
}

impl StepDraws {
    fn at(&self, purpose: Purpose, lane: u16) -> Address {
        let purpose = match self.mode {
            Mode::Train => purpose,
            Mode::Measure => Purpose::Measure,
        };
        Address::new(self.seed, purpose).step(self.step).lane(lane)
    }

    /// Where the noise of the rows at hand is drawn.
    fn noise_rows(&self, window: usize) -> Vec<Address> {
        let base = self.at(Purpose::TrainNoise, window as u16);
        self.part.clone().map(|row| base.index(row as u64)).collect()
    }
}

impl Draws for StepDraws {
    fn times(&self, low: i64, high: i64) -> Result<Vec<i64>> {
        // ermongroup/ddim draws n/2 + 1 times, appends their mirror images, keeps the first n.
        let drawn = if self.antithetic { self.step_rows / 2 + 1 } else { self.step_rows };
        let lane = match self.mode {
            Mode::Train => 0,
            // Beyond the places of any window, which measurements draw under the same purpose.
            Mode::Measure => u16::MAX,
        };
        let base = self.at(Purpose::TrainTime, lane);
        let count = (high - low + 1) as u64;
        let draw = |row: usize| low + base.index(row as u64).below(count) as i64;
        let time = |row: usize| match row < drawn {
            true => draw(row),
            false => low + high - draw(row - drawn),
        };
        Ok((0..self.step_rows).map(time).collect())
    }

    fn step_rows(&self) -> usize {
        self.step_rows
    }

    fn part(&self) -> Range<usize> {
        self.part.clone()
    }

    fn noise(&self, x0: &Tensor, window: usize) -> Result<Tensor> {
        let rows = self.noise_rows(window);
        Ok(normals(&rows, &x0.dims()[1..], x0.dtype(), x0.device())?)
    }

    fn labels(&self, labels: &[u32]) -> Vec<Label> {
        let LabelDrop { probability, by } = self.label_drop;
        if probability == 0.0 || self.mode == Mode::Measure {
            return labels.iter().copied().map(Some).collect();
        }
        let kept = |row: usize| {
            let address = match by {
                DropBy::Sample => self.at(Purpose::Label, 0).index(row as u64),
                DropBy::Batch => self.at(Purpose::Label, 0),
            };
            let mut draw = [0f32];
            address.fill_uniform(&mut draw);
            f64::from(draw[0]) >= probability
        };
        self.part.clone().zip(labels).map(|(row, label)| kept(row).then_some(*label)).collect()
    }

    fn uniforms(&self, x0: &Tensor, window: usize) -> Result<Tensor> {
        let rows = self.noise_rows(window);
        Ok(uniforms(&rows, &x0.dims()[1..], x0.dtype(), x0.device())?)
    }

    fn context(&self, k: usize) -> Context {
        match self.mode {
            Mode::Train => {
                let first = (self.part.start * k) as u64;
                Context::Train { dropout: self.at(Purpose::Dropout, 0).index(first) }
            }
            Mode::Measure => Context::Eval,
        }
    }
}

/// Time steps and noise from outside, for measuring a loss; the network runs without dropout.
#[derive(Clone, Debug)]
pub struct GivenDraws {
    /// Paper times, one per row.
    pub times: Vec<i64>,
    /// `[K, B, C, H, W]`; in (0, 1) for an objective that asks for uniform numbers.
    pub noise: Tensor,
}

impl Draws for GivenDraws {
    fn times(&self, low: i64, high: i64) -> Result<Vec<i64>> {
        match self.times.iter().find(|t| !(low..=high).contains(*t)) {
            Some(t) => Err(argument("t", t.to_string(), format!("paper times in {low}..={high}"))),
            None => Ok(self.times.clone()),
        }
    }

    fn step_rows(&self) -> usize {
        self.times.len()
    }

    fn part(&self) -> Range<usize> {
        0..self.times.len()
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

    fn labels(&self, labels: &[u32]) -> Vec<Label> {
        labels.iter().copied().map(Some).collect()
    }

    fn uniforms(&self, x0: &Tensor, window: usize) -> Result<Tensor> {
        let given = self.noise(x0, window)?;
        let values = given.flatten_all()?.to_dtype(DType::F64)?.to_vec1::<f64>()?;
        match values.iter().find(|u| !(**u > 0.0 && **u < 1.0)) {
            Some(u) => Err(argument("noise", u.to_string(), "numbers in (0, 1)".into())),
            None => Ok(given),
        }
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
    use candle_core::Device;

    fn draws(antithetic: bool, step_rows: usize) -> StepDraws {
        StepDraws {
            seed: 1,
            step: 3,
            step_rows,
            part: 0..step_rows,
            antithetic,
            ..StepDraws::default()
        }
    }

    #[test]
    fn antithetic_times_come_in_mirror_pairs() {
        for rows in [1, 2, 7, 128] {
            let t = draws(true, rows).times(1, 1000).unwrap();
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
            let t = draws(antithetic, 40_000).times(-1, 8).unwrap();
            for value in -1..=8 {
                let count = t.iter().filter(|v| **v == value).count() as f64;
                assert!((count - 4000.0).abs() < 5.0 * 4000f64.sqrt(), "{value}: {count}");
            }
            assert!(t.iter().all(|v| (-1..=8).contains(v)));
        }
    }

    fn noise(draws: &StepDraws, window: usize) -> Vec<f32> {
        let x0 = Tensor::zeros((draws.part.len(), 1, 2, 2), DType::F32, &Device::Cpu).unwrap();
        draws.noise(&x0, window).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn draws_do_not_depend_on_how_a_step_is_split() {
        let whole = draws(true, 5);
        let tail = StepDraws { part: 3..5, ..whole.clone() };
        assert_eq!(whole.times(1, 1000).unwrap(), tail.times(1, 1000).unwrap());
        let all = noise(&whole, 1);
        assert_eq!(all[12..], noise(&tail, 1));
        assert_ne!(all, noise(&whole, 0));
    }

    #[test]
    fn measuring_draws_what_no_training_step_draws_and_drops_nothing_out() {
        let train = draws(false, 64);
        let measure = StepDraws { mode: Mode::Measure, ..train.clone() };
        assert_ne!(train.times(1, 1000).unwrap(), measure.times(1, 1000).unwrap());
        assert_ne!(noise(&train, 0), noise(&measure, 0));
        let x0 = Tensor::zeros((64, 1, 2, 2), DType::F32, &Device::Cpu).unwrap();
        let uniform = |draws: &StepDraws| {
            draws.uniforms(&x0, 0).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap()
        };
        assert_ne!(uniform(&train), uniform(&measure));
        assert!(uniform(&train).iter().all(|u| *u > 0.0 && *u < 1.0));
        assert!(matches!(measure.context(1), Context::Eval));
        assert!(matches!(train.context(1), Context::Train { .. }));
    }

    #[test]
    fn labels_are_dropped_as_often_as_asked_by_picture_or_by_step() {
        let labels: Vec<u32> = (0..1000).map(|i| i % 7).collect();
        let told = |step: u32, by: DropBy, part: Range<usize>| {
            let label_drop = LabelDrop { probability: 0.1, by };
            let draws = StepDraws { step, label_drop, part: part.clone(), ..draws(true, 1000) };
            draws.labels(&labels[part])
        };
        let dropped = |told: &[Label]| told.iter().filter(|label| label.is_none()).count();
        let first = told(0, DropBy::Sample, 0..1000);
        let kept = first.iter().zip(&labels).all(|(told, label)| told.is_none_or(|t| t == *label));
        assert!(kept && (70..130).contains(&dropped(&first)), "{}", dropped(&first));
        assert_ne!(first, told(1, DropBy::Sample, 0..1000));
        // A part of a step is told what the whole step is.
        assert_eq!(first[300..310], told(0, DropBy::Sample, 300..310));
        let steps: Vec<usize> =
            (0..400).map(|step| dropped(&told(step, DropBy::Batch, 0..9))).collect();
        assert!(steps.iter().all(|count| [0, 9].contains(count)));
        let whole = steps.iter().filter(|count| **count == 9).count();
        assert!((20..65).contains(&whole), "{whole}");
    }

    #[test]
    fn measurements_are_told_every_label() {
        let label_drop = LabelDrop { probability: 0.9, by: DropBy::Sample };
        let measure = StepDraws { label_drop, mode: Mode::Measure, ..draws(true, 9) };
        assert_eq!(measure.labels(&[4; 9]), [Some(4); 9]);
    }
}
