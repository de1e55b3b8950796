//! A deterministic sampler run upwards, from a picture to its latent (DDIM, sections 4.3 and 5.4).
//!
//! Over the times t_1 < .. < t_S, with t_0 = 0 the clean picture: eps = f(x, max(t_i, t_1)), and x goes from
//! t_i to t_{i+1} along it, in DDIM's step or in Euler's of the probability-flow ODE. On the way up Euler's
//! slope belongs to the smaller noise: it overshoots by far where few steps multiply the noise.

use crate::{
    Clip, ImageSink, Outcome, Predict, Request, Result, Sampler, SamplerSpec, Starts,
    driver::Drive,
    samplers::{carry, pf_euler::euler},
};
use candle_core::Tensor;
use diff_core::{Error, Schedule};
use diff_models::Denoiser;
use serde::{Deserialize, Serialize};
use std::str::FromStr;

/// Which time a picture is taken to be at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Start {
    /// It is clean: the first of S steps takes it to t_1, with what the network predicts at t_1.
    #[default]
    Clean,
    /// It is at t_1 already, and S - 1 steps remain (guided-diffusion's `ddim_reverse_sample`).
    First,
}

impl FromStr for Start {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "clean" => Ok(Start::Clean),
            "first" => Ok(Start::First),
            _ => Err("expected clean or first".into()),
        }
    }
}

/// How pictures become latents.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Encoding {
    /// `ddim` without noise or `pf-euler`, over which times; and what is done to the predicted picture.
    pub spec: SamplerSpec,
    /// Where the way up begins.
    pub start: Start,
}

type Rule = fn(&Tensor, &Tensor, f64, f64) -> Result<Tensor>;

impl Encoding {
    /// The time t_S that latents are at.
    ///
    /// # Errors
    /// Samplers that have no way up, noise, a clipping policy that keeps the predicted noise, times that
    /// are none, and one time alone where the picture is at it already.
    pub fn end(&self, schedule: &Schedule) -> Result<usize> {
        Ok(self.build(schedule)?.end)
    }

    /// Checks the request against the schedule and lays out the way up.
    fn build(&self, schedule: &Schedule) -> Result<Ascent> {
        let rule: Rule = match self.spec.sampler.as_str() {
            "ddim" => carry,
            "pf-euler" => euler,
            other => {
                let expected = "ddim or pf-euler, the samplers that can be run upwards";
                return Err(Error::argument("sampler", other, expected).into());
            }
        };
        let spec = self.spec.resolved(schedule)?;
        if let Some(eta) = spec.eta.filter(|eta| *eta > 0.0) {
            return Err(Error::argument("eta", eta, "0: only steps without noise go up").into());
        }
        let clip = match spec.clip.unwrap_or(Clip::None) {
            clip @ (Clip::None | Clip::RecomputeEps) => clip,
            other => {
                let expected = "none or recompute-eps, on the way up";
                return Err(Error::argument("clip", other.name(), expected).into());
            }
        };
        let times = spec.times(schedule)?;
        let (first, end) = (times[0], times[times.len() - 1]);
        let mut rungs = times;
        if self.start == Start::Clean {
            rungs.insert(0, 0);
        }
        if rungs.len() < 2 {
            let expected = "at least 2 where the picture is at the first time already";
            return Err(Error::argument("steps", 1, expected).into());
        }
        let alpha_bars = rungs.iter().map(|t| schedule.alpha_bar(*t)).collect();
        Ok(Ascent { rungs, alpha_bars, first, end, done: 0, rule, clip })
    }
}

/// Takes clean pictures, `pictures`, to their latents and hands those to `sink`. The pictures are as the
/// network sees them. `request.seed` is not used.
///
/// # Errors
/// What the encoding, the network or the sink refuses; a latent that is not finite.
pub fn encode(
    denoiser: &dyn Denoiser,
    schedule: &Schedule,
    encoding: &Encoding,
    request: &Request,
    pictures: &Starts,
    sink: &mut dyn ImageSink,
    progress: &mut dyn FnMut(f64),
) -> Result<Outcome> {
    let build = || -> Result<Box<dyn Sampler>> { Ok(Box::new(encoding.build(schedule)?)) };
    Drive { denoiser, schedule, request, starts: pictures, build: &build }.run(sink, progress)
}

/// A sampler on its way up.
struct Ascent {
    /// Times, from that of the picture on.
    rungs: Vec<usize>,
    alpha_bars: Vec<f64>,
    /// t_1 and t_S.
    first: usize,
    end: usize,
    done: usize,
    rule: Rule,
    clip: Clip,
}

impl Sampler for Ascent {
    fn remaining(&self) -> usize {
        self.rungs.len() - 1 - self.done
    }

    fn step(&mut self, x: &Tensor, predict: &mut Predict) -> Result<Tensor> {
        if self.remaining() == 0 {
            return Ok(x.clone());
        }
        let (here, next) = (self.done, self.done + 1);
        self.done = next;
        let (from, to) = (self.alpha_bars[here], self.alpha_bars[next]);
        if from == to {
            return Ok(x.clone());
        }
        let eps = predict.estimate(x, self.rungs[here].max(self.first), self.clip)?.eps;
        // Euler's slope in time has no end at clean data: like the step onto them, that off them is DDIM's.
        let rule = if from == 1.0 { carry } else { self.rule };
        rule(x, &eps, from, to)
    }
}
