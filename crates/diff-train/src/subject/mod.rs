//! What a run trains.

mod categorical;
mod classifier;
mod denoiser;

use crate::{
    Result,
    callback::Previews,
    config::RunConfig,
    objective::{Objective, ObjectiveConfig},
};
use candle_core::{Device, Tensor};
use diff_models::params::Params;
use std::{collections::BTreeMap, path::Path};

/// A network under training, in the form in which it is written.
pub trait Subject {
    /// Its trainable parameters.
    fn params(&self) -> &Params;

    /// Text stored beside the weights; keys begin with `diff.`.
    fn metadata(&mut self) -> &mut BTreeMap<String, String>;

    /// Writes a checkpoint folder, whole or not at all, with `weights` in place of the parameters'
    /// current values, noting that they come from `steps` optimiser steps.
    ///
    /// # Errors
    /// When `weights` do not have the parameters' names and shapes, when `folder` holds other files,
    /// or when writing fails.
    fn write(&self, folder: &Path, weights: &[(String, Tensor)], steps: usize) -> Result<()>;

    /// The weights' place in the folder that [`Subject::write`] makes.
    fn weights_file(&self) -> &'static str;

    /// Multiply-adds of one forward pass for one picture of `height` x `width`.
    fn multiply_adds(&self, height: usize, width: usize) -> u64;
}

/// A kind of [`Subject`]: how one comes to be, and what objectives see of it.
pub trait Kind: Subject + Clone + 'static {
    /// The network as objectives call it.
    type Model: ?Sized + Send;

    /// The network of a configuration, with fresh parameters.
    ///
    /// # Errors
    /// When the configuration asks for something impossible or for another kind of network.
    fn fresh(config: &RunConfig, device: &Device) -> Result<Self>;

    /// The checkpoint at `spec`, a path or `hub:org/name`, if its weights mean what those of this
    /// network mean; whether they fit is seen when they are loaded.
    ///
    /// # Errors
    /// When it does not open, or its output means something else.
    fn open_alike(&self, spec: &str, device: &Device) -> Result<Self>;

    /// What to minimise.
    ///
    /// # Errors
    /// When a value is out of range, or the objective is one for another kind of network.
    fn objective(&self, config: &ObjectiveConfig) -> Result<BoxedObjective<Self>>;

    /// The network over the parameters, for training.
    fn model(&self) -> Box<Self::Model>;

    /// The network with other weights (averaged ones, say), for inference.
    ///
    /// # Errors
    /// When `weights` do not have the parameters' names and shapes, or are not finite.
    fn with_weights(&self, weights: &[(String, Tensor)]) -> Result<Box<Self::Model>>;

    /// The previews that a configuration asks for, where this kind of network can give any.
    ///
    /// # Errors
    /// When they are impossible.
    fn previews(
        &self,
        _config: &RunConfig,
        _out: &Path,
        _device: &Device,
    ) -> Result<Option<Previews>> {
        Ok(None)
    }
}

/// An objective over the networks of a kind.
pub type BoxedObjective<S> = Box<dyn Objective<Model = <S as Kind>::Model>>;

/// The metadata key that says how many optimiser steps the weights come from.
const STEPS: &str = "diff.steps";
