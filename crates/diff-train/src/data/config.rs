use super::{Augment, Crop, Fit, Preparation, Resize, Split};
use crate::Result;
use diff_core::Error;
use diff_models::pictures::Transform;
use serde::{Deserialize, Serialize};
use std::{env, path::PathBuf};

/// The data section of a configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DataConfig {
    /// `digits`, `cifar10`, `hub:[org/]name[@revision]`, or a path: a folder of
    /// pictures, a `.zip`, `.parquet`, `.npz`, `.safetensors` or LMDB file, or a folder with IDX, CIFAR or Parquet
    /// files.
    pub source: String,
    /// Which part of it.
    pub split: Split,
    /// The configuration of a data set on the Hub that has several.
    pub config: Option<String>,
    /// The Parquet column with the pictures.
    pub picture_column: Option<String>,
    /// The Parquet column with the labels.
    pub label_column: Option<String>,
    /// Holds every n-th picture of the training part out: those are then `test`; 0 for none.
    pub held_out: u64,
    /// Keeps the pictures of the part whose index at the source is in first..end.
    pub range: Option<[u64; 2]>,
    /// See [`Preparation`].
    pub crop: Option<Crop>,
    /// See [`Preparation`].
    pub resolution: Option<usize>,
    /// See [`Preparation`].
    pub fit: Fit,
    /// See [`Preparation`].
    pub resize: Resize,
    /// See [`Preparation`].
    pub channels: Option<usize>,
    /// See [`Preparation`].
    pub levels: Option<usize>,
    /// What to do about pictures that do not decode.
    pub bad: Bad,
    /// Where prepared pictures are kept; by default `$DIFF_CACHE`, `$XDG_CACHE_HOME/diff` or
    /// `~/.cache/diff`.
    pub cache: Option<PathBuf>,
    /// Mirrors every picture left to right with probability 1/2, anew each time it is drawn.
    pub flip: bool,
    /// Spreads every grey level evenly over its width: (255 x + u) / 256 for x in [0, 1].
    pub dequantise: bool,
    /// Adds 0.01 z to x in [0, 1], z standard normal.
    pub gaussian: bool,
    /// From [0, 1] to what the network sees.
    pub transform: Transform,
}

/// What to do about pictures that do not decode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bad {
    /// Leave them out and say how many there were.
    #[default]
    Skip,
    /// Stop at the first.
    Refuse,
}

impl Default for DataConfig {
    fn default() -> Self {
        DataConfig {
            source: "digits".into(),
            split: Split::Train,
            config: None,
            picture_column: None,
            label_column: None,
            held_out: 0,
            range: None,
            crop: None,
            resolution: None,
            fit: Fit::default(),
            resize: Resize::default(),
            channels: None,
            levels: None,
            bad: Bad::Skip,
            cache: None,
            flip: false,
            dequantise: false,
            gaussian: false,
            transform: Transform::Rescaled,
        }
    }
}

impl DataConfig {
    /// Refuses values out of range, by name.
    ///
    /// # Errors
    /// Names the value and what was expected.
    pub fn check(&self) -> Result<()> {
        if self.held_out == 1 {
            let expected = "0 (none) or at least 2; 1 would hold out everything";
            return Err(Error::argument("data.held_out", 1, expected).into());
        }
        if let Some([first, end]) = self.range
            && first >= end
        {
            let given = format!("[{first}, {end}]");
            let expected = "[first, end] with first below end";
            return Err(Error::argument("data.range", given, expected).into());
        }
        self.preparation().check()
    }

    /// The configuration that a line names: a source, and after a `?` what is to become of its
    /// pictures, `cifar10?resolution=16&resize=box`.
    ///
    /// # Errors
    /// Names what is unknown or does not fit.
    pub fn spelled(line: &str) -> Result<Self> {
        let (source, keys) = line.split_once('?').unwrap_or((line, ""));
        let source = format!("source={}", toml::Value::String(source.into()));
        let keys = keys.split('&').filter(|key| !key.is_empty()).map(String::from);
        let overrides: Vec<String> = std::iter::once(source).chain(keys).collect();
        let config: DataConfig = diff_core::config::read("", &format!("data {line}"), &overrides)?;
        config.check()?;
        Ok(config)
    }

    /// The line that [`DataConfig::spelled`] reads, of what decides which pictures there are and
    /// how they are stored, but for the split.
    ///
    /// # Errors
    /// When a value cannot be written.
    pub fn line(&self) -> Result<String> {
        const APART: [&str; 8] =
            ["source", "split", "bad", "cache", "flip", "dequantise", "gaussian", "transform"];
        let table = |config: &DataConfig| {
            let problem = |e: toml::ser::Error| Error::argument("data", e, "a plain configuration");
            toml::Table::try_from(config).map_err(problem)
        };
        let (own, usual) = (table(self)?, table(&DataConfig::default())?);
        let keys = own.iter().filter(|(key, value)| {
            !APART.contains(&key.as_str()) && usual.get(*key) != Some(value)
        });
        let keys: Vec<String> = keys
            .map(|(key, value)| match value {
                toml::Value::String(text) => format!("{key}={text}"),
                other => format!("{key}={other}").replace(' ', ""),
            })
            .collect();
        Ok(match keys.is_empty() {
            true => self.source.clone(),
            false => format!("{}?{}", self.source, keys.join("&")),
        })
    }

