//! Samplers against truth: a Gaussian's denoiser is known in closed form.

#![cfg(test)]

use candle_core::{DType, Device, Tensor};
use diff_core::{
    Schedule, ScheduleKind, ScheduleSpec,
    rng::{Address, Purpose},
};
use diff_models::{Component, GaussianMixture, nets::SecondType};
use diff_sample::{
    Clip, Guidance, ImageSink, Labels, Outcome, Request, Result, SamplerSpec, generate,
    samplers::SAMPLERS,
};

const MEAN: [f64; 2] = [0.4, -0.9];
const VARIANCE: [f64; 2] = [0.09, 0.01];

/// Keeps what it is given.
#[derive(Default)]
struct Keep {
    indices: Vec<u64>,
    rows: Vec<Vec<f64>>,
}

impl ImageSink for Keep {
    fn write(&mut self, indices: &[u64], x: &Tensor) -> Result<()> {
        self.indices.extend_from_slice(indices);
        self.rows.extend(x.flatten_from(1)?.to_dtype(DType::F64)?.to_vec2::<f64>()?);
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        Ok(())
    }
}

fn schedule(kind: ScheduleKind, timesteps: usize) -> Schedule {
    Schedule::new(&ScheduleSpec { kind, timesteps, ..ScheduleSpec::default() }).unwrap()
}

fn gaussian(schedule: &Schedule) -> GaussianMixture {
    let (mean, variance) = (MEAN.to_vec(), VARIANCE.to_vec());
    GaussianMixture::single(mean, variance, [1, 1, 2], schedule.clone()).unwrap()
}

fn spec(sampler: &str, trajectory: &str, steps: usize) -> SamplerSpec {
    SamplerSpec {
        sampler: sampler.into(),
        steps: Some(steps),
        trajectory: trajectory.into(),
        eta: None,
        clip: None,
    }
}

fn request(n: u64, batch: usize) -> Request {
    Request {
        indices: (0..n).collect(),
        batch,
        seed: 11,
        shape: [1, 1, 2],
        labels: Labels::Unsaid,
        guidance: Guidance::default(),
        dtype: DType::F64,
        device: Device::Cpu,
    }
}

fn run(oracle: &GaussianMixture, spec: &SamplerSpec, request: &Request) -> (Keep, Outcome) {
    let mut keep = Keep::default();
    let schedule = oracle.schedule();
    let outcome = generate(oracle, schedule, spec, request, &mut keep, &mut |_| {}).unwrap();
    (keep, outcome)
}

fn normals(purpose: Purpose, index: u64, step: u32) -> [f64; 2] {
    let mut z = [0f32; 2];
    Address::new(11, purpose).index(index).step(step).fill_normal(&mut z);
    z.map(f64::from)
}

/// What a step does to one coordinate: (x, x0, eps, abar_t, abar_s, z) to x_s.
type Update<'a> = &'a dyn Fn(f64, f64, f64, f64, f64, f64) -> f64;

/// The chain of one sample, in plain f64 from the definitions.
fn chain(schedule: &Schedule, times: &[usize], index: u64, clip: bool, update: Update) -> [f64; 2] {
    let mut x = normals(Purpose::Latent, index, 0);
    for (number, t) in times.iter().enumerate().rev() {
        let s = if number == 0 { 0 } else { times[number - 1] };
        let (at, as_) = (schedule.alpha_bar(*t), schedule.alpha_bar(s));
        let z = normals(Purpose::StepNoise, index, (times.len() - 1 - number) as u32);
        for i in 0..2 {
            // Bayes with precisions: the prior's 1/v and the observation's abar/(1-abar).
            let (prior, seen) = (1.0 / VARIANCE[i], at / (1.0 - at));
            let exact = (prior * MEAN[i] + seen * (x[i] / at.sqrt())) / (prior + seen);
            let eps = (x[i] - at.sqrt() * exact) / (1.0 - at).sqrt();
            let x0 = if clip { exact.clamp(-1.0, 1.0) } else { exact };
            x[i] = update(x[i], x0, eps, at, as_, z[i]);
        }
    }
    x
}

