use crate::{Error, Metric, Result};
use candle_core::{DType, Tensor};

/// How far pictures are from what they should be, picture by picture.
#[derive(Clone, Debug, Default)]
pub struct PairErrors {
    shape: Option<Vec<usize>>,
    of_picture: Vec<f64>,
}

/// Pictures in [-1, 1], `[B, C, H, W]`, and what was made of them.
#[derive(Clone, Debug)]
pub struct Pair {
    /// As they should be.
    pub original: Tensor,
    /// As they came back.
    pub found: Tensor,
}

/// What [`PairErrors`] come to. Grey levels are in [0, 1], half of those in [-1, 1]; nothing is clipped.
#[derive(Clone, Debug, PartialEq)]
pub struct PairError {
    /// The mean over pictures and dimensions of the squared difference.
    pub mse: f64,
    /// The mean over pictures of 10 log10(1 / mse), in decibels; infinite where one came back exactly.
    pub psnr: f64,
    /// Every picture's mean squared difference.
    pub of_picture: Vec<f64>,
}

impl Metric for PairErrors {
    type Input = Pair;
    type Output = PairError;

    fn add(&mut self, pair: &Pair) -> Result<()> {
        let (shape, found) = (pair.original.dims(), pair.found.dims());
        let expected = self.shape.as_deref().unwrap_or(&shape[1..]);
        if shape != found || &shape[1..] != expected {
            let seen = format!("pictures of {shape:?} came back as {found:?}");
            return Err(Error::Mismatch(format!(
                "{seen}, expected {expected:?} (C, H, W) of both"
            )));
        }
        let values = |x: &Tensor| x.flatten_from(1)?.to_dtype(DType::F64);
        let rows = (values(&pair.found)? - values(&pair.original)?)?.to_vec2::<f64>()?;
        let mean = |row: &Vec<f64>| {
            row.iter().map(|d| 0.25 * d * d).sum::<f64>() / row.len().max(1) as f64
        };
        let means: Vec<f64> = rows.iter().map(mean).collect();
        if let Some(row) = means.iter().position(|mean| !mean.is_finite()) {
            let number = self.of_picture.len() + row;
            return Err(Error::NotFinite(format!("the error of picture {number}")));
        }
        self.shape = Some(expected.to_vec());
        self.of_picture.extend(means);
        Ok(())
    }

    fn merge(&mut self, other: Self) -> Result<()> {
        if let (Some(own), Some(theirs)) = (&self.shape, &other.shape)
            && own != theirs
        {
            return Err(Error::Mismatch(format!("pictures of {own:?} and of {theirs:?}")));
        }
        self.shape = self.shape.take().or(other.shape);
        self.of_picture.extend(other.of_picture);
        Ok(())
    }

    fn finish(self) -> Result<PairError> {
        let of_picture = self.of_picture;
        if of_picture.is_empty() {
            return Err(Error::Mismatch("no pictures to compare".into()));
        }
        let mean =
            |values: &mut dyn Iterator<Item = f64>| values.sum::<f64>() / of_picture.len() as f64;
        let mse = mean(&mut of_picture.iter().copied());
        let psnr = mean(&mut of_picture.iter().map(|mse| -10.0 * mse.log10()));
        Ok(PairError { mse, psnr, of_picture })
    }
}
