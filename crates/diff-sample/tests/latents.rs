//! Latents: encoded as diffusers and guided-diffusion encode, against closed forms, and there and back on an
//! exact oracle; and samples on their way.

#![cfg(test)]

use candle_core::{DType, Device, Tensor};
use diff_core::{Schedule, ScheduleSpec};
use diff_models::{
    Component, Condition, Context, Denoiser, Error, GaussianMixture, Mean, Prediction, Second,
};
use diff_sample::{
    CleanPictures, Clip, Guidance, Labels, Outcome, Request, SamplerSpec, drawn, generate,
    generate_from,
    latents::{Encoding, Start, encode},
    nearest_times,
    sinks::Kept,
    strip,
};
use std::{
    path::Path,
    sync::{Arc, Mutex},
};

fn schedule(timesteps: usize) -> Schedule {
    let scale = 1.0 / timesteps as f64;
    let (beta_start, beta_end) = (Some(0.1 * scale), Some(20.0 * scale));
    let spec = ScheduleSpec { timesteps, beta_start, beta_end, ..ScheduleSpec::default() };
    Schedule::new(&spec).unwrap()
}

fn spec(sampler: &str, trajectory: &str, steps: usize) -> SamplerSpec {
    let (sampler, trajectory) = (sampler.into(), trajectory.into());
    SamplerSpec { sampler, steps: Some(steps), trajectory, eta: None, clip: None }
}

fn listed(times: &[usize]) -> SamplerSpec {
    let list: Vec<String> = times.iter().map(usize::to_string).collect();
    SamplerSpec { steps: None, ..spec("ddim", &list.join(","), 1) }
}

fn encoding(spec: SamplerSpec) -> Encoding {
    Encoding { spec, start: Start::Clean }
}

fn request(count: usize, batch: usize, shape: [usize; 3]) -> Request {
    Request {
        indices: (0..count as u64).collect(),
        batch,
        seed: 11,
        shape,
        labels: Labels::Unsaid,
        guidance: Guidance::default(),
        dtype: DType::F64,
        device: Device::Cpu,
    }
}

fn rows(x: &Tensor, indices: &[u64]) -> diff_sample::Result<Tensor> {
    let places: Vec<u32> = indices.iter().map(|i| *i as u32).collect();
    Ok(x.index_select(&Tensor::new(places, &Device::Cpu)?, 0)?)
}

fn shape_of(x: &Tensor) -> [usize; 3] {
    [x.dims()[1], x.dims()[2], x.dims()[3]]
}

/// Latents of the pictures `x`, and what they cost.
fn up(
    denoiser: &dyn Denoiser,
    schedule: &Schedule,
    encoding: &Encoding,
    x: &Tensor,
    batch: usize,
) -> (Tensor, Outcome) {
    let request = request(x.dims()[0], batch, shape_of(x));
    let mut kept = Kept::default();
    let pictures = |i: &[u64]| rows(x, i);
    let cost =
        encode(denoiser, schedule, encoding, &request, &pictures, &mut kept, &mut |_| ()).unwrap();
    (kept.take().unwrap().1, cost)
}

/// Pictures of the latents `x`.
fn down(denoiser: &dyn Denoiser, schedule: &Schedule, spec: &SamplerSpec, x: &Tensor) -> Tensor {
    let request = request(x.dims()[0], 1000, shape_of(x));
    let mut kept = Kept::default();
    let starts = |i: &[u64]| rows(x, i);
    generate_from(denoiser, schedule, spec, &request, &starts, &mut kept, &mut |_| ()).unwrap();
    kept.take().unwrap().1
}

fn values(x: &Tensor) -> Vec<f64> {
    x.flatten_all().unwrap().to_dtype(DType::F64).unwrap().to_vec1().unwrap()
}

fn rms(a: &Tensor, b: &Tensor) -> f64 {
    let squares = values(a).iter().zip(values(b)).map(|(a, b)| (a - b) * (a - b)).sum::<f64>();
    (squares / a.elem_count() as f64).sqrt()
}

/// The made-up network of `tests/golden/latents.py`, which notes the times it is asked at.
#[derive(Default)]
struct MadeUp {
    times: Mutex<Vec<f64>>,
}

impl Denoiser for MadeUp {
    fn forward(
        &self,
        x: &Tensor,
        t: &[f64],
        _: &Condition,
        _: &Context,
    ) -> Result<Prediction, Error> {
        self.times.lock().unwrap().push(t[0]);
        // Its time counts from 0.
        let wave = x.affine(2.0, 0.01 * (t[0] - 1.0))?.sin()?;
        let eps = (x.affine(0.5, 0.0)? + wave.affine(0.3, 0.0)?)?;
        Ok(Prediction { mean: Mean::Eps(eps), second: Second::None })
    }
}

