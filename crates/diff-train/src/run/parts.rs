use crate::{
    Result, Trainer,
    config::RunConfig,
    data::{self, Dataset, Loader},
    objective::NoiseObjective,
};
use candle_core::Device;
use diff_core::Schedule;
use diff_models::{Denoiser, checkpoint::Checkpoint};

/// The parts of a run, built and checked against each other.
pub(super) struct Parts {
    pub(super) data: Dataset,
    pub(super) checkpoint: Checkpoint,
    pub(super) objective: NoiseObjective,
    /// Whether the network takes classes.
    pub(super) labelled: bool,
}

impl Parts {
    /// Everything but the weights a run may start from.
    pub(super) fn build(config: &RunConfig, device: &Device) -> Result<Self> {
        config.check()?;
        Self::over(data::open(&config.data)?, config, device)
    }

    /// [`Parts::build`] over data that are open.
    pub(super) fn over(data: Dataset, config: &RunConfig, device: &Device) -> Result<Self> {
        let schedule = Schedule::new(&config.schedule)?;
        let objective = config.objective.build(&schedule)?;
        let labelled = fits(config, &data)?;
        let unet = config.network.unet()?;
        let checkpoint = Checkpoint::init(unet, schedule, config.seed, device)?;
        Ok(Parts { data, checkpoint, objective, labelled })
    }

    /// Takes the weights of another checkpoint, which must be of the same network.
    pub(super) fn init_from(&mut self, spec: &str, device: &Device) -> Result<()> {
        let other = Checkpoint::open(spec, device)?;
        let (own, found) = (self.checkpoint.unet.prediction_type(), other.unet.prediction_type());
        if own != found {
            let expected = format!("a network that predicts {own:?}; this one predicts {found:?}");
            return Err(diff_core::Error::argument("init_from", spec, expected).into());
        }
        let weights = other.params.tensors().into_iter().collect();
        self.checkpoint.params.load(&weights).map_err(|e| match e {
            diff_models::Error::Weights { problems, .. } => {
                let file = format!("init_from = {spec}");
                diff_models::Error::Weights { file, problems }
            }
            other => other,
        })?;
        self.checkpoint.metadata.insert("diff.init_from".into(), spec.into());
        Ok(())
    }

    /// The trainer, and the checkpoint whose parameters it trains.
    pub(super) fn trainer(
        self,
        config: &RunConfig,
        device: &Device,
    ) -> Result<(Trainer<dyn Denoiser>, Checkpoint)> {
        let Parts { data, checkpoint, objective, labelled } = self;
        let loader =
            Loader::new(data, config.data.augment(), config.seed, config.train.batch, labelled)?;
        let model: Box<dyn Denoiser> = Box::new(checkpoint.unet.clone());
        let params = checkpoint.params.clone();
        let (train, seed) = (config.train.clone(), config.seed);
        let trainer = Trainer::new(model, params, objective, loader, train, seed, device.clone())?;
        Ok((trainer, checkpoint))
    }
}

/// Checks pictures and classes against the network; true if the network takes classes.
pub(crate) fn fits(config: &RunConfig, data: &Dataset) -> Result<bool> {
    let (shape, classes) = config.network.input();
    if data.shape() != shape {
        let expected = format!("{:?}, what data set {} holds", data.shape(), data.name());
        let given = format!("[C, H, W] = {shape:?}");
        return Err(diff_core::Error::argument("network input", given, expected).into());
    }
    if classes.is_some_and(|c| c < data.classes()) {
        let expected = format!("at least {} for data set {}", data.classes(), data.name());
        let given = classes.unwrap_or_default();
        return Err(diff_core::Error::argument("network.classes", given, expected).into());
    }
    Ok(classes.is_some())
}
