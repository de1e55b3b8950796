//! Checkpoints: a network, its weights and its forward process in one folder, which diffusers
//! loads too (`DDPMPipeline.from_pretrained`), if it has a name for the network.
//!
//! What can be read: a pipeline folder (`model_index.json`, `unet/`, `scheduler/`), a folder with
//! the network in its root, a run folder holding either in `model/`, and a state dict of
//! ermongroup/ddim's `Model`. Weights are safetensors, or what `torch.save` wrote in either of its
//! containers: a state dict, a list of tensors (named "0", "1" and so on), or a training checkpoint that
//! has a state dict, of which averages are read rather than the weights in training. A
//! [classifier](ClassifierCheckpoint) and a [network over levels](CategoricalCheckpoint) have layouts of
//! their own.

mod categorical;
mod classifier;
mod features;
mod files;
mod layout;
mod names;
mod scheduler;
mod summary;
mod torch;

pub use categorical::CategoricalCheckpoint;
pub use classifier::ClassifierCheckpoint;
pub use features::{read_features, read_lpips};
pub use scheduler::SchedulerConfig;
pub use summary::{Summary, TensorSummary};

use crate::{
    error::{Error, Result},
    nets::{Architecture, Classes, NetworkDenoiser, unet::UnetConfig},
    params::{ParamBuilder, Params},
    pictures::Transform,
};
use candle_core::{DType, Device, Tensor};
use diff_core::{Schedule, save};
use files::Weights;
use layout::Layout;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
};

/// A network with its weights and its forward process.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// The network; it predicts what the scheduler file says.
    pub denoiser: NetworkDenoiser,
    /// Its parameters.
    pub params: Params,
    /// The forward process it was trained on.
    pub schedule: Schedule,
    /// Further settings of the scheduler file: clipping, variance, prediction type.
    pub scheduler: SchedulerConfig,
    /// What is stored beside the weights under `diff.*`.
    pub metadata: BTreeMap<String, String>,
    /// The file the weights came from, if they came from one.
    pub source: Option<PathBuf>,
}

/// The version of diffusers whose layout is written.
const DIFFUSERS: &str = "0.42.1";
const TRANSFORM: &str = "diff.transform";

impl Checkpoint {
    /// The weights' place in a checkpoint folder.
    pub const WEIGHTS: &str = "unet/diffusion_pytorch_model.safetensors";

    /// Reads a checkpoint as f32, for inference: the network records nothing to differentiate.
    /// `spec` is a path, or `hub:org/name[@revision]`.
    ///
    /// # Errors
    /// Names the file at fault: missing, truncated, not JSON, an option that is not supported, or
    /// weights that do not fit (all of them listed).
    pub fn open(spec: &str, device: &Device) -> Result<Self> {
        Self::read(spec, device, true)
    }

    /// [`Checkpoint::open`], with a network that can be differentiated.
    ///
    /// # Errors
    /// As [`Checkpoint::open`].
    pub fn open_trainable(spec: &str, device: &Device) -> Result<Self> {
        Self::read(spec, device, false)
    }

    fn read(spec: &str, device: &Device, frozen: bool) -> Result<Self> {
        let layout = Layout::find(&crate::hub::resolve(spec)?)?;
        let Weights { tensors, metadata } = files::read_weights(&layout.weights)?;
        let (architecture, tensors) = network(&layout, tensors)?;
        let scheduler = match &layout.scheduler {
            None => SchedulerConfig::of(&architecture),
            Some(path) => files::read_json(path)?,
        };
        let schedule = scheduler.schedule().map_err(|e| match &layout.scheduler {
            Some(path) => Error::file(path, e),
            None => e,
        })?;
        let file = layout.weights.display().to_string();
        let builder = ParamBuilder::weights(tensors, file, DType::F32, device);
        let mut builder = if frozen { builder.frozen() } else { builder };
        let network = (architecture.config().network(&mut builder)).map_err(|e| {
            let config = layout.config.as_ref().map(|(path, _)| path);
            Error::file(config.unwrap_or(&layout.weights), e)
        })?;
        let denoiser = NetworkDenoiser::new(network).predicting(scheduler.prediction_type);
        let metadata = metadata.into_iter().filter(|(key, _)| key.starts_with("diff.")).collect();
        let source = Some(layout.weights);
        Ok(Checkpoint {
            denoiser,
            params: builder.finish()?,
            schedule,
            scheduler,
            metadata,
            source,
        })
    }

