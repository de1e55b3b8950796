//! Checkpoints and data sets of the Hugging Face Hub, by name.
//!
//! A checkpoint is `hub:org/name[@revision]` ([`resolve`]), a data set a name and a revision
//! ([`dataset`]). Both come to a snapshot folder of the cache that every Hub client shares.
//!
//! # Environment
//!
//! | variable | meaning | read by |
//! | --- | --- | --- |
//! | `HF_HUB_CACHE`, `HUGGINGFACE_HUB_CACHE` | the cache folder | us, as hf-hub does |
//! | `HF_HOME` | cache in `$HF_HOME/hub`, token in `$HF_HOME/token` | us (cache), hf-hub (token) |
//! | `XDG_CACHE_HOME`, `HOME` | where `HF_HOME` lies by default: `~/.cache/huggingface` | both |
//! | `HF_ENDPOINT` | the Hub, `https://huggingface.co` by default | us, as hf-hub does |
//! | `HF_TOKEN`, `HF_TOKEN_PATH` | the access token, or the file that holds it | hf-hub |
//! | `HF_HUB_DISABLE_IMPLICIT_TOKEN` | send no token | hf-hub |
//! | `HF_HUB_OFFLINE` | 1, on, yes, true: only the cache is used | us; hf-hub knows none |
//! | `HF_HUB_DOWNLOAD_TIMEOUT` | seconds without a byte before giving up, 30 | us; hf-hub waits forever |
//! | `HTTP_PROXY`, `HTTPS_PROXY`, `NO_PROXY` | proxies | hf-hub's HTTP client |
//!
//! # What is promised
//!
//! A file enters the cache only after its size and its hash (SHA-256 of large files, git's SHA-1 of
//! the others) agree with what the Hub says; cached files are compared by size. Failed requests
//! are repeated as hf-hub does, up to five times over some seconds. A Hub that stays out of reach
//! makes way for the cached copy, with a line on stderr; one that refuses (401, 403, 404) does not.

mod cache;
mod request;

#[cfg(feature = "hub")]
mod fault;
#[cfg(feature = "hub")]
mod fetch;
#[cfg(feature = "hub")]
mod meter;
#[cfg(feature = "hub")]
mod verify;

use crate::error::{Error, Result};
use cache::Cached;
use request::{Repository, Request, Wanted};
use std::{
    env,
    path::{Path, PathBuf},
    time::Duration,
};

/// The local path of a checkpoint: `spec` itself, or the snapshot folder of a `hub:` name.
///
/// # Errors
/// When the name is malformed, or cannot be fetched and is not cached.
pub fn resolve(spec: &str) -> Result<PathBuf> {
    match spec.strip_prefix("hub:") {
        None => Ok(PathBuf::from(spec)),
        Some(_) => Hub::from_env()?.checkpoint(spec),
    }
}

/// The local path of a file: `spec` itself, or, of `hub:org/name[@revision]:FILE`, the file's in the
/// snapshot folder of that model.
///
/// # Errors
/// When the name is malformed, or the file cannot be fetched and is not cached.
pub fn file(spec: &str) -> Result<PathBuf> {
    match spec.strip_prefix("hub:") {
        None => Ok(PathBuf::from(spec)),
        Some(_) => Hub::from_env()?.file(spec),
    }
}

/// The snapshot folder of the data set `id` (`name` or `org/name`) at `revision`, which may contain
/// slashes (`refs/convert/parquet`). Files that match one of the `patterns` are there.
///
/// # Errors
/// As [`Hub::dataset`].
pub fn dataset(id: &str, revision: &str, patterns: &[&str]) -> Result<PathBuf> {
    Hub::from_env()?.dataset(id, revision, patterns)
}

/// A Hub and the cache in front of it.
#[derive(Clone, Debug)]
pub struct Hub {
    /// Its address, without a slash at the end.
    pub endpoint: String,
    /// The folder that holds `models--org--name` and `datasets--org--name`.
    pub cache: PathBuf,
    /// The access token; with none, hf-hub looks for one in the environment.
    pub token: Option<String>,
    /// Whether only the cache may be used.
    pub offline: bool,
    /// How long the Hub may be silent before it counts as out of reach.
    pub patience: Duration,
}

