//! The loss and gradient of a checkpoint on given inputs, for comparison with other
//! implementations.

use crate::{
    Error, Result,
    data::Batch,
    draws::GivenDraws,
    objective::{NoiseObjective, scalar},
    optim::Gradients,
};
use candle_core::{DType, Device, Tensor};
use diff_models::{Denoiser, checkpoint::write_tensors, params::Params};
use serde::Serialize;
use std::{collections::BTreeMap, collections::HashMap, path::Path};

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    /// L_simple; none where the objective has no such term.
    pub simple: Option<f64>,
    /// L_sa; none where the objective has no such term.
    pub sa: Option<f64>,
    /// L_vlb in bits per dimension, without its prior term; none where the objective has none.
    pub vlb: Option<f64>,
    /// The weighted sum that is minimised.
    pub total: f64,
    /// L2 norm of the gradient of `total` by parameter.
    pub grad_norms: BTreeMap<String, f64>,
}

/// The inputs of a measurement.
pub struct Inputs {
    batch: Batch,
    draws: GivenDraws,
}

impl Inputs {
    pub(crate) fn new(batch: Batch, draws: GivenDraws) -> Self {
        Inputs { batch, draws }
    }

    /// Writes what [`Inputs::read`] reads.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let row = |values: Vec<f32>| Tensor::new(values, &Device::Cpu);
        let times = row(self.draws.times.iter().map(|t| *t as f32).collect())?;
        let (x0, noise) = (self.batch.x0.clone(), self.draws.noise.clone());
        let mut tensors = vec![("x0".into(), x0), ("t".into(), times), ("noise".into(), noise)];
        if let Some(labels) = &self.batch.labels {
            let labels = row(labels.iter().map(|label| *label as f32).collect())?;
            tensors.push(("class".into(), labels));
        }
        Ok(write_tensors(path, &tensors)?)
    }

    /// Reads `x0` `[B, C, H, W]`, `t` `[B]` (paper time) and `noise` `[K, B, C, H, W]`, and optionally
    /// `class` `[B]`, from a safetensors file.
    ///
    /// # Errors
    /// When the file does not read, or a tensor is missing or has another rank or batch.
    pub fn read(path: &Path, device: &Device) -> Result<Self> {
        let wrong = |message: String| Error::Input { path: path.to_path_buf(), message };
        let tensors =
            candle_core::safetensors::load(path, device).map_err(|e| wrong(e.to_string()))?;
        let x0 = tensor(&tensors, "x0").map_err(wrong)?.to_dtype(DType::F32)?;
        let noise = tensor(&tensors, "noise").map_err(wrong)?.to_dtype(DType::F32)?;
        let times = whole_numbers(&tensors, "t").map_err(wrong)?;
        if x0.rank() != 4 || x0.elem_count() == 0 {
            let expected = "[B, C, H, W], none of them 0";
            return Err(wrong(format!("x0 has shape {:?}, expected {expected}", x0.dims())));
        }
        if noise.rank() != 5 || noise.dims()[1..] != *x0.dims() {
            let found = (noise.dims(), x0.dims());
            return Err(wrong(format!(
                "noise has shape {:?}, expected [K, B, C, H, W] over x0's {:?}",
                found.0, found.1
            )));
        }
        let labels = match tensors.contains_key("class") {
            false => None,
            true => Some(labels(&tensors).map_err(wrong)?),
        };
        let indices = (0..x0.dim(0)? as u64).collect();
        Ok(Inputs { batch: Batch { x0, labels, indices }, draws: GivenDraws { times, noise } })
    }
}

fn tensor<'a>(tensors: &'a HashMap<String, Tensor>, name: &str) -> Result<&'a Tensor, String> {
    tensors.get(name).ok_or_else(|| {
        let mut found: Vec<&str> = tensors.keys().map(String::as_str).collect();
        found.sort_unstable();
        format!("no tensor `{name}`; found {found:?}")
    })
}

/// A row of whole numbers, stored in any integer or float type.
fn whole_numbers(tensors: &HashMap<String, Tensor>, name: &str) -> Result<Vec<i64>, String> {
    let found = tensor(tensors, name)?;
    if found.rank() != 1 {
        return Err(format!("{name} has shape {:?}, expected [B]", found.dims()));
    }
    let values = found.to_dtype(DType::F64).and_then(|t| t.to_vec1::<f64>());
    let values = values.map_err(|e| format!("{name}: {e}"))?;
    match values.iter().find(|v| v.fract() != 0.0) {
        Some(v) => Err(format!("{name} holds {v}, expected whole numbers")),
        None => Ok(values.into_iter().map(|v| v as i64).collect()),
    }
}

fn labels(tensors: &HashMap<String, Tensor>) -> Result<Vec<u32>, String> {
    let label = |v: i64| v.try_into().map_err(|_| format!("class holds {v}, expected at least 0"));
    whole_numbers(tensors, "class")?.into_iter().map(label).collect()
}

/// Measures `objective` for a network in evaluation mode (no dropout).
pub fn measure(
    objective: &mut NoiseObjective,
    model: &(dyn Denoiser + 'static),
    params: &Params,
    inputs: &Inputs,
) -> Result<Measured> {
    let loss = objective.loss(model, &inputs.batch, &inputs.draws)?;
    let part = |name: &str| match loss.parts.iter().find(|(n, _)| *n == name) {
        Some((_, value)) => scalar(value).map(Some),
        None => Ok(None),
    };
    Ok(Measured {
        simple: part("simple")?,
        sa: part("sa")?,
        vlb: part("vlb")?,
        total: scalar(&loss.total)?,
        grad_norms: Gradients::of(&loss.total, params)?.norms()?.into_iter().collect(),
    })
}
