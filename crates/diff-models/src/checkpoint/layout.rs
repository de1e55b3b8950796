//! Where the parts of a checkpoint lie.

use super::{categorical, files};
use crate::{
    error::{Error, Result},
    nets::{Architecture, unet::UnetConfig},
};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// The files of a denoiser's checkpoint.
#[derive(Debug)]
pub(super) struct Layout {
    /// `config.json` of the network and what it says; none for a bare state dict.
    pub(super) config: Option<(PathBuf, Architecture)>,
    /// The weights.
    pub(super) weights: PathBuf,
    /// `scheduler_config.json`, where there is one.
    pub(super) scheduler: Option<PathBuf>,
}

/// File names weights go by, best first.
const WEIGHTS: [&str; 2] = ["diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin"];

impl Layout {
    /// Finds the files of a network below `path`: a pipeline folder, a folder with the network in its
    /// root, a run folder that holds either in `model/`, or a state dict.
    pub(super) fn find(path: &Path) -> Result<Self> {
        if path.is_file() {
            return Ok(Layout { config: None, weights: path.to_path_buf(), scheduler: None });
        }
        let (root, network) = folders(path)?;
        let config = network.join("config.json");
        let (class, entries) = read_config(&config)?;
        if class == categorical::CLASS {
            let message = "a network over levels (DiffCategorical), not a denoiser; `diff-sample \
                           discrete` samples from it";
            return Err(Error::file(config, message));
        }
        let architecture =
            Architecture::from_json(&class, entries).map_err(|e| Error::file(&config, e))?;
        let Some(weights) =
            WEIGHTS.map(|name| network.join(name)).into_iter().find(|p| p.is_file())
        else {
            return Err(Error::file(
                network,
                format!("has neither {} nor {}", WEIGHTS[0], WEIGHTS[1]),
            ));
        };
        let scheduler = ["scheduler/scheduler_config.json", "scheduler_config.json"]
            .map(|name| root.join(name))
            .into_iter()
            .find(|path| path.is_file());
        Ok(Layout { config: Some((config, architecture)), weights, scheduler })
    }
}

/// The folder of a checkpoint at `path` and, in it or the same, that of its network, in which there
/// is a `config.json`; whatever kind of network it is.
pub(super) fn folders(path: &Path) -> Result<(PathBuf, PathBuf)> {
    if path.is_file() {
        return Err(Error::file(path, "a file, expected a folder with config.json and weights"));
    }
    if !path.is_dir() {
        return Err(Error::file(path, "there is no such file or folder"));
    }
    let nested = path.join("model");
    let root = if holds_network(path) || !holds_network(&nested) { path } else { &nested };
    let network = if root.join("unet").is_dir() { root.join("unet") } else { root.to_path_buf() };
    if network.join("config.json").is_file() {
        return Ok((root.to_path_buf(), network));
    }
    let message = match path.join("checkpoints").is_dir() {
        true => "a run that is not finished; name one of its checkpoints/ or milestones/",
        false => "no unet/config.json, config.json or model/ here: not a checkpoint",
    };
    Err(Error::file(path, message))
}

/// What a network's `config.json` calls it, and its other entries, those that start with `_` (versions
/// of libraries) left out but for our own. A file that does not tell the class is diffusers' of old.
pub(super) fn read_config(path: &Path) -> Result<(String, Value)> {
    let mut entries: Map<String, Value> = files::read_json(path)?;
    let class = match entries.get("_class_name") {
        None => UnetConfig::CLASS.to_string(),
        Some(Value::String(name)) => name.clone(),
        Some(other) => other.to_string(),
    };
    entries.retain(|name, _| !name.starts_with('_') || name == "_null_class");
    Ok((class, Value::Object(entries)))
}

fn holds_network(folder: &Path) -> bool {
    folder.join("unet").is_dir() || folder.join("config.json").is_file()
}