/// Posterior of x_s given x_t and x_0 by precision weighting: mean and variance.
fn posterior(x: f64, x0: f64, at: f64, as_: f64) -> (f64, f64) {
    if as_ == 1.0 {
        return (x0, 0.0);
    }
    let a = at / as_;
    let (from_x, from_x0) = (a / (1.0 - a), 1.0 / (1.0 - as_));
    let mean = (from_x * (x / a.sqrt()) + from_x0 * as_.sqrt() * x0) / (from_x + from_x0);
    (mean, 1.0 / (from_x + from_x0))
}

fn assert_chain(spec: &SamplerSpec, kind: ScheduleKind, clip: bool, update: Update) {
    let schedule = schedule(kind, 1000);
    let times =
        diff_core::trajectory::resolve(&spec.trajectory, spec.steps.unwrap(), &schedule).unwrap();
    let (got, outcome) = run(&gaussian(&schedule), spec, &request(5, 2));
    assert_eq!(outcome.evaluations, 5 * times.len());
    for (index, row) in got.indices.iter().zip(&got.rows) {
        let expected = chain(&schedule, &times, *index, clip, update);
        for i in 0..2 {
            let error = (row[i] - expected[i]).abs();
            assert!(error <= 1e-9 * (1.0 + expected[i].abs()), "{spec:?} {index}: {error:e}");
        }
    }
}

const PLANS: [(&str, usize); 5] =
    [("linear", 10), ("quadratic", 37), ("trailing", 1), ("ddim-uniform", 300), ("ddim-quad", 50)];
const KINDS: [ScheduleKind; 2] = [ScheduleKind::Linear, ScheduleKind::Cosine];

#[test]
fn ddim_follows_the_exact_chain_for_every_eta() {
    for (trajectory, steps) in PLANS {
        for kind in KINDS {
            for eta in [0.0, 0.3, 1.0] {
                let ddim = SamplerSpec { eta: Some(eta), ..spec("ddim", trajectory, steps) };
                assert_chain(&ddim, kind, false, &|x, x0, eps, at, as_, z| {
                    if at == as_ {
                        return x; // a repeated time of a peer's list
                    }
                    let (_, variance) = posterior(x, x0, at, as_);
                    let sigma = eta * variance.sqrt();
                    let direction = (1.0 - as_ - sigma * sigma).max(0.0).sqrt();
                    as_.sqrt() * x0 + direction * eps + sigma * z
                });
            }
        }
    }
}

#[test]
fn the_study_s_steps_follow_their_chains() {
    for (trajectory, steps) in PLANS {
        for (name, eta) in [("study-ddim", 0.3), ("study-ddim", 1.0), ("study-simple", 1.0)] {
            let of_name = (name == "study-ddim").then_some(eta);
            let study = SamplerSpec { eta: of_name, ..spec(name, trajectory, steps) };
            assert_chain(&study, ScheduleKind::Linear, false, &|x, _, eps, at, as_, z| {
                if at == as_ {
                    return x;
                }
                let variance = eta * (1.0 - as_) / (1.0 - at) * (1.0 - at / as_);
                let direction = (1.0 - as_ - variance).max(0.0).sqrt();
                let eps_part = direction - (as_ * (1.0 - at) / at).sqrt();
                let noise = if name == "study-simple" { 1.0 - at / as_ } else { variance };
                (as_ / at).sqrt() * x + eps_part * eps + noise.sqrt() * z
            });
        }
    }
}

#[test]
fn ddpm_follows_the_exact_posterior() {
    for (trajectory, steps) in PLANS {
        for kind in KINDS {
            for (name, large) in [("ddpm", false), ("ddpm-large", true), ("sigma-hat", true)] {
                for clip in [Clip::None, Clip::Posterior] {
                    let s = SamplerSpec { clip: Some(clip), ..spec(name, trajectory, steps) };
                    let clipped = clip == Clip::Posterior;
                    assert_chain(&s, kind, clipped, &|x, x0, _, at, as_, z| {
                        if at == as_ {
                            return x;
                        }
                        let (mean, small) = posterior(x, x0, at, as_);
                        let variance = if large { 1.0 - at / as_ } else { small };
                        if as_ == 1.0 { mean } else { mean + variance.sqrt() * z }
                    });
                }
            }
        }
    }
}

