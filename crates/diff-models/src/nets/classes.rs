//! The classes a network knows, and the rows of its table that stand for them.

use crate::{
    Label,
    error::{Error, Result},
};

/// The classes of a network that is conditioned on them: one row each of a table, and perhaps one more,
/// the null label, for no class. It is what guidance compares a class with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Classes {
    /// How many classes there are, without the null label: labels are 0..count.
    pub count: usize,
    first: u32,
    null: Option<u32>,
}

impl Classes {
    /// `count` classes; after them a row for the null label, if there is one.
    pub const fn new(count: usize, null: bool) -> Self {
        let null = if null { Some(count as u32) } else { None };
        Classes { count, first: 0, null }
    }

    /// `count` classes after a row for the null label (the DDPM / conditional study).
    pub fn after_null(count: usize) -> Self {
        Classes { count, first: 1, null: Some(0) }
    }

    /// Rows of the table.
    pub fn rows(&self) -> usize {
        self.count + usize::from(self.null.is_some())
    }

    /// Whether there is a null label.
    pub fn knows_none(&self) -> bool {
        self.null.is_some()
    }

    /// The row of a label.
    ///
    /// # Errors
    /// When there is no such class, or no null label.
    pub fn row(&self, label: Label) -> Result<u32> {
        match label {
            Some(class) if (class as usize) < self.count => Ok(self.first + class),
            Some(class) => {
                Err(Error::Input(format!("class label {class}: expected 0..{}", self.count)))
            }
            None => self.null.ok_or_else(|| {
                let message = "no class is asked for, and the network has no null label \
                               (null_class = false): expected a class for every row";
                Error::Input(message.into())
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_label_has_a_row_of_its_own_and_no_other_row_is_left() {
        for classes in [Classes::new(3, false), Classes::new(3, true), Classes::after_null(3)] {
            let labels = (0..3).map(Some).chain(classes.knows_none().then_some(None));
            let mut rows: Vec<u32> = labels.map(|label| classes.row(label).unwrap()).collect();
            rows.sort();
            assert_eq!(rows, (0..classes.rows() as u32).collect::<Vec<_>>());
            let error = classes.row(Some(3)).unwrap_err().to_string();
            assert!(error.contains("class label 3: expected 0..3"), "{error}");
        }
        assert_eq!(Classes::after_null(10).row(None).unwrap(), 0);
        assert_eq!(Classes::after_null(10).row(Some(0)).unwrap(), 1);
        let error = Classes::new(3, false).row(None).unwrap_err().to_string();
        assert!(error.contains("null label"), "{error}");
    }
}
