//! Single steps against those of the DDIM repository, of diffusers and of the DDPM / conditional study. The
//! fixture was made by `tests/golden/steps.py`.

#![cfg(test)]

mod common;

use candle_core::{Device, Tensor};
use common::MadeUp;
use diff_core::{
    Schedule, ScheduleSpec,
    rng::{Address, Purpose},
    trajectory,
};
use diff_models::{Condition, noise::normals};
use diff_sample::{Clip, Predict, SamplerSpec};
use std::{collections::BTreeSet, path::Path};

const SEED: u64 = 5;

fn schedule(peer: &str) -> Schedule {
    let spec = ScheduleSpec::default();
    let beta_end = if peer == "study" { 0.028 } else { 0.02 };
    Schedule::new(&ScheduleSpec { beta_end: Some(beta_end), ..spec }).unwrap()
}

fn spec(words: &[&str]) -> SamplerSpec {
    SamplerSpec {
        sampler: words[1].into(),
        steps: words[5].parse().ok(),
        trajectory: words[4].into(),
        eta: words[2].parse().ok(),
        clip: Clip::ALL.into_iter().find(|clip| clip.name() == words[3]),
    }
}

fn flat(x: &Tensor) -> Vec<f64> {
    x.flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn every_step_is_the_peers() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/steps.safetensors");
    let golden = candle_core::safetensors::load(path, &Device::Cpu).unwrap();
    let cases: BTreeSet<&str> = golden.keys().map(|key| key.rsplit_once('/').unwrap().0).collect();
    assert_eq!(cases.len(), 29);
    for case in cases {
        let words: Vec<&str> = case.split('/').collect();
        let [inputs, means, scales] =
            ["inputs", "means", "scales"].map(|part| &golden[&format!("{case}/{part}")]);
        let (schedule, spec) = (schedule(words[0]), spec(&words));
        let times = trajectory::resolve(&spec.trajectory, spec.steps.unwrap(), &schedule).unwrap();
        let scales = flat(scales);
        assert_eq!(times.len(), scales.len(), "{case}");
        let (indices, condition) = ([0, 1], Condition::default());
        let mut predict = Predict::new(&MadeUp, &schedule, &condition, SEED, &indices);
        let mut sampler = spec.build(&schedule).unwrap();
        let mut worst: f64 = 0.0;
        for (number, scale) in scales.iter().enumerate() {
            let x = inputs.get(number).unwrap();
            let found = sampler.step(&x, &mut predict).unwrap();
            let address = Address::new(SEED, Purpose::StepNoise).step(number as u32);
            let rows = indices.map(|i| address.index(i));
            let noise = normals(&rows, &x.dims()[1..], x.dtype(), x.device()).unwrap();
            let expected =
                (means.get(number).unwrap() + noise.affine(*scale, 0.0).unwrap()).unwrap();
            let (found, expected) = (flat(&found), flat(&expected));
            let square = |x: &[f64]| x.iter().map(|v| v * v).sum::<f64>();
            let differences: Vec<f64> = found.iter().zip(&expected).map(|(a, b)| a - b).collect();
            let error = (square(&differences) / square(&expected)).sqrt();
            worst = worst.max(error);
            // Their alpha_bar is rounded to f32.
            assert!(error < 1e-5, "{case}, step {number}: {error:e}");
        }
        println!("{case}: {worst:.1e}");
    }
}
