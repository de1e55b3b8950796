use super::{BoxedObjective, Kind, STEPS, Subject};
use crate::{Result, callback::Previews, config::RunConfig, objective::ObjectiveConfig};
use candle_core::{Device, Tensor};
use diff_core::Schedule;
use diff_models::{Denoiser, checkpoint::Checkpoint, params::Params};
use std::{collections::BTreeMap, path::Path};

impl Subject for Checkpoint {
    fn params(&self) -> &Params {
        &self.params
    }

    fn metadata(&mut self) -> &mut BTreeMap<String, String> {
        &mut self.metadata
    }

    fn write(&self, folder: &Path, weights: &[(String, Tensor)], steps: usize) -> Result<()> {
        let mut noted = self.clone();
        noted.metadata.insert(STEPS.into(), steps.to_string());
        Ok(Checkpoint::write(&noted, folder, weights)?)
    }

    fn weights_file(&self) -> &'static str {
        Checkpoint::WEIGHTS
    }

    fn multiply_adds(&self, height: usize, width: usize) -> u64 {
        self.denoiser.network().multiply_adds(height, width)
    }
}

impl Kind for Checkpoint {
    type Model = dyn Denoiser;

    fn fresh(config: &RunConfig, device: &Device) -> Result<Self> {
        let schedule = Schedule::new(&config.schedule)?;
        let architecture = config.network.denoiser()?;
        let mut checkpoint = Checkpoint::init(architecture, schedule, config.seed, device)?;
        checkpoint.set_transform(config.data.transform);
        Ok(checkpoint)
    }

    fn open_alike(&self, spec: &str, device: &Device) -> Result<Self> {
        let other = Checkpoint::open(spec, device)?;
        let (own, found) = (self.denoiser.prediction_type(), other.denoiser.prediction_type());
        if own != found {
            let expected = format!("a network that predicts {own:?}; this one predicts {found:?}");
            return Err(diff_core::Error::argument("init_from", spec, expected).into());
        }
        Ok(other)
    }

    fn objective(&self, config: &ObjectiveConfig) -> Result<BoxedObjective<Self>> {
        config.build(&self.schedule)
    }

    fn model(&self) -> Box<dyn Denoiser> {
        Box::new(self.denoiser.clone())
    }

    fn with_weights(&self, weights: &[(String, Tensor)]) -> Result<Box<dyn Denoiser>> {
        Ok(Box::new(Checkpoint::with_weights(self, weights)?))
    }

    fn previews(
        &self,
        config: &RunConfig,
        out: &Path,
        device: &Device,
    ) -> Result<Option<Previews>> {
        match config.preview.every {
            0 => Ok(None),
            _ => Previews::new(config, self, out, device).map(Some),
        }
    }
}