fn wave() -> Tensor {
    let wave: Vec<f64> = (0..24).map(|i| f64::from((0.11 * i as f64).sin() as f32)).collect();
    Tensor::from_vec(wave, (2, 1, 3, 4), &Device::Cpu).unwrap()
}

#[test]
fn every_step_up_is_that_of_diffusers_and_guided_diffusion() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/latents.safetensors");
    let golden = candle_core::safetensors::load(path, &Device::Cpu).unwrap();
    let schedule = schedule(1000);
    for (name, start, clip) in [
        ("clean.4", Start::Clean, Clip::None),
        ("clean.10", Start::Clean, Clip::None),
        ("first", Start::First, Clip::None),
        ("first.clipped", Start::First, Clip::RecomputeEps),
    ] {
        let times = golden[&format!("{name}.times")].to_vec1::<f64>().unwrap();
        let times: Vec<usize> = times.iter().map(|k| *k as usize + 1).collect();
        let states = &golden[&format!("{name}.states")];
        let skipped = times.len() - states.dims()[0];
        assert_eq!(skipped, usize::from(start == Start::First), "{name}");
        for (step, last) in (skipped + 1..=times.len()).enumerate() {
            let spec = SamplerSpec { clip: Some(clip), ..listed(&times[..last]) };
            let network = MadeUp::default();
            let (found, _) = up(&network, &schedule, &Encoding { spec, start }, &wave(), 2);
            let expected = states.get(step).unwrap();
            let error = rms(&found, &expected) / rms(&expected, &expected.zeros_like().unwrap());
            // Their alpha_bar is rounded to f32.
            assert!(error < 1e-5, "{name}, step {step}: {error:e}");
        }
    }
}

#[test]
fn a_way_up_asks_once_a_step_at_the_time_it_is_at() {
    let schedule = schedule(1000);
    for sampler in ["ddim", "pf-euler"] {
        for (start, times) in
            [(Start::Clean, vec![5.0, 5.0, 70.0]), (Start::First, vec![5.0, 70.0])]
        {
            let network = MadeUp::default();
            let spec = SamplerSpec { sampler: sampler.into(), ..listed(&[5, 70, 900]) };
            let (_, cost) = up(&network, &schedule, &Encoding { spec, start }, &wave(), 1);
            let calls = [times.clone(), times.clone()].concat();
            assert_eq!(*network.times.lock().unwrap(), calls, "{sampler}, a batch each");
            let expected = 2 * times.len();
            assert_eq!(
                (cost.network_calls, cost.evaluations, cost.images),
                (expected, expected, 2)
            );
        }
    }
    // A peer's list stays where it repeats a time, without a call.
    let network = MadeUp::default();
    let (_, cost) = up(&network, &schedule, &encoding(spec("ddim", "ddim-quad", 50)), &wave(), 2);
    assert_eq!(cost.network_calls, 49);
}

#[test]
fn standard_normal_data_turn_by_the_angles_between_noise_levels() {
    // Of such data eps = sqrt(1 - abar) x exactly; with abar = cos(a)^2 DDIM's step to abar' is
    // x cos(a' - a). In ever more steps that is the identity, which is what the exact flow does.
    let schedule = schedule(1000);
    let oracle =
        GaussianMixture::single(vec![0.0; 2], vec![1.0; 2], [1, 1, 2], schedule.clone()).unwrap();
    let x = oracle.sample(16, 3).unwrap();
    let angle = |t: usize| schedule.alpha_bar(t).sqrt().acos();
    let mut losses = Vec::new();
    for (trajectory, steps) in [("linear", 10), ("quadratic", 100), ("linear", 1000)] {
        let spec = spec("ddim", trajectory, steps);
        let times = spec.times(&schedule).unwrap();
        let first = Encoding { spec: spec.clone(), start: Start::First };
        let turn = times.windows(2).map(|t| (angle(t[1]) - angle(t[0])).cos()).product::<f64>();
        let (found, _) = up(&oracle, &schedule, &first, &x, 16);
        assert!(rms(&found, &x.affine(turn, 0.0).unwrap()) < 1e-12, "{trajectory} {steps}");
        // The step off clean data asks at t_1: x sqrt(abar_1) + sqrt(1 - abar_1) eps = x.
        let (found, _) = up(&oracle, &schedule, &encoding(spec), &x, 16);
        let clean = schedule.alpha_bar(times[0]).sqrt() + schedule.one_minus_alpha_bar(times[0]);
        assert!(rms(&found, &x.affine(clean * turn, 0.0).unwrap()) < 1e-12);
        // Euler's step (DDIM, equation 15), with sigma^2 = (1 - abar) / abar.
        let variance = |t: usize| schedule.one_minus_alpha_bar(t) / schedule.alpha_bar(t);
        let stretch = |t: &[usize]| {
            let (from, to) = (schedule.alpha_bar(t[0]), schedule.alpha_bar(t[1]));
            let change = 0.5 * (variance(t[1]) - variance(t[0]));
            to.sqrt() * (1.0 / from.sqrt() + change * from.sqrt())
        };
        let spec = SamplerSpec { sampler: "pf-euler".into(), eta: None, ..first.spec.clone() };
        let (found, _) = up(&oracle, &schedule, &Encoding { spec, ..first }, &x, 16);
        let stretch = times.windows(2).map(stretch).product::<f64>();
        let error = rms(&found, &x.affine(stretch, 0.0).unwrap());
        assert!(error < 1e-12 * stretch.max(1.0), "{trajectory} {steps}: {error:e}");
        losses.push(1.0 - turn);
    }
    assert!(losses[2] < 0.002 && losses[2] < losses[0] / 50.0, "{losses:?}");
}

