//! Every scalar of every time.

use super::{Rule, assert_close, norm, request, schedule, some_pictures, subject};
use crate::gap::{
    CleanPictures, GapCurves, GapRequest, Scalar, Subject, measure,
    measure::walk_all,
    noise::{Addressed, Noise},
};
use candle_core::DType;
use diff_core::{
    Schedule,
    gap::{GapVariant, closed_form, recursion},
};
use diff_models::GaussianMixture;
use serde_json::Value;

fn assert_curves(ours: &GapCurves, expected: impl Fn(Scalar) -> Vec<f64>, tolerance: f64) {
    for scalar in Scalar::ALL {
        assert_close(ours.curve(scalar), &expected(scalar), tolerance, scalar.name());
    }
}

#[test]
fn an_exact_denoiser_of_a_single_picture_has_no_gap() {
    let schedule = schedule(1000);
    let mean = vec![0.3, -0.8];
    let oracle =
        GaussianMixture::single(mean.clone(), vec![0.0; 2], [1, 1, 2], schedule.clone()).unwrap();
    let pictures = CleanPictures::from_values([1, 1, 2], mean).unwrap();
    for (dtype, limit) in [(DType::F64, 1e-10), (DType::F32, 1e-5)] {
        let subject = Subject { dtype, ..subject(&oracle, &schedule) };
        let curves = measure(&subject, &pictures, &request(300, 9), &mut |_| {}).unwrap();
        for scalar in Scalar::ALL {
            let most = curves.curve(scalar).iter().fold(0f64, |most, v| most.max(v.abs()));
            assert!(most < limit, "{} {dtype:?}: {most:e}", scalar.name());
        }
        assert_eq!(curves.times().next(), Some(300));
        assert_eq!((curves.times().last(), curves.times().count()), (Some(2), 299));
    }
    // Where the data vary, x_300 hides part of x_0, and knowing all about them does not help.
    let wide = GaussianMixture::single(vec![0.3, -0.8], vec![0.3; 2], [1, 1, 2], schedule.clone());
    let wide = wide.unwrap();
    let curves = measure(&subject(&wide, &schedule), &pictures, &request(300, 9), &mut |_| {});
    assert!(curves.unwrap().last(Scalar::L2) > 0.01);
}

#[test]
fn a_constant_error_gives_the_closed_form() {
    let schedule = schedule(100);
    let x0 = 0.4;
    let error = -0.03;
    let rule = Rule::new(|x: f64, t: f64| {
        let alpha_bar = schedule.alpha_bar(t as usize);
        (x - alpha_bar.sqrt() * x0) / (1.0 - alpha_bar).sqrt() + error
    });
    let pictures = CleanPictures::from_values([1, 1, 3], vec![x0; 3]).unwrap();
    let start = 100;
    let curves =
        measure(&subject(&rule, &schedule), &pictures, &request(start, 6), &mut |_| {}).unwrap();
    let gaps = closed_form(&schedule, 2, &vec![vec![error]; start - 1]).unwrap();
    let gaps: Vec<f64> = gaps.iter().rev().map(|row| row[0]).collect();
    let each = |f: &dyn Fn(f64) -> f64| gaps.iter().map(|g| f(*g)).collect::<Vec<_>>();
    let l2 = each(&|g| g.abs() * 3f64.sqrt());
    assert_close(curves.curve(Scalar::L2), &l2, 1e-9, "l2");
    assert_close(curves.curve(Scalar::Rms), &each(&f64::abs), 1e-9, "rms");
    assert_close(curves.curve(Scalar::Bias), &each(&f64::abs), 1e-9, "bias");
    assert_close(curves.curve(Scalar::Mean), &gaps, 1e-9, "mean");
    let velocity: Vec<f64> =
        (0..l2.len()).map(|i| l2[i] - if i == 0 { 0.0 } else { l2[i - 1] }).collect();
    assert_close(curves.curve(Scalar::Velocity), &velocity, 1e-9, "velocity");
    assert_eq!(
        curves.max(Scalar::L2),
        curves.curve(Scalar::L2).iter().copied().fold(0.0, f64::max)
    );
}

