use crate::{Error, Guidance, ImageSink, Labels, Predict, Result, Sampler, SamplerSpec};
use candle_core::{DType, Device, Tensor};
use diff_core::{
    Schedule,
    rng::{Address, Purpose},
};
use diff_models::{Condition, Denoiser, noise::normals, ops::within};

/// Which samples to make.
#[derive(Clone, Debug)]
pub struct Request {
    /// Global indices of the samples; sample i of a seed is the same picture in every request.
    pub indices: Vec<u64>,
    /// Samples a network call serves at most, at least 1.
    pub batch: usize,
    /// The seed of latents and step noise.
    pub seed: u64,
    /// C, H, W.
    pub shape: [usize; 3],
    /// Class of every sample, for networks that know classes.
    pub labels: Labels,
    /// How strongly they are led towards it.
    pub guidance: Guidance,
    /// f32, or f64 for oracles.
    pub dtype: DType,
    /// Where to compute.
    pub device: Device,
}

impl Request {
    /// Refuses a request for nothing.
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

/// What a run cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Samples written.
    pub images: usize,
    /// Network calls, over all batches.
    pub network_calls: usize,
    /// Network evaluations summed over samples: two a call where guidance asks about the null label.
    pub evaluations: usize,
}

/// Makes every requested sample, in order, exactly as many as asked, and hands them to `sink` batch
/// by batch. `progress` hears after every step how many samples are finished, counting those under
/// way by their share of steps.
///
/// # Errors
/// Whatever the specification, the network or the sink refuses; a sample that is not finite.
pub fn generate(
    denoiser: &dyn Denoiser,
    schedule: &Schedule,
    spec: &SamplerSpec,
    request: &Request,
    sink: &mut dyn ImageSink,
    progress: &mut dyn FnMut(f64),
) -> Result<Outcome> {
    let drawn = |indices: &[u64]| drawn(request, indices);
    generate_from(denoiser, schedule, spec, request, &drawn, sink, progress)
}

/// Where samples start: `[B, C, H, W]` for those with the indices given.
pub type Starts<'a> = dyn Fn(&[u64]) -> Result<Tensor> + 'a;

/// The latents x_T of the samples with these indices, as [`generate`] draws them.
///
/// # Errors
/// When a tensor operation fails.
pub fn drawn(request: &Request, indices: &[u64]) -> Result<Tensor> {
    let latent = Address::new(request.seed, Purpose::Latent);
    let rows: Vec<_> = indices.iter().map(|i| latent.index(*i)).collect();
    Ok(normals(&rows, &request.shape, request.dtype, &request.device)?)
}

/// [`generate`] from latents of one's own.
///
/// # Errors
/// As [`generate`]; what `starts` refuses, and latents of another shape than the request's.
pub fn generate_from(
    denoiser: &dyn Denoiser,
    schedule: &Schedule,
    spec: &SamplerSpec,
    request: &Request,
    starts: &Starts,
    sink: &mut dyn ImageSink,
    progress: &mut dyn FnMut(f64),
) -> Result<Outcome> {
    let build = || spec.build(schedule);
    Drive { denoiser, schedule, request, starts, build: &build }.run(sink, progress)
}

/// One way that all samples of a request go, batch by batch.
pub(crate) struct Drive<'a> {
    pub(crate) denoiser: &'a dyn Denoiser,
    pub(crate) schedule: &'a Schedule,
    pub(crate) request: &'a Request,
    pub(crate) starts: &'a Starts<'a>,
    /// Makes the sampler that takes a batch from its start to its end.
    pub(crate) build: &'a dyn Fn() -> Result<Box<dyn Sampler>>,
}

impl Drive<'_> {
    /// Hands the ends to `sink`; `progress` as in [`generate`].
    pub(crate) fn run(
        &self,
        sink: &mut dyn ImageSink,
        progress: &mut dyn FnMut(f64),
    ) -> Result<Outcome> {
        let request = self.request;
        request.check()?;
        let mut outcome = Outcome::default();
        for indices in request.indices.chunks(request.batch) {
            let class = request.labels.of(indices, request.seed);
            let condition = Condition { class, image: None };
            let (denoiser, schedule) = (self.denoiser, self.schedule);
            let mut predict = Predict::new(denoiser, schedule, &condition, request.seed, indices)
                .guided(request.guidance);
            let x = self.sample(&mut predict, indices, &mut |fraction| {
                progress(outcome.images as f64 + fraction * indices.len() as f64)
            })?;
            sink.write(indices, &x)?;
            outcome.images += indices.len();
            outcome.network_calls += predict.calls();
            outcome.evaluations += predict.evaluations();
        }
        sink.finish()?;
        Ok(outcome)
    }

    fn sample(
        &self,
        predict: &mut Predict,
        indices: &[u64],
        progress: &mut dyn FnMut(f64),
    ) -> Result<Tensor> {
        let mut sampler = (self.build)()?;
        let total = sampler.remaining();
        let mut x = (self.starts)(indices)?;
        check_shape(&x, indices, self.request.shape)?;
        while sampler.remaining() > 0 {
            x = within(|| sampler.step(&x, predict))?;
            progress(1.0 - sampler.remaining() as f64 / total as f64);
        }
        check_finite(&x, indices, total)?;
        Ok(x)
    }
}

fn check_shape(x: &Tensor, indices: &[u64], [c, h, w]: [usize; 3]) -> Result<()> {
    let expected = [indices.len(), c, h, w];
    match x.dims() == expected {
        true => Ok(()),
        false => {
            let found = x.dims();
            Err(Error::Mismatch(format!("starts of shape {found:?}, expected {expected:?}")))
        }
    }
}

fn check_finite(x: &Tensor, indices: &[u64], steps: usize) -> Result<()> {
    let rows = x.flatten_from(1)?.to_dtype(DType::F64)?.to_vec2::<f64>()?;
    for (row, index) in rows.iter().zip(indices) {
        let count = row.iter().filter(|v| !v.is_finite()).count();
        if count > 0 {
            return Err(Error::NotFinite { index: *index, steps, count });
        }
    }
    Ok(())
}