    /// A fresh network: parameters start as PyTorch's would, drawn from `seed`.
    ///
    /// # Errors
    /// When the architecture is impossible.
    pub fn init(
        architecture: &Architecture,
        schedule: Schedule,
        seed: u64,
        device: &Device,
    ) -> Result<Self> {
        let builder = ParamBuilder::init(seed, DType::F32, device);
        Self::built(architecture, schedule, builder, None)
    }

    /// A network with the weights of a file of another project, which has no configuration that could
    /// be read: names and shapes must be those of the architecture. What their repositories add to the
    /// weights (`module.` before every name, buffers that are no weights) is taken away.
    ///
    /// # Errors
    /// When the file does not read, or its weights do not fit; every one that does not is listed.
    pub fn import(
        weights: &Path,
        architecture: &Architecture,
        schedule: Schedule,
        device: &Device,
    ) -> Result<Self> {
        let mut tensors = names::plain(files::read_weights(weights)?.tensors);
        if names::is_ermongroup(&tensors) {
            let levels = names::ermongroup_config(&tensors).block_out_channels.len();
            tensors = names::from_ermongroup(tensors, levels)?;
        }
        let file = weights.display().to_string();
        let builder = ParamBuilder::weights(tensors, file, DType::F32, device);
        Self::built(architecture, schedule, builder, Some(weights.to_path_buf()))
    }

    fn built(
        architecture: &Architecture,
        schedule: Schedule,
        mut builder: ParamBuilder,
        source: Option<PathBuf>,
    ) -> Result<Self> {
        let denoiser = NetworkDenoiser::new(architecture.config().network(&mut builder)?);
        let scheduler = SchedulerConfig::of(architecture).with_schedule(&schedule);
        let (params, metadata) = (builder.finish()?, BTreeMap::new());
        Ok(Checkpoint { denoiser, params, schedule, scheduler, metadata, source })
    }

    /// Writes a pipeline folder with `weights` (the averaged ones, say) in place of the
    /// parameters' current values.
    ///
    /// The folder appears whole or not at all; one that is already there and holds nothing but a
    /// checkpoint is replaced.
    ///
    /// # Errors
    /// When `weights` do not have the parameters' names and shapes, when `folder` holds other
    /// files, or when writing fails.
    pub fn write(&self, folder: &Path, weights: &[(String, Tensor)]) -> Result<()> {
        let ordered = in_order(&self.params, weights)?;
        let mut metadata = self.metadata.clone();
        metadata.insert("format".into(), "pt".into());
        save::folder(folder, &["model_index.json", "unet", "scheduler"], |scratch| -> Result<()> {
            files::write_safetensors(&scratch.join(Self::WEIGHTS), &ordered, &metadata)?;
            files::write_json(&scratch.join("unet/config.json"), &self.config_json())?;
            let scheduler = scratch.join("scheduler/scheduler_config.json");
            files::write_json(&scheduler, &self.scheduler_json())?;
            files::write_json(&scratch.join("model_index.json"), &self.index_json())
        })
    }

    /// The network with other weights (averaged ones, say), for inference.
    ///
    /// # Errors
    /// When `weights` do not have the parameters' names and shapes, or are not finite.
    pub fn with_weights(&self, weights: &[(String, Tensor)]) -> Result<NetworkDenoiser> {
        let device = self.params.iter().next().map_or(&Device::Cpu, |(_, var)| var.device());
        let weights = weights.iter().cloned().collect();
        let mut builder = ParamBuilder::weights(weights, "weights", DType::F32, device).frozen();
        let network = self.denoiser.architecture().config().network(&mut builder)?;
        builder.finish()?;
        Ok(NetworkDenoiser::new(network).predicting(self.denoiser.prediction_type()))
    }

    /// What the network sees of a picture, from the metadata `diff.transform`; 2x - 1 where it does
    /// not tell.
    ///
    /// # Errors
    /// When it tells something unknown.
    pub fn transform(&self) -> Result<Transform> {
        let Some(name) = self.metadata.get(TRANSFORM) else { return Ok(Transform::default()) };
        serde_json::from_value(json!(name))
            .map_err(|_| Error::unsupported(TRANSFORM, name, "rescaled, logit"))
    }

    /// Notes what the network sees of a picture.
    pub fn set_transform(&mut self, transform: Transform) {
        if let Value::String(name) = json!(transform) {
            self.metadata.insert(TRANSFORM.into(), name);
        }
    }