/// The measurement once more, picture by picture, as the text has it: per-picture gaps and
/// residuals from t0 down.
fn naive(
    schedule: &Schedule,
    eps: impl Fn(f64, f64) -> f64,
    pictures: &CleanPictures,
    request: &GapRequest,
) -> [Vec<Vec<Vec<f64>>>; 2] {
    let noise = Addressed { seed: request.seed };
    let width = pictures.width();
    let (mut all_gaps, mut all_residuals) = (Vec::new(), Vec::new());
    for number in 0..request.num {
        let x0 = pictures.values(number..number + 1);
        let mut z = vec![0.0; width];
        noise.forward(number, request.start, &mut z);
        let a = schedule.alpha_bar(request.start);
        let mut x: Vec<f64> =
            (0..width).map(|i| a.sqrt() * x0[i] + (1.0 - a).sqrt() * z[i]).collect();
        let (mut gaps, mut residuals) = (Vec::new(), Vec::new());
        let mut gap = vec![0.0; width];
        for t in (2..=request.start).rev() {
            let (a, below) = (schedule.alpha_bar(t), schedule.alpha_bar(t - 1));
            let sigma = request.eta * schedule.beta_tilde(t).sqrt();
            noise.step(number, t, &mut z);
            let mut residual = vec![0.0; width];
            for i in 0..width {
                let e = eps(x[i], t as f64);
                let guess = (x[i] - (1.0 - a).sqrt() * e) / a.sqrt();
                gap[i] = schedule.gamma1(t) * (x0[i] - guess) + schedule.gamma2(t) * gap[i];
                residual[i] = e - (x[i] - a.sqrt() * x0[i]) / (1.0 - a).sqrt();
                x[i] =
                    below.sqrt() * guess + (1.0 - below - sigma * sigma).sqrt() * e + sigma * z[i];
            }
            gaps.push(gap.clone());
            residuals.push(residual);
        }
        all_gaps.push(gaps);
        all_residuals.push(residuals);
    }
    [all_gaps, all_residuals]
}

fn mean_row(rows: &[&Vec<f64>]) -> Vec<f64> {
    let n = rows.len() as f64;
    (0..rows[0].len()).map(|i| rows.iter().map(|row| row[i]).sum::<f64>() / n).collect()
}

/// SA-DPM's `get_loss_value` as it is written: averages first, no residual at t0, and
/// 1 - alpha_bar_{t-2} in gamma2_t.
fn official(schedule: &Schedule, start: usize, residuals: &[Vec<Vec<f64>>]) -> Vec<f64> {
    let mut carried = vec![0.0; residuals[0][0].len()];
    let mut out = Vec::new();
    for (step, t) in (2..=start).rev().enumerate() {
        let rows: Vec<_> = residuals.iter().map(|of_picture| &of_picture[step]).collect();
        let own = if step == 0 { 0.0 } else { schedule.gap_coefficient(t) };
        let gamma2 = schedule.alpha(t).sqrt() * (1.0 - schedule.alpha_bar(t - 2))
            / (1.0 - schedule.alpha_bar(t));
        for (carried, residual) in carried.iter_mut().zip(mean_row(&rows)) {
            *carried = own * residual + gamma2 * *carried;
        }
        out.push(norm(&carried) / (carried.len() as f64).sqrt());
    }
    out
}

#[test]
fn every_scalar_is_what_a_second_writing_makes_of_it() {
    let (schedule, pictures) = (schedule(60), some_pictures());
    let eps = |x: f64, t: f64| 0.7 * x + 0.1 * (3.0 * x + t).sin() + 0.02;
    for (start, eta) in [(60, 1.0), (25, 0.5), (7, 0.0), (2, 1.0)] {
        // Five trajectories from three pictures: the last two are repeats.
        let request = GapRequest { eta, ..request(start, 5) };
        let rule = Rule::new(eps);
        let curves = measure(&subject(&rule, &schedule), &pictures, &request, &mut |_| {}).unwrap();
        let [gaps, residuals] = naive(&schedule, eps, &pictures, &request);
        let width = pictures.width() as f64;
        let at = |step: usize, of: &[Vec<Vec<f64>>]| -> Vec<Vec<f64>> {
            of.iter().map(|of_picture| of_picture[step].clone()).collect()
        };
        let mean_of = |values: Vec<f64>| values.iter().sum::<f64>() / values.len() as f64;
        let l2 = |step| mean_of(at(step, &gaps).iter().map(|gap| norm(gap)).collect());
        let expected = |scalar, step: usize| {
            let (gaps, rows) = (at(step, &gaps), at(step, &residuals));
            let average = mean_row(&gaps.iter().collect::<Vec<_>>());
            let own = schedule.gap_coefficient(start - step);
            match scalar {
                Scalar::L2 => l2(step),
                Scalar::Rms => (norm(&gaps.concat()).powi(2) / (5.0 * width)).sqrt(),
                Scalar::Bias => norm(&average) / width.sqrt(),
                Scalar::Mean => mean_of(gaps.concat()),
                Scalar::Official => official(&schedule, start, &residuals)[step],
                Scalar::Velocity => l2(step) - if step == 0 { 0.0 } else { l2(step - 1) },
                Scalar::Step => mean_of(rows.iter().map(|row| own * norm(row)).collect()),
            }
        };
        let curve = |scalar| (0..start - 1).map(|step| expected(scalar, step)).collect();
        assert_curves(&curves, curve, 1e-9);
    }
}