#[test]
fn ddim_clips_as_its_policy_says() {
    for (policy, recompute) in [(Clip::KeepEps, false), (Clip::RecomputeEps, true)] {
        let s = SamplerSpec { clip: Some(policy), ..spec("ddim", "linear", 10) };
        assert_chain(&s, ScheduleKind::Linear, true, &|x, x0, eps, at, as_, _| {
            let again = (x - at.sqrt() * x0) / (1.0 - at).sqrt();
            as_.sqrt() * x0 + (1.0 - as_).sqrt() * if recompute { again } else { eps }
        });
    }
}

#[test]
fn ddpm_with_all_steps_samples_the_gaussian() {
    let schedule = schedule(ScheduleKind::Linear, 1000);
    let s = SamplerSpec { clip: Some(Clip::None), ..spec("ddpm", "linear", 1000) };
    let (got, _) = run(&gaussian(&schedule), &s, &request(4000, 4000));
    for i in 0..2 {
        let n = got.rows.len() as f64;
        let mean = got.rows.iter().map(|r| r[i]).sum::<f64>() / n;
        let variance = got.rows.iter().map(|r| (r[i] - mean).powi(2)).sum::<f64>() / n;
        assert!((mean - MEAN[i]).abs() < 4.0 * (VARIANCE[i] / n).sqrt(), "{mean}");
        // The chain's own bias at 1000 steps is below 2 %, four standard errors are 9 %.
        assert!((variance / VARIANCE[i] - 1.0).abs() < 0.11, "{variance}");
    }
}

/// Two Gaussians, one twice as likely: weight, mean, variance.
const MIXTURE: [(f64, [f64; 2], f64); 2] = [(1.0, [-0.6, 0.3], 0.04), (2.0, [0.5, 0.5], 0.09)];

fn mixture() -> GaussianMixture {
    let component = |(weight, mean, variance): (f64, [f64; 2], f64)| Component {
        weight,
        mean: mean.to_vec(),
        variance: vec![variance; 2],
    };
    let components = MIXTURE.map(component).to_vec();
    GaussianMixture::new(components, [1, 1, 2], schedule(ScheduleKind::Linear, 1000)).unwrap()
}

#[test]
fn deterministic_samplers_go_to_one_limit_on_a_mixture_faster_by_their_order() {
    let oracle = mixture();
    let samples =
        |name: &str, steps| run(&oracle, &spec(name, "linear", steps), &request(64, 64)).0.rows;
    let fine = samples("heun", 1000);
    for entry in SAMPLERS.iter().filter(|s| s.order > 0 && (!s.stochastic || s.takes_eta)) {
        // What the last step leaves does not vanish with the others'.
        if entry.name == "pf-euler-to-end" {
            continue;
        }
        let error = |steps| {
            let rows = samples(entry.name, steps);
            let squares =
                rows.iter().flatten().zip(fine.iter().flatten()).map(|(a, b)| (a - b).powi(2));
            (squares.sum::<f64>() / 128.0).sqrt()
        };
        let errors = [10, 20, 40, 80, 160].map(error);
        println!("{}: {errors:?}", entry.name);
        // Where nothing but the step onto clean data is left, halving the steps changes little.
        let falls = |e: &[f64]| e[1] < 0.75 * e[0] || e[1] < 1e-3;
        assert!(errors.windows(2).all(falls), "{}: {errors:?}", entry.name);
        let most = if entry.name == "pf-euler" { 0.05 } else { 0.01 };
        assert!(errors[4] < most, "{}: {errors:?}", entry.name);
    }
}

#[test]
fn stochastic_samplers_sample_a_mixture() {
    let oracle = mixture();
    let total: f64 = MIXTURE.iter().map(|(weight, ..)| weight).sum();
    let moment = |i: usize, of: &dyn Fn(f64, f64) -> f64| -> f64 {
        MIXTURE.iter().map(|(w, mean, v)| w / total * of(mean[i], *v)).sum()
    };
    for entry in
        SAMPLERS.iter().filter(|s| s.stochastic && s.order > 0 && s.second == SecondType::None)
    {
        let eta = entry.takes_eta.then_some(1.0);
        let s = SamplerSpec { eta, clip: Some(Clip::None), ..spec(entry.name, "linear", 250) };
        let rows = run(&oracle, &s, &request(3000, 1000)).0.rows;
        for i in 0..2 {
            let n = rows.len() as f64;
            let mean = rows.iter().map(|row| row[i]).sum::<f64>() / n;
            let variance = rows.iter().map(|row| (row[i] - mean).powi(2)).sum::<f64>() / n;
            let expected = moment(i, &|m, _| m);
            let spread = moment(i, &|m, v| m * m + v) - expected * expected;
            println!("{} {i}: {mean} {expected}, {variance} {spread}", entry.name);
            assert!((mean - expected).abs() < 4.5 * (spread / n).sqrt(), "{}", entry.name);
            assert!((variance / spread - 1.0).abs() < 0.1, "{}: {variance} {spread}", entry.name);
        }
    }
}

