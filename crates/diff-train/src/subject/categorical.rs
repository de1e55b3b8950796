use super::{BoxedObjective, Kind, STEPS, Subject};
use crate::{Result, config::RunConfig, objective::ObjectiveConfig};
use candle_core::{Device, Tensor};
use diff_models::{categorical::Categorizer, checkpoint::CategoricalCheckpoint, params::Params};
use std::{collections::BTreeMap, path::Path};

impl Subject for CategoricalCheckpoint {
    fn params(&self) -> &Params {
        &self.params
    }

    fn metadata(&mut self) -> &mut BTreeMap<String, String> {
        &mut self.metadata
    }

    fn write(&self, folder: &Path, weights: &[(String, Tensor)], steps: usize) -> Result<()> {
        let mut noted = self.clone();
        noted.metadata.insert(STEPS.into(), steps.to_string());
        Ok(CategoricalCheckpoint::write(&noted, folder, weights)?)
    }

    fn weights_file(&self) -> &'static str {
        CategoricalCheckpoint::WEIGHTS
    }

    fn multiply_adds(&self, height: usize, width: usize) -> u64 {
        self.network.multiply_adds(height, width)
    }
}

impl Kind for CategoricalCheckpoint {
    type Model = dyn Categorizer;

    fn fresh(config: &RunConfig, device: &Device) -> Result<Self> {
        let spec = config.network.categorical()?.clone();
        let process = config.objective.categorical()?.process();
        Ok(CategoricalCheckpoint::init(spec, process, config.seed, device)?)
    }

    fn open_alike(&self, spec: &str, device: &Device) -> Result<Self> {
        Ok(CategoricalCheckpoint::open(spec, device)?)
    }

    fn objective(&self, config: &ObjectiveConfig) -> Result<BoxedObjective<Self>> {
        config.build_categorical(self.process())
    }

    fn model(&self) -> Box<dyn Categorizer> {
        Box::new(self.network.clone())
    }

    fn with_weights(&self, weights: &[(String, Tensor)]) -> Result<Box<dyn Categorizer>> {
        Ok(Box::new(CategoricalCheckpoint::with_weights(self, weights)?))
    }
}
