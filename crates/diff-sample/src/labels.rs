//! Which class every sample has.

use crate::Result;
use diff_core::rng::{Address, Purpose};
use diff_models::{Label, nets::Classes};

/// The classes of samples, by their global index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Labels {
    /// Nothing is said of classes: for networks that do not know any.
    #[default]
    Unsaid,
    /// One after the other, from the first again after the last: sample i has number i modulo their
    /// number.
    InTurn(Vec<Label>),
    /// Drawn, each as likely, from classes 0 to this number; addressed by seed and index.
    Drawn(usize),
}

impl Labels {
    /// What a user asks for: `all`, `random`, `none` (the null label), a class, or several as `0,3,5`.
    /// Nothing asked for is all classes in turn, or nothing said where the network knows no classes.
    ///
    /// # Errors
    /// A class that is none of `classes`, `none` for a network without a null label, anything for a
    /// network without classes.
    pub fn parse(text: Option<&str>, classes: Option<Classes>) -> Result<Self> {
        let (text, classes) = match (text, classes) {
            (None, None) => return Ok(Labels::Unsaid),
            (None, Some(classes)) => return Ok(Labels::all(classes)),
            (Some(text), None) => {
                return Err(refused(text, "nothing, as the network knows no classes"));
            }
            (Some(text), Some(classes)) => (text, classes),
        };
        let several = |text: &str| -> Option<Vec<Label>> {
            text.split(',').map(|part| label(part, classes)).collect()
        };
        Ok(match text {
            "all" => Labels::all(classes),
            "random" => Labels::Drawn(classes.count),
            _ => Labels::InTurn(several(text).ok_or_else(|| {
                let none = if classes.knows_none() { ", none" } else { "" };
                let top = classes.count - 1;
                refused(text, &format!("all, random{none}, or classes in 0..={top} as 0,3,5"))
            })?),
        })
    }

    /// All classes in turn.
    pub fn all(classes: Classes) -> Self {
        Labels::InTurn((0..classes.count as u32).map(Some).collect())
    }

    /// The labels of the samples with these global indices; none where nothing is said.
    pub fn of(&self, indices: &[u64], seed: u64) -> Option<Vec<Label>> {
        let label = |index: u64| match self {
            Labels::Unsaid => None,
            Labels::InTurn(labels) => labels[(index % labels.len() as u64) as usize],
            Labels::Drawn(count) => {
                let address = Address::new(seed, Purpose::Label).lane(1).index(index);
                Some(address.below(*count as u64) as u32)
            }
        };
        match self {
            Labels::Unsaid => None,
            _ => Some(indices.iter().map(|index| label(*index)).collect()),
        }
    }

    /// How many there are before they repeat; none where they do not.
    pub fn period(&self) -> Option<usize> {
        match self {
            Labels::InTurn(labels) => Some(labels.len()),
            Labels::Unsaid | Labels::Drawn(_) => None,
        }
    }
}

fn label(text: &str, classes: Classes) -> Option<Label> {
    let label = match text.trim() {
        "none" => None,
        class => Some(class.parse().ok()?),
    };
    classes.row(label).ok().map(|_| label)
}

fn refused(text: &str, expected: &str) -> crate::Error {
    diff_core::Error::argument("class", text, expected).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const THREE: Option<Classes> = Some(Classes::new(3, true));

    #[test]
    fn classes_are_those_asked_for_by_global_index() {
        let of = |text: &str, indices: &[u64]| {
            Labels::parse(Some(text), THREE).unwrap().of(indices, 7).unwrap()
        };
        assert_eq!(of("all", &[0, 1, 2, 3, 7]), [0, 1, 2, 0, 1].map(Some));
        assert_eq!(of("2", &[0, 5]), [Some(2), Some(2)]);
        assert_eq!(of("2,none, 0", &[0, 1, 2, 4]), [Some(2), None, Some(0), None]);
        assert_eq!(Labels::parse(None, THREE).unwrap(), Labels::parse(Some("all"), THREE).unwrap());
        assert_eq!(Labels::parse(None, None).unwrap().of(&[1], 0), None);
        let drawn = of("random", &(0..3000).collect::<Vec<_>>());
        for class in 0..3 {
            let count = drawn.iter().filter(|label| **label == Some(class)).count();
            assert!((900..1100).contains(&count), "{class}: {count}");
        }
        assert_eq!(of("random", &[17, 3]), [drawn[17], drawn[3]]);
    }

    #[test]
    fn classes_that_do_not_exist_are_refused_with_those_that_do() {
        for (text, classes, expected) in [
            ("3", THREE, "0..=2"),
            ("1,,2", THREE, "all, random, none"),
            ("two", THREE, "class = two"),
            ("-1", THREE, "0..=2"),
            ("none", Some(Classes::new(3, false)), "all, random, or"),
            ("all", None, "knows no classes"),
        ] {
            let error = Labels::parse(Some(text), classes).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