/// What a download that failed says, and whether a cached copy may stand in.
struct Fault {
    message: String,
    out_of_reach: bool,
}

impl Hub {
    /// The Hub the environment describes (see the [module](self)).
    ///
    /// # Errors
    /// When a variable holds something impossible.
    pub fn from_env() -> Result<Self> {
        let endpoint = variable("HF_ENDPOINT").unwrap_or("https://huggingface.co".into());
        let seconds = variable("HF_HUB_DOWNLOAD_TIMEOUT").unwrap_or("30".into());
        let patience = seconds.parse().ok().filter(|s| *s > 0.0);
        let patience = patience.and_then(|s: f64| Duration::try_from_secs_f64(s).ok());
        Ok(Hub {
            endpoint: endpoint.trim_end_matches('/').to_string(),
            cache: cache_folder(),
            token: None,
            offline: variable("HF_HUB_OFFLINE").is_some_and(|value| is_yes(&value)),
            patience: patience.ok_or_else(|| {
                Error::unsupported("HF_HUB_DOWNLOAD_TIMEOUT", &seconds, "seconds, above 0")
            })?,
        })
    }

    /// The snapshot folder of `hub:org/name[@revision]`, with its configuration and its weights.
    ///
    /// # Errors
    /// When the name is malformed, or cannot be fetched and is not cached.
    pub fn checkpoint(&self, spec: &str) -> Result<PathBuf> {
        let expected = "expected hub:org/name or hub:org/name@revision";
        let malformed = || Error::Input(format!("{spec}: {expected}"));
        let id = spec.strip_prefix("hub:").ok_or_else(malformed)?;
        let (id, revision) = id.split_once('@').unwrap_or((id, "main"));
        let repository = Repository::model(id).ok_or_else(malformed)?;
        request::check_revision(revision).ok_or_else(malformed)?;
        self.open(&Request { spec, repository, revision, wanted: Wanted::Checkpoint })
    }

    /// The file of `hub:org/name[@revision]:FILE`.
    ///
    /// # Errors
    /// When the name is malformed, there is no such file, or it cannot be fetched and is not cached.
    pub fn file(&self, spec: &str) -> Result<PathBuf> {
        let expected = "expected hub:org/name:FILE or hub:org/name@revision:FILE";
        let malformed = || Error::Input(format!("{spec}: {expected}"));
        let id = spec.strip_prefix("hub:").ok_or_else(malformed)?;
        let (id, file) = id.split_once(':').ok_or_else(malformed)?;
        let (id, revision) = id.split_once('@').unwrap_or((id, "main"));
        let repository = Repository::model(id).ok_or_else(malformed)?;
        request::check_revision(revision).ok_or_else(malformed)?;
        let is_plain = |part: &str| {
            !["", ".", ".."].contains(&part) && !part.contains(['*', '?', '[', '{', '\\'])
        };
        if !file.split('/').all(is_plain) {
            return Err(malformed());
        }
        let wanted = Wanted::matching(&[file]).map_err(|e| Error::Input(format!("{spec}: {e}")))?;
        Ok(self.open(&Request { spec, repository, revision, wanted })?.join(file))
    }

    /// The snapshot folder of a data set, with the files that match `patterns`: globs over the
    /// path in the repository, in which `*` also stands for slashes.
    ///
    /// # Errors
    /// When the name or a pattern is malformed, when a pattern matches no file, or when the data
    /// set cannot be fetched and is not cached.
    pub fn dataset(&self, id: &str, revision: &str, patterns: &[&str]) -> Result<PathBuf> {
        let spec = format!("data set {id}@{revision}");
        let malformed = |what: &str| Error::Input(format!("{spec}: expected {what}"));
        let repository = Repository::dataset(id).ok_or_else(|| malformed("a name, or org/name"))?;
        request::check_revision(revision)
            .ok_or_else(|| malformed("a branch, a tag or a commit after the @"))?;
        let wanted = Wanted::matching(patterns).map_err(|e| malformed(&e))?;
        self.open(&Request { spec: &spec, repository, revision, wanted })
    }

