use crate::{
    Error, Result, Trainer,
    config::RunConfig,
    data::{self, Dataset, Loader},
    objective::ObjectiveConfig,
    subject::{BoxedObjective, Kind},
};
use candle_core::Device;

/// The parts of a run, built and checked against each other.
pub(super) struct Parts<S: Kind> {
    pub(super) data: Dataset,
    pub(super) subject: S,
    pub(super) objective: BoxedObjective<S>,
    /// Whether the network or its objective takes classes.
    pub(super) labelled: bool,
}

impl<S: Kind> Parts<S> {
    /// Everything but the weights a run may start from.
    pub(super) fn build(config: &RunConfig, device: &Device) -> Result<Self> {
        config.check()?;
        Self::over(data::open(&config.data)?, config, device)
    }

    /// [`Parts::build`] over data that are open.
    pub(super) fn over(data: Dataset, config: &RunConfig, device: &Device) -> Result<Self> {
        let labelled = fits(config, &data)?;
        let subject = S::fresh(config, device)?;
        let objective = subject.objective(&config.objective)?;
        Ok(Parts { data, subject, objective, labelled })
    }

    /// Takes the weights of another checkpoint, which must be of the same network.
    pub(super) fn init_from(&mut self, spec: &str, device: &Device) -> Result<()> {
        let other = self.subject.open_alike(spec, device)?;
        let weights = other.params().tensors().into_iter().collect();
        self.subject.params().load(&weights).map_err(|e| match e {
            diff_models::Error::Weights { problems, .. } => {
                let file = format!("init_from = {spec}");
                diff_models::Error::Weights { file, problems }
            }
            other => other,
        })?;
        self.subject.metadata().insert("diff.init_from".into(), spec.into());
        Ok(())
    }

    /// The trainer, and the subject whose parameters it trains.
    pub(super) fn trainer(
        self,
        config: &RunConfig,
        device: &Device,
    ) -> Result<(Trainer<S::Model>, S)> {
        let Parts { data, subject, objective, labelled } = self;
        let loader =
            Loader::new(data, config.data.augment(), config.seed, config.train.batch, labelled)?;
        let (model, params) = (subject.model(), subject.params().clone());
        let (train, seed) = (config.train.clone(), config.seed);
        let trainer = Trainer::new(model, params, objective, loader, train, seed, device.clone())?;
        Ok((trainer, subject))
    }
}

/// Checks pictures and classes against the network; true if the network or its objective takes
/// classes.
pub(crate) fn fits(config: &RunConfig, data: &Dataset) -> Result<bool> {
    let (shape, classes) = (config.network.image_shape()?, config.network.classes());
    if data.shape() != shape {
        let expected = format!("{:?}, what data set {} holds", data.shape(), data.name());
        let given = format!("[C, H, W] = {shape:?}");
        return Err(diff_core::Error::argument("network input", given, expected).into());
    }
    if let Some(given) = classes.map(|c| c.count).filter(|count| *count < data.classes()) {
        let expected = format!("at least {} for data set {}", data.classes(), data.name());
        return Err(diff_core::Error::argument("network.classes", given, expected).into());
    }
    let judged = matches!(config.objective, ObjectiveConfig::Classifier(_));
    if let Some(i) = data.unlabelled().filter(|_| judged) {
        let message = format!(
            "picture {} has no label, which objective.kind = classifier needs",
            data.index(i)
        );
        return Err(Error::Data { source_name: data.name().into(), message });
    }
    Ok(classes.is_some())
}
