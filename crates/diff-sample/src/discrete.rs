//! Sampling of pictures made of levels (DDIM, appendix A): a [`Categorizer`] in place of a denoiser, a
//! draw of a level per pixel in place of Gaussian noise, and a driver of its own.
//!
//! From t to s every pixel is drawn from Cat(stay x_t + clean p + uniform), where p is what the network
//! makes of it; the pixels of a picture are drawn independently. That is exact for pictures of one
//! pixel. For others it becomes exact as steps become many and small with rho = 1, where a pixel mostly
//! keeps its level; with less, every step draws a share of them afresh, however small it is.

use crate::{Error, ImageSink, Outcome, Result};
use candle_core::{DType, Device, Tensor};
use diff_core::{
    Trajectory,
    discrete::{CategoricalProcess, CategoricalStep, Stay},
    rng::{Address, Purpose},
    trajectory,
};
use diff_models::{
    Context,
    categorical::{Categorizer, draw, likeliest, log_softmax, one_hot, pictures},
    noise::uniforms,
    ops::within,
};
use serde::{Deserialize, Serialize};

/// Over which times, how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// Steps S, in 1..=T.
    pub steps: usize,
    /// A name that [`trajectory::resolve`] knows, or a list of paper times; strictly increasing, with T
    /// for its last, where alone x_t is uniform.
    pub trajectory: String,
    /// What x_s keeps of x_t.
    pub stay: Stay,
    /// What the last step makes of p.
    pub last: Last,
}

/// How a pixel of x_0 comes from its probabilities p.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Last {
    /// Drawn from Cat(p).
    #[default]
    Draw,
    /// The likeliest level.
    Argmax,
}

/// Which samples to make.
#[derive(Clone, Debug)]
pub struct Request {
    /// Global indices of the samples; sample i of a seed is the same picture in every request.
    pub indices: Vec<u64>,
    /// Samples a network call serves at most, at least 1.
    pub batch: usize,
    /// The seed of all draws.
    pub seed: u64,
    /// H, W.
    pub size: [usize; 2],
    /// Where to compute.
    pub device: Device,
}

/// A step from paper time `t` down, as [`Spec::plan`] lays it out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Transition {
    /// The time it starts from.
    pub t: usize,
    /// The time it leads to; 0 is x_0.
    pub s: usize,
    /// Its weights.
    pub weights: CategoricalStep,
}

impl Spec {
    /// The steps, from T down to x_0.
    ///
    /// # Errors
    /// An unknown trajectory (with the nearest name), S outside 1..=T, times that repeat or do not end
    /// at T.
    pub fn plan(&self, process: &CategoricalProcess) -> Result<Vec<Transition>> {
        let timesteps = process.timesteps();
        let times = trajectory::resolve_by_length(&self.trajectory, self.steps, timesteps)?;
        let times = Trajectory::custom(&times, timesteps)?;
        if let Some(last) = times.times().last().filter(|last| **last != timesteps) {
            let expected = format!("T = {timesteps}, where x_t is uniform");
            return Err(diff_core::Error::argument("the last time", last, expected).into());
        }
        let before = std::iter::once(&0).chain(times.times());
        let transition = |(s, t): (&usize, &usize)| {
            Ok(Transition { t: *t, s: *s, weights: process.step(*s, *t, self.stay)? })
        };
        let mut plan: Vec<_> =
            before.zip(times.times()).map(transition).collect::<Result<_, Error>>()?;
        plan.reverse();
        Ok(plan)
    }
}

impl Request {
    /// Refuses a request for nothing.
    ///
    /// # Errors
    /// When there are no indices, or the batch is 0.
    pub fn check(&self) -> Result<()> {
        if self.batch == 0 {
            return Err(diff_core::Error::argument("batch", 0, "at least 1").into());
        }
        if self.indices.is_empty() {
            return Err(diff_core::Error::argument("num", 0, "at least 1 picture").into());
        }
        Ok(())
    }
}

