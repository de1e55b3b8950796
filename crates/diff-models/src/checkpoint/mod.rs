//! Checkpoints: a network, its weights and its forward process in one folder, which diffusers
//! loads too (`DDPMPipeline.from_pretrained`).
//!
//! What can be read: a pipeline folder (`model_index.json`, `unet/`, `scheduler/`), a folder with
//! the network in its root, a run folder holding either in `model/`, and a state dict of
//! ermongroup/ddim's `Model`. Weights are safetensors or a PyTorch zip archive. A
//! [classifier](ClassifierCheckpoint) has a layout of its own.

mod classifier;
mod files;
mod layout;
mod names;
mod scheduler;
mod summary;

pub use classifier::ClassifierCheckpoint;
pub use scheduler::SchedulerConfig;
pub use summary::{Summary, TensorSummary};

use crate::{
    error::{Error, Result},
    nets::unet::{Unet, UnetConfig},
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
    pub unet: Unet,
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
/// What diffusers calls the network.
const CLASS: &str = "UNet2DModel";
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
        let layout = Layout::find(&crate::hub::resolve(spec)?, CLASS)?;
        let scheduler = match &layout.scheduler {
            None => SchedulerConfig::default(),
            Some(path) => files::read_json(path)?,
        };
        let schedule = scheduler.schedule().map_err(|e| match &layout.scheduler {
            Some(path) => Error::file(path, e),
            None => e,
        })?;
        let Weights { tensors, metadata } = files::read_weights(&layout.weights)?;
        let (config, tensors) = network(&layout, tensors)?;
        let file = layout.weights.display().to_string();
        let builder = ParamBuilder::weights(tensors, file, DType::F32, device);
        let mut builder = if frozen { builder.frozen() } else { builder };
        let unet = Unet::new(config, &mut builder)
            .map_err(|e| Error::file(layout.config.as_ref().unwrap_or(&layout.weights), e))?
            .predicting(scheduler.prediction_type);
        let metadata = metadata.into_iter().filter(|(key, _)| key.starts_with("diff.")).collect();
        let source = Some(layout.weights);
        Ok(Checkpoint { unet, params: builder.finish()?, schedule, scheduler, metadata, source })
    }

    /// A fresh network: parameters start as PyTorch's would, drawn from `seed`.
    pub fn init(
        config: UnetConfig,
        schedule: Schedule,
        seed: u64,
        device: &Device,
    ) -> Result<Self> {
        let mut builder = ParamBuilder::init(seed, DType::F32, device);
        let unet = Unet::new(config, &mut builder)?;
        let scheduler = SchedulerConfig::default().with_schedule(&schedule);
        let (metadata, source) = (BTreeMap::new(), None);
        Ok(Checkpoint { unet, params: builder.finish()?, schedule, scheduler, metadata, source })
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
            files::write_json(&scratch.join("model_index.json"), &index_json())
        })
    }

    /// The network with other weights (averaged ones, say), for inference.
    ///
    /// # Errors
    /// When `weights` do not have the parameters' names and shapes, or are not finite.
    pub fn with_weights(&self, weights: &[(String, Tensor)]) -> Result<Unet> {
        let device = self.params.iter().next().map_or(&Device::Cpu, |(_, var)| var.device());
        let weights = weights.iter().cloned().collect();
        let mut builder = ParamBuilder::weights(weights, "weights", DType::F32, device).frozen();
        let unet = Unet::new(self.unet.config().clone(), &mut builder)?;
        builder.finish()?;
        Ok(unet.predicting(self.unet.prediction_type()))
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
        let config = self.unet.config();
        let size = config.sample_size.ok_or_else(|| {
            let message = "the checkpoint's config.json has no sample_size: picture size unknown";
            Error::Input(message.into())
        })?;
        let (height, width) = size.sides();
        Ok([config.in_channels, height, width])
    }

    /// What there is to know about the checkpoint.
    pub fn summary(&self) -> Summary {
        Summary::of(self)
    }

    fn config_json(&self) -> Value {
        let mut value = json!(self.unet.config());
        value["_class_name"] = json!(CLASS);
        value["_diffusers_version"] = json!(DIFFUSERS);
        // An integer in diffusers.
        value["freq_shift"] = whole(self.unet.config().freq_shift);
        value
    }

    fn scheduler_json(&self) -> Value {
        let config = SchedulerConfig {
            class_name: "DDPMScheduler".into(),
            prediction_type: self.unet.prediction_type(),
            ..self.scheduler.clone().with_schedule(&self.schedule)
        };
        let mut value = json!(config);
        value["_diffusers_version"] = json!(DIFFUSERS);
        value
    }
}

/// The tensors of a safetensors file (or of a PyTorch archive with a flat dictionary).
///
/// # Errors
/// When the file is missing, damaged or truncated.
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

fn index_json() -> Value {
    json!({
        "_class_name": "DDPMPipeline",
        "_diffusers_version": DIFFUSERS,
        "scheduler": ["diffusers", "DDPMScheduler"],
        "unet": ["diffusers", CLASS],
    })
}

fn whole(value: f64) -> Value {
    if value.fract() == 0.0 { json!(value as i64) } else { json!(value) }
}

/// The network's configuration, and its weights under today's names.
fn network(
    layout: &Layout,
    tensors: HashMap<String, Tensor>,
) -> Result<(UnetConfig, HashMap<String, Tensor>)> {
    if let Some(path) = &layout.config {
        let config: UnetConfig = files::read_json(path)?;
        return Ok((config, names::modern(tensors)));
    }
    if !names::is_ermongroup(&tensors) {
        let message = "no config.json beside it, and not a state dict of ermongroup/ddim's Model";
        return Err(Error::file(&layout.weights, message));
    }
    let config = names::ermongroup_config(&tensors);
    let tensors = names::from_ermongroup(tensors, config.block_out_channels.len())?;
    Ok((config, tensors))
}
