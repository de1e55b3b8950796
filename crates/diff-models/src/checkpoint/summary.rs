//! What `diff-models inspect` shows.

use super::{Checkpoint, SchedulerConfig};
use serde::Serialize;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fmt::{self, Display, Formatter},
};

/// A checkpoint in short.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// The kind of network.
    pub family: &'static str,
    /// Its configuration, as in `config.json`.
    pub config: Value,
    /// How many numbers its parameters hold.
    pub parameters: usize,
    /// Multiply-adds of a forward pass for one image of the size the network was made for.
    pub multiply_adds: Option<u64>,
    /// Its parameters, in order.
    pub tensors: Vec<TensorSummary>,
    /// The forward process and what samplers should know.
    pub scheduler: SchedulerConfig,
    /// The forward process by our name.
    pub schedule: String,
    /// Text stored beside the weights.
    pub metadata: BTreeMap<String, String>,
    /// The weights file.
    pub weights_file: Option<String>,
    /// Its size.
    pub weights_bytes: Option<u64>,
}

/// One parameter.
#[derive(Clone, Debug, Serialize)]
pub struct TensorSummary {
    /// Its name.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its number type in memory.
    pub dtype: &'static str,
}

impl Summary {
    pub(super) fn of(checkpoint: &Checkpoint) -> Self {
        let architecture = checkpoint.denoiser.architecture();
        let network = checkpoint.denoiser.network();
        let tensors = checkpoint.params.iter().map(|(name, var)| TensorSummary {
            name: name.to_string(),
            shape: var.dims().to_vec(),
            dtype: var.dtype().as_str(),
        });
        let weights = checkpoint.source.as_ref();
        Summary {
            family: architecture.class().unwrap_or(architecture.kind()),
            config: architecture.config().to_json(),
            parameters: checkpoint.params.numel(),
            multiply_adds: (architecture.config().image_shape())
                .map(|[_, height, width]| network.multiply_adds(height, width)),
            tensors: tensors.collect(),
            scheduler: checkpoint.scheduler.clone(),
            schedule: checkpoint.schedule.spec().kind.name().to_string(),
            metadata: checkpoint.metadata.clone(),
            weights_file: weights.map(|path| path.display().to_string()),
            weights_bytes: weights.and_then(|p| std::fs::metadata(p).ok()).map(|m| m.len()),
        }
    }
}

impl Display for Summary {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let scheduler = &self.scheduler;
        writeln!(f, "family        {}", self.family)?;
        if let (Some(file), Some(bytes)) = (&self.weights_file, self.weights_bytes) {
            writeln!(f, "weights       {file} ({bytes} bytes)")?;
        }
        writeln!(f, "parameters    {} in {} tensors", self.parameters, self.tensors.len())?;
        if let Some(count) = self.multiply_adds {
            writeln!(f, "multiply-adds {:.3} G per image", count as f64 / 1e9)?;
        }
        writeln!(f, "schedule      {}, T = {}", self.schedule, scheduler.num_train_timesteps)?;
        writeln!(f, "prediction    {:?}", scheduler.prediction_type)?;
        writeln!(f, "variance      {}, clip {}", scheduler.variance_type, scheduler.clip_sample)?;
        for (option, value) in self.config.as_object().into_iter().flatten() {
            writeln!(f, "{option} = {value}")?;
        }
        for (key, value) in &self.metadata {
            writeln!(f, "{key} = {value}")?;
        }
        for tensor in &self.tensors {
            writeln!(
                f,
                "{:<6} {:<20} {}",
                tensor.dtype,
                format!("{:?}", tensor.shape),
                tensor.name
            )?;
        }
        Ok(())
    }
}
