//! Pictures encoded and decoded again, by an exact oracle and by a stub.

#![cfg(test)]

use candle_core::{DType, Device, Tensor};
use diff_core::{Schedule, ScheduleSpec};
use diff_eval::{
    Metric, Pair, PairErrors, Reconstruction, ReconstructionRequest,
    gap::{CleanPictures, Subject},
    reconstruct,
};
use diff_models::{Component, Condition, Context, Denoiser, Error, GaussianMixture, Prediction};
use diff_sample::latents::Start;
use std::sync::Mutex;

fn schedule(timesteps: usize) -> Schedule {
    Schedule::new(&ScheduleSpec { timesteps, ..ScheduleSpec::default() }).unwrap()
}

fn mixture(schedule: &Schedule) -> GaussianMixture {
    let component =
        |weight, mean: [f64; 2], v| Component { weight, mean: mean.to_vec(), variance: vec![v; 2] };
    let components = vec![component(1.0, [-0.6, 0.3], 0.04), component(2.0, [0.5, 0.5], 0.09)];
    GaussianMixture::new(components, [1, 1, 2], schedule.clone()).unwrap()
}

fn drawn(oracle: &GaussianMixture, count: usize) -> CleanPictures {
    let values = oracle.sample(count, 5).unwrap().flatten_all().unwrap().to_vec1().unwrap();
    CleanPictures::from_values([1, 1, 2], values).unwrap()
}

fn subject<'a>(denoiser: &'a dyn Denoiser, schedule: &'a Schedule) -> Subject<'a> {
    Subject { denoiser, schedule, labelled: false, dtype: DType::F64, device: Device::Cpu }
}

fn request(num: u64, steps: &[usize]) -> ReconstructionRequest {
    ReconstructionRequest {
        num,
        batch: 64,
        sampler: "ddim".into(),
        steps: steps.to_vec(),
        trajectory: "quadratic".into(),
        start: Start::Clean,
        bootstrap: 50,
        seed: 0,
    }
}

fn measured(
    subject: &Subject,
    pictures: &CleanPictures,
    request: &ReconstructionRequest,
) -> Vec<Reconstruction> {
    reconstruct(subject, pictures, request, &mut |_| ()).unwrap()
}

#[test]
fn the_error_of_an_exact_denoiser_falls_with_the_square_of_the_steps() {
    let schedule = schedule(1000);
    let oracle = mixture(&schedule);
    let pictures = drawn(&oracle, 100);
    for (trajectory, start) in
        [("quadratic", Start::Clean), ("linear", Start::Clean), ("quadratic", Start::First)]
    {
        let request = ReconstructionRequest {
            trajectory: trajectory.into(),
            start,
            ..request(100, &[10, 20, 50, 100, 200])
        };
        let found = measured(&subject(&oracle, &schedule), &pictures, &request);
        let steps: Vec<usize> = found.iter().map(|r| r.steps).collect();
        assert_eq!(steps, request.steps);
        for pair in found.windows(2) {
            assert!(pair[1].mse < pair[0].mse && pair[1].psnr > pair[0].psnr, "{found:?}");
        }
        for r in &found {
            let (low, high) = (r.mse_low.unwrap(), r.mse_high.unwrap());
            assert!(low < r.mse && r.mse < high, "{r:?}");
            assert_eq!(r.evaluations, 2 * r.steps - usize::from(start == Start::First));
        }
        // Four times the steps: a sixteenth of the squared error, in the limit.
        let fall = found[2].mse / found[4].mse;
        assert!(fall > 8.0, "{trajectory} {start:?}: {fall} {found:?}");
    }
}

/// Predicts no noise at all, and notes how many pictures it is shown, and when.
#[derive(Default)]
struct Silent {
    seen: Mutex<Vec<(usize, f64)>>,
}

impl Denoiser for Silent {
    fn forward(
        &self,
        x: &Tensor,
        t: &[f64],
        _: &Condition,
        _: &Context,
    ) -> Result<Prediction, Error> {
        self.seen.lock().unwrap().push((t.len(), t[0]));
        Ok(Prediction::eps_only(x.zeros_like()?))
    }
}

