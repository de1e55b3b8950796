//! Mean and covariance of features, in files that pytorch-fid reads and writes.

use crate::{Account, Error, Features, Gaussian, Metric, Moments, Result, SpaceId};
use diff_sample::sinks::{npz_text, write_npz};
use diff_train::data::{Array, Values, array_names, read_array};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// What is known of a set of pictures for a Fréchet distance.
///
/// In a file (`.npz`): `mu` f64 `[d]`, `sigma` f64 `[d, d]` (divided by N - 1), as pytorch-fid has them,
/// and `about`, a text, which files of others lack.
#[derive(Clone, Debug, PartialEq)]
pub struct Statistics {
    /// Mean and covariance; of a file that does not tell how many pictures there were, the count is 0.
    pub gaussian: Gaussian,
    /// Which features of which pictures; none of a file that does not tell.
    pub about: Option<About>,
}

/// What statistics are of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct About {
    /// The feature space.
    pub space: SpaceId,
    /// Which of its features.
    pub features: Tap,
    /// The pictures.
    pub pictures: Account,
    /// The version that measured.
    pub version: String,
}

/// Which features of a space are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tap {
    /// Those that published distances are taken in.
    Pooled,
    /// Those that know of places: sFID's.
    Spatial,
}

impl About {
    /// What statistics of these pictures in this space are of.
    pub fn new(features: &dyn Features, tap: Tap, pictures: &Account) -> Self {
        let version = env!("CARGO_PKG_VERSION").into();
        About { space: features.id(), features: tap, pictures: pictures.clone(), version }
    }
}

