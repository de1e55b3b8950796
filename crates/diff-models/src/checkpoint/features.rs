//! Weights of the networks that pictures are judged by, as their projects publish them.

use super::{files, names};
use crate::{
    error::{Error, Result},
    nets::features::{DISTANCES, FeatureKind, FeatureNetwork, KINDS, Lpips},
    params::ParamBuilder,
};
use candle_core::{DType, Device, Tensor};
use std::{
    collections::{HashMap, hash_map::Entry},
    path::Path,
};

/// Reads the network called `name` ([`KINDS`] has the names), as f32 and for inference, from torchvision's
/// file of its weights, or pytorch-fid's for Inception (safetensors, or PyTorch's own format).
///
/// # Errors
/// When there is no network of that name, or the file is missing, damaged, or its weights do not fit (all
/// of them are listed).
pub fn read_features(
    name: &str,
    weights: &Path,
    device: &Device,
) -> Result<Box<dyn FeatureNetwork>> {
    let Some(FeatureKind { build, .. }) = KINDS.iter().find(|kind| kind.name == name) else {
        let known: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
        return Err(Error::unsupported("network", name, known.join(", ")));
    };
    built(&[weights], name.ends_with("-features"), device, *build)
}

/// Reads the distance called `name` ([`DISTANCES`] has the names) from the files that hold its weights
/// together: torchvision's of the network, and the heads' of the package `lpips` or of piq; or one of both.
///
/// # Errors
/// As [`read_features`], and when two files hold one tensor.
pub fn read_lpips(name: &str, weights: &[&Path], device: &Device) -> Result<Lpips> {
    let Some((_, config)) = DISTANCES.iter().find(|(known, _)| *known == name) else {
        let known = DISTANCES.map(|(name, _)| name);
        return Err(Error::unsupported("distance", name, known.join(", ")));
    };
    built(weights, true, device, |builder| Lpips::new(*config, builder))
}

/// A network of the weights in `files`; `convolutional`: without the classifier that may be there too.
fn built<N>(
    files: &[&Path],
    convolutional: bool,
    device: &Device,
    build: impl FnOnce(&mut ParamBuilder) -> Result<N>,
) -> Result<N> {
    let mut all: HashMap<String, Tensor> = HashMap::new();
    for path in files {
        for (name, tensor) in names::plain(files::read_weights(path)?.tensors) {
            let Some(name) = torchvision(&name) else { continue };
            if convolutional && name.starts_with("classifier.") {
                continue;
            }
            match all.entry(name) {
                Entry::Vacant(place) => _ = place.insert(tensor),
                Entry::Occupied(place) => {
                    let message = format!("holds {}, which another file holds too", place.key());
                    return Err(Error::file(*path, message));
                }
            }
        }
    }
    let file = files.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ");
    let mut builder = ParamBuilder::weights(all, file, DType::F32, device).frozen();
    let network = build(&mut builder)?;
    builder.finish()?;
    Ok(network)
}

/// torchvision's name of a tensor of the package `lpips` or of piq; none for what is there twice, or is a
/// constant.
fn torchvision(name: &str) -> Option<String> {
    if name.starts_with("lins.") || name.starts_with("scaling_layer.") {
        return None;
    }
    // The package cuts torchvision's list into slices.
    if let Some((_, layer)) = name.strip_prefix("net.slice").and_then(|rest| rest.split_once('.')) {
        return Some(format!("features.{layer}"));
    }
    // piq has a list of heads.
    if name.parse::<usize>().is_ok() {
        return Some(format!("lin{name}.model.1.weight"));
    }
    // Heads without dropout.
    let head = name.strip_prefix("lin").and_then(|rest| rest.strip_suffix(".model.0.weight"));
    Some(head.map_or_else(|| name.into(), |number| format!("lin{number}.model.1.weight")))
}
