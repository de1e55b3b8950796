//! `diff-models forward` and `time`: the raw network on tensors from a file, or on drawn ones.

use crate::{
    Condition, Context, Label,
    checkpoint::{self, Checkpoint},
    error::{Error, Result},
    noise::normals,
};
use candle_core::{DType, Device, Tensor};
use diff_core::rng::{Address, Purpose};
use std::{collections::HashMap, path::Path};

/// What a network is called on.
pub struct ForwardInputs {
    x: Tensor,
    network_time: Vec<f64>,
    condition: Condition,
}

impl ForwardInputs {
    /// Reads `x` `[B, C, H, W]`, `network_time` `[B]` (counted from 0), and where the network takes
    /// them `class` `[B]` (-1 for the null label) and `image` `[B, C, H, W]` from a safetensors file;
    /// numbers may be of any type.
    ///
    /// # Errors
    /// When the file does not read, lacks a tensor or holds an unknown one.
    pub fn read(input: &Path, device: &Device) -> Result<Self> {
        let mut tensors = checkpoint::read_tensors(input)?;
        let x = take(&mut tensors, "x", input)?.to_dtype(DType::F32)?.to_device(device)?;
        let network_time =
            numbers(&take(&mut tensors, "network_time", input)?, "network_time", input)?;
        let class = match tensors.remove("class") {
            None => None,
            Some(class) => Some(labels(&numbers(&class, "class", input)?, input)?),
        };
        let image = tensors.remove("image");
        let image = image.map(|x| x.to_dtype(DType::F32)?.to_device(device)).transpose()?;
        if let Some(name) = tensors.keys().min() {
            let expected = "expected x, network_time, class, image";
            return Err(Error::file(input, format!("unexpected tensor `{name}`: {expected}")));
        }
        Ok(ForwardInputs { x, network_time, condition: Condition { class, image } })
    }

    /// Inputs for a checkpoint's network: the latents of samples 0..`batch` of `seed`, as
    /// `diff-sample` starts from them, at times spread evenly over 0..T, with the classes in turn, and
    /// with further latents for conditioning images.
    ///
    /// # Errors
    /// When `batch` is 0 or the picture size is unknown.
    pub fn drawn(
        checkpoint: &Checkpoint,
        batch: usize,
        seed: u64,
        device: &Device,
    ) -> Result<Self> {
        if batch == 0 {
            return Err(diff_core::Error::argument("batch", 0, "at least 1").into());
        }
        let (latent, shape) = (Address::new(seed, Purpose::Latent), checkpoint.image_shape()?);
        let drawn = |first: usize| {
            let rows: Vec<_> = (first..first + batch).map(|i| latent.index(i as u64)).collect();
            normals(&rows, &shape, DType::F32, device)
        };
        let x = drawn(0)?;
        let image = checkpoint.takes_image().then(|| drawn(batch)).transpose()?;
        let timesteps = checkpoint.schedule.timesteps();
        let network_time = (0..batch).map(|i| ((2 * i + 1) * timesteps / (2 * batch)) as f64);
        let class =
            checkpoint.classes().map(|c| (0..batch).map(|i| Some((i % c.count) as u32)).collect());
        let condition = Condition { class, image };
        Ok(ForwardInputs { x, network_time: network_time.collect(), condition })
    }

    /// Writes what [`ForwardInputs::read`] reads.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let row = |values: Vec<f32>| Tensor::new(values, &Device::Cpu);
        let times = row(self.network_time.iter().map(|t| *t as f32).collect())?;
        let mut tensors = vec![("x".into(), self.x.clone()), ("network_time".into(), times)];
        if let Some(class) = &self.condition.class {
            let class = row(class.iter().map(|c| c.map_or(-1.0, |c| c as f32)).collect())?;
            tensors.push(("class".into(), class));
        }
        tensors.extend(self.condition.image.iter().map(|image| ("image".into(), image.clone())));
        checkpoint::write_tensors(path, &tensors)
    }

    /// What a checkpoint's network says to them, `[B, C, H, W]`.
    ///
    /// # Errors
    /// When they do not go with the network.
    pub fn predict(&self, checkpoint: &Checkpoint) -> Result<Tensor> {
        let ForwardInputs { x, network_time, condition } = self;
        checkpoint.denoiser.network().forward_network(x, network_time, condition, &Context::Eval)
    }
}

/// Writes `prediction` as [`ForwardInputs::predict`] gives it to a safetensors file, f32.
///
/// # Errors
/// When the file cannot be written.
pub fn write_prediction(path: &Path, prediction: Tensor) -> Result<()> {
    checkpoint::write_tensors(path, &[("prediction".into(), prediction)])
}

/// Runs the network of `spec` on the file `input` ([`ForwardInputs::read`]) and writes `prediction`
/// `[B, C, H, W]` f32 to `output`.
pub fn forward_file(spec: &str, input: &Path, output: &Path, device: &Device) -> Result<()> {
    let checkpoint = Checkpoint::open(spec, device)?;
    let inputs = ForwardInputs::read(input, device)?;
    write_prediction(output, inputs.predict(&checkpoint)?)
}

fn take(tensors: &mut HashMap<String, Tensor>, name: &str, input: &Path) -> Result<Tensor> {
    tensors.remove(name).ok_or_else(|| Error::file(input, format!("holds no tensor `{name}`")))
}

fn numbers(tensor: &Tensor, name: &str, input: &Path) -> Result<Vec<f64>> {
    if tensor.rank() != 1 {
        return Err(Error::file(input, format!("{name}: expected [B], got {:?}", tensor.dims())));
    }
    Ok(tensor.to_dtype(DType::F64)?.to_vec1()?)
}

fn labels(values: &[f64], input: &Path) -> Result<Vec<Label>> {
    values
        .iter()
        .map(|value| match *value as u32 {
            _ if *value == -1.0 => Ok(None),
            label if label as f64 == *value => Ok(Some(label)),
            _ => {
                let expected = "expected a label, 0 or more, or -1 for no class";
                Err(Error::file(input, format!("class = {value}: {expected}")))
            }
        })
        .collect()
}
