//! Discrete sampling against exact propagation of probabilities, and exact propagation against the
//! truth.

#![cfg(test)]

use candle_core::{Device, Tensor};
use diff_core::discrete::{CategoricalProcess, Stay};
use diff_models::{
    Context,
    categorical::{Categorizer, Enumerated, levels_of},
    nets::{Categorical, CategoricalSpec, DdpmSpec},
    params::ParamBuilder,
};
use diff_sample::{
    Error, ImageSink, Outcome, Result,
    discrete::{Last, Request, Spec, generate},
};

/// Keeps the levels of every picture.
#[derive(Default)]
struct Kept {
    levels: usize,
    indices: Vec<u64>,
    pictures: Vec<Vec<u32>>,
}

impl ImageSink for Kept {
    fn write(&mut self, indices: &[u64], x: &Tensor) -> Result<()> {
        let levels = levels_of(x, self.levels)?;
        for (row, index) in indices.iter().enumerate() {
            self.indices.push(*index);
            self.pictures.push(levels.get(row)?.flatten_all()?.to_vec1()?);
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        Ok(())
    }
}

fn spec(steps: usize, rho: f64) -> Spec {
    let stay = Stay::new(rho).unwrap();
    Spec { steps, trajectory: "trailing".into(), stay, last: Last::Draw }
}

fn request(num: u64, batch: usize, size: [usize; 2]) -> Request {
    Request { indices: (0..num).collect(), batch, seed: 3, size, device: Device::Cpu }
}

fn sampled(
    model: &dyn Categorizer,
    process: &CategoricalProcess,
    spec: &Spec,
    request: &Request,
) -> Result<(Kept, Outcome)> {
    let mut kept = Kept { levels: model.levels(), ..Kept::default() };
    let outcome = generate(model, process, spec, request, &mut kept, &mut |_| ())?;
    Ok((kept, outcome))
}

/// All pictures of `pixels` pixels with K levels, by their number.
fn picture(number: usize, levels: usize, pixels: usize) -> Vec<u32> {
    (0..pixels).map(|i| (number / levels.pow(i as u32) % levels) as u32).collect()
}

/// The distribution of x_0 over all pictures, by sums over all pictures at every step.
fn propagated(
    oracle: &Enumerated,
    process: &CategoricalProcess,
    spec: &Spec,
    n: usize,
) -> Vec<f64> {
    let levels = process.classes();
    let count = levels.pow(n as u32);
    let all: Vec<Vec<u32>> = (0..count).map(|i| picture(i, levels, n)).collect();
    let mut law = vec![1.0 / count as f64; count];
    for transition in spec.plan(process).unwrap() {
        let mut next = vec![0.0; count];
        for (x_t, weight) in all.iter().zip(&law) {
            let p = oracle.posterior(x_t, transition.t);
            let pixels: Vec<Vec<f64>> = (x_t.iter().zip(&p))
                .map(|(x, p)| transition.weights.probabilities(*x as usize, p))
                .collect();
            for (x_s, sum) in all.iter().zip(&mut next) {
                *sum +=
                    weight * (pixels.iter().zip(x_s)).map(|(p, x)| p[*x as usize]).product::<f64>();
            }
        }
        law = next;
    }
    law
}

/// 2x2 pictures in black and white: mostly uniform rows, so that pixels depend on each other.
fn squares(timesteps: usize) -> (Enumerated, CategoricalProcess, Vec<f64>) {
    let process = CategoricalProcess::linear(2, timesteps).unwrap();
    let weights = [(0, 4.0), (15, 2.0), (3, 3.0), (12, 1.0), (6, 1.5), (1, 0.5)];
    let total: f64 = weights.iter().map(|(_, w)| w).sum();
    let mut truth = vec![0.0; 16];
    weights.iter().for_each(|(i, w)| truth[*i] = w / total);
    let pictures = weights.iter().map(|(i, w)| (picture(*i, 2, 4), *w)).collect();
    (Enumerated::new(process.clone(), [2, 2], pictures).unwrap(), process, truth)
}

fn variation(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).sum::<f64>() / 2.0
}

