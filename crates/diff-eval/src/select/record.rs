//! What was measured of a run's snapshots: `select.json` in its folder.

use crate::{Distances, Error, Result};
use diff_core::save::{atomic_bytes, io_error};
use diff_sample::SamplerSpec;
use serde::{Deserialize, Serialize};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// What a measurement depends on besides the weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Terms {
    /// What distances are called.
    pub metric: String,
    /// SHA-256 of the classifier's weights.
    pub classifier_sha256: String,
    /// SHA-256 of the reference's bytes.
    pub reference_sha256: String,
    /// How samples are drawn, every default filled in.
    pub sampler: SamplerSpec,
    /// Samples, of indices 0..num.
    pub num: usize,
    /// Seed of samples and resamples.
    pub seed: u64,
    /// Resamples that intervals are made of.
    pub bootstrap: usize,
    /// The version that measured.
    pub version: String,
}

/// What was measured of one snapshot's samples; see [`Distances`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measured {
    /// Fréchet distance to the reference.
    pub fd: f64,
    /// Lower end of its interval.
    pub fd_low: Option<f64>,
    /// Upper end of its interval.
    pub fd_high: Option<f64>,
    /// Classifier score.
    pub cs: f64,
}

impl From<Distances> for Measured {
    fn from(found: Distances) -> Self {
        let Distances { fd, fd_low, fd_high, cs, .. } = found;
        Measured { fd, fd_low, fd_high, cs }
    }
}

const FORMAT: &str = "diff-select-1";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    format: String,
    entries: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    weights_sha256: String,
    terms: Terms,
    measured: Measured,
}

/// The file, read; every addition is on disk when it returns.
pub(super) struct Record {
    path: PathBuf,
    content: Content,
}

impl Record {
    /// What `run` holds so far.
    pub(super) fn open(run: &Path) -> Result<Self> {
        let path = run.join("select.json");
        let wrong = |message: String| Error::File {
            path: path.clone(),
            message: format!("{message}; remove it to measure anew"),
        };
        let content = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|e| wrong(e.to_string()))?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                Content { format: FORMAT.into(), entries: Vec::new() }
            }
            Err(e) => return Err(io_error(&path, "read")(e).into()),
        };
        match content.format == FORMAT {
            true => Ok(Record { path, content }),
            false => Err(wrong(format!("format {:?}, expected {FORMAT:?}", content.format))),
        }
    }

    pub(super) fn find(&self, weights_sha256: &str, terms: &Terms) -> Option<&Measured> {
        let entry = self
            .content
            .entries
            .iter()
            .find(|entry| entry.weights_sha256 == weights_sha256 && entry.terms == *terms);
        entry.map(|entry| &entry.measured)
    }

    pub(super) fn add(
        &mut self,
        weights_sha256: &str,
        terms: &Terms,
        measured: &Measured,
    ) -> Result<()> {
        self.content.entries.push(Entry {
            weights_sha256: weights_sha256.into(),
            terms: terms.clone(),
            measured: measured.clone(),
        });
        let text = serde_json::to_string_pretty(&self.content)
            .map_err(|e| Error::File { path: self.path.clone(), message: e.to_string() })?;
        Ok(atomic_bytes(&self.path, (text + "\n").as_bytes())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(num: usize) -> Terms {
        let sampler = SamplerSpec {
            sampler: "ddim".into(),
            steps: Some(5),
            trajectory: "linear".into(),
            eta: Some(0.1),
            clip: None,
        };
        Terms {
            metric: "FD-x".into(),
            classifier_sha256: "c".into(),
            reference_sha256: "r".into(),
            sampler,
            num,
            seed: 3,
            bootstrap: 2,
            version: "1".into(),
        }
    }

    #[test]
    fn what_was_measured_is_found_again_under_its_own_terms() {
        let run = tempfile::tempdir().unwrap();
        let mut record = Record::open(run.path()).unwrap();
        let measured = Measured { fd: 1.0 / 3.0, fd_low: Some(0.1), fd_high: None, cs: 2.5 };
        record.add("a", &terms(10), &measured).unwrap();
        let again = Record::open(run.path()).unwrap();
        assert_eq!(again.find("a", &terms(10)), Some(&measured));
        assert!(again.find("b", &terms(10)).is_none() && again.find("a", &terms(11)).is_none());
    }

    #[test]
    fn a_damaged_record_is_named() {
        let run = tempfile::tempdir().unwrap();
        for text in ["{", r#"{"format": "other", "entries": []}"#] {
            fs::write(run.path().join("select.json"), text).unwrap();
            let error = Record::open(run.path()).err().unwrap().to_string();
            assert!(error.contains("select.json") && error.contains("remove it"), "{error}");
        }
    }
}