#[test]
fn a_sample_does_not_depend_on_its_batch_and_none_is_lost() {
    let schedule = schedule(ScheduleKind::Linear, 1000);
    let oracle = gaussian(&schedule);
    let s = SamplerSpec { eta: Some(1.0), ..spec("ddim", "linear", 7) };
    let (all, outcome) = run(&oracle, &s, &request(65, 64));
    assert_eq!((outcome.images, outcome.network_calls), (65, 14));
    for batch in [1, 2, 7, 65, 1000] {
        let (other, outcome) = run(&oracle, &s, &request(65, batch));
        assert_eq!(outcome.images, 65);
        assert_eq!((&other.indices, &other.rows), (&all.indices, &all.rows), "batch {batch}");
    }
    let some = Request { indices: vec![42, 17], ..request(1, 8) };
    let (picked, _) = run(&oracle, &s, &some);
    assert_eq!(picked.rows, [all.rows[42].clone(), all.rows[17].clone()]);
}

#[test]
fn impossible_requests_are_refused_by_name() {
    let schedule = schedule(ScheduleKind::Linear, 1000);
    let refuse = |s: SamplerSpec, words: &[&str]| {
        let error = s.build(&schedule).map(|_| ()).unwrap_err();
        let message = error.to_string();
        assert!(words.iter().all(|w| message.contains(w)), "{message}");
    };
    refuse(spec("dimm", "linear", 10), &["dimm", "did you mean `ddim`"]);
    refuse(spec("ddim", "linear", 1001), &["1001", "1000"]);
    refuse(spec("ddim", "linear", 0), &["0"]);
    refuse(spec("ddim", "linaer", 10), &["linaer", "linear"]);
    refuse(SamplerSpec { eta: Some(1.5), ..spec("ddim", "linear", 10) }, &["eta", "1.5"]);
    refuse(SamplerSpec { eta: Some(-0.1), ..spec("ddim", "linear", 10) }, &["eta", "-0.1"]);
    refuse(SamplerSpec { eta: Some(f64::NAN), ..spec("ddim", "linear", 10) }, &["eta", "NaN"]);
    refuse(SamplerSpec { eta: Some(0.0), ..spec("ddpm", "linear", 10) }, &["eta", "ddpm"]);
    refuse(SamplerSpec { clip: Some(Clip::Posterior), ..spec("ddim", "linear", 9) }, &["clip"]);
    let listed = SamplerSpec { steps: None, ..spec("ddim", "1,10,100", 1) };
    assert_eq!(listed.build(&schedule).unwrap().remaining(), 3);
    let resolved = listed.resolved(&schedule).unwrap();
    assert_eq!(
        (resolved.steps, resolved.eta, resolved.clip),
        (Some(3), Some(0.0), Some(Clip::None))
    );
    let peer = spec("ddpm", "ddim-uniform", 300).resolved(&schedule).unwrap();
    assert_eq!((peer.steps, peer.eta, peer.clip), (Some(300), None, Some(Clip::Posterior)));
    assert_eq!(peer.build(&schedule).unwrap().remaining(), 334);
    let error = request(1, 0).check().unwrap_err().to_string();
    assert!(error.contains("batch = 0"), "{error}");
}

#[test]
fn a_request_without_steps_takes_fifty_or_all_there_are() {
    let unsaid = SamplerSpec { steps: None, ..spec("ddim", "linear", 1) };
    for (timesteps, steps) in [(1000, 50), (20, 20)] {
        let schedule = schedule(ScheduleKind::Linear, timesteps);
        assert_eq!(unsaid.resolved(&schedule).unwrap().steps, Some(steps));
        assert_eq!(unsaid.build(&schedule).unwrap().remaining(), steps);
    }
}
