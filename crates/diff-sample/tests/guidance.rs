//! Classes and guidance: against a denoiser that is known in closed form, and by what it was asked.

#![cfg(test)]

use candle_core::{DType, Device, Tensor};
use diff_core::{
    Schedule, ScheduleSpec,
    rng::{Address, Purpose},
};
use diff_models::{Condition, Context, Denoiser, GaussianMixture, Label, Mean, Prediction, Second};
use diff_sample::{Guidance, ImageSink, Labels, Outcome, Request, Result, SamplerSpec, generate};
use std::sync::Mutex;

const TIMESTEPS: usize = 40;
const STEPS: usize = 8;
/// Mean and variance under class 0, class 1 and the null label.
const KNOWN: [(f64, f64); 3] = [(0.4, 0.09), (-0.7, 0.04), (0.1, 0.5)];

fn schedule() -> Schedule {
    Schedule::new(&ScheduleSpec { timesteps: TIMESTEPS, ..ScheduleSpec::default() }).unwrap()
}

/// How it answers.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Form {
    Eps,
    X0,
    V,
}

/// Knows a Gaussian for every label, and remembers how many rows it was asked for, and at which time.
struct Classes {
    gaussians: [GaussianMixture; 3],
    schedule: Schedule,
    form: Form,
    asked: Mutex<Vec<(usize, f64)>>,
}

impl Classes {
    fn new(form: Form) -> Self {
        let gaussian = |(mean, variance): (f64, f64)| {
            let (mean, variance) = (vec![mean; 2], vec![variance; 2]);
            GaussianMixture::single(mean, variance, [1, 1, 2], schedule()).unwrap()
        };
        let asked = Mutex::new(Vec::new());
        Classes { gaussians: KNOWN.map(gaussian), schedule: schedule(), form, asked }
    }
}

fn place(label: Label) -> usize {
    label.map_or(2, |class| class as usize)
}

impl Denoiser for Classes {
    fn forward(
        &self,
        x: &Tensor,
        t: &[f64],
        condition: &Condition,
        context: &Context,
    ) -> diff_models::Result<Prediction> {
        self.asked.lock().unwrap().push((t.len(), t[0]));
        let alpha_bar = [self.schedule.alpha_bar(t[0] as usize)];
        let labels = condition.class.as_ref().unwrap();
        let rows: Vec<Tensor> = labels
            .iter()
            .enumerate()
            .map(|(row, label)| {
                let x = x.narrow(0, row, 1)?;
                let gaussian = &self.gaussians[place(*label)];
                let answer = gaussian.forward(&x, &t[..1], &Condition::default(), context)?;
                let (eps, x0) = (answer.eps(&x, &alpha_bar)?, answer.x0(&x, &alpha_bar)?);
                Ok(match self.form {
                    Form::Eps => eps,
                    Form::X0 => x0,
                    Form::V => {
                        let (signal, noise) = (alpha_bar[0].sqrt(), (1.0 - alpha_bar[0]).sqrt());
                        (eps.affine(signal, 0.0)? - x0.affine(noise, 0.0)?)?
                    }
                })
            })
            .collect::<diff_models::Result<_>>()?;
        let rows = Tensor::cat(&rows, 0)?;
        let mean = match self.form {
            Form::Eps => Mean::Eps(rows),
            Form::X0 => Mean::X0(rows),
            Form::V => Mean::V(rows),
        };
        Ok(Prediction { mean, second: Second::None })
    }
}

#[derive(Default)]
struct Keep(Vec<Vec<f64>>);

impl ImageSink for Keep {
    fn write(&mut self, _: &[u64], x: &Tensor) -> Result<()> {
        self.0.extend(x.flatten_from(1)?.to_vec2::<f64>()?);
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        Ok(())
    }
}

fn spec(sampler: &str) -> SamplerSpec {
    SamplerSpec {
        sampler: sampler.into(),
        steps: Some(STEPS),
        trajectory: "linear".into(),
        eta: None,
        clip: None,
    }
}

fn request(labels: &[Label], guidance: Guidance) -> Request {
    Request {
        indices: (0..6).collect(),
        batch: 4,
        seed: 11,
        shape: [1, 1, 2],
        labels: Labels::InTurn(labels.to_vec()),
        guidance,
        dtype: DType::F64,
        device: Device::Cpu,
    }
}

