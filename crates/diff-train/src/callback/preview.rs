use super::{Callback, Moment, Record};
use crate::{Result, config::RunConfig};
use candle_core::{DType, Device, Tensor};
use diff_core::{
    Step,
    rng::{Address, Purpose},
    save::io_error,
    trajectory,
};
use diff_models::{
    Condition, Context, Denoiser,
    checkpoint::Checkpoint,
    eps_to_x0,
    noise::normals,
    pictures::{Grid, Pictures},
};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Draws samples of the averaged weights now and then: deterministic DDIM on the linear trajectory,
/// from the noise that `diff-sample generate` gives the same indices, so that previews show one
/// latent as training goes on. Class-conditional networks draw the classes in turn.
pub struct Previews {
    every: usize,
    folder: PathBuf,
    network: Checkpoint,
    steps: Vec<Step>,
    latents: Tensor,
    condition: Condition,
}

impl Previews {
    /// The previews of `network` that `config` asks for, in the run folder `out`.
    ///
    /// # Errors
    /// When there are more steps than the schedule has.
    pub fn new(
        config: &RunConfig,
        network: &Checkpoint,
        out: &Path,
        device: &Device,
    ) -> Result<Self> {
        let schedule = &network.schedule;
        let times = trajectory::resolve("linear", config.preview.steps, schedule)?;
        let before = std::iter::once(&0).chain(&times);
        let mut steps: Vec<Step> = before.zip(&times).map(|(s, t)| schedule.step(*s, *t)).collect();
        steps.reverse();
        let shape = config.network.image_shape()?;
        let count = config.preview.num;
        let latent = Address::new(config.seed, Purpose::Latent);
        let rows: Vec<_> = (0..count as u64).map(|i| latent.index(i)).collect();
        let class = config.network.classes();
        let class = class.map(|c| (0..count).map(|i| Some((i % c.count) as u32)).collect());
        Ok(Previews {
            every: config.preview.every,
            folder: out.join("previews"),
            network: network.clone(),
            steps,
            latents: normals(&rows, &shape, DType::F32, device)?,
            condition: Condition { class, image: None },
        })
    }

    fn sample(&self, model: &dyn Denoiser) -> Result<Tensor> {
        let mut x = self.latents.clone();
        for step in &self.steps {
            let times = vec![step.t as f64; x.dim(0)?];
            let prediction = model.forward(&x, &times, &self.condition, &Context::Eval)?;
            let alpha_bar = [self.network.schedule.alpha_bar(step.t)];
            let eps = prediction.eps(&x, &alpha_bar)?;
            let x0 = eps_to_x0(&x, &eps, &alpha_bar)?;
            let direction = step.ddim_direction(0.0);
            x = (x0.affine(step.alpha_bar_s.sqrt(), 0.0)? + eps.affine(direction, 0.0)?)?;
        }
        Ok(x)
    }
}

impl Callback for Previews {
    fn after_step(&mut self, moment: &Moment, record: &mut Record) -> Result<()> {
        if !moment.due(self.every) {
            return Ok(());
        }
        let averaged = self.network.with_weights(moment.averaged())?;
        let samples = self.network.transform()?.inverse(&self.sample(&averaged)?)?;
        let pictures = Pictures::from_tensor(&samples)?;
        let [n, h, w, c] = pictures.shape;
        let mut grid = Grid::new(n, [h, w, c]);
        (0..n).for_each(|i| grid.push(pictures.picture(i)));
        let images = moment.images;
        let path = self.folder.join(format!("{images:010}.png"));
        grid.write(&path, Some(&format!("{images} pictures, step {}", moment.report.step)))?;
        let png = fs::read(&path).map_err(io_error(&path, "read"))?;
        record.picture(moment.report.step, "preview", grid.draw().0, &png)
    }
}
