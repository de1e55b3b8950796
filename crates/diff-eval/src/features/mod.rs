//! What a network makes of pictures: rows of numbers.

mod classifier;
mod network;
mod spaces;

pub use classifier::ClassifierFeatures;
pub use network::NetworkFeatures;
pub use spaces::{Published, SPACES, Space, space};

use crate::{Error, Result, pictures::Pictures};
use candle_core::{DType, Tensor};
use serde::{Deserialize, Serialize};

/// Rows of equally many numbers: a row-major f64 matrix `[n, width]`, a row a picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Rows {
    width: usize,
    values: Vec<f64>,
}

impl Rows {
    /// The matrix with these values, row after row.
    ///
    /// # Errors
    /// When `width` is 0, or `values` do not fill whole rows.
    pub fn new(width: usize, values: Vec<f64>) -> Result<Self> {
        if width == 0 || !values.len().is_multiple_of(width) {
            let count = values.len();
            return Err(Error::Mismatch(format!("{count} values do not make rows of {width}")));
        }
        Ok(Rows { width, values })
    }

    /// How many rows.
    pub fn len(&self) -> usize {
        self.values.len() / self.width
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Numbers in a row, at least 1.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Row `i`, below [`Rows::len`].
    pub fn row(&self, i: usize) -> &[f64] {
        &self.values[i * self.width..(i + 1) * self.width]
    }

    /// The rows in order.
    pub fn iter(&self) -> impl Iterator<Item = &[f64]> {
        self.values.chunks_exact(self.width)
    }

    /// The rows with these indices, each below [`Rows::len`], in this order.
    pub fn select(&self, indices: &[usize]) -> Self {
        let values = indices.iter().flat_map(|i| self.row(*i)).copied().collect();
        Rows { width: self.width, values }
    }

    /// Puts the rows of `other` behind these.
    ///
    /// # Errors
    /// When their width differs.
    pub fn extend(&mut self, other: Rows) -> Result<()> {
        if self.width != other.width {
            let message = format!("rows of {} values among rows of {}", other.width, self.width);
            return Err(Error::Mismatch(message));
        }
        self.values.extend(other.values);
        Ok(())
    }

    /// Refuses values that are not finite.
    ///
    /// # Errors
    /// Names the first: its row, its column and what it is.
    pub fn check_finite(&self) -> Result<()> {
        match self.values.iter().position(|v| !v.is_finite()) {
            None => Ok(()),
            Some(at) => {
                let (row, column) = (at / self.width, at % self.width);
                Err(Error::NotFinite(format!("row {row}, column {column}: {}", self.values[at])))
            }
        }
    }
}

/// What a network makes of a set of pictures, a row a picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// Features `[n, F]`: what is compared in distribution.
    pub features: Rows,
    /// Logits `[n, classes]`: natural logarithms of class probabilities, up to a constant a row.
    pub logits: Rows,
    /// Features `[n, P]` that know where in the picture something is, of networks that have such.
    pub spatial: Option<Rows>,
}

impl Seen {
    /// Puts what was made of other pictures behind this.
    ///
    /// # Errors
    /// When it comes from another network.
    pub fn extend(&mut self, other: Seen) -> Result<()> {
        self.features.extend(other.features)?;
        self.logits.extend(other.logits)?;
        match (&mut self.spatial, other.spatial) {
            (Some(spatial), Some(other)) => spatial.extend(other),
            _ => Ok(()),
        }
    }
}

/// What tells one feature space from another. Distances in two of them have nothing to do with each
/// other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpaceId {
    /// Its name.
    pub name: String,
    /// What becomes of a picture before the network sees it.
    pub preprocessing: String,
    /// SHA-256 of the weights' file.
    pub weights_sha256: String,
    /// Features of a picture.
    pub width: usize,
}

/// A space to judge pictures in. It owns the preprocessing, and the same bytes are always the same rows,
/// whatever pictures are seen beside them.
pub trait Features: Sync {
    /// What the space is called; distances in it are called `FD-` and this.
    fn name(&self) -> &str;

    /// What tells it from others.
    fn id(&self) -> SpaceId;

    /// True for the network and the weights that FID, IS and KID are named after.
    fn is_inception(&self) -> bool {
        false
    }

    /// True where it also gives features that know where in the picture something is.
    fn knows_places(&self) -> bool {
        false
    }

    /// Features of a picture, F.
    fn width(&self) -> usize;

    /// Height, width and channels of the pictures it takes; none where it takes all sizes, and resizes
    /// them itself.
    fn shape(&self) -> Option<[usize; 3]>;

    /// Pictures that go through the network at a time, at least 1.
    fn batch(&self) -> usize;

    /// Pictures as the network takes them: a tensor whose first side is their number, and whose others
    /// are always the same.
    ///
    /// # Errors
    /// When there is none or they have another shape than it takes (both are named).
    fn prepare(&self, pictures: &Pictures) -> Result<Tensor>;

    /// What the network makes of prepared pictures.
    ///
    /// # Errors
    /// When it fails.
    fn see(&self, prepared: &Tensor) -> Result<Seen>;

    /// What the network makes of pictures.
    ///
    /// # Errors
    /// As [`Features::prepare`] and [`Features::see`].
    fn rows(&self, pictures: &Pictures) -> Result<Seen> {
        let size = pictures.shape.iter().product::<usize>();
        let mut parts = pictures.bytes.chunks((self.batch() * size).max(1)).map(|bytes| {
            let pictures = Pictures { shape: pictures.shape, bytes: bytes.to_vec() };
            self.see(&self.prepare(&pictures)?)
        });
        let nothing = || Err(Error::Mismatch("no pictures to judge".into()));
        let mut seen = parts.next().unwrap_or_else(nothing)?;
        parts.try_for_each(|part| seen.extend(part?))?;
        Ok(seen)
    }

    /// Refuses pictures of another shape (height, width, channels) than it takes.
    ///
    /// # Errors
    /// Names both.
    fn check_shape(&self, found: [usize; 3]) -> Result<()> {
        match self.shape() {
            Some(expected) if found != expected => Err(Error::Mismatch(format!(
                "pictures of {found:?} (height, width, channels), but {} takes {expected:?}",
                self.name()
            ))),
            _ => Ok(()),
        }
    }
}

/// The rows of a tensor `[n, width]`.
fn rows(x: &Tensor) -> Result<Rows> {
    let width = x.dim(1)?;
    Rows::new(width, x.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_whole_and_finite() {
        let rows = Rows::new(2, vec![1.0, 2.0, 3.0, 4.0]).unwrap();
        assert_eq!((rows.len(), rows.row(1)), (2, &[3.0, 4.0][..]));
        assert_eq!(rows.select(&[1, 1, 0]).values, [3.0, 4.0, 3.0, 4.0, 1.0, 2.0]);
        assert!(rows.check_finite().is_ok());
        assert!(Rows::new(0, Vec::new()).is_err() && Rows::new(2, vec![1.0]).is_err());
        let bad = Rows::new(2, vec![1.0, 2.0, 3.0, f64::NAN]).unwrap();
        let error = bad.check_finite().unwrap_err().to_string();
        assert!(error.contains("row 1, column 1: NaN"), "{error}");
    }
}
