//! Rows that are kept, for what takes more of them than their moments.

use crate::{Error, Gaussian, Metric, Moments, Result, Rows};

/// Rows of f32 and the places of their pictures; 4 bytes a number.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KeptRows {
    width: usize,
    places: Vec<u64>,
    values: Vec<f32>,
}

impl KeptRows {
    /// Takes in rows of the pictures at these places.
    ///
    /// # Errors
    /// When there are not as many places as rows, the width differs from that of the rows before, or a
    /// value is not finite.
    pub fn add_at(&mut self, places: &[u64], rows: &Rows) -> Result<()> {
        if places.len() != rows.len() {
            let message = format!("{} places for {} rows", places.len(), rows.len());
            return Err(Error::Mismatch(message));
        }
        rows.check_finite()?;
        self.agree(rows.width())?;
        self.places.extend(places);
        self.values.extend(rows.iter().flatten().map(|v| *v as f32));
        Ok(())
    }

    /// Takes in the rows of another.
    ///
    /// # Errors
    /// When their width differs.
    pub fn merge(&mut self, other: Self) -> Result<()> {
        if other.is_empty() {
            return Ok(());
        }
        self.agree(other.width)?;
        self.places.extend(other.places);
        self.values.extend(other.values);
        Ok(())
    }

    fn agree(&mut self, width: usize) -> Result<()> {
        if self.is_empty() {
            self.width = width;
        }
        match self.width == width {
            true => Ok(()),
            false => {
                let message = format!("rows of {width} values among rows of {}", self.width);
                Err(Error::Mismatch(message))
            }
        }
    }

    /// The rows in the order of their places.
    pub fn sorted(self) -> Self {
        if self.places.is_sorted() {
            return self;
        }
        let mut order: Vec<usize> = (0..self.len()).collect();
        order.sort_by_key(|i| self.places[*i]);
        self.select(&order)
    }

    /// The rows with these indices, each below [`KeptRows::len`], in this order.
    pub fn select(&self, indices: &[usize]) -> Self {
        KeptRows {
            width: self.width,
            places: indices.iter().map(|i| self.places[*i]).collect(),
            values: indices.iter().flat_map(|i| self.row(*i)).copied().collect(),
        }
    }

    /// The Gaussian of the rows, row i counting `weights[i]` times.
    ///
    /// # Errors
    /// When there are not as many weights as rows, or they add up to less than 2.
    pub fn gaussian(&self, weights: &[u32]) -> Result<Gaussian> {
        const BLOCK: usize = 1024;
        if weights.len() != self.len() {
            let message = format!("{} weights for {} rows", weights.len(), self.len());
            return Err(Error::Mismatch(message));
        }
        let mut moments = Moments::default();
        for first in (0..self.len()).step_by(BLOCK) {
            let range = first..self.len().min(first + BLOCK);
            let values = range.clone().flat_map(|i| self.row(i)).map(|v| f64::from(*v)).collect();
            moments.add_weighted(&Rows::new(self.width, values)?, &weights[range])?;
        }
        moments.finish()
    }

    /// How many rows.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Numbers in a row; 0 before there is one.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Row `i`, below [`KeptRows::len`].
    pub fn row(&self, i: usize) -> &[f32] {
        &self.values[i * self.width..(i + 1) * self.width]
    }

    /// The place of every row.
    pub fn places(&self) -> &[u64] {
        &self.places
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_in_the_order_of_their_places_whatever_came_first() {
        let rows = |values: &[f64]| Rows::new(2, values.to_vec()).unwrap();
        let (mut ours, mut theirs) = (KeptRows::default(), KeptRows::default());
        ours.add_at(&[7, 2], &rows(&[1.0, 2.0, 3.0, 4.0])).unwrap();
        theirs.add_at(&[5], &rows(&[5.0, 6.0])).unwrap();
        ours.merge(theirs).unwrap();
        ours.merge(KeptRows::default()).unwrap();
        let sorted = ours.sorted();
        assert_eq!((sorted.places(), sorted.len(), sorted.width()), (&[2, 5, 7][..], 3, 2));
        assert_eq!(
            [sorted.row(0), sorted.row(1), sorted.row(2)].concat(),
            [3., 4., 5., 6., 1., 2.]
        );
        assert_eq!(sorted.clone().sorted(), sorted);
    }

    #[test]
    fn other_rows_are_refused() {
        let mut kept = KeptRows::default();
        kept.add_at(&[0], &Rows::new(2, vec![1.0, 2.0]).unwrap()).unwrap();
        let mut error = |places: &[u64], width, values: Vec<f64>| {
            kept.add_at(places, &Rows::new(width, values).unwrap()).unwrap_err().to_string()
        };
        assert!(error(&[1], 1, vec![1.0]).contains("rows of 1 values among rows of 2"));
        assert!(error(&[], 2, vec![1.0, 2.0]).contains("0 places for 1 rows"));
        assert!(error(&[1], 2, vec![1.0, f64::NAN]).contains("row 0, column 1: NaN"));
    }
}
