//! Checkpoints of classifiers: a folder with `config.json` and `model.safetensors`.

use super::{files, in_order, layout};
use crate::{
    error::{Error, Result},
    nets::{Classifier, ClassifierSpec},
    params::{ParamBuilder, Params},
};
use candle_core::{DType, Device, Tensor};
use diff_core::save;
use serde_json::json;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// What `config.json` calls the network.
const CLASS: &str = "DiffClassifier";

/// A classifier with its weights.
#[derive(Clone, Debug)]
pub struct ClassifierCheckpoint {
    /// The network.
    pub classifier: Classifier,
    /// Its parameters.
    pub params: Params,
    /// What is stored beside the weights under `diff.*`.
    pub metadata: BTreeMap<String, String>,
    /// The file the weights came from, if they came from one.
    pub source: Option<PathBuf>,
}

impl ClassifierCheckpoint {
    /// The weights' place in a checkpoint folder.
    pub const WEIGHTS: &str = "model.safetensors";

    /// Reads a classifier as f32, for inference: the network records nothing to differentiate.
    /// `spec` is its folder, a run folder that holds it in `model/`, or `hub:org/name[@revision]`.
    ///
    /// # Errors
    /// Names the file at fault: missing, truncated, not JSON, of another kind of network, an option
    /// that is unknown or impossible, or weights that do not fit (all of them listed).
    pub fn open(spec: &str, device: &Device) -> Result<Self> {
        let (_, folder) = layout::folders(&crate::hub::resolve(spec)?)?;
        let config = folder.join("config.json");
        let network = read_spec(&config)?;
        let weights = folder.join(Self::WEIGHTS);
        let files::Weights { tensors, metadata } = files::read_weights(&weights)?;
        let file = weights.display().to_string();
        let mut builder = ParamBuilder::weights(tensors, file, DType::F32, device).frozen();
        let classifier =
            Classifier::new(network, &mut builder).map_err(|e| Error::file(&config, e))?;
        let metadata = metadata.into_iter().filter(|(key, _)| key.starts_with("diff.")).collect();
        let source = Some(weights);
        Ok(ClassifierCheckpoint { classifier, params: builder.finish()?, metadata, source })
    }

    /// A fresh network: parameters start as PyTorch's would, drawn from `seed`.
    ///
    /// # Errors
    /// When the specification is impossible.
    pub fn init(spec: ClassifierSpec, seed: u64, device: &Device) -> Result<Self> {
        let mut builder = ParamBuilder::init(seed, DType::F32, device);
        let classifier = Classifier::new(spec, &mut builder)?;
        let (metadata, source) = (BTreeMap::new(), None);
        Ok(ClassifierCheckpoint { classifier, params: builder.finish()?, metadata, source })
    }

    /// Writes a checkpoint folder with `weights` (the averaged ones, say) in place of the
    /// parameters' current values.
    ///
    /// The folder appears whole or not at all; one that is already there and holds nothing but a
    /// classifier is replaced.
    ///
    /// # Errors
    /// When `weights` do not have the parameters' names and shapes, when `folder` holds other
    /// files, or when writing fails.
    pub fn write(&self, folder: &Path, weights: &[(String, Tensor)]) -> Result<()> {
        let ordered = in_order(&self.params, weights)?;
        let mut metadata = self.metadata.clone();
        metadata.insert("format".into(), "pt".into());
        let mut config = json!(self.classifier.spec());
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
    pub fn with_weights(&self, weights: &[(String, Tensor)]) -> Result<Classifier> {
        let device = self.params.iter().next().map_or(&Device::Cpu, |(_, var)| var.device());
        let weights = weights.iter().cloned().collect();
        let mut builder = ParamBuilder::weights(weights, "weights", DType::F32, device).frozen();
        let classifier = Classifier::new(self.classifier.spec().clone(), &mut builder)?;
        builder.finish()?;
        Ok(classifier)
    }

    /// The data set it was trained on, and after a `?` how its pictures were prepared, where the
    /// metadata (`diff.data`) tell.
    pub fn data(&self) -> Option<&str> {
        self.metadata.get("diff.data").map(String::as_str)
    }
}

fn read_spec(path: &Path) -> Result<ClassifierSpec> {
    let (class, config) = layout::read_config(path)?;
    if class != CLASS {
        return Err(Error::file(path, Error::unsupported("_class_name", class, CLASS)));
    }
    serde_json::from_value(config).map_err(|e| Error::file(path, e))
}
