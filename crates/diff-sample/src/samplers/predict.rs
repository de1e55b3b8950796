use crate::{Guidance, Result};
use candle_core::Tensor;
use diff_core::{
    Schedule,
    rng::{Address, Purpose},
};
use diff_models::{
    Condition, Context, Denoiser, Prediction, Second, eps_to_x0, noise::normals, x0_to_eps,
};
use serde::{Deserialize, Serialize};

/// What is done to the predicted clean image. Published numbers differ by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Clip {
    /// Nothing (ermongroup's generalised sampler; SA-DPM's and DDIM's results).
    None,
    /// x_0 clamped to [-1, 1] before the posterior mean (ddpm_noisy, guided and diffusers DDPM).
    Posterior,
    /// x_0 clamped, the predicted noise kept (Bao's and diffusers' DDIM).
    KeepEps,
    /// x_0 clamped and the noise recomputed from it (guided-diffusion's DDIM).
    RecomputeEps,
}

impl Clip {
    /// Every policy.
    pub const ALL: [Clip; 4] = [Clip::None, Clip::Posterior, Clip::KeepEps, Clip::RecomputeEps];

    /// What the user types.
    pub fn name(self) -> &'static str {
        match self {
            Clip::None => "none",
            Clip::Posterior => "posterior",
            Clip::KeepEps => "keep-eps",
            Clip::RecomputeEps => "recompute-eps",
        }
    }
}

/// The two readings of one prediction, `[B, C, H, W]` each, and what came with it.
pub struct Estimate {
    /// The clean image, clipped as asked.
    pub x0: Tensor,
    /// The noise.
    pub eps: Tensor,
    /// The network's second block.
    pub second: Second,
}

/// What a sampler may ask for: predictions (counted) and addressed noise.
pub struct Predict<'a> {
    denoiser: &'a dyn Denoiser,
    schedule: &'a Schedule,
    condition: &'a Condition,
    seed: u64,
    indices: &'a [u64],
    guidance: Guidance,
    calls: usize,
    evaluations: usize,
}

impl<'a> Predict<'a> {
    /// Predictions by `denoiser` under `schedule` for the samples with these global indices.
    pub fn new(
        denoiser: &'a dyn Denoiser,
        schedule: &'a Schedule,
        condition: &'a Condition,
        seed: u64,
        indices: &'a [u64],
    ) -> Self {
        Predict {
            denoiser,
            schedule,
            condition,
            seed,
            indices,
            guidance: Guidance::default(),
            calls: 0,
            evaluations: 0,
        }
    }

    /// The same, guided.
    pub fn guided(self, guidance: Guidance) -> Self {
        Predict { guidance, ..self }
    }

    /// Calls the network at paper time `t` and reads its answer under `clip`.
    pub fn estimate(&mut self, x: &Tensor, t: usize, clip: Clip) -> Result<Estimate> {
        let prediction = self.prediction(x, t)?;
        let alpha_bar = [self.schedule.alpha_bar(t)];
        let eps = prediction.eps(x, &alpha_bar)?;
        let x0 = match &prediction.mean {
            diff_models::Mean::Eps(eps) => eps_to_x0(x, eps, &alpha_bar)?,
            _ => prediction.x0(x, &alpha_bar)?,
        };
        let (x0, eps) = match clip {
            Clip::None => (x0, eps),
            Clip::Posterior | Clip::KeepEps => (x0.clamp(-1.0, 1.0)?, eps),
            Clip::RecomputeEps => {
                let x0 = x0.clamp(-1.0, 1.0)?;
                let eps = x0_to_eps(x, &x0, &alpha_bar)?;
                (x0, eps)
            }
        };
        Ok(Estimate { x0, eps, second: prediction.second })
    }

    /// What the network says, led by guidance; class and null label go through it as one batch.
    fn prediction(&mut self, x: &Tensor, t: usize) -> Result<Prediction> {
        let rows = self.indices.len();
        let mut ask = |x: &Tensor, condition: &Condition| -> Result<Prediction> {
            let times = vec![t as f64; x.dim(0)?];
            self.calls += 1;
            self.evaluations += times.len();
            Ok(self.denoiser.forward(x, &times, condition, &Context::Eval)?)
        };
        if !self.guidance.applies(t) {
            return ask(x, self.condition);
        }
        let Some(class) = &self.condition.class else {
            let expected = "0, as no classes are asked for";
            let weight = self.guidance.weight;
            return Err(diff_core::Error::argument("guidance", weight, expected).into());
        };
        let image = self.condition.image.as_ref();
        let image = image.map(|image| Tensor::cat(&[image, image], 0)).transpose()?;
        let class = class.iter().copied().chain(vec![None; rows]).collect();
        let both = ask(&Tensor::cat(&[x, x], 0)?, &Condition { class: Some(class), image })?;
        self.guidance.combine(&both.rows(0, rows)?, &both.rows(rows, rows)?)
    }

    /// Fresh standard normal noise shaped like `x`, for step number `step` of the plan.
    pub fn noise(&self, x: &Tensor, step: usize) -> Result<Tensor> {
        let address = Address::new(self.seed, Purpose::StepNoise).step(step as u32);
        let rows: Vec<_> = self.indices.iter().map(|i| address.index(*i)).collect();
        Ok(normals(&rows, &x.dims()[1..], x.dtype(), x.device())?)
    }

    /// Network calls so far (each serves the whole batch).
    pub fn calls(&self) -> usize {
        self.calls
    }

    /// Pictures that the network was called on so far, over all calls.
    pub fn evaluations(&self) -> usize {
        self.evaluations
    }
}
