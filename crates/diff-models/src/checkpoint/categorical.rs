//! Checkpoints of networks over levels: a folder with `config.json`, which tells the body of the network
//! and its categorical process, and `model.safetensors`.

use super::{files, in_order, layout};
use crate::{
    error::{Error, Result},
    nets::{Architecture, Categorical, CategoricalSpec},
    params::{ParamBuilder, Params},
};
use candle_core::{DType, Device, Tensor};
use diff_core::{
    discrete::{CategoricalProcess, ProcessSpec},
    save,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// What `config.json` calls the network.
pub(super) const CLASS: &str = "DiffCategorical";

/// A network over levels with its weights and its forward process.
#[derive(Clone, Debug)]
pub struct CategoricalCheckpoint {
    /// The network.
    pub network: Categorical,
    /// Its parameters.
    pub params: Params,
    /// What is stored beside the weights under `diff.*`.
    pub metadata: BTreeMap<String, String>,
    /// The file the weights came from, if they came from one.
    pub source: Option<PathBuf>,
    spec: ProcessSpec,
    process: CategoricalProcess,
}

/// The entries of `config.json`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entries {
    process: ProcessSpec,
    body: Architecture,
}

impl CategoricalCheckpoint {
    /// The weights' place in a checkpoint folder.
    pub const WEIGHTS: &str = "model.safetensors";

    /// Reads a network as f32, for inference: it records nothing to differentiate. `spec` is its
    /// folder, a run folder that holds it in `model/`, or `hub:org/name[@revision]`.
    ///
    /// # Errors
    /// Names the file at fault: missing, truncated, not JSON, of another kind of network, an option
    /// that is unknown or impossible, or weights that do not fit (all of them listed).
    pub fn open(spec: &str, device: &Device) -> Result<Self> {
        let (_, folder) = layout::folders(&crate::hub::resolve(spec)?)?;
        let config = folder.join("config.json");
        let Entries { process, body } = read_entries(&config)?;
        let weights = folder.join(Self::WEIGHTS);
        let files::Weights { tensors, metadata } = files::read_weights(&weights)?;
        let file = weights.display().to_string();
        let builder = ParamBuilder::weights(tensors, file, DType::F32, device).frozen();
        let wrong = |e| match e {
            e @ Error::Weights { .. } => e,
            e => Error::file(&config, e),
        };
        let read = Self::built(CategoricalSpec { body }, process, builder).map_err(wrong)?;
        let metadata = metadata.into_iter().filter(|(key, _)| key.starts_with("diff.")).collect();
        Ok(CategoricalCheckpoint { metadata, source: Some(weights), ..read })
    }

    /// A fresh network: parameters start as PyTorch's would, drawn from `seed`.
    ///
    /// # Errors
    /// When the specification of the network or of the process is impossible.
    pub fn init(
        spec: CategoricalSpec,
        process: ProcessSpec,
        seed: u64,
        device: &Device,
    ) -> Result<Self> {
        Self::built(spec, process, ParamBuilder::init(seed, DType::F32, device))
    }

    fn built(
        network: CategoricalSpec,
        spec: ProcessSpec,
        mut builder: ParamBuilder,
    ) -> Result<Self> {
        let process = spec.process(network.levels()?)?;
        let network = Categorical::new(network, &mut builder)?;
        let (params, metadata) = (builder.finish()?, BTreeMap::new());
        Ok(CategoricalCheckpoint { network, params, metadata, source: None, spec, process })
    }

    /// Writes a checkpoint folder with `weights` (the averaged ones, say) in place of the
    /// parameters' current values.
    ///
    /// The folder appears whole or not at all; one that is already there and holds nothing but such a
    /// checkpoint is replaced.
    ///
    /// # Errors
    /// When `weights` do not have the parameters' names and shapes, when `folder` holds other
    /// files, or when writing fails.
    pub fn write(&self, folder: &Path, weights: &[(String, Tensor)]) -> Result<()> {
        let ordered = in_order(&self.params, weights)?;
        let mut metadata = self.metadata.clone();
        metadata.insert("format".into(), "pt".into());
        let body = self.network.spec().body.clone();
        let mut config = json!(Entries { process: self.spec, body });
        config["_class_name"] = json!(CLASS);
        save::folder(folder, &["config.json", Self::WEIGHTS], |scratch| -> Result<()> {
            files::write_safetensors(&scratch.join(Self::WEIGHTS), &ordered, &metadata)?;
            files::write_json(&scratch.join("config.json"), &config)
        })
    }

    /// The network with other weights (averaged ones, say), for inference.
    ///
    /// # Errors
    /// When `weights` do not have the parameters' names and shapes, or are not finite.
    pub fn with_weights(&self, weights: &[(String, Tensor)]) -> Result<Categorical> {
        let device = self.params.iter().next().map_or(&Device::Cpu, |(_, var)| var.device());
        let weights = weights.iter().cloned().collect();
        let mut builder = ParamBuilder::weights(weights, "weights", DType::F32, device).frozen();
        let network = Categorical::new(self.network.spec().clone(), &mut builder)?;
        builder.finish()?;
        Ok(network)
    }

    /// The forward process it was trained on.
    pub fn process(&self) -> &CategoricalProcess {
        &self.process
    }

    /// What determines that process, with the network's levels.
    pub fn process_spec(&self) -> ProcessSpec {
        self.spec
    }
}

fn read_entries(path: &Path) -> Result<Entries> {
    let (class, config) = layout::read_config(path)?;
    if class != CLASS {
        let supported = format!("{CLASS}, a network over levels; this is another kind of network");
        return Err(Error::file(path, Error::unsupported("_class_name", class, supported)));
    }
    serde_json::from_value(config).map_err(|e| Error::file(path, e))
}