#[test]
fn the_official_variant_ends_with_its_last_step_alone() {
    let (schedule, pictures) = (schedule(60), some_pictures());
    let eps = |x: f64, _: f64| 0.5 * x - 0.1;
    let request = request(20, 3);
    let rule = Rule::new(eps);
    let curves = measure(&subject(&rule, &schedule), &pictures, &request, &mut |_| {}).unwrap();
    let [_, residuals] = naive(&schedule, eps, &pictures, &request);
    let means = |step: usize| mean_row(&residuals.iter().map(|r| &r[step]).collect::<Vec<_>>());
    let rows: Vec<_> = (0..19).rev().map(means).collect();
    let theirs = recursion(&schedule, GapVariant::Official, 2, &rows).unwrap();
    let theirs: Vec<f64> = theirs.iter().rev().map(|row| norm(row) / 2.0).collect();
    assert_close(curves.curve(Scalar::Official), &theirs, 1e-9, "official");
    let last_step = schedule.gap_coefficient(2) * norm(&rows[0]) / 2.0;
    assert_close(&[curves.last(Scalar::Official)], &[last_step], 1e-9, "d_2");
    assert_eq!(curves.curve(Scalar::Official)[0], 0.0, "the first call is lost");
    let forgotten = curves.last(Scalar::Bias) / last_step;
    assert!(forgotten > 1.2, "what it forgets is not nothing: {forgotten}");
}

struct Given {
    forward: Vec<Vec<f64>>,
    steps: Vec<Vec<Vec<f64>>>,
}

impl Noise for Given {
    fn forward(&self, picture: u64, _t: usize, out: &mut [f64]) {
        out.copy_from_slice(&self.forward[picture as usize]);
    }

    fn step(&self, picture: u64, t: usize, out: &mut [f64]) {
        out.copy_from_slice(&self.steps[t - 2][picture as usize]);
    }
}

#[test]
fn the_curves_are_numpys() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/gap.json");
    let fixture: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let part = |name: &str| fixture[name].clone();
    let x0: Vec<Vec<f64>> = serde_json::from_value(part("x0")).unwrap();
    let shape: [usize; 3] = serde_json::from_value(part("shape")).unwrap();
    let noise = Given {
        forward: serde_json::from_value(part("forward")).unwrap(),
        steps: serde_json::from_value(part("steps")).unwrap(),
    };
    let pictures = CleanPictures::from_values(shape, x0.concat()).unwrap();
    let start: usize = serde_json::from_value(part("start")).unwrap();
    let schedule = schedule(1000);
    for (name, eta) in [("0", 0.0), ("0.5", 0.5), ("1", 1.0)] {
        let rule = Rule::new(|x: f64, t: f64| 0.6 * x + 0.2 * (2.0 * x + 0.1 * t).sin() + 0.05);
        let request = GapRequest { eta, batch: 2, ..request(start, x0.len() as u64) };
        let subject = subject(&rule, &schedule);
        let curves = walk_all(&subject, &pictures, &request, &noise, &mut |_| {}).unwrap();
        let expected = |scalar: Scalar| -> Vec<f64> {
            serde_json::from_value(fixture["expected"][name][scalar.name()].clone()).unwrap()
        };
        assert_curves(&curves, expected, 1e-9);
    }
}