    /// What happens to every picture once.
    pub fn preparation(&self) -> Preparation {
        Preparation {
            crop: self.crop,
            resolution: self.resolution,
            fit: self.fit,
            resize: self.resize,
            channels: self.channels,
            levels: self.levels,
        }
    }

    /// What happens to a picture each time it is drawn.
    pub fn augment(&self) -> Augment {
        Augment {
            flip: self.flip,
            dequantise: self.dequantise,
            gaussian: self.gaussian,
            transform: self.transform,
        }
    }

    /// The folder that holds prepared pictures.
    ///
    /// # Errors
    /// When neither the configuration nor the environment names one.
    pub fn cache_root(&self) -> Result<PathBuf> {
        let variable =
            |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let named = self.cache.clone().or_else(|| variable("DIFF_CACHE"));
        let user = || variable("XDG_CACHE_HOME").map(|cache| cache.join("diff"));
        let home = || variable("HOME").map(|home| home.join(".cache/diff"));
        named.or_else(user).or_else(home).ok_or_else(|| {
            let expected = "a folder, here or in DIFF_CACHE, as HOME is not set";
            Error::argument("data.cache", "nothing", expected).into()
        })
    }

    /// True for the indices that the split, the range and `held_out` together keep.
    pub(super) fn keeps(&self, index: u64) -> bool {
        let in_range = self.range.is_none_or(|[first, end]| (first..end).contains(&index));
        let in_part = match self.held_out {
            0 => true,
            every => index.is_multiple_of(every) == (self.split == Split::Test),
        };
        in_range && in_part
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(config: &DataConfig) -> Vec<u64> {
        (0..10).filter(|i| config.keeps(*i)).collect()
    }

    #[test]
    fn held_out_pictures_and_the_rest_are_disjoint_and_complete() {
        let train = DataConfig { held_out: 4, ..DataConfig::default() };
        let test = DataConfig { split: Split::Test, ..train.clone() };
        assert_eq!(kept(&train), [1, 2, 3, 5, 6, 7, 9]);
        assert_eq!(kept(&test), [0, 4, 8]);
        let range = DataConfig { range: Some([3, 6]), ..DataConfig::default() };
        assert_eq!(kept(&range), [3, 4, 5]);
        assert_eq!(kept(&DataConfig { range: Some([3, 6]), ..train }), [3, 5]);
    }

    #[test]
    fn a_line_names_a_source_and_what_becomes_of_its_pictures() {
        for line in ["digits", "hub:org/name@main", "a b/c.zip?channels=1&held_out=5", LINE] {
            assert_eq!(DataConfig::spelled(line).unwrap().line().unwrap(), line);
        }
        let config = DataConfig::spelled(LINE).unwrap();
        let expected = DataConfig {
            source: "cifar10".into(),
            crop: Some(Crop::Rectangle { top: 1, left: 2, height: 24, width: 24 }),
            resize: Resize::Box,
            resolution: Some(16),
            ..DataConfig::default()
        };
        assert_eq!(config, expected);
        let drawn = DataConfig { flip: true, split: Split::Test, ..expected };
        assert_eq!(drawn.line().unwrap(), LINE);
        for (line, part) in [
            ("cifar10?resolutoin=16", "did you mean `resolution`"),
            ("cifar10?resolution=big", "resolution"),
            ("cifar10?held_out=1", "held_out"),
        ] {
            let error = DataConfig::spelled(line).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    const LINE: &str = "cifar10?crop=[1,2,24,24]&resize=box&resolution=16";

    #[test]
    fn impossible_values_are_named() {
        let refused = |config: DataConfig| config.check().unwrap_err().to_string();
        assert!(refused(DataConfig { held_out: 1, ..Default::default() }).contains("held_out"));
        let range = Some([3, 3]);
        assert!(refused(DataConfig { range, ..Default::default() }).contains("[3, 3]"));
    }

    #[test]
    fn unknown_keys_are_refused_and_every_key_survives_the_file() {
        let overrides = |set: &str| diff_core::config::load::<DataConfig>(None, &[set.to_string()]);
        let error = overrides("flipp=true").unwrap_err().to_string();
        assert!(error.contains("did you mean `flip`"), "{error}");
        assert!(overrides("bad=ignore").unwrap_err().to_string().contains("ignore"));
        let config = DataConfig {
            split: Split::Test,
            config: Some("a".into()),
            range: Some([1, 2]),
            crop: Some(Crop::Celeba),
            channels: Some(1),
            levels: Some(4),
            bad: Bad::Refuse,
            cache: Some("c".into()),
            flip: true,
            transform: Transform::Logit,
            ..DataConfig::default()
        };
        let text = toml::to_string(&config).unwrap();
        let table = text.parse::<toml::Table>().unwrap();
        assert_eq!(diff_core::config::parse::<DataConfig>(table, "x").unwrap(), config);
    }
}