fn run(denoiser: &Classes, sampler: &str, request: &Request) -> (Vec<Vec<f64>>, Outcome) {
    let mut keep = Keep::default();
    let spec = spec(sampler);
    let done = generate(denoiser, &schedule(), &spec, request, &mut keep, &mut |_| ()).unwrap();
    (keep.0, done)
}

/// DDIM's chain of one sample in plain f64, with the guided noise written out.
fn chain(index: u64, label: Label, guidance: Guidance) -> [f64; 2] {
    let mut z = [0f32; 2];
    Address::new(11, Purpose::Latent).index(index).fill_normal(&mut z);
    let mut x = z.map(f64::from);
    let schedule = schedule();
    let times = diff_core::trajectory::resolve("linear", STEPS, &schedule).unwrap();
    for (number, t) in times.iter().enumerate().rev() {
        let s = if number == 0 { 0 } else { times[number - 1] };
        let (at, as_) = (schedule.alpha_bar(*t), schedule.alpha_bar(s));
        let eps_of = |x: f64, label: Label| {
            let (mean, variance) = KNOWN[place(label)];
            let (prior, seen) = (1.0 / variance, at / (1.0 - at));
            let x0 = (prior * mean + seen * (x / at.sqrt())) / (prior + seen);
            (x - at.sqrt() * x0) / (1.0 - at).sqrt()
        };
        let inside = guidance.interval.is_none_or(|[a, b]| (a..=b).contains(t));
        let w = if inside { guidance.weight } else { 0.0 };
        let class = x.map(|x| eps_of(x, label));
        let led: Vec<f64> = (0..2).map(|i| (1.0 + w) * class[i] - w * eps_of(x[i], None)).collect();
        let deviation = |v: &[f64]| {
            let mean = (v[0] + v[1]) / 2.0;
            (((v[0] - mean).powi(2) + (v[1] - mean).powi(2)) / 2.0).sqrt()
        };
        let back = match inside {
            true => deviation(&class) / deviation(&led),
            false => 1.0,
        };
        for i in 0..2 {
            let eps = led[i] * (1.0 - guidance.rescale) + led[i] * back * guidance.rescale;
            let x0 = (x[i] - (1.0 - at).sqrt() * eps) / at.sqrt();
            x[i] = as_.sqrt() * x0 + (1.0 - as_).sqrt() * eps;
        }
    }
    x
}

#[test]
fn guided_samples_are_those_of_the_definition_whatever_the_network_predicts() {
    let labels = [Some(0), Some(1)];
    let plain = Guidance { weight: 1.8, ..Guidance::default() };
    for (guidance, forms) in [
        (plain, &[Form::Eps, Form::X0, Form::V][..]),
        (Guidance { weight: -0.5, ..plain }, &[Form::Eps]),
        (Guidance { interval: Some([6, 30]), ..plain }, &[Form::Eps, Form::X0]),
        (Guidance { rescale: 0.7, ..plain }, &[Form::Eps]),
        (Guidance { rescale: 0.7, interval: Some([6, 30]), ..plain }, &[Form::Eps]),
    ] {
        for form in forms {
            let (rows, _) = run(&Classes::new(*form), "ddim", &request(&labels, guidance));
            for (i, row) in rows.iter().enumerate() {
                let truth = chain(i as u64, labels[i % 2], guidance);
                for (a, b) in row.iter().zip(truth) {
                    assert!((a - b).abs() < 1e-9, "{guidance:?} {form:?} {i}: {a} {b}");
                }
            }
        }
    }
}

#[test]
fn no_guidance_is_the_class_alone_bit_for_bit_and_asks_for_nothing_else() {
    let labels = [Some(0), Some(1)];
    for sampler in ["ddim", "ddpm", "dpmpp-2m", "heun"] {
        let zero = Guidance { interval: Some([2, 3]), rescale: 0.5, ..Guidance::default() };
        let (without, with) = (Classes::new(Form::Eps), Classes::new(Form::Eps));
        let plain = run(&without, sampler, &request(&labels, Guidance::default()));
        assert_eq!(plain, run(&with, sampler, &request(&labels, zero)));
        assert_eq!(*without.asked.lock().unwrap(), *with.asked.lock().unwrap());
        assert_eq!(plain.1.evaluations, plain.1.network_calls / 2 * 6);
    }
}

