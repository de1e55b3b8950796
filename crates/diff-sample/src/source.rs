//! Clean pictures for a network, by the name of their data set.

use crate::{CleanPictures, Result};
use diff_core::{
    Error,
    config::{self, nearest},
};
use diff_models::checkpoint::Checkpoint;
use diff_train::{
    config::RunConfig,
    data::{self, DataConfig, Split},
};

/// The pictures of a data set as a network sees them, and where they came from.
#[derive(Clone, Debug)]
pub struct CleanData {
    /// The pictures.
    pub pictures: CleanPictures,
    /// `SOURCE:SPLIT`.
    pub name: String,
    /// The SHA-256 over their shape, pixels, labels and indices.
    pub sha256: String,
}

impl CleanData {
    /// Opens `source` (`SOURCE`, `SOURCE:train`, `SOURCE:test`) for the network of `checkpoint`, which was
    /// opened as `spec`; or the data it was trained on, where there is no source.
    ///
    /// A source other than that of the training is prepared as the training's data was (size,
    /// channels, fit), unless it says itself how ([`DataConfig::spelled`]); the checkpoint tells, if it
    /// has a record of its training.
    ///
    /// # Errors
    /// Data that are not known, do not open or do not fit the network, and a checkpoint that does not tell
    /// its picture size.
    pub fn open(checkpoint: &Checkpoint, spec: &str, source: Option<&str>) -> Result<Self> {
        let shape = picture_shape(checkpoint, spec)?;
        let config = config(checkpoint, spec, source)?;
        let data = data::open(&config)?;
        if data.shape() != shape {
            let given = format!("{} with pictures of {:?}", data.name(), data.shape());
            let expected = format!("pictures of {shape:?} (C, H, W) for {spec}");
            return Err(Error::argument("data", given, expected).into());
        }
        let split = if config.split == Split::Train { "train" } else { "test" };
        let name = format!("{}:{split}", config.line()?);
        let sha256 = data.sha256().to_string();
        Ok(CleanData { pictures: CleanPictures::of(data, checkpoint.transform()?)?, name, sha256 })
    }
}

/// C, H, W of the pictures that a network takes.
///
/// # Errors
/// When its configuration does not tell.
pub fn picture_shape(checkpoint: &Checkpoint, spec: &str) -> Result<[usize; 3]> {
    let shape = checkpoint.denoiser.architecture().config().image_shape();
    shape.ok_or_else(|| {
        let expected = "a checkpoint whose config.json has sample_size, the picture size";
        Error::argument("checkpoint", spec, expected).into()
    })
}

/// What `source` means for a network.
fn config(checkpoint: &Checkpoint, spec: &str, source: Option<&str>) -> Result<DataConfig> {
    let trained = match checkpoint.metadata.get("diff.config") {
        None => None,
        Some(text) => {
            let origin = format!("{spec}: diff.config");
            Some(config::read::<RunConfig>(text, &origin, &[])?.data)
        }
    };
    let Some(source) = source else {
        let expected = format!("--data SOURCE, as {spec} does not tell what it was trained on");
        return trained.ok_or_else(|| Error::argument("data", "nothing", expected).into());
    };
    let (source, split) = source_and_split(source)?;
    let trained = trained.unwrap_or_default();
    if source.contains('?') {
        let cache = trained.cache;
        return Ok(DataConfig { split, cache, ..DataConfig::spelled(source)? });
    }
    Ok(match trained.source == source {
        true => DataConfig { split, ..trained },
        false => DataConfig {
            source: source.into(),
            split,
            resolution: trained.resolution,
            fit: trained.fit,
            resize: trained.resize,
            channels: trained.channels,
            cache: trained.cache,
            ..DataConfig::default()
        },
    })
}

/// The data set and the split that `SOURCE`, `SOURCE:train` or `SOURCE:test` means.
///
/// # Errors
/// When the split is neither.
pub fn source_and_split(source: &str) -> Result<(&str, Split)> {
    match split_of(source) {
        (name, "train") => Ok((name, Split::Train)),
        (name, "test") => Ok((name, Split::Test)),
        (name, other) => {
            let hint = nearest(other, ["train", "test"]).unwrap_or("train");
            let expected = format!("train or test; did you mean `{name}:{hint}`?");
            Err(Error::argument("split", other, expected).into())
        }
    }
}

/// A data set and what is said of its split, by default `train`.
fn split_of(source: &str) -> (&str, &str) {
    match source.rsplit_once(':') {
        // The colons of `hub:name` and of a path say nothing of a split.
        Some((name, split)) if name != "hub" && !split.contains('/') => (name, split),
        _ => (source, "train"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_split_is_what_follows_the_last_colon_of_a_name() {
        for (source, name, split) in [
            ("digits", "digits", "train"),
            ("digits:test", "digits", "test"),
            ("hub:cifar10", "hub:cifar10", "train"),
            ("hub:org/name", "hub:org/name", "train"),
            ("hub:org/name@main:test", "hub:org/name@main", "test"),
            ("a:b/pictures", "a:b/pictures", "train"),
            ("pictures:test", "pictures", "test"),
            ("a:b/pictures?crop=[0,0,8,8]", "a:b/pictures?crop=[0,0,8,8]", "train"),
            ("hub:org/name?resolution=16:test", "hub:org/name?resolution=16", "test"),
        ] {
            assert_eq!(split_of(source), (name, split), "{source}");
        }
        assert!(source_and_split("digits:tset").unwrap_err().to_string().contains("did you mean"));
    }
}
