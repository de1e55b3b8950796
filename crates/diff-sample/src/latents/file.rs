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

#[cfg(test)]
mod tests {
    use super::*;

    fn values(x: &Tensor) -> Vec<f32> {
        x.flatten_all().unwrap().to_vec1().unwrap()
    }

    fn some_latents() -> Latents {
        let wave: Vec<f32> = (0..12).map(|i| (1.7 * i as f32).sin()).collect();
        let values = Tensor::from_vec(wave, (3, 1, 2, 2), &Device::Cpu);
        let about = About {
            indices: vec![7, 2, 40],
            timesteps: 1000,
            time: 800,
            provenance: "here".into(),
        };
        Latents { values: values.unwrap(), about }
    }

    #[test]
    fn latents_come_back_from_their_file_by_index() {
        let folder = tempfile::tempdir().unwrap();
        let (path, again) =
            (folder.path().join("a.safetensors"), folder.path().join("b.safetensors"));
        let latents = some_latents();
        latents.write(&path).unwrap();
        latents.write(&again).unwrap();
        assert_eq!(fs::read(&path).unwrap(), fs::read(&again).unwrap());
        let read = Latents::read(&path).unwrap();
        assert_eq!(read.about, latents.about);
        assert_eq!(values(&read.values), values(&latents.values));
        let picked = read.rows(&[40, 7], DType::F32, &Device::Cpu).unwrap();
        let expected: Vec<f32> =
            [2, 0].iter().flat_map(|i| values(&latents.values.get(*i).unwrap())).collect();
        assert_eq!(values(&picked), expected);
        let message = read.rows(&[3], DType::F32, &Device::Cpu).unwrap_err().to_string();
        assert!(message.contains("index = 3"), "{message}");
    }

    #[test]
    fn latents_of_other_pictures_processes_or_times_are_refused_by_name() {
        let latents = some_latents();
        latents.check([1, 2, 2], 1000, 800).unwrap();
        for (shape, timesteps, time, words) in [
            ([3, 2, 2], 1000, 800, ["[1, 2, 2]", "[3, 2, 2]"]),
            ([1, 2, 2], 500, 800, ["T = 1000", "T = 500"]),
            ([1, 2, 2], 1000, 1000, ["at time 800", "time 1000"]),
        ] {
            let message = latents.check(shape, timesteps, time).unwrap_err().to_string();
            assert!(words.iter().all(|word| message.contains(word)), "{message}");
        }
    }

    #[test]
    fn files_that_hold_no_latents_are_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("l.safetensors");
        let refuse = |word: &str| {
            let message = Latents::read(&path).unwrap_err().to_string();
            assert!(message.contains("l.safetensors") && message.contains(word), "{message}");
        };
        refuse("read");
        some_latents().write(&path).unwrap();
        let whole = fs::read(&path).unwrap();
        for length in [0, 7, 20, whole.len() - 1] {
            fs::write(&path, &whole[..length]).unwrap();
            refuse("damaged");
        }
        let mut bad = whole.clone();
        let at = bad.len() - 4;
        bad[at..].copy_from_slice(&f32::NAN.to_le_bytes());
        fs::write(&path, bad).unwrap();
        refuse("value 11 is not finite");
        let twice = About { indices: vec![7, 7, 1], ..some_latents().about };
        Latents { about: twice, ..some_latents() }.write(&path).unwrap();
        refuse("twice");
        let fewer = About { indices: vec![7, 1], ..some_latents().about };
        Latents { about: fewer, ..some_latents() }.write(&path).unwrap();
        refuse("[2, C, H, W]");
        candle_core::safetensors::save(&[("latents", some_latents().values)].into(), &path)
            .unwrap();
        refuse("diff.latents");
    }
}