#[test]
fn the_extremes_of_the_weight_are_the_class_and_the_null_label() {
    let denoiser = Classes::new(Form::Eps);
    let least = Guidance { weight: -1.0, ..Guidance::default() };
    let (null, _) = run(&denoiser, "ddim", &request(&[Some(0)], least));
    let (asked, _) = run(&denoiser, "ddim", &request(&[None], Guidance::default()));
    for (a, b) in null.iter().flatten().zip(asked.iter().flatten()) {
        assert!((a - b).abs() < 1e-12, "{a} {b}");
    }
}

#[test]
fn class_and_null_label_go_through_the_network_as_one_batch_and_both_are_counted() {
    let denoiser = Classes::new(Form::Eps);
    let guidance = Guidance { weight: 1.0, interval: Some([1, 20]), rescale: 0.0 };
    let (_, outcome) = run(&denoiser, "ddim", &request(&[Some(0)], guidance));
    let asked = denoiser.asked.lock().unwrap();
    let schedule = schedule();
    let times = diff_core::trajectory::resolve("linear", STEPS, &schedule).unwrap();
    let rows = |batch: usize| {
        times.iter().rev().map(move |t| (if *t <= 20 { 2 * batch } else { batch }, *t as f64))
    };
    assert_eq!(*asked, rows(4).chain(rows(2)).collect::<Vec<_>>());
    assert_eq!(outcome.network_calls, 2 * STEPS);
    assert_eq!(outcome.evaluations, asked.iter().map(|(rows, _)| rows).sum::<usize>());
}

#[test]
fn a_sample_does_not_depend_on_the_samples_beside_it() {
    let labels = [Some(0), Some(1), Some(1)];
    let guidance = Guidance { weight: 1.8, rescale: 0.3, ..Guidance::default() };
    let denoiser = Classes::new(Form::Eps);
    let (all, _) = run(&denoiser, "ddpm", &request(&labels, guidance));
    let some = Request { indices: vec![5, 1], batch: 1, ..request(&labels, guidance) };
    assert_eq!(run(&denoiser, "ddpm", &some).0, [all[5].clone(), all[1].clone()]);
}

#[test]
fn guidance_that_is_impossible_is_refused_with_the_reason() {
    use diff_models::nets::Classes as Known;
    let (guided, plain) = (Some(Known::new(3, true)), Some(Known::new(3, false)));
    let of = |weight: f64| Guidance { weight, ..Guidance::default() };
    for (guidance, classes, expected) in [
        (of(1.0), None, "guidance = 1: expected 0, as the network knows no classes"),
        (of(1.0), plain, "network.null_class = true"),
        (of(f64::NAN), guided, "guidance = NaN"),
        (of(-1.5), guided, "at least -1"),
        (Guidance { rescale: 1.1, ..of(1.0) }, guided, "guidance-rescale = 1.1"),
        (Guidance { interval: Some([5, 4]), ..of(1.0) }, guided, "guidance-interval = 5,4"),
        (Guidance { interval: Some([0, 4]), ..of(1.0) }, guided, "1 <= FIRST"),
        (Guidance { interval: Some([1, 41]), ..of(1.0) }, guided, "LAST <= T = 40"),
    ] {
        let error = guidance.check(classes, TIMESTEPS).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    assert!(of(0.0).check(None, TIMESTEPS).is_ok() && of(2.0).check(guided, TIMESTEPS).is_ok());
    // A library user who skips the check meets it when the network is asked.
    let unsaid = Request { labels: Labels::Unsaid, ..request(&[None], of(1.0)) };
    let (denoiser, mut keep) = (Classes::new(Form::Eps), Keep::default());
    let refused = generate(&denoiser, &schedule(), &spec("ddim"), &unsaid, &mut keep, &mut |_| ());
    assert!(refused.unwrap_err().to_string().contains("no classes are asked for"));
}
