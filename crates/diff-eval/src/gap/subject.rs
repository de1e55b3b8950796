use crate::{Error, Result, gap::CleanPictures};
use candle_core::{DType, Device, Tensor};
use diff_core::Schedule;
use diff_models::{Condition, Context, Denoiser, Second};
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
    pub(crate) fn condition(
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
        Ok(self.predict(x, shape, t, condition)?.eps)
    }

    /// All that it predicts, as [`Subject::eps`].
    pub(crate) fn predict(
        &self,
        x: &[f64],
        shape: [usize; 3],
        t: usize,
        condition: &Condition,
    ) -> Result<Predicted> {
        let rows = x.len() / shape.iter().product::<usize>();
        let predicted = self.forward(x, (rows, shape), t, condition)?;
        let values = || predicted.eps.iter().chain(predicted.range.iter().flatten());
        match values().filter(|value| !value.is_finite()).count() {
            0 => Ok(predicted),
            count => Err(Error::NotFinite(format!(
                "{count} of {} predicted values at t = {t}",
                values().count()
            ))),
        }
    }

    fn forward(
        &self,
        x: &[f64],
        (rows, [c, h, w]): (usize, [usize; 3]),
        t: usize,
        condition: &Condition,
    ) -> Result<Predicted, diff_models::Error> {
        let x = Tensor::from_slice(x, (rows, c, h, w), &Device::Cpu)?;
        let x = x.to_dtype(self.dtype)?.to_device(&self.device)?;
        let times = vec![t as f64; rows];
        let prediction = self.denoiser.forward(&x, &times, condition, &Context::Eval)?;
        let eps = prediction.eps(&x, &[self.schedule.alpha_bar(t)])?;
        let values = |x: Tensor| x.flatten_all()?.to_dtype(DType::F64)?.to_vec1();
        let range = match prediction.second {
            Second::Range(range) => Some(values(range)?),
            _ => None,
        };
        Ok(Predicted { eps: values(eps)?, range })
    }
}

/// What a network predicts, row-major [B, C, H, W].
pub(crate) struct Predicted {
    /// The noise.
    pub(crate) eps: Vec<f64>,
    /// Where its variance lies between log beta~ (-1) and log beta (1), if it says.
    pub(crate) range: Option<Vec<f64>>,
}
