use super::{BoxedObjective, Kind, STEPS, Subject};
use crate::{Result, config::RunConfig, objective::ObjectiveConfig};
use candle_core::{Device, Tensor};
use diff_models::{checkpoint::ClassifierCheckpoint, nets::Classifier, params::Params};
use std::{collections::BTreeMap, path::Path};

impl Subject for ClassifierCheckpoint {
    fn params(&self) -> &Params {
        &self.params
    }

    fn metadata(&mut self) -> &mut BTreeMap<String, String> {
        &mut self.metadata
    }

    fn write(&self, folder: &Path, weights: &[(String, Tensor)], steps: usize) -> Result<()> {
        let mut noted = self.clone();
        noted.metadata.insert(STEPS.into(), steps.to_string());
        Ok(ClassifierCheckpoint::write(&noted, folder, weights)?)
    }

    fn weights_file(&self) -> &'static str {
        ClassifierCheckpoint::WEIGHTS
    }

    fn multiply_adds(&self, height: usize, width: usize) -> u64 {
        self.classifier.multiply_adds(height, width)
    }
}

impl Kind for ClassifierCheckpoint {
    type Model = Classifier;

    fn fresh(config: &RunConfig, device: &Device) -> Result<Self> {
        let spec = config.network.classifier()?.clone();
        Ok(ClassifierCheckpoint::init(spec, config.seed, device)?)
    }

    fn open_alike(&self, spec: &str, device: &Device) -> Result<Self> {
        Ok(ClassifierCheckpoint::open(spec, device)?)
    }

    fn objective(&self, config: &ObjectiveConfig) -> Result<BoxedObjective<Self>> {
        config.build_classifier()
    }

    fn model(&self) -> Box<Classifier> {
        Box::new(self.classifier.clone())
    }

    fn with_weights(&self, weights: &[(String, Tensor)]) -> Result<Box<Classifier>> {
        Ok(Box::new(ClassifierCheckpoint::with_weights(self, weights)?))
    }
}