#[test]
fn without_noise_everything_comes_back_and_every_call_is_counted() {
    let schedule = schedule(100);
    let pictures = CleanPictures::from_values([1, 1, 2], vec![0.5, -3.0, 0.25, 1.0, 0.0, 0.125]);
    let pictures = pictures.unwrap();
    let network = Silent::default();
    let request =
        ReconstructionRequest { batch: 2, trajectory: "1,10,100".into(), ..request(3, &[3]) };
    let mut told = Vec::new();
    let found =
        reconstruct(&subject(&network, &schedule), &pictures, &request, &mut |x| told.push(x));
    let found = found.unwrap();
    // x is scaled down and up again.
    assert!(found[0].mse < 1e-24 && found[0].psnr > 240.0, "{found:?}");
    let calls = |rows: usize| [1.0, 1.0, 10.0, 100.0, 10.0, 1.0].map(|t| (rows, t));
    assert_eq!(*network.seen.lock().unwrap(), [calls(2), calls(1)].concat());
    assert_eq!(found[0].evaluations, 6);
    assert!(told.is_sorted() && told.last() == Some(&3.0), "{told:?}");
}

#[test]
fn a_measurement_does_not_depend_on_the_batch() {
    let schedule = schedule(1000);
    let oracle = mixture(&schedule);
    let pictures = drawn(&oracle, 30);
    let subject = subject(&oracle, &schedule);
    let all = measured(&subject, &pictures, &request(23, &[5, 10]));
    for batch in [1, 7, 23] {
        let request = ReconstructionRequest { batch, ..request(23, &[5, 10]) };
        assert_eq!(measured(&subject, &pictures, &request), all, "{batch}");
    }
    let plain = ReconstructionRequest { bootstrap: 0, ..request(23, &[5]) };
    let plain = measured(&subject, &pictures, &plain);
    assert_eq!((plain[0].mse, plain[0].mse_low), (all[0].mse, None));
}

#[test]
fn impossible_requests_are_refused_by_name() {
    let schedule = schedule(1000);
    let oracle = mixture(&schedule);
    let pictures = drawn(&oracle, 4);
    let subject = subject(&oracle, &schedule);
    let refuse = |request: ReconstructionRequest, words: &[&str]| {
        let error = reconstruct(&subject, &pictures, &request, &mut |_| ()).unwrap_err();
        let message = error.to_string();
        assert!(words.iter().all(|word| message.contains(word)), "{message}");
    };
    refuse(request(5, &[10]), &["num = 5", "1..=4"]);
    refuse(request(0, &[10]), &["num = 0"]);
    refuse(request(4, &[]), &["steps"]);
    refuse(request(4, &[10, 1001]), &["1001", "1000"]);
    refuse(ReconstructionRequest { batch: 0, ..request(4, &[10]) }, &["batch = 0"]);
    refuse(
        ReconstructionRequest { sampler: "heun".into(), ..request(4, &[10]) },
        &["heun", "ddim"],
    );
    let start = Start::First;
    refuse(ReconstructionRequest { start, ..request(4, &[1]) }, &["steps", "at least 2"]);
    let unlabelled = Subject { labelled: true, ..subject.clone() };
    let error = reconstruct(&unlabelled, &pictures, &request(4, &[10]), &mut |_| ()).unwrap_err();
    assert!(error.to_string().contains("picture 0 has no label"), "{error}");
}

fn pair(original: &[f64], found: &[f64]) -> Pair {
    let tensor = |values: &[f64]| {
        Tensor::from_slice(values, (values.len() / 2, 1, 1, 2), &Device::Cpu).unwrap()
    };
    Pair { original: tensor(original), found: tensor(found) }
}

#[test]
fn errors_of_pairs_merge_and_refuse_what_does_not_fit() {
    let (first, second) = (pair(&[0.0, 1.0], &[1.0, 1.0]), pair(&[1.0, -1.0], &[-1.0, 0.0]));
    let mut errors = PairErrors::default();
    errors.add(&first).unwrap();
    let mut others = PairErrors::default();
    others.add(&second).unwrap();
    errors.merge(others).unwrap();
    let found = errors.finish().unwrap();
    // Halves squared: (1/4 + 0) / 2 and (1 + 1/4) / 2.
    assert_eq!(found.of_picture, [0.125, 0.625]);
    assert_eq!(found.mse, 0.375);
    let decibels = -5.0 * (0.125f64.log10() + 0.625f64.log10());
    assert!((found.psnr - decibels).abs() < 1e-12, "{}", found.psnr);
    assert!(PairErrors::default().finish().is_err());
    let mut errors = PairErrors::default();
    errors.add(&first).unwrap();
    let wide = Tensor::zeros((1, 1, 1, 3), DType::F64, &Device::Cpu).unwrap();
    let wide = Pair { original: wide.clone(), found: wide };
    let message = errors.add(&wide).unwrap_err().to_string();
    assert!(message.contains("[1, 1, 1, 3]") && message.contains("[1, 1, 2]"), "{message}");
    assert!(errors.add(&pair(&[0.0, 0.0], &[f64::NAN, 0.0])).is_err());
    assert_eq!(errors.finish().unwrap().of_picture, [0.125]);
}
