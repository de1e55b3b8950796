//! Which Parquet files of a folder belong to which configuration and split:
//! `<config>/<split>/0000.parquet`, `<config>/<split>-00000-of-00001.parquet`, `data/<split>-...`,
//! and the same without a configuration.

use super::super::{Request, split_named};
use crate::{Result, data::Dataset, data::Split};
use diff_core::{Error, config::nearest};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// Folders below the top in which files are looked for.
pub(super) const DEPTH: usize = 4;

/// Where a file belongs.
#[derive(Debug, PartialEq)]
struct Place {
    config: String,
    /// The split's name; empty for a file outside of all splits.
    split: String,
}

/// The files of the configuration and split that are asked for.
///
/// # Errors
/// Lists the configurations or the splits that there are.
pub(super) fn choose(
    folder: &Path,
    files: Vec<PathBuf>,
    request: &Request,
) -> Result<Vec<PathBuf>> {
    let mut configs: BTreeMap<String, BTreeMap<String, Vec<PathBuf>>> = BTreeMap::new();
    for file in files {
        let below = file.strip_prefix(folder).unwrap_or(&file);
        let parts: Vec<String> =
            below.iter().map(|part| part.to_string_lossy().into_owned()).collect();
        let Place { config, split } = place(&parts);
        configs.entry(config).or_default().entry(split).or_default().push(file);
    }
    let splits = choose_config(configs, request)?;
    choose_split(splits, request)
}

/// Where the file with these components below the top belongs.
fn place(parts: &[String]) -> Place {
    let Some((file, folders)) = parts.split_last() else {
        return Place { config: String::new(), split: String::new() };
    };
    let stem = file.rsplit_once('.').map_or(file.as_str(), |(stem, _)| stem);
    let known = |name: &str| split_named(name).map(|_| name.to_string());
    let of_file = known(stem.split(['-', '.']).next().unwrap_or(stem));
    // What the Hub converts only in part goes under `partial-`.
    let of_folder = |name: &String| known(name.strip_prefix("partial-").unwrap_or(name));
    let (split, folders) = match (of_file, folders.split_last()) {
        (Some(split), _) => (split, folders),
        (None, Some((last, above))) => match of_folder(last) {
            Some(split) => (split, above),
            None => (String::new(), folders),
        },
        (None, None) => (String::new(), folders),
    };
    let config = folders.join("/");
    Place { config: if config == "data" { String::new() } else { config }, split }
}

type Splits = BTreeMap<String, Vec<PathBuf>>;

fn choose_config(mut configs: BTreeMap<String, Splits>, request: &Request) -> Result<Splits> {
    let names: Vec<String> = configs.keys().cloned().collect();
    match &request.config.config {
        Some(wanted) => configs.remove(wanted).ok_or_else(|| {
            let hint = nearest(wanted, names.iter().map(String::as_str))
                .map_or_else(String::new, |name| format!("; did you mean `{name}`?"));
            let expected = format!("one of {}{hint}", list(&names));
            Error::argument("data.config", wanted, expected).into()
        }),
        None if configs.len() > 1 => {
            let expected = format!("one of {}", list(&names));
            Err(Error::argument("data.config", "nothing", expected).into())
        }
        None => configs
            .into_values()
            .next()
            .ok_or_else(|| Dataset::error(request.name, "no Parquet files")),
    }
}

fn choose_split(mut splits: Splits, request: &Request) -> Result<Vec<PathBuf>> {
    let names: Vec<String> = splits.keys().cloned().collect();
    let ranked = names.iter().filter_map(|name| match split_named(name) {
        Some((split, rank)) if split == request.split => Some((rank, name)),
        _ => None,
    });
    if let Some((_, name)) = ranked.min() {
        return Ok(splits.remove(name).unwrap_or_default());
    }
    if let Some(files) = splits.remove("") {
        request.undivided()?;
        return Ok(files);
    }
    let wanted = match request.split {
        Split::Train => "train",
        Split::Test => "test",
    };
    let expected = format!("one of the splits of {}: {}", request.name, list(&names));
    Err(Error::argument("data.split", wanted, expected).into())
}

fn list(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::DataConfig;

    #[test]
    fn the_layouts_of_the_hub_are_read() {
        for (path, config, split) in [
            ("plain_text/train/0000.parquet", "plain_text", "train"),
            ("plain_text/partial-train/0000.parquet", "plain_text", "train"),
            ("a/b/test/0001.parquet", "a/b", "test"),
            ("full/validation-00000-of-00002-9f.parquet", "full", "validation"),
            ("data/train-00000-of-00001.parquet", "", "train"),
            ("train-00000-of-00001.parquet", "", "train"),
            ("test.parquet", "", "test"),
            ("val/x.parquet", "", "val"),
            ("other.parquet", "", ""),
            ("trained.parquet", "", ""),
            ("x/y.parquet", "x", ""),
        ] {
            let parts: Vec<String> = path.split('/').map(String::from).collect();
            let expected = Place { config: config.into(), split: split.into() };
            assert_eq!(place(&parts), expected, "{path}");
        }
    }

    fn chosen(files: &[&str], config: Option<&str>, split: Split) -> Result<Vec<PathBuf>> {
        let config = DataConfig { config: config.map(String::from), split, ..Default::default() };
        let request = Request { name: "hub:x", split, config: &config };
        choose(Path::new(""), files.iter().map(PathBuf::from).collect(), &request)
    }

    #[test]
    fn a_configuration_and_a_split_are_chosen_or_listed() {
        let files = ["a/train/0.parquet", "a/train/1.parquet", "a/test/0.parquet"];
        let train = chosen(&files, None, Split::Train).unwrap();
        assert_eq!(train, [PathBuf::from(files[0]), PathBuf::from(files[1])]);
        assert_eq!(chosen(&files, Some("a"), Split::Test).unwrap(), [PathBuf::from(files[2])]);
        let several = [files[0], "b/validation/0.parquet"];
        let error = chosen(&several, None, Split::Train).unwrap_err().to_string();
        assert!(error.contains("data.config") && error.contains("`a`, `b`"), "{error}");
        let error = chosen(&several, Some("bb"), Split::Train).unwrap_err().to_string();
        assert!(error.contains("did you mean `b`"), "{error}");
        assert_eq!(chosen(&several, Some("b"), Split::Test).unwrap().len(), 1);
        let error = chosen(&several, Some("b"), Split::Train).unwrap_err().to_string();
        assert!(error.contains("`validation`"), "{error}");
        let error = chosen(&["x.parquet"], None, Split::Test).unwrap_err().to_string();
        assert!(error.contains("data.held_out"), "{error}");
    }
}
