//! `diff-models forward`: the raw network on tensors from a file.

use crate::{
    Condition, Context,
    checkpoint::{self, Checkpoint},
    error::{Error, Result},
};
use candle_core::{DType, Device, Tensor};
use std::{collections::HashMap, path::Path};

/// Runs the network of `spec` on the safetensors file `input` and writes `prediction`
/// `[B, C, H, W]` f32 to `output`.
///
/// The input holds `x` `[B, C, H, W]`, `network_time` `[B]` (counted from 0), and where the
/// network takes them `class` `[B]` and `image` `[B, C, H, W]`; numbers may be of any type.
pub fn forward_file(spec: &str, input: &Path, output: &Path, device: &Device) -> Result<()> {
    let checkpoint = Checkpoint::open(spec, device)?;
    let mut tensors = checkpoint::read_tensors(input)?;
    let x = take(&mut tensors, "x", input)?.to_dtype(DType::F32)?.to_device(device)?;
    let times = numbers(&take(&mut tensors, "network_time", input)?, "network_time", input)?;
    let class = match tensors.remove("class") {
        None => None,
        Some(class) => Some(labels(&numbers(&class, "class", input)?, input)?),
    };
    let image = tensors.remove("image");
    if let Some(name) = tensors.keys().min() {
        let expected = "expected x, network_time, class, image";
        return Err(Error::file(input, format!("unexpected tensor `{name}`: {expected}")));
    }
    let condition = Condition { class, image };
    let prediction = checkpoint.unet.forward_network(&x, &times, &condition, &Context::Eval)?;
    checkpoint::write_tensors(output, &[("prediction".into(), prediction)])
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

fn labels(values: &[f64], input: &Path) -> Result<Vec<u32>> {
    values
        .iter()
        .map(|value| match *value as u32 {
            label if label as f64 == *value => Ok(label),
            _ => Err(Error::file(input, format!("class = {value}: expected a label, 0 or more"))),
        })
        .collect()
}