fn mixture(schedule: &Schedule) -> GaussianMixture {
    let component =
        |weight, mean: [f64; 2], v| Component { weight, mean: mean.to_vec(), variance: vec![v; 2] };
    let components = vec![component(1.0, [-0.6, 0.3], 0.04), component(2.0, [0.5, 0.5], 0.09)];
    GaussianMixture::new(components, [1, 1, 2], schedule.clone()).unwrap()
}

#[test]
fn there_and_back_the_error_is_of_first_order() {
    let schedule = schedule(4000);
    let oracle = mixture(&schedule);
    let x = oracle.sample(200, 5).unwrap();
    for (sampler, least) in [("ddim", 0.005), ("pf-euler", 0.1)] {
        let error = |steps| {
            let spec = spec(sampler, "quadratic", steps);
            let (latents, _) = up(&oracle, &schedule, &encoding(spec.clone()), &x, 200);
            rms(&down(&oracle, &schedule, &spec, &latents), &x)
        };
        let errors = [25, 50, 100, 200, 400].map(error);
        assert!(errors.windows(2).all(|e| e[1] < e[0]), "{sampler}: {errors:?}");
        let slope = (errors[2] / errors[4]).log2() / 2.0;
        assert!((0.85..1.3).contains(&slope), "{sampler}: slope {slope}, {errors:?}");
        assert!(errors[4] < least, "{sampler}: {errors:?}");
    }
}

#[test]
fn encoded_data_are_normal_and_both_ways_up_agree() {
    let schedule = schedule(1000);
    let oracle = mixture(&schedule);
    let x = oracle.sample(4000, 7).unwrap();
    let latents = |sampler, steps| {
        up(&oracle, &schedule, &encoding(spec(sampler, "quadratic", steps)), &x, 4000).0
    };
    let ddim = latents("ddim", 500);
    let z = values(&ddim);
    let mean = z.iter().sum::<f64>() / z.len() as f64;
    let variance = z.iter().map(|z| z * z).sum::<f64>() / z.len() as f64;
    // 8000 numbers: four standard errors are 0.045 and 0.063.
    assert!(mean.abs() < 0.045 && (variance - 1.0).abs() < 0.07, "{mean} {variance}");
    // Both are of first order: twice the steps, half the difference.
    let apart = |steps| rms(&latents("ddim", steps), &latents("pf-euler", steps));
    let (coarse, fine) = (apart(250), apart(500));
    assert!(fine < 0.1 && (0.4..0.6).contains(&(fine / coarse)), "{coarse} {fine}");
}

#[test]
fn a_latent_and_its_picture_do_not_depend_on_the_batch() {
    let schedule = schedule(1000);
    let oracle = mixture(&schedule);
    let x = oracle.sample(65, 1).unwrap();
    let way = encoding(spec("ddim", "linear", 7));
    let (all, cost) = up(&oracle, &schedule, &way, &x, 64);
    assert_eq!((cost.images, cost.network_calls, cost.evaluations), (65, 14, 455));
    for batch in [1, 2, 7, 65, 1000] {
        assert_eq!(values(&up(&oracle, &schedule, &way, &x, batch).0), values(&all), "{batch}");
    }
    let pictures = down(&oracle, &schedule, &way.spec, &all);
    let one = down(&oracle, &schedule, &way.spec, &all.narrow(0, 42, 1).unwrap());
    assert_eq!(values(&one), values(&pictures.get(42).unwrap()));
}

