//! Steps with a network's own variance against guided-diffusion's `p_mean_variance` over a
//! sub-sequence (tests/golden/vlb.py).

#![cfg(test)]

use candle_core::{DType, Device, Tensor};
use diff_core::{
    Schedule,
    rng::{Address, Purpose},
};
use diff_models::{
    Condition, Context, Denoiser, Mean, Prediction, Second, nets::SecondType, noise::normals,
};
use diff_sample::{Clip, Predict, SamplerSpec, samplers::SAMPLERS};
use std::collections::HashMap;

/// The made-up network, with or without what it says of its variance.
struct Network {
    learned: bool,
}

impl Denoiser for Network {
    fn forward(
        &self,
        x: &Tensor,
        t: &[f64],
        _: &Condition,
        _: &Context,
    ) -> diff_models::Result<Prediction> {
        let k = t[0] - 1.0;
        let wave = |a: f64, b: f64| x.affine(a, b * k)?.sin();
        let eps = (x.affine(0.5, 0.0)? + wave(2.0, 0.01)?.affine(0.3, 0.0)?)?;
        let range = wave(3.0, 0.02)?.affine(1.2, 0.0)?;
        let second = if self.learned { Second::Range(range) } else { Second::None };
        Ok(Prediction { mean: Mean::Eps(eps), second })
    }
}

fn values(x: &Tensor) -> Vec<f64> {
    x.flatten_all().unwrap().to_vec1().unwrap()
}

struct Golden(HashMap<String, Tensor>);

impl Golden {
    fn read() -> Self {
        let path = "/../diff-train/tests/fixtures/vlb.safetensors";
        let path = format!("{}{path}", env!("CARGO_MANIFEST_DIR"));
        Golden(candle_core::safetensors::load(path, &Device::Cpu).unwrap())
    }

    fn schedule(&self) -> Schedule {
        Schedule::from_betas(&values(&self.0["betas"])).unwrap()
    }

    fn row(&self, name: &str, row: usize) -> Vec<f64> {
        values(&self.0[name].get(row).unwrap())
    }
}

fn spec(sampler: &str, trajectory: &str, clip: Option<Clip>) -> SamplerSpec {
    SamplerSpec {
        sampler: sampler.into(),
        steps: None,
        trajectory: trajectory.into(),
        eta: None,
        clip,
    }
}

#[test]
fn every_step_has_guided_diffusions_mean_and_variance() {
    let golden = Golden::read();
    let schedule = golden.schedule();
    let visited = values(&golden.0["visited"]);
    let trajectory = visited.iter().map(f64::to_string).collect::<Vec<_>>().join(",");
    for (name, clip) in [("clipped", Clip::Posterior), ("free", Clip::None)] {
        let spec = spec("ddpm-learned", &trajectory, Some(clip));
        let mut sampler = spec.build(&schedule).unwrap();
        let condition = Condition::default();
        let mut predict = Predict::new(&Network { learned: true }, &schedule, &condition, 7, &[3]);
        for row in (0..visited.len()).rev() {
            let number = visited.len() - 1 - row;
            let state = golden.0["state"].narrow(0, row, 1).unwrap();
            let next = values(&sampler.step(&state, &mut predict).unwrap());
            let address = Address::new(7, Purpose::StepNoise).step(number as u32).index(3);
            let z = values(&normals(&[address], &[1, 2, 3], DType::F64, &Device::Cpu).unwrap());
            let mean = golden.row(&format!("mean.{name}"), row);
            let variance = golden.row(&format!("variance.{name}"), row);
            for i in 0..6 {
                // The last step is noise-free.
                let noise = if row == 0 { 0.0 } else { variance[i].sqrt() * z[i] };
                let (ours, theirs) = (next[i], mean[i] + noise);
                assert!((ours - theirs).abs() < 1e-10, "{name} {row} {i}: {ours} {theirs}");
            }
        }
        assert_eq!(sampler.remaining(), 0);
    }
}

#[test]
fn the_default_is_to_clip_and_repeated_times_change_nothing() {
    let schedule = Golden::read().schedule();
    let resolved = spec("ddpm-learned", "1,9,40", None).resolved(&schedule).unwrap();
    assert_eq!((resolved.clip, resolved.eta), (Some(Clip::Posterior), None));
    let quad = SamplerSpec { steps: Some(20), ..spec("ddpm-learned", "ddim-quad", None) };
    let times = diff_core::trajectory::resolve("ddim-quad", 20, &schedule).unwrap();
    assert!(times.windows(2).any(|pair| pair[0] == pair[1]), "{times:?}");
    let mut sampler = quad.build(&schedule).unwrap();
    let condition = Condition::default();
    let mut predict = Predict::new(&Network { learned: true }, &schedule, &condition, 7, &[0]);
    let mut x = Tensor::zeros((1, 1, 2, 3), DType::F64, &Device::Cpu).unwrap();
    for pair in times.iter().rev().zip(times.iter().rev().skip(1).chain([&0])) {
        let next = sampler.step(&x, &mut predict).unwrap();
        assert!(values(&next).iter().all(|v| v.is_finite()));
        assert_eq!(values(&next) == values(&x), pair.0 == pair.1, "{pair:?}");
        x = next;
    }
}

#[test]
fn a_network_without_its_own_variance_is_refused_with_the_reason() {
    let schedule = Golden::read().schedule();
    let learned = spec("ddpm-learned", "1,9,40", None);
    let words = ["sampler = ddpm-learned", "learned variance", "learn_sigma"];
    let refused = |message: String| {
        assert!(words.iter().all(|word| message.contains(word)), "{message}");
    };
    for second in [SecondType::None, SecondType::Npr, SecondType::Sn] {
        refused(learned.check_network(second).unwrap_err().to_string());
    }
    learned.check_network(SecondType::Range).unwrap();
    for entry in SAMPLERS.iter().filter(|entry| entry.name != "ddpm-learned") {
        for second in [SecondType::None, SecondType::Range] {
            spec(entry.name, "linear", None).check_network(second).unwrap();
        }
    }
    let condition = Condition::default();
    let mut predict = Predict::new(&Network { learned: false }, &schedule, &condition, 7, &[0]);
    let x = Tensor::zeros((1, 1, 2, 3), DType::F64, &Device::Cpu).unwrap();
    let step = learned.build(&schedule).unwrap().step(&x, &mut predict);
    refused(step.map(|_| ()).unwrap_err().to_string());
}