impl Statistics {
    /// True for a file that holds statistics, whatever else it holds.
    pub fn is_file(source: &str) -> bool {
        let path = Path::new(source);
        let ending = path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("npz"));
        ending && array_names(path).is_ok_and(|names| names.iter().any(|name| name == "mu"))
    }

    /// Reads a file.
    ///
    /// # Errors
    /// Names the file and what is wrong with it.
    pub fn read(path: &Path) -> Result<Self> {
        Self::read_as(path, "mu", "sigma")
    }

    /// Reads what guided-diffusion's files also hold under `mu_s` and `sigma_s`: statistics of the features
    /// that know of places. None of a file without.
    ///
    /// # Errors
    /// As [`Statistics::read`].
    pub fn read_spatial(path: &Path) -> Result<Option<Self>> {
        match array_names(path)?.iter().any(|name| name == "mu_s") {
            true => Self::read_as(path, "mu_s", "sigma_s").map(Some),
            false => Ok(None),
        }
    }

    fn read_as(path: &Path, mu: &str, sigma: &str) -> Result<Self> {
        let wrong = |message: String| Error::File { path: path.to_path_buf(), message };
        let array = |name: &str| -> Result<Array> {
            read_array(path, name)?.ok_or_else(|| wrong(format!("no array `{name}`")))
        };
        let numbers = |name: &str| match array(name)? {
            Array { shape, values: Values::Numbers(values) } => Ok((shape, values)),
            Array { shape, .. } => Err(wrong(format!("{name}: text {shape:?}, expected numbers"))),
        };
        let ((shape, mean), (square, covariance)) = (numbers(mu)?, numbers(sigma)?);
        let d = mean.len() as u64;
        if shape != [d] || square != [d, d] || d == 0 {
            let message = format!("{mu} {shape:?} and {sigma} {square:?}, expected [d] and [d, d]");
            return Err(wrong(message));
        }
        let about: Option<About> = match read_array(path, "about")? {
            Some(Array { values: Values::Text(text), .. }) => Some(
                serde_json::from_str(&text)
                    .map_err(|e| wrong(format!("about: not as expected: {e}")))?,
            ),
            _ => None,
        };
        let count = about.as_ref().map_or(0, |about| about.pictures.images);
        Ok(Statistics { gaussian: Gaussian { count, mean, covariance }, about })
    }

    /// Writes a file, all or nothing.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let bytes =
            |values: &[f64]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
        let Gaussian { mean, covariance, .. } = &self.gaussian;
        let d = mean.len();
        let (mu, sigma) = (bytes(mean), bytes(covariance));
        let about = self.about.as_ref().map(serde_json::to_string).transpose();
        let json = |e: serde_json::Error| Error::File { path: path.into(), message: e.to_string() };
        let (kind, letters) = npz_text(&about.map_err(json)?.unwrap_or_default());
        let (line, square) = ([d], [d, d]);
        let mut arrays = vec![("mu", "<f8", &line[..], &mu[..]), ("sigma", "<f8", &square, &sigma)];
        if self.about.is_some() {
            arrays.push(("about", &kind, &[], &letters));
        }
        Ok(write_npz(path, &arrays)?)
    }

    /// The statistics of the pictures of both.
    ///
    /// # Errors
    /// When one does not tell what it is of, or they are of other features.
    pub fn merged(self, other: Self) -> Result<Self> {
        let untold = || {
            Error::Mismatch(
                "statistics that do not tell how many pictures they are of cannot be merged".into(),
            )
        };
        let (ours, theirs) =
            (self.about.ok_or_else(untold)?, other.about.as_ref().ok_or_else(untold)?);
        other.check(&theirs.pictures.source, &ours.space, ours.features)?;
        let mut moments = Moments::of_gaussian(&self.gaussian);
        moments.merge(Moments::of_gaussian(&other.gaussian))?;
        let pictures = ours.pictures.merged(&theirs.pictures);
        Ok(Statistics { gaussian: moments.finish()?, about: Some(About { pictures, ..ours }) })
    }

    /// Refuses statistics of another space or of other features than those meant.
    ///
    /// # Errors
    /// Names what differs.
    pub fn check(&self, source: &str, space: &SpaceId, features: Tap) -> Result<()> {
        let mismatch = |what: &str, ours: &str, theirs: &str| {
            Err(Error::Mismatch(format!("{source}: {what} {theirs}, expected {ours}")))
        };
        let Some(about) = &self.about else { return Ok(()) };
        let theirs = &about.space;
        if theirs.weights_sha256 != space.weights_sha256 {
            return mismatch(
                "statistics of a network whose weights have the SHA-256",
                &space.weights_sha256,
                &theirs.weights_sha256,
            );
        }
        if theirs.preprocessing != space.preprocessing {
            let (ours, theirs) = (&space.preprocessing, &theirs.preprocessing);
            return mismatch("statistics of pictures prepared as", ours, theirs);
        }
        if about.features != features {
            let name = |tap: Tap| format!("{tap:?}").to_lowercase();
            return mismatch("statistics of features", &name(features), &name(about.features));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn statistics() -> Statistics {
        let space = SpaceId {
            name: "torch-fidelity".into(),
            preprocessing: "as it is".into(),
            weights_sha256: "ab".into(),
            width: 2,
        };
        let pictures = Account { images: 7, source: "é".into(), ..Account::default() };
        let about = About { space, features: Tap::Pooled, pictures, version: "1".into() };
        let gaussian =
            Gaussian { count: 7, mean: vec![1.5, -2.0], covariance: vec![1.0, 0.1, 0.1, 3e-300] };
        Statistics { gaussian, about: Some(about) }
    }

    fn file() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.npz");
        (dir, path)
    }

    #[test]
    fn every_bit_survives_the_file() {
        let (_dir, path) = file();
        let own = statistics();
        own.write(&path).unwrap();
        assert_eq!(Statistics::read(&path).unwrap(), own);
        assert!(Statistics::is_file(path.to_str().unwrap()));
        let foreign = Statistics { about: None, gaussian: Gaussian { count: 0, ..own.gaussian } };
        foreign.write(&path).unwrap();
        assert_eq!(Statistics::read(&path).unwrap(), foreign);
    }

    #[test]
    fn other_features_are_refused_and_files_that_do_not_tell_are_not() {
        let own = statistics();
        let space = own.about.as_ref().unwrap().space.clone();
        own.check("a.npz", &space, Tap::Pooled).unwrap();
        let error = |space: &SpaceId, tap| own.check("a.npz", space, tap).unwrap_err().to_string();
        let other = SpaceId { weights_sha256: "cd".into(), ..space.clone() };
        assert!(error(&other, Tap::Pooled).contains("SHA-256 ab, expected cd"));
        let other = SpaceId { preprocessing: "resized".into(), ..space.clone() };
        assert!(error(&other, Tap::Pooled).contains("prepared as as it is, expected resized"));
        assert!(error(&space, Tap::Spatial).contains("features pooled, expected spatial"));
        let foreign = Statistics { about: None, ..own.clone() };
        foreign.check("a.npz", &other, Tap::Pooled).unwrap();
    }

    #[test]
    fn files_that_hold_no_statistics_say_what_they_lack() {
        let (_dir, path) = file();
        let error = || Statistics::read(&path).unwrap_err().to_string();
        assert!(error().contains("a.npz"));
        let four = 1f64.to_le_bytes().repeat(4);
        write_npz(&path, &[("mu", "<f8", &[4], &four)]).unwrap();
        assert!(error().contains("no array `sigma`"));
        write_npz(&path, &[("mu", "<f8", &[4], &four), ("sigma", "<f8", &[2, 2], &four)]).unwrap();
        assert!(error().contains("mu [4] and sigma [2, 2]"));
        write_npz(&path, &[("mu", "<i8", &[4], &four)]).unwrap();
        assert!(error().contains("<i8 [4]: expected row-major <f8 or <f4"));
        statistics().write(&path).unwrap();
        let mut whole = std::fs::read(&path).unwrap();
        let at = whole.windows(8).position(|w| w == 1.5f64.to_le_bytes()).unwrap();
        whole[at] ^= 1;
        std::fs::write(&path, whole).unwrap();
        assert!(error().contains("mu: damaged"));
        assert!(!Statistics::is_file("digits"));
    }
}
