//! What a network makes of pictures: rows of numbers.

use crate::{Error, Result, pictures::Pictures};

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
}

/// A space to judge pictures in. It owns the preprocessing and the size of its batches, so that the
/// same bytes are always the same rows.
pub trait Features {
    /// What the space is called; distances in it are called `FD-` and this.
    fn name(&self) -> &str;

    /// Features of a picture, F.
    fn width(&self) -> usize;

    /// Height, width and channels of the pictures it takes.
    fn shape(&self) -> [usize; 3];

    /// SHA-256 of the file with the network's weights, in lower-case hexadecimal.
    fn weights_sha256(&self) -> &str;

    /// What the network makes of the pictures.
    ///
    /// # Errors
    /// When there is none or they have another shape than the network takes (both are named), or
    /// it fails.
    fn rows(&self, pictures: &Pictures) -> Result<Seen>;

    /// Refuses pictures of another shape (height, width, channels) than it takes.
    ///
    /// # Errors
    /// Names both.
    fn check_shape(&self, found: [usize; 3]) -> Result<()> {
        let expected = self.shape();
        match found == expected {
            true => Ok(()),
            false => Err(Error::Mismatch(format!(
                "pictures of {found:?} (height, width, channels), but the classifier takes \
                 {expected:?}"
            ))),
        }
    }
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
