//! Latents in memory and in a file.

use crate::{Error, Result};
use candle_core::{DType, Device, Tensor};
use diff_core::save::{atomic_bytes, io_error};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::{
    collections::{BTreeSet, HashMap},
    fs,
    path::Path,
};

/// Latents x_t with what must be known to decode them.
#[derive(Clone, Debug)]
pub struct Latents {
    /// `[N, C, H, W]` in f32, on the CPU.
    pub values: Tensor,
    /// What is known of them.
    pub about: About,
}

/// What is known of latents.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct About {
    /// The index of every latent, no two the same.
    pub indices: Vec<u64>,
    /// T of the forward process they belong to.
    pub timesteps: usize,
    /// The time t they are at, in 1..=T.
    pub time: usize,
    /// Where they come from.
    pub provenance: serde_json::Value,
}

const TENSOR: &str = "latents";
const METADATA: &str = "diff.latents";

impl Latents {
    /// Writes safetensors: `latents` f32 `[N, C, H, W]`, and the rest as JSON in the metadata
    /// `diff.latents`.
    ///
    /// # Errors
    /// When writing fails.
    pub fn write(&self, path: &Path) -> Result<()> {
        let values = self.values.flatten_all()?.to_vec1::<f32>()?;
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let failed = |e| Error::File { path: path.into(), message: format!("not written: {e}") };
        let view = TensorView::new(Dtype::F32, self.values.dims().to_vec(), &bytes);
        // One key: the order of several would be another in every run.
        let metadata = HashMap::from([(METADATA.to_string(), json!(self.about).to_string())]);
        let tensors = [(TENSOR, view.map_err(failed)?)];
        let file = safetensors::serialize(tensors, Some(metadata)).map_err(failed)?;
        Ok(atomic_bytes(path, &file)?)
    }

    /// Reads what [`Latents::write`] wrote.
    ///
    /// # Errors
    /// Names the file and what in it is missing, damaged or not consistent.
    pub fn read(path: &Path) -> Result<Self> {
        let wrong = |message: String| Error::File { path: path.into(), message };
        let bytes = fs::read(path).map_err(io_error(path, "read"))?;
        let damaged = |e| wrong(format!("no safetensors file, or a damaged one: {e}"));
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(damaged)?;
        let file = SafeTensors::deserialize(&bytes).map_err(damaged)?;
        let about = header.metadata().as_ref().and_then(|metadata| metadata.get(METADATA));
        let about = about.ok_or_else(|| {
            wrong(format!("no metadata `{METADATA}`: not a file of latents that were encoded"))
        })?;
        let about: About = serde_json::from_str(about)
            .map_err(|e| wrong(format!("metadata `{METADATA}` is not what was expected: {e}")))?;
        let view = file.tensor(TENSOR).map_err(|_| wrong(format!("no tensor `{TENSOR}`")))?;
        let shape = view.shape().to_vec();
        if view.dtype() != Dtype::F32 || shape.len() != 4 || shape[0] != about.indices.len() {
            let (count, found) = (about.indices.len(), view.dtype());
            let expected = format!("F32 [{count}, C, H, W] for as many indices");
            return Err(wrong(format!("`{TENSOR}` is {found:?} {shape:?}, expected {expected}")));
        }
        if about.indices.iter().collect::<BTreeSet<_>>().len() != about.indices.len() {
            return Err(wrong("an index comes twice".into()));
        }
        let values: Vec<f32> =
            view.data().as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        if let Some(bad) = values.iter().position(|v| !v.is_finite()) {
            return Err(wrong(format!("`{TENSOR}`: value {bad} is not finite")));
        }
        Ok(Latents { values: Tensor::from_vec(values, shape, &Device::Cpu)?, about })
    }

    /// Refuses latents of other pictures, of another process, or at another time.
    ///
    /// # Errors
    /// Names both sides.
    pub fn check(&self, shape: [usize; 3], timesteps: usize, time: usize) -> Result<()> {
        let refuse = |given: String, expected: String| {
            Err(diff_core::Error::argument("latents", given, expected).into())
        };
        if self.values.dims()[1..] != shape {
            let given = format!("of shape {:?}", &self.values.dims()[1..]);
            return refuse(given, format!("{shape:?} (C, H, W), which the network takes"));
        }
        if self.about.timesteps != timesteps {
            let given = format!("of a process with T = {}", self.about.timesteps);
            return refuse(given, format!("T = {timesteps}, the network's"));
        }
        if self.about.time != time {
            let given = format!("at time {}", self.about.time);
            return refuse(given, format!("time {time}, where the trajectory starts"));
        }
        Ok(())
    }

    /// The latents with these indices, `[B, C, H, W]`.
    ///
    /// # Errors
    /// Names an index that is not there.
    pub fn rows(&self, indices: &[u64], dtype: DType, device: &Device) -> Result<Tensor> {
        let place = |index: &u64| {
            let found = self.about.indices.iter().position(|i| i == index);
            found.map(|place| place as u32).ok_or_else(|| {
                let expected = "one of those in the file of latents";
                Error::Core(diff_core::Error::argument("index", index, expected))
            })
        };
        let places: Vec<u32> = indices.iter().map(place).collect::<Result<_>>()?;
        let places = Tensor::new(places, &Device::Cpu)?;
        Ok(self.values.index_select(&places, 0)?.to_dtype(dtype)?.to_device(device)?)
    }
}
