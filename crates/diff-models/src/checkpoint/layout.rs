//! Where the parts of a checkpoint lie.

use super::files;
use crate::error::{Error, Result};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// The files of a denoiser's checkpoint.
#[derive(Debug)]
pub(super) struct Layout {
    /// `config.json` of the network; none for a bare state dict.
    pub(super) config: Option<PathBuf>,
    /// The weights.
    pub(super) weights: PathBuf,
    /// `scheduler_config.json`, where there is one.
    pub(super) scheduler: Option<PathBuf>,
}

/// File names weights go by, best first.
const WEIGHTS: [&str; 2] = ["diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin"];

impl Layout {
    /// Finds the files of a network of `class` below `path`: a pipeline folder, a folder with the
    /// network in its root, a run folder that holds either in `model/`, or a state dict.
    pub(super) fn find(path: &Path, class: &str) -> Result<Self> {
        if path.is_file() {
            return Ok(Layout { config: None, weights: path.to_path_buf(), scheduler: None });
        }
        let (root, network) = folders(path)?;
        let config = network.join("config.json");
        check_class(&config, class)?;
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
        Ok(Layout { config: Some(config), weights, scheduler })
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

/// Refuses a network that calls itself otherwise than `class`.
pub(super) fn check_class(config: &Path, class: &str) -> Result<()> {
    let value: Value = files::read_json(config)?;
    match value.get("_class_name") {
        Some(name) if name != class => {
            let name = name.as_str().map_or_else(|| name.to_string(), str::to_string);
            Err(Error::file(config, Error::unsupported("_class_name", name, class)))
        }
        _ => Ok(()),
    }
}

fn holds_network(folder: &Path) -> bool {
    folder.join("unet").is_dir() || folder.join("config.json").is_file()
}