#[test]
fn pictures_of_one_pixel_are_exact_with_any_steps() {
    let process = CategoricalProcess::linear(3, 20).unwrap();
    let truth = [0.5, 0.1, 0.4];
    let pictures = truth.iter().enumerate().map(|(i, w)| (vec![i as u32], *w)).collect();
    let oracle = Enumerated::new(process.clone(), [1, 1], pictures).unwrap();
    for steps in [1, 2, 7, 20] {
        for rho in [0.0, 0.25, 1.0] {
            let law = propagated(&oracle, &process, &spec(steps, rho), 1);
            assert!(variation(&law, &truth) < 1e-14, "{steps} {rho}: {law:?}");
        }
    }
}

#[test]
fn small_steps_that_keep_all_they_may_lead_to_the_truth() {
    let distance = |timesteps: usize, steps: usize, rho: f64| {
        let (oracle, process, truth) = squares(timesteps);
        variation(&propagated(&oracle, &process, &spec(steps, rho), 4), &truth)
    };
    let far: Vec<f64> = [1, 4, 16, 64, 256].map(|steps| distance(256, steps, 1.0)).into();
    assert!(far.windows(2).all(|pair| pair[1] < 0.6 * pair[0]), "{far:?}");
    assert!(far[0] > 0.3 && far[4] < 0.01, "{far:?}");
    // Of order one in the step.
    assert!((far[3] / far[4] - 4.0).abs() < 0.4, "{far:?}");
    // What every step draws afresh is drawn pixel by pixel.
    assert!(distance(256, 256, 0.0) > 2.0 * far[4], "{}", distance(256, 256, 0.0));
}

#[test]
fn samples_follow_the_propagated_probabilities() {
    let (oracle, process, _) = squares(20);
    const NUM: u64 = 20_000;
    for (steps, rho) in [(20, 1.0), (4, 1.0), (4, 0.5), (20, 0.0), (1, 1.0)] {
        let spec = spec(steps, rho);
        let law = propagated(&oracle, &process, &spec, 4);
        let (kept, outcome) =
            sampled(&oracle, &process, &spec, &request(NUM, 5000, [2, 2])).unwrap();
        assert_eq!((outcome.images, outcome.network_calls), (NUM as usize, 4 * steps));
        let mut counts = [0.0; 16];
        for picture in &kept.pictures {
            counts[picture.iter().rev().fold(0, |sum, x| 2 * sum + *x as usize)] += 1.0;
        }
        let mut chi = 0.0;
        for (count, p) in counts.iter().zip(&law) {
            let expected = p * NUM as f64;
            assert!(expected > 5.0, "{law:?}");
            chi += (count - expected) * (count - expected) / expected;
        }
        // 15 degrees of freedom: above 37.7 once in a thousand.
        assert!(chi < 37.7, "S {steps} rho {rho}: chi-square {chi}");
        assert!(chi > 2.0, "S {steps} rho {rho}: chi-square {chi} of draws that repeat");
    }
}

#[test]
fn argmax_takes_the_likeliest_level_of_the_last_prediction() {
    let (oracle, process, _) = squares(20);
    let mut spec = spec(1, 1.0);
    spec.last = Last::Argmax;
    let (kept, _) = sampled(&oracle, &process, &spec, &request(50, 50, [2, 2])).unwrap();
    // At T nothing is known: the likeliest level of every pixel by itself.
    let p = oracle.posterior(&[0; 4], 20);
    let likeliest: Vec<u32> = p.iter().map(|p| u32::from(p[1] > p[0])).collect();
    assert!(kept.pictures.iter().all(|picture| *picture == likeliest));
}

fn network() -> Categorical {
    let body = DdpmSpec {
        resolution: 8,
        in_channels: 4,
        out_channels: 4,
        channels: 8,
        multipliers: vec![1, 2],
        blocks: 1,
        attention_resolutions: vec![4],
        norm_groups: 4,
        ..DdpmSpec::default()
    };
    let mut builder = ParamBuilder::init(7, candle_core::DType::F32, &Device::Cpu).frozen();
    let network = Categorical::new(CategoricalSpec { body: body.into() }, &mut builder).unwrap();
    builder.finish().unwrap();
    network
}

