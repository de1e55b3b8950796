use crate::{Error, Result};
use candle_core::{DType, Device, Tensor};
use diff_models::pictures::Transform;
use diff_train::data::Dataset;

/// Clean pictures x_0 as a network sees them, by number. Numbers beyond the last picture start over
/// from the first.
#[derive(Clone, Debug)]
pub struct CleanPictures {
    shape: [usize; 3],
    rows: Rows,
}

#[derive(Clone, Debug)]
enum Rows {
    Data(Box<Dataset>, Transform),
    Values(Vec<f64>),
}

impl CleanPictures {
    /// The pictures of a data set in its order, neither mirrored nor dequantised, as `transform`
    /// shows them to a network.
    ///
    /// # Errors
    /// When there are none.
    pub fn of(data: Dataset, transform: Transform) -> Result<Self> {
        if data.is_empty() {
            return Err(Error::Mismatch(format!("data {}: no pictures", data.name())));
        }
        Ok(CleanPictures { shape: data.shape(), rows: Rows::Data(Box::new(data), transform) })
    }

    /// Pictures of `shape` (C, H, W) given by their values, one after the other, without labels.
    ///
    /// # Errors
    /// When the values do not make one or more whole pictures.
    pub fn from_values(shape: [usize; 3], values: Vec<f64>) -> Result<Self> {
        let width: usize = shape.iter().product();
        if width == 0 || values.is_empty() || !values.len().is_multiple_of(width) {
            let found = values.len();
            return Err(Error::Mismatch(format!("{found} values for pictures of {shape:?}")));
        }
        Ok(CleanPictures { shape, rows: Rows::Values(values) })
    }

    /// C, H, W.
    pub fn shape(&self) -> [usize; 3] {
        self.shape
    }

    /// C x H x W.
    pub fn width(&self) -> usize {
        self.shape.iter().product()
    }

    /// What the network sees of a picture.
    pub fn transform(&self) -> Transform {
        match &self.rows {
            Rows::Data(_, transform) => *transform,
            Rows::Values(_) => Transform::default(),
        }
    }

    /// How many different ones there are.
    pub fn len(&self) -> usize {
        match &self.rows {
            Rows::Data(data, _) => data.len(),
            Rows::Values(values) => values.len() / self.width(),
        }
    }

    /// Never true: a set without pictures cannot be made.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Of the pictures 0..num how many are repeats of an earlier one.
    pub fn repeats(&self, num: u64) -> u64 {
        num.saturating_sub(self.len() as u64)
    }

    /// Whether a picture's values are 256 evenly spaced grey levels over [-1, 1]; pictures given by
    /// their values are taken to be.
    pub fn has_even_levels(&self) -> bool {
        match &self.rows {
            Rows::Data(_, transform) => *transform == Transform::Rescaled,
            Rows::Values(_) => true,
        }
    }

    /// The values of the pictures with these numbers, row-major [B, C, H, W].
    pub fn values(&self, numbers: impl IntoIterator<Item = u64>) -> Vec<f64> {
        let mut out = Vec::new();
        for i in numbers.into_iter().map(|number| self.place(number)) {
            match &self.rows {
                Rows::Values(values) => {
                    out.extend_from_slice(&values[i * self.width()..(i + 1) * self.width()]);
                }
                Rows::Data(data, transform) => {
                    let shown = |v: &u8| transform.forward(f32::from(*v) / 255.0);
                    out.extend(data.picture(i).iter().map(|v| f64::from(shown(v))));
                }
            }
        }
        out
    }

    /// The labels of the pictures with these numbers.
    ///
    /// # Errors
    /// Names the first picture that has none.
    pub fn labels(&self, numbers: impl IntoIterator<Item = u64>) -> Result<Vec<u32>> {
        let label = |number| match &self.rows {
            Rows::Data(data, _) => data.label(self.place(number)),
            Rows::Values(_) => None,
        };
        let missing = |number| {
            let what = "has no label, which a class-conditional network needs";
            Error::Mismatch(format!("picture {number} {what}"))
        };
        let numbers = numbers.into_iter();
        numbers.map(|number| label(number).ok_or_else(|| missing(number))).collect()
    }

    /// The pictures with these numbers, `[B, C, H, W]`.
    ///
    /// # Errors
    /// When a tensor operation fails.
    pub fn tensor(&self, numbers: &[u64], dtype: DType, device: &Device) -> Result<Tensor> {
        let [c, h, w] = self.shape;
        let values = self.values(numbers.iter().copied());
        let x = Tensor::from_vec(values, (numbers.len(), c, h, w), &Device::Cpu)?;
        Ok(x.to_dtype(dtype)?.to_device(device)?)
    }

    fn place(&self, number: u64) -> usize {
        (number % self.len() as u64) as usize
    }
}
