//! Checkpoints named `hub:org/name[@revision]`, fetched from the Hugging Face Hub.
//!
//! The cache is the one every Hub client shares: `HF_HUB_CACHE`, else `HF_HOME/hub`, else
//! `~/.cache/huggingface/hub`. With `HF_HUB_OFFLINE=1`, or without a connection, only the cache is
//! used.

use crate::error::{Error, Result};
use std::path::PathBuf;

/// The local path of a checkpoint: `spec` itself, or the cache folder of a `hub:` name.
///
/// # Errors
/// When the name is malformed, cannot be fetched and is not cached, or the feature `hub` is off.
pub fn resolve(spec: &str) -> Result<PathBuf> {
    match spec.strip_prefix("hub:") {
        None => Ok(PathBuf::from(spec)),
        Some(name) => fetch(spec, name),
    }
}

/// The snapshot folder of a data set, `name` or `org/name`, with the files that match `patterns`.
///
/// # Errors
/// When it is not cached.
pub fn dataset(id: &str, revision: &str, _patterns: &[&str]) -> Result<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let cache = variable("HF_HUB_CACHE").or_else(|| variable("HF_HOME").map(|h| h.join("hub")));
    let missing = || Error::Input(format!("hub:{id}@{revision}: not in the cache"));
    let folder = cache.ok_or_else(missing)?.join(format!("datasets--{}", id.replace('/', "--")));
    let commit = std::fs::read_to_string(folder.join("refs").join(revision));
    let snapshot = folder.join("snapshots").join(commit.map_err(|_| missing())?.trim());
    if snapshot.is_dir() { Ok(snapshot) } else { Err(missing()) }
}

#[cfg(not(feature = "hub"))]
fn fetch(spec: &str, _name: &str) -> Result<PathBuf> {
    Err(Error::Input(format!("{spec}: built without the feature `hub`; give a local folder")))
}

#[cfg(feature = "hub")]
fn fetch(spec: &str, name: &str) -> Result<PathBuf> {
    let (name, revision) = match name.split_once('@') {
        None => (name, None),
        Some((name, revision)) => (name, Some(revision.to_string())),
    };
    let malformed =
        || Error::Input(format!("{spec}: expected hub:org/name or hub:org/name@revision"));
    let (owner, name) = name.split_once('/').ok_or_else(malformed)?;
    if owner.is_empty() || name.is_empty() || name.contains('/') || revision.as_deref() == Some("")
    {
        return Err(malformed());
    }
    download(owner, name, revision).map_err(|e| Error::Input(format!("{spec}: {e}")))
}

#[cfg(feature = "hub")]
fn download(owner: &str, name: &str, revision: Option<String>) -> hf_hub::HFResult<PathBuf> {
    const TEXTS: [&str; 5] = [
        "model_index.json",
        "config.json",
        "scheduler_config.json",
        "unet/config.json",
        "scheduler/scheduler_config.json",
    ];
    const WEIGHTS: [[&str; 2]; 2] = [
        ["diffusion_pytorch_model.safetensors", "unet/diffusion_pytorch_model.safetensors"],
        ["diffusion_pytorch_model.bin", "unet/diffusion_pytorch_model.bin"],
    ];
    let repository = hf_hub::HFClientSync::new()?.model(owner, name);
    let cached = || {
        repository
            .snapshot_download()
            .maybe_revision(revision.clone())
            .local_files_only(true)
            .send()
    };
    if offline() {
        return cached();
    }
    let mut folder = None;
    for weights in WEIGHTS {
        let patterns = TEXTS.iter().chain(&weights).map(|name| name.to_string()).collect();
        let got = repository
            .snapshot_download()
            .maybe_revision(revision.clone())
            .allow_patterns(patterns)
            .send();
        let got = match got {
            Ok(got) => got,
            // Without a connection, what is cached has to do.
            Err(error) => return cached().or(Err(error)),
        };
        let complete = weights.iter().any(|name| got.join(name).is_file());
        folder = Some(got);
        if complete {
            break;
        }
    }
    folder.map_or_else(cached, Ok)
}

/// What huggingface_hub takes for "yes".
#[cfg(feature = "hub")]
fn offline() -> bool {
    let value = std::env::var("HF_HUB_OFFLINE").unwrap_or_default().to_ascii_uppercase();
    ["1", "ON", "YES", "TRUE"].contains(&value.as_str())
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
        for spec in ["hub:", "hub:name", "hub:org/", "hub:/name", "hub:a/b/c", "hub:a/b@"] {
            assert!(resolve(spec).unwrap_err().to_string().contains(spec));
        }
    }
}