    fn open(&self, request: &Request) -> Result<PathBuf> {
        let cached = Cached::new(&self.cache, &request.repository);
        let fail = |message: String| Err(Error::Input(format!("{}: {message}", request.spec)));
        if self.offline {
            return match cached.find(request) {
                Ok(folder) => Ok(folder),
                Err(why) => fail(format!(
                    "HF_HUB_OFFLINE allows only cached copies, and {why}; unset it to download"
                )),
            };
        }
        match fetch(self, &cached, request) {
            Ok(folder) => Ok(folder),
            Err(fault) if !fault.out_of_reach => fail(fault.message),
            Err(fault) => match cached.find(request) {
                Ok(folder) => {
                    let (spec, folder_name) = (request.spec, folder.display());
                    eprintln!("{spec}: {}; using the cached copy {folder_name}", fault.message);
                    Ok(folder)
                }
                Err(why) => fail(format!("{}, and {why}", fault.message)),
            },
        }
    }
}

#[cfg(feature = "hub")]
fn fetch(hub: &Hub, cached: &Cached, request: &Request) -> Result<PathBuf, Fault> {
    fetch::fetch(hub, cached, request)
}

#[cfg(not(feature = "hub"))]
fn fetch(_: &Hub, _: &Cached, _: &Request) -> Result<PathBuf, Fault> {
    let message = "built without the feature `hub`, so nothing is downloaded".to_string();
    Err(Fault { message, out_of_reach: true })
}

/// The cache folder, by the rules of hf-hub and huggingface_hub.
fn cache_folder() -> PathBuf {
    if let Some(cache) = variable("HF_HUB_CACHE").or_else(|| variable("HUGGINGFACE_HUB_CACHE")) {
        return cache.into();
    }
    let home = variable("HF_HOME").map(PathBuf::from).unwrap_or_else(|| {
        let caches = variable("XDG_CACHE_HOME").map(PathBuf::from);
        let own = || Path::new(&variable("HOME").unwrap_or_default()).join(".cache");
        caches.unwrap_or_else(own).join("huggingface")
    });
    home.join("hub")
}

/// A variable that is set to something.
fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// What huggingface_hub takes for "yes".
fn is_yes(value: &str) -> bool {
    ["1", "ON", "YES", "TRUE"].contains(&value.to_ascii_uppercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stays_a_path() {
        assert_eq!(resolve("runs/a").unwrap(), PathBuf::from("runs/a"));
    }

    #[test]
    fn malformed_names_are_refused() {
        for spec in [
            "hub:",
            "hub:name",
            "hub:org/",
            "hub:/name",
            "hub:a/b/c",
            "hub:a/b@",
            "hub:../b",
            "hub:a/b@../../c",
            "hub:a/b@/c",
        ] {
            assert!(resolve(spec).unwrap_err().to_string().contains(spec));
        }
        for id in ["", "/name", "org/", "a/b/c", "..", "a b"] {
            let error = dataset(id, "main", &["*"]).unwrap_err().to_string();
            assert!(error.contains(&format!("data set {id}@main: expected")), "{error}");
        }
        let error = dataset("a", "x/../y", &["*"]).unwrap_err().to_string();
        assert!(error.contains("a@x/../y"), "{error}");
        let error = dataset("a", "main", &["[x"]).unwrap_err().to_string();
        assert!(error.contains("`[x`"), "{error}");
    }

    #[test]
    fn yes_is_what_other_clients_take_for_yes() {
        assert!(["1", "on", "Yes", "TRUE"].into_iter().all(is_yes));
        assert!(!["0", "off", "no", "2"].into_iter().any(is_yes));
    }
}
