//! How far a fixture made anew is from the one committed.

mod json;
mod tensors;

use anyhow::Result;
use diff_core::save::io_error;
use std::{fs, path::Path};

/// What a comparison comes to.
#[derive(Debug, PartialEq)]
pub(super) struct Comparison {
    /// The distance that comes nearest to its bound, where there are numbers.
    pub(super) distance: Option<f64>,
    pub(super) verdict: Verdict,
}

/// Whether two files may stand for each other.
#[derive(Debug, PartialEq)]
pub(super) enum Verdict {
    /// Byte for byte.
    Same,
    /// No number is further away than it may be.
    Close,
    /// They do not, and why.
    Differs(String),
}

/// Holds the file that was made anew against the committed one.
pub(super) fn compare(committed: &Path, made: &Path) -> Result<Comparison> {
    let read = |path| fs::read(path).map_err(io_error(path, "read"));
    let (old, new) = (read(committed)?, read(made)?);
    if old == new {
        return Ok(Comparison { distance: Some(0.0), verdict: Verdict::Same });
    }
    let mut differences = Differences::default();
    let read = match committed.extension().and_then(|extension| extension.to_str()) {
        Some("safetensors") => tensors::compare(&old, &new, &mut differences),
        Some("json") => json::compare(&old, &new, &mut differences),
        _ => {
            differences.other(bytes(&old, &new));
            Ok(())
        }
    };
    match read {
        Ok(()) => Ok(differences.into()),
        // A file of ours that does not read is as different as can be, and worth replacing.
        Err(error) => {
            let verdict = Verdict::Differs(format!("cannot be compared: {error:#}"));
            Ok(Comparison { distance: None, verdict })
        }
    }
}

/// What sets different bytes apart.
fn bytes(old: &[u8], new: &[u8]) -> String {
    if old.len() != new.len() {
        return format!("{} bytes instead of {}", new.len(), old.len());
    }
    let at = old.iter().zip(new).position(|(old, new)| old != new).unwrap_or_default();
    let count = old.iter().zip(new).filter(|(old, new)| old != new).count();
    format!("{count} bytes differ, the first at {at}")
}

/// What was found in the course of a comparison.
#[derive(Default)]
struct Differences {
    /// What is no matter of distance.
    others: Vec<String>,
    /// Distances beyond their bounds.
    too_far: usize,
    worst: Option<Worst>,
}

/// The number that comes nearest to its bound, or is furthest beyond it.
struct Worst {
    what: String,
    distance: f64,
    bound: f64,
}

impl Worst {
    /// No number at all is further away than any.
    fn rank(&self) -> f64 {
        let rank = self.distance / self.bound;
        if rank.is_nan() { f64::INFINITY } else { rank }
    }
}

impl Differences {
    /// A difference of names, kinds or structure.
    fn other(&mut self, what: String) {
        self.others.push(what);
    }

    /// A distance, and what it may be.
    fn distance(&mut self, what: impl FnOnce() -> String, distance: f64, bound: f64) {
        let far = distance.is_nan() || distance > bound;
        self.too_far += usize::from(far);
        let mut found = Worst { what: String::new(), distance, bound };
        if self.worst.as_ref().is_none_or(|worst| found.rank() > worst.rank()) {
            found.what = what();
            self.worst = Some(found);
        }
    }
}

impl From<Differences> for Comparison {
    fn from(found: Differences) -> Self {
        let distance = found.worst.as_ref().map(|worst| worst.distance);
        let mut reasons = found.others;
        let count = reasons.len() + found.too_far;
        if let Some(Worst { what, distance, bound }) = found.worst.filter(|_| found.too_far > 0) {
            reasons.push(format!("{what} is {distance:.1e} away, at most {bound:e}"));
        }
        let verdict = match reasons.first() {
            None => Verdict::Close,
            Some(only) if count == 1 => Verdict::Differs(only.clone()),
            Some(first) => Verdict::Differs(format!("{first}, and {} more", count - 1)),
        };
        Comparison { distance, verdict }
    }
}

/// The distance of two vectors, relative to the second; none is at 0 of none.
fn relative(new: &[f64], old: &[f64]) -> f64 {
    over(apart(new, old), norm(old))
}

fn apart(new: &[f64], old: &[f64]) -> f64 {
    norm(&new.iter().zip(old).map(|(new, old)| new - old).collect::<Vec<_>>())
}

fn norm(values: &[f64]) -> f64 {
    values.iter().map(|value| value * value).sum::<f64>().sqrt()
}

/// `distance / scale`, where no distance is 0 of any scale.
fn over(distance: f64, scale: f64) -> f64 {
    if distance == 0.0 { 0.0 } else { distance / scale }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Compares files of one name.
    pub(super) fn compared(name: &str, old: &[u8], new: &[u8]) -> Comparison {
        let dir = tempfile::tempdir().unwrap();
        let file = |folder: &str, bytes: &[u8]| {
            let folder = dir.path().join(folder);
            fs::create_dir(&folder).unwrap();
            fs::write(folder.join(name), bytes).unwrap();
            folder.join(name)
        };
        compare(&file("old", old), &file("new", new)).unwrap()
    }

    /// Why files of one name differ.
    pub(super) fn reason(name: &str, old: &[u8], new: &[u8]) -> String {
        match compared(name, old, new).verdict {
            Verdict::Differs(reason) => reason,
            verdict => panic!("{verdict:?}"),
        }
    }

    #[test]
    fn other_files_are_the_same_or_differ() {
        let same = Comparison { distance: Some(0.0), verdict: Verdict::Same };
        assert_eq!(compared("a.bin", b"abc", b"abc"), same);
        assert_eq!(reason("a.bin", b"abcd", b"aXcY"), "2 bytes differ, the first at 1");
        assert_eq!(reason("a.bin", b"abc", b"ab"), "2 bytes instead of 3");
    }

    #[test]
    fn the_worst_is_told_and_the_others_counted() {
        let mut found = Differences::default();
        found.distance(|| "a".into(), 2.0, 1.0);
        found.distance(|| "b".into(), f64::NAN, 1.0);
        found.distance(|| "c".into(), 0.5, 1.0);
        assert_eq!(found.too_far, 2);
        let found = Comparison::from(found);
        assert!(found.distance.is_some_and(f64::is_nan));
        let expected = "b is NaN away, at most 1e0, and 1 more";
        assert_eq!(found.verdict, Verdict::Differs(expected.into()));
    }

    #[test]
    fn a_missing_file_is_an_error_that_names_it() {
        let error = compare(Path::new("no/such.bin"), Path::new("no/such.bin")).unwrap_err();
        assert!(error.to_string().contains("no/such.bin"), "{error}");
    }
}
