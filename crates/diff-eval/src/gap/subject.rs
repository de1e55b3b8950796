use crate::{Error, Result, gap::CleanPictures};
use candle_core::{DType, Device, Tensor};
use diff_core::Schedule;
use diff_models::{Condition, Context, Denoiser};
use std::ops::Range;

/// A denoiser that is measured.
#[derive(Clone)]
pub struct Subject<'a> {
    /// What predicts.
    pub denoiser: &'a dyn Denoiser,
    /// The forward process it was made for.
    pub schedule: &'a Schedule,
    /// Whether it is told the class of every picture.
    pub labelled: bool,
    /// f32, or f64 for oracles.
    pub dtype: DType,
    /// Where it computes.
    pub device: Device,
}

impl Subject<'_> {
    /// What it is told of the pictures with these numbers.
    pub(super) fn condition(
        &self,
        pictures: &CleanPictures,
        numbers: Range<u64>,
    ) -> Result<Condition> {
        let class = self.labelled.then(|| pictures.labels(numbers)).transpose()?;
        let class = class.map(|labels| labels.into_iter().map(Some).collect());
        Ok(Condition { class, image: None })
    }

    /// The noise it predicts in `x`, row-major [B, C, H, W] with rows of `shape` (C, H, W), all at
    /// paper time `t`.
    ///
    /// # Errors
    /// When the network refuses its input or predicts something that is not finite.
    pub(super) fn eps(
        &self,
        x: &[f64],
        shape: [usize; 3],
        t: usize,
        condition: &Condition,
    ) -> Result<Vec<f64>> {
        let rows = x.len() / shape.iter().product::<usize>();
        let eps = self.predict(x, (rows, shape), t, condition)?;
        match eps.iter().filter(|value| !value.is_finite()).count() {
            0 => Ok(eps),
            count => Err(Error::NotFinite(format!(
                "{count} of {} predicted values at t = {t}",
                eps.len()
            ))),
        }
    }

    fn predict(
        &self,
        x: &[f64],
        (rows, [c, h, w]): (usize, [usize; 3]),
        t: usize,
        condition: &Condition,
    ) -> Result<Vec<f64>, diff_models::Error> {
        let x = Tensor::from_slice(x, (rows, c, h, w), &Device::Cpu)?;
        let x = x.to_dtype(self.dtype)?.to_device(&self.device)?;
        let times = vec![t as f64; rows];
        let prediction = self.denoiser.forward(&x, &times, condition, &Context::Eval)?;
        let eps = prediction.eps(&x, &[self.schedule.alpha_bar(t)])?;
        Ok(eps.flatten_all()?.to_dtype(DType::F64)?.to_vec1()?)
    }
}
