//! One of two sets that are compared: pictures, or statistics of pictures.

use super::MeasureSettings;
use crate::{
    About, Account, Error, Features, Metric, Needs, PictureSource, Result, SplitOrder, Statistics,
    Tallied, Tally, Tap, observe,
};
use candle_core::Device;
use diff_models::digest::sha256;
use diff_train::data::array_names;
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

/// Pictures, or statistics of pictures.
pub enum Side {
    /// Pictures.
    Pictures(Box<PictureSource>),
    /// A file of statistics.
    Statistics(Box<StatisticsFile>),
}

/// Statistics, and the file they are from. guided-diffusion's also hold those that know of places, and the
/// pictures, for measures that take more of them.
pub struct StatisticsFile {
    path: PathBuf,
    sha256: String,
    statistics: Statistics,
    spatial: Option<Statistics>,
    pictures: Option<PictureSource>,
}

impl StatisticsFile {
    fn open(source: &str, device: &Device) -> Result<Self> {
        let path = PathBuf::from(source);
        let holds_pictures = array_names(&path)?.iter().any(|name| name == "arr_0");
        Ok(StatisticsFile {
            sha256: sha256(&path)?,
            statistics: Statistics::read(&path)?,
            spatial: Statistics::read_spatial(&path)?,
            pictures: holds_pictures.then(|| PictureSource::open(source, device)).transpose()?,
            path,
        })
    }

    /// Its statistics of these features.
    fn of(&self, tap: Tap) -> &Statistics {
        match (tap, &self.spatial) {
            (Tap::Spatial, Some(spatial)) => spatial,
            _ => &self.statistics,
        }
    }

    /// The features whose statistics are needed; none where its statistics are not enough.
    fn taps(&self, needs: Needs) -> Option<Vec<Tap>> {
        let both = needs.pooled && needs.spatial && self.spatial.is_none();
        let wanted = [(needs.pooled, Tap::Pooled), (needs.spatial, Tap::Spatial)];
        let taps = wanted.into_iter().filter(|(wanted, _)| *wanted).map(|(_, tap)| tap);
        (needs.only_moments() && !both).then(|| taps.collect())
    }

    fn gathered(&self, needs: Needs) -> Gathered {
        let identity = Identity::Statistics {
            file: self.path.display().to_string(),
            sha256: self.sha256.clone(),
            pictures: self.statistics.about.as_ref().map(|about| about.pictures.clone()),
        };
        let gaussian = |tap: Tap| self.of(tap).gaussian.clone();
        let tallied = Tallied {
            pooled: needs.pooled.then(|| gaussian(Tap::Pooled)),
            spatial: needs.spatial.then(|| gaussian(Tap::Spatial)),
            ..Tallied::default()
        };
        Gathered { identity, tallied }
    }

    /// Refuses to give what it cannot.
    fn check(&self, needs: Needs, features: &dyn Features) -> Result<()> {
        let name = self.path.display().to_string();
        let Some(taps) = self.taps(needs) else {
            let expected = "pictures: this measure takes more of them than mean and covariance";
            return match self.pictures {
                Some(_) => Ok(()),
                None => Err(diff_core::Error::argument("source", name, expected).into()),
            };
        };
        for tap in taps {
            let statistics = self.of(tap);
            statistics.check(&name, &features.id(), tap)?;
            let (found, expected) = (statistics.gaussian.mean.len(), features.width());
            if tap == Tap::Pooled && found != expected {
                let message =
                    format!("{name}: statistics of {found} features, expected {expected}");
                return Err(Error::Mismatch(message));
            }
        }
        Ok(())
    }
}

/// What a side is known by.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Identity {
    /// Pictures that were looked at, or whose statistics were kept.
    Pictures(Account),
    /// Statistics in a file.
    Statistics {
        /// The file.
        file: String,
        /// SHA-256 of its bytes.
        sha256: String,
        /// The pictures; none of a file that does not tell. Features and resizing are then unknown too.
        pictures: Option<Account>,
    },
}

/// What is known of a side after all of it was gone through.
#[derive(Clone, Debug)]
pub struct Gathered {
    /// What it is.
    pub identity: Identity,
    /// What was needed.
    pub tallied: Tallied,
}

impl Side {
    /// Opens an `.npz` with `mu` and `sigma` as statistics, and anything else as
    /// [`PictureSource::open`] does.
    ///
    /// # Errors
    /// Names what is unknown, does not open, or is damaged.
    pub fn open(source: &str, device: &Device) -> Result<Self> {
        if !Statistics::is_file(source) {
            return Ok(Side::Pictures(Box::new(PictureSource::open(source, device)?)));
        }
        Ok(Side::Statistics(Box::new(StatisticsFile::open(source, device)?)))
    }

