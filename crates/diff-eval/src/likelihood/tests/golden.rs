//! guided-diffusion's `calc_bpd_loop` (tests/golden/vlb.py).

use super::{request, subject};
use crate::{
    gap::{CleanPictures, Noise},
    likelihood::{LikelihoodRequest, measure::measure_with},
};
use candle_core::{Device, Tensor};
use diff_core::{ReverseVariance, Schedule};
use diff_models::{Condition, Context, Denoiser, Error, Mean, Prediction, Second};

/// The made-up network.
pub(super) struct Network;

impl Denoiser for Network {
    fn forward(
        &self,
        x: &Tensor,
        t: &[f64],
        _: &Condition,
        _: &Context,
    ) -> Result<Prediction, Error> {
        let k = t[0] - 1.0;
        let wave = |a: f64, b: f64| x.affine(a, b * k)?.sin();
        let eps = (x.affine(0.5, 0.0)? + wave(2.0, 0.01)?.affine(0.3, 0.0)?)?;
        let second = Second::Range(wave(3.0, 0.02)?.affine(1.2, 0.0)?);
        Ok(Prediction { mean: Mean::Eps(eps), second })
    }
}

/// The made-up noise.
struct Waves;

impl Noise for Waves {
    fn forward(&self, picture: u64, t: usize, out: &mut [f64]) {
        for (j, out) in out.iter_mut().enumerate() {
            *out = (1.3 * j as f64 + 0.7 * picture as f64 + 2.1 * t as f64).sin();
        }
    }

    fn step(&self, _: u64, _: usize, _: &mut [f64]) {
        unreachable!("a likelihood takes no step");
    }
}

#[test]
fn every_term_is_guided_diffusions() {
    let path = "/../diff-train/tests/fixtures/vlb.safetensors";
    let path = format!("{}{path}", env!("CARGO_MANIFEST_DIR"));
    let golden = candle_core::safetensors::load(path, &Device::Cpu).unwrap();
    let values = |name: &str| golden[name].flatten_all().unwrap().to_vec1::<f64>().unwrap();
    let schedule = Schedule::from_betas(&values("betas")).unwrap();
    let pictures = CleanPictures::from_values([1, 2, 3], values("pictures")).unwrap();
    let subject = subject(&Network, &schedule);
    for (name, variance) in [
        ("small", ReverseVariance::Small),
        ("large", ReverseVariance::Large),
        ("range", ReverseVariance::Learned),
    ] {
        for (ending, clip) in [("", true), ("-free", false)] {
            let request = LikelihoodRequest { variance, clip, batch: 2, ..request(40, 3) };
            let found = measure_with(&subject, &pictures, &request, &Waves, &mut |_| {}).unwrap();
            let terms = values(&format!("bpd.{name}{ending}"));
            let close = |ours: f64, theirs: f64, what: &str| {
                let error = (ours - theirs).abs();
                assert!(
                    error <= 1e-9 * (1.0 + theirs.abs()),
                    "{name}{ending} {what}: {ours} {theirs}"
                );
            };
            for (i, parts) in found.pictures.iter().enumerate() {
                let row = &terms[40 * i..40 * (i + 1)];
                close(parts.decoder, row[0], "decoder");
                close(parts.transitions, row[1..].iter().sum(), "transitions");
                close(parts.prior, values(&format!("prior.{name}{ending}"))[i], "prior");
            }
            for (at, ours) in found.terms.iter().enumerate() {
                let mean = (0..3).map(|i| terms[40 * i + at]).sum::<f64>() / 3.0;
                close(*ours, mean, &format!("t = {}", at + 1));
            }
        }
    }
}