    /// C, H, W of the pictures its network was made for.
    ///
    /// # Errors
    /// When its configuration does not tell the size.
    pub fn image_shape(&self) -> Result<[usize; 3]> {
        self.denoiser.architecture().config().image_shape().ok_or_else(|| {
            let message = "the checkpoint's config.json has no sample_size: picture size unknown";
            Error::Input(message.into())
        })
    }

    /// The classes its network knows, if it is conditioned on them.
    pub fn classes(&self) -> Option<Classes> {
        self.denoiser.architecture().config().classes()
    }

    /// Whether its network is given an image besides.
    pub fn takes_image(&self) -> bool {
        self.denoiser.architecture().config().takes_image()
    }

    /// What there is to know about the checkpoint.
    pub fn summary(&self) -> Summary {
        Summary::of(self)
    }

    fn config_json(&self) -> Value {
        let architecture = self.denoiser.architecture();
        let mut value = architecture.config().to_json();
        value["_class_name"] = json!(architecture.class());
        if architecture.class() == Some(UnetConfig::CLASS) {
            value["_diffusers_version"] = json!(DIFFUSERS);
        }
        value
    }

    fn index_json(&self) -> Value {
        let class = self.denoiser.architecture().class();
        let (pipeline, library) = match class == Some(UnetConfig::CLASS) {
            true => ("DDPMPipeline", "diffusers"),
            false => ("DiffPipeline", "diff"),
        };
        json!({
            "_class_name": pipeline,
            "_diffusers_version": DIFFUSERS,
            "scheduler": ["diffusers", "DDPMScheduler"],
            "unet": [library, class],
        })
    }

    fn scheduler_json(&self) -> Value {
        let config = SchedulerConfig {
            class_name: "DDPMScheduler".into(),
            prediction_type: self.denoiser.prediction_type(),
            ..self.scheduler.clone().with_schedule(&self.schedule)
        };
        let mut value = json!(config);
        value["_diffusers_version"] = json!(DIFFUSERS);
        value
    }
}

/// The tensors of a safetensors file, or else of a file of PyTorch: its state dict, or in a training
/// checkpoint the averaged weights. Nothing is run that such a file names, and what is no tensor is left
/// out.
///
/// # Errors
/// When the file is missing, damaged or truncated, when it holds other types of numbers than floats of
/// 16, 32 and 64 bits and integers of 64, or when it does not tell which of its state dicts is meant.
pub fn read_tensors(path: &Path) -> Result<HashMap<String, Tensor>> {
    Ok(files::read_weights(path)?.tensors)
}

/// Writes tensors as f32 safetensors, in the order given, whole or not at all.
///
/// # Errors
/// When writing fails.
pub fn write_tensors(path: &Path, tensors: &[(String, Tensor)]) -> Result<()> {
    files::write_safetensors(path, tensors, &BTreeMap::new())
}

/// `weights` in the order of the parameters, whose names and shapes they must have.
fn in_order(params: &Params, weights: &[(String, Tensor)]) -> Result<Vec<(String, Tensor)>> {
    let mut left: HashMap<&str, &Tensor> = weights.iter().map(|(n, t)| (n.as_str(), t)).collect();
    let mut ordered = Vec::with_capacity(weights.len());
    for (name, var) in params.iter() {
        match left.remove(name) {
            Some(tensor) if tensor.shape() == var.shape() => {
                ordered.push((name.to_string(), tensor.clone()));
            }
            found => {
                let found = found.map(|t| format!("{:?}", t.dims()));
                return Err(Error::Input(format!(
                    "weights to write: {name}: expected shape {:?}, found {}",
                    var.dims(),
                    found.as_deref().unwrap_or("none")
                )));
            }
        }
    }
    match left.keys().min() {
        Some(name) => Err(Error::Input(format!("weights to write: {name} is no parameter"))),
        None => Ok(ordered),
    }
}

/// The network's architecture, and its weights under the names it has for them.
fn network(
    layout: &Layout,
    tensors: HashMap<String, Tensor>,
) -> Result<(Architecture, HashMap<String, Tensor>)> {
    if let Some((_, architecture)) = &layout.config {
        let tensors = match architecture {
            Architecture::Unet(_) => names::modern(tensors),
            _ => tensors,
        };
        return Ok((architecture.clone(), tensors));
    }
    if !names::is_ermongroup(&tensors) {
        let message = "no config.json beside it, and not a state dict of ermongroup/ddim's Model \
                       (`diff-models import` reads those of other networks)";
        return Err(Error::file(&layout.weights, message));
    }
    let config = names::ermongroup_config(&tensors);
    let tensors = names::from_ermongroup(tensors, config.block_out_channels.len())?;
    Ok((config.into(), tensors))
}