    /// Refuses to give what it cannot.
    pub(super) fn check(&self, needs: Needs, features: &dyn Features) -> Result<()> {
        match self {
            Side::Pictures(_) => Ok(()),
            Side::Statistics(file) => file.check(needs, features),
        }
    }

    /// Goes through all of it, or takes what was kept in `cache`.
    pub(super) fn gather(
        &self,
        needs: Needs,
        features: &dyn Features,
        settings: &MeasureSettings,
        cache: Option<&Path>,
    ) -> Result<Gathered> {
        match self {
            Side::Pictures(source) => gather(source, needs, features, settings, cache),
            Side::Statistics(file) => match (file.taps(needs), &file.pictures) {
                (None, Some(pictures)) => gather(pictures, needs, features, settings, cache),
                _ => Ok(file.gathered(needs)),
            },
        }
    }
}

fn gather(
    source: &PictureSource,
    needs: Needs,
    features: &dyn Features,
    settings: &MeasureSettings,
    cache: Option<&Path>,
) -> Result<Gathered> {
    let kept = match cache.filter(|_| needs.only_moments()) {
        None => None,
        Some(folder) => source.content_sha256()?.map(|content| Kept { folder, content }),
    };
    if let Some(known) = kept.as_ref().and_then(|kept| kept.read(needs, features)) {
        return Ok(known);
    }
    let mut tally = Tally::new(needs, source.places()?, &settings.order)?;
    let account = observe(source, features, &mut tally)?;
    let tallied = tally.finish()?;
    if let Some(kept) = &kept {
        kept.write(&account, &tallied, features)?;
    }
    Ok(Gathered { identity: Identity::Pictures(account), tallied })
}

/// Statistics of pictures that were measured before, by what they are of.
struct Kept<'a> {
    folder: &'a Path,
    content: String,
}

impl Kept<'_> {
    fn path(&self, features: &dyn Features, tap: Tap) -> PathBuf {
        let id = features.id();
        let words = [&self.content, &id.weights_sha256, &id.preprocessing, &format!("{tap:?}")];
        let hasher = words.iter().fold(Sha256::new(), |hasher, word| {
            hasher.chain_update((word.len() as u64).to_le_bytes()).chain_update(word)
        });
        let name: String = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        self.folder.join(format!("{name}.npz"))
    }

    /// What is known; nothing where a file is missing, damaged, or of other features.
    fn read(&self, needs: Needs, features: &dyn Features) -> Option<Gathered> {
        let one = |tap: Tap| {
            let path = self.path(features, tap);
            let known = path.is_file().then(|| Statistics::read(&path).ok()).flatten()?;
            known.check("", &features.id(), tap).ok()?;
            Some((known.gaussian, known.about?.pictures))
        };
        let (mut tallied, mut account) = (Tallied::default(), None);
        if needs.pooled {
            let (gaussian, pictures) = one(Tap::Pooled)?;
            (tallied.pooled, account) = (Some(gaussian), Some(pictures));
        }
        if needs.spatial {
            let (gaussian, pictures) = one(Tap::Spatial)?;
            (tallied.spatial, account) = (Some(gaussian), Some(pictures));
        }
        Some(Gathered { identity: Identity::Pictures(account?), tallied })
    }

    fn write(&self, account: &Account, tallied: &Tallied, features: &dyn Features) -> Result<()> {
        let found = [(Tap::Pooled, &tallied.pooled), (Tap::Spatial, &tallied.spatial)];
        for (tap, gaussian) in found {
            if let Some(gaussian) = gaussian.clone() {
                let about = Some(About::new(features, tap, account));
                Statistics { gaussian, about }.write(&self.path(features, tap))?;
            }
        }
        Ok(())
    }
}

/// Statistics of pictures.
///
/// # Errors
/// When they do not read, or there are fewer than 2.
pub fn statistics(source: &PictureSource, features: &dyn Features, tap: Tap) -> Result<Statistics> {
    let (pooled, spatial) = (tap == Tap::Pooled, tap == Tap::Spatial);
    let needs = Needs { pooled, spatial, ..Needs::default() };
    let mut tally = Tally::new(needs, 0, &SplitOrder::default())?;
    let account = observe(source, features, &mut tally)?;
    let Tallied { pooled, spatial, .. } = tally.finish()?;
    let nothing = || Error::Mismatch("nothing was measured".into());
    let gaussian = pooled.or(spatial).ok_or_else(nothing)?;
    Ok(Statistics { gaussian, about: Some(About::new(features, tap, &account)) })
}
