//! Reading and writing single files: JSON, safetensors, files of PyTorch.

use super::torch;
use crate::error::{Error, Result};
use candle_core::{DType, Device, Tensor};
use diff_core::save;
use safetensors::SafeTensors;
use serde::de::DeserializeOwned;
use serde_json::json;
use std::{
    collections::{BTreeMap, HashMap},
    fs,
    io::Write,
    path::Path,
};

/// Tensors of a file, and the text stored beside them.
pub(super) struct Weights {
    pub(super) tensors: HashMap<String, Tensor>,
    pub(super) metadata: BTreeMap<String, String>,
}

/// Reads and checks a JSON file.
pub(super) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = fs::read(path).map_err(save::io_error(path, "read"))?;
    serde_json::from_slice(&text)
        .map_err(|e| Error::file(path, format!("not the JSON expected: {e}")))
}

/// Reads tensors from `.safetensors`, or else from what `torch.save` wrote.
pub(super) fn read_weights(path: &Path) -> Result<Weights> {
    if path.extension().is_some_and(|extension| extension == "safetensors") {
        return read_safetensors(path);
    }
    Ok(Weights { tensors: torch::read(path)?, metadata: BTreeMap::new() })
}

fn read_safetensors(path: &Path) -> Result<Weights> {
    let bytes = fs::read(path).map_err(save::io_error(path, "read"))?;
    let damaged = |e| {
        Error::file(
            path,
            format!("damaged or truncated safetensors file of {} bytes: {e}", bytes.len()),
        )
    };
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(damaged)?;
    SafeTensors::deserialize(&bytes).map_err(damaged)?;
    let metadata = header.metadata().clone().unwrap_or_default().into_iter().collect();
    Ok(Weights { tensors: candle_core::safetensors::load_buffer(&bytes, &Device::Cpu)?, metadata })
}

/// Writes f32 tensors in the order given. (The safetensors crate would sort them.)
pub(super) fn write_safetensors(
    path: &Path,
    tensors: &[(String, Tensor)],
    metadata: &BTreeMap<String, String>,
) -> Result<()> {
    let mut header = format!("{{\"__metadata__\":{}", json!(metadata));
    let mut offset = 0;
    for (name, tensor) in tensors {
        let end = offset + 4 * tensor.elem_count();
        let about = json!({"dtype": "F32", "shape": tensor.dims(), "data_offsets": [offset, end]});
        header += &format!(",{}:{about}", json!(name));
        offset = end;
    }
    header.push('}');
    while header.len() % 8 != 0 {
        header.push(' ');
    }
    save::atomic(path, |file| {
        let mut write = |bytes: &[u8]| file.write_all(bytes).map_err(save::io_error(path, "write"));
        write(&(header.len() as u64).to_le_bytes())?;
        write(header.as_bytes())?;
        for (_, tensor) in tensors {
            let values: Vec<f32> = tensor.flatten_all()?.to_dtype(DType::F32)?.to_vec1()?;
            for chunk in values.chunks(1 << 16) {
                let bytes: Vec<u8> = chunk.iter().flat_map(|v| v.to_le_bytes()).collect();
                write(&bytes)?;
            }
        }
        Ok(())
    })
}

/// Writes JSON, indented, with a final newline.
pub(super) fn write_json(path: &Path, value: &serde_json::Value) -> Result<()> {
    let text = format!("{value:#}\n");
    Ok(save::atomic_bytes(path, text.as_bytes())?)
}