/// Makes every requested sample, in order, and hands them to `sink` batch by batch as pictures
/// `[B, 1, H, W]` in [-1, 1]. `progress` hears after every step how many samples are finished, counting
/// those under way by their share of steps.
///
/// # Errors
/// What the specification, the network or the sink refuses; a network of other levels than the
/// process; logits that are not numbers.
pub fn generate(
    categorizer: &dyn Categorizer,
    process: &CategoricalProcess,
    spec: &Spec,
    request: &Request,
    sink: &mut dyn ImageSink,
    progress: &mut dyn FnMut(f64),
) -> Result<Outcome> {
    request.check()?;
    let (levels, classes) = (categorizer.levels(), process.classes());
    if levels != classes {
        let expected = format!("{classes}, those of the process");
        return Err(diff_core::Error::argument("levels of the network", levels, expected).into());
    }
    let plan = spec.plan(process)?;
    let mut outcome = Outcome::default();
    for indices in request.indices.chunks(request.batch) {
        let mut pixels = Pixels { categorizer, request, indices, last: spec.last };
        let x = pixels.sample(&plan, &mut |share| {
            progress(outcome.images as f64 + share * indices.len() as f64)
        })?;
        sink.write(indices, &pictures(&x, levels)?)?;
        outcome.images += indices.len();
        outcome.network_calls += plan.len();
        outcome.evaluations += plan.len() * indices.len();
    }
    sink.finish()?;
    Ok(outcome)
}

/// The samples of a batch.
struct Pixels<'a> {
    categorizer: &'a dyn Categorizer,
    request: &'a Request,
    indices: &'a [u64],
    last: Last,
}

impl Pixels<'_> {
    /// x_0 `[B, H, W]`.
    fn sample(&mut self, plan: &[Transition], progress: &mut dyn FnMut(f64)) -> Result<Tensor> {
        let levels = self.categorizer.levels();
        let even = [self.indices.len(), levels, self.request.size[0], self.request.size[1]];
        let even = Tensor::ones(&even, DType::F32, &self.request.device)?;
        let mut x = draw(&even, &self.uniforms(Purpose::Latent, 0)?)?;
        for (number, transition) in plan.iter().enumerate() {
            x = within(|| self.step(&x, number, transition))?;
            progress((number + 1) as f64 / plan.len() as f64);
        }
        Ok(x)
    }

    fn step(&self, x: &Tensor, number: usize, transition: &Transition) -> Result<Tensor> {
        let Transition { t, s, weights } = *transition;
        let levels = self.categorizer.levels();
        let times = vec![t as f64; self.indices.len()];
        let logits = self.categorizer.forward(x, &times, &Context::Eval)?;
        let p = log_softmax(&logits)?.exp()?;
        self.check_finite(&p, number)?;
        if s == 0 && self.last == Last::Argmax {
            return Ok(likeliest(&logits)?);
        }
        let own = one_hot(x, levels, p.dtype())?.affine(weights.stay, weights.uniform)?;
        let law = (p.affine(weights.clean, 0.0)? + own)?;
        Ok(draw(&law, &self.uniforms(Purpose::StepNoise, number)?)?)
    }

    /// Numbers in (0, 1), `[B, H, W]`, for one draw of every pixel.
    fn uniforms(&self, purpose: Purpose, number: usize) -> Result<Tensor> {
        let address = Address::new(self.request.seed, purpose).step(number as u32);
        let rows: Vec<_> = self.indices.iter().map(|i| address.index(*i)).collect();
        Ok(uniforms(&rows, &self.request.size, DType::F32, &self.request.device)?)
    }

    /// Looks at every step: a draw would turn what is not a number into some level.
    fn check_finite(&self, p: &Tensor, number: usize) -> Result<()> {
        let sums = p.flatten_from(1)?.sum(1)?.to_dtype(DType::F64)?.to_vec1::<f64>()?;
        let Some(row) = sums.iter().position(|sum| !sum.is_finite()) else { return Ok(()) };
        let values = p.get(row)?.flatten_all()?.to_dtype(DType::F64)?.to_vec1::<f64>()?;
        let count = values.iter().filter(|p| !p.is_finite()).count();
        Err(Error::NotFinite { index: self.indices[row], steps: number + 1, count })
    }
}