#[test]
fn samples_from_drawn_latents_are_those_that_are_generated() {
    let schedule = schedule(1000);
    let oracle = mixture(&schedule);
    let request = request(9, 4, [1, 1, 2]);
    let spec = spec("ddim", "linear", 10);
    let mut kept = Kept::default();
    generate(&oracle, &schedule, &spec, &request, &mut kept, &mut |_| ()).unwrap();
    let (indices, generated) = kept.take().unwrap();
    assert_eq!(indices, request.indices);
    let latents = drawn(&request, &request.indices).unwrap();
    assert_eq!(values(&down(&oracle, &schedule, &spec, &latents)), values(&generated));
    let short = |_: &[u64]| Ok(latents.narrow(3, 0, 1)?);
    let mut kept = Kept::default();
    let refused =
        generate_from(&oracle, &schedule, &spec, &request, &short, &mut kept, &mut |_| ());
    let message = refused.unwrap_err().to_string();
    assert!(message.contains("[9, 1, 1, 1]") && message.contains("[4, 1, 1, 2]"), "{message}");
}

#[test]
fn impossible_ways_up_are_refused_by_name() {
    let schedule = schedule(1000);
    let refuse = |encoding: Encoding, words: &[&str]| {
        let message = encoding.end(&schedule).unwrap_err().to_string();
        assert!(words.iter().all(|word| message.contains(word)), "{message}");
    };
    let way = |sampler, steps| encoding(spec(sampler, "linear", steps));
    refuse(way("heun", 10), &["heun", "ddim or pf-euler"]);
    refuse(way("ddpm", 10), &["ddpm", "upwards"]);
    refuse(way("ddim", 1001), &["1001", "1000"]);
    refuse(Encoding { start: Start::First, ..way("ddim", 1) }, &["steps", "at least 2"]);
    let noisy = SamplerSpec { eta: Some(0.5), ..spec("ddim", "linear", 10) };
    refuse(encoding(noisy), &["eta = 0.5", "without noise"]);
    let keeping = SamplerSpec { clip: Some(Clip::KeepEps), ..spec("ddim", "linear", 10) };
    refuse(encoding(keeping), &["clip", "keep-eps", "recompute-eps"]);
    assert_eq!(way("ddim", 1).end(&schedule).unwrap(), 1000);
    assert_eq!(encoding(listed(&[3, 801])).end(&schedule).unwrap(), 801);
}

#[test]
fn a_strip_shows_the_samples_on_their_way() {
    let schedule = schedule(1000);
    let oracle = Arc::new(mixture(&schedule));
    let request = request(5, 2, [1, 1, 2]);
    let spec = spec("ddim", "1,10,100,1000", 4);
    let times = [990, 60, 40, 0, 1000];
    let (frames, cost) = strip(&*oracle, &schedule, &spec, &request, &times, &mut |_| ()).unwrap();
    assert_eq!(frames.iter().map(|f| f.time).collect::<Vec<_>>(), [1000, 100, 10, 0, 1000]);
    // Four steps and three looks, in three batches.
    assert_eq!((cost.images, cost.network_calls), (5, 21));
    let latents = drawn(&request, &request.indices).unwrap();
    assert_eq!(values(&frames[0].x), values(&latents));
    let samples = down(&*oracle, &schedule, &spec, &latents);
    assert_eq!(values(&frames[3].x), values(&samples));
    assert_eq!(values(&frames[3].x0), values(&samples));
    for frame in &frames[..3] {
        let abar = schedule.alpha_bar(frame.time);
        for (x, x0) in values(&frame.x).chunks(2).zip(values(&frame.x0).chunks(2)) {
            let exact = oracle.posterior_mean(x, abar);
            assert!(exact.iter().zip(x0).all(|(a, b)| (a - b).abs() < 1e-9), "{exact:?} {x0:?}");
        }
    }
    let refused = nearest_times(&[1001], &spec, &schedule).unwrap_err().to_string();
    assert!(refused.contains("times = 1001") && refused.contains("T = 1000"), "{refused}");
    assert!(nearest_times(&[], &spec, &schedule).is_err());
}

#[test]
fn clean_pictures_are_given_by_number() {
    let pictures = CleanPictures::from_values([1, 1, 2], vec![0.0, 1.0, 2.0, 3.0]).unwrap();
    let x = pictures.tensor(&[1, 0], DType::F64, &Device::Cpu).unwrap();
    assert_eq!((x.dims(), values(&x)), (&[2, 1, 1, 2][..], vec![2.0, 3.0, 0.0, 1.0]));
}