#[test]
fn a_sample_is_the_same_in_any_batch() {
    let (network, process) = (network(), CategoricalProcess::linear(4, 10).unwrap());
    for rho in [0.0, 0.5, 1.0] {
        let of = |indices: Vec<u64>, batch: usize| {
            let request = Request { indices, ..request(1, batch, [8, 8]) };
            sampled(&network, &process, &spec(4, rho), &request).unwrap().0
        };
        let whole = of((0..13).collect(), 13);
        for batch in [1, 2, 7] {
            let parts = of((0..13).collect(), batch);
            assert_eq!((&parts.indices, &parts.pictures), (&whole.indices, &whole.pictures));
        }
        let some = of(vec![11, 4, 1 << 33], 2);
        assert_eq!(some.indices, [11, 4, 1 << 33]);
        assert_eq!(some.pictures[..2], [whole.pictures[11].clone(), whole.pictures[4].clone()]);
        let mut apart = whole.pictures.clone();
        apart.sort();
        apart.dedup();
        assert_eq!(apart.len(), 13, "rho {rho}");
    }
}

#[test]
fn a_plan_ends_at_the_data_and_begins_where_nothing_is_known() {
    let process = CategoricalProcess::linear(2, 50).unwrap();
    let times = |spec: &Spec| -> Vec<(usize, usize)> {
        spec.plan(&process).unwrap().iter().map(|step| (step.t, step.s)).collect()
    };
    assert_eq!(times(&spec(5, 1.0)), [(50, 40), (40, 30), (30, 20), (20, 10), (10, 0)]);
    let all: Vec<(usize, usize)> = (1..=50).rev().map(|t| (t, t - 1)).collect();
    assert_eq!(times(&spec(50, 0.5)), all);
    let with = |trajectory: &str, steps| Spec { trajectory: trajectory.into(), ..spec(steps, 1.0) };
    assert_eq!(times(&with("1,20,50", 3)), [(50, 20), (20, 1), (1, 0)]);
    for (trajectory, steps, word) in [
        ("1,20,49", 3, "the last time = 49: expected T = 50"),
        ("linear", 51, "51"),
        ("linear", 0, "0"),
        ("lineer", 5, "did you mean `linear`"),
    ] {
        let message = with(trajectory, steps).plan(&process).unwrap_err().to_string();
        assert!(message.contains(word), "{message}");
    }
}

/// Breaks down for the second picture of every batch.
struct Broken;

impl Categorizer for Broken {
    fn levels(&self) -> usize {
        2
    }

    fn forward(&self, x_t: &Tensor, _: &[f64], _: &Context) -> diff_models::Result<Tensor> {
        let (b, h, w) = x_t.dims3()?;
        let row = |i: usize| vec![if i == 1 { f32::NAN } else { 0.0 }; 2 * h * w];
        Ok(Tensor::from_vec((0..b).flat_map(row).collect(), (b, 2, h, w), &Device::Cpu)?)
    }
}

#[test]
fn what_is_not_a_number_is_an_error_and_not_a_level() {
    let process = CategoricalProcess::linear(2, 10).unwrap();
    let mut request = request(1, 2, [2, 2]);
    request.indices = vec![8, 9];
    match sampled(&Broken, &process, &spec(3, 1.0), &request) {
        Err(Error::NotFinite { index: 9, steps: 1, count: 8 }) => {}
        other => panic!("{:?}", other.map(|(_, outcome)| outcome)),
    }
}

#[test]
fn impossible_requests_are_refused() {
    let process = CategoricalProcess::linear(3, 10).unwrap();
    let refused = |request: &Request| {
        let result = sampled(&Broken, &process, &spec(3, 1.0), request);
        result.map(|(_, outcome)| outcome).unwrap_err().to_string()
    };
    assert!(refused(&request(0, 2, [2, 2])).starts_with("num = 0"));
    assert!(refused(&request(1, 0, [2, 2])).starts_with("batch = 0"));
    let message = refused(&request(1, 1, [2, 2]));
    assert!(message.starts_with("levels of the network = 2: expected 3"), "{message}");
}
