//! What the noise depends on, and what is refused.

use super::{Rule, assert_close, request, schedule, some_pictures, subject, tiny, waves};
use crate::gap::{
    BoundsRequest, CleanPictures, GapRequest, Scalar, Subject, bounds, illustrate, measure,
};
use candle_core::DType;
use diff_core::gap::TauMode;

#[test]
fn the_batch_changes_no_bit() {
    let schedule = schedule(50);
    let network = tiny(&schedule, 1);
    let subject = Subject { dtype: DType::F32, ..subject(&network.denoiser, &schedule) };
    let pictures = waves(30);
    let run = |batch| {
        let request = GapRequest { batch, ..request(6, 65) };
        measure(&subject, &pictures, &request, &mut |_| {}).unwrap()
    };
    let whole = run(64);
    assert!(whole.last(Scalar::L2) > 0.0);
    assert_eq!(run(1), whole);
    assert_eq!(run(7), whole);
    let of_bounds = |batch| {
        let request = BoundsRequest { num: 9, windows: 2, tau: TauMode::On, seed: 1, batch };
        bounds(&subject, &pictures, &request, &mut |_| {}).unwrap()
    };
    assert_eq!(of_bounds(1), of_bounds(4));
}

#[test]
fn networks_that_are_compared_meet_the_same_noise() {
    let (schedule, pictures) = (schedule(40), some_pictures());
    let seen = |shift: f64, batch: usize, seed: u64| {
        let rule = Rule::new(move |x: f64, _| 0.4 * x + shift);
        let request = GapRequest { batch, seed, ..request(9, 5) };
        measure(&subject(&rule, &schedule), &pictures, &request, &mut |_| {}).unwrap();
        rule.seen.into_inner().unwrap()
    };
    let (one, other) = (seen(0.0, 5, 0), seen(0.1, 5, 0));
    assert_eq!(one[0], other[0], "the start does not depend on the network");
    // What is left of a step without its deterministic part is the noise, the same for both.
    let step = schedule.step(8, 9);
    let sigma = step.ddim_sigma(1.0);
    let (signal, noise) = (schedule.alpha_bar(9).sqrt(), (1.0 - schedule.alpha_bar(9)).sqrt());
    let fresh = |seen: &[Vec<f64>], shift: f64| -> Vec<f64> {
        let pairs = seen[0].iter().zip(&seen[1]);
        pairs
            .map(|(x, below)| {
                let eps = 0.4 * x + shift;
                let x0 = (x - noise * eps) / signal;
                let mean = schedule.alpha_bar(8).sqrt() * x0 + step.ddim_direction(sigma) * eps;
                (below - mean) / sigma
            })
            .collect()
    };
    assert_close(&fresh(&other, 0.1), &fresh(&one, 0.0), 1e-9, "step noise");
    // In other batches the same pictures are shown in other calls.
    let calls = 8;
    let split = seen(0.0, 3, 0);
    for call in 0..calls {
        assert_eq!([&*split[call], &*split[calls + call]].concat(), one[call]);
    }
    assert_ne!(seen(0.0, 5, 1)[0], one[0], "another seed is another noise");
    let mut repeated = one[0].chunks(4);
    let (first, fourth) = (repeated.next(), repeated.nth(2));
    assert_ne!(first, fourth, "a repeat of a picture has noise of its own");
}

#[test]
fn impossible_requests_name_what_is_wrong() {
    let (schedule, pictures) = (schedule(10), some_pictures());
    let rule = Rule::new(|_, _| 0.0);
    let subject = subject(&rule, &schedule);
    let good = request(5, 2);
    for (request, words) in [
        (GapRequest { start: 1, ..good }, ["start = 1", "2..=T = 10"]),
        (GapRequest { start: 11, ..good }, ["start = 11", "2..=T = 10"]),
        (GapRequest { num: 0, ..good }, ["num = 0", "at least 1"]),
        (GapRequest { batch: 0, ..good }, ["batch = 0", "at least 1"]),
        (GapRequest { eta: 1.5, ..good }, ["eta = 1.5", "0..=1"]),
        (GapRequest { eta: f64::NAN, ..good }, ["eta = NaN", "0..=1"]),
    ] {
        let error = measure(&subject, &pictures, &request, &mut |_| {}).unwrap_err().to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    }
    for windows in [0, 11] {
        let request = BoundsRequest { num: 1, windows, tau: TauMode::On, seed: 0, batch: 1 };
        let error = bounds(&subject, &pictures, &request, &mut |_| {}).unwrap_err().to_string();
        assert!(error.contains("windows") && error.contains("1..=T = 10"), "{error}");
    }
    assert!(illustrate(0.0).is_err() && illustrate(1.1).is_err() && illustrate(f64::NAN).is_err());
    let labelled = Subject { labelled: true, ..subject };
    let error = measure(&labelled, &pictures, &good, &mut |_| {}).unwrap_err().to_string();
    assert!(error.contains("picture 0") && error.contains("label"), "{error}");
    assert!(CleanPictures::from_values([1, 1, 2], vec![0.0; 3]).is_err());
    assert!(CleanPictures::from_values([1, 1, 2], Vec::new()).is_err());
}

#[test]
fn a_prediction_that_is_not_finite_stops_the_measurement() {
    let (schedule, pictures) = (schedule(10), some_pictures());
    let rule = Rule::new(|_, t| if t == 4.0 { f64::NAN } else { 0.0 });
    let subject = subject(&rule, &schedule);
    let error = measure(&subject, &pictures, &request(6, 2), &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("8 of 8 predicted values at t = 4"), "{error}");
}

#[test]
fn progress_goes_up_to_the_number_of_pictures() {
    let (schedule, pictures) = (schedule(10), some_pictures());
    let rule = Rule::new(|x, _| x);
    let mut told = Vec::new();
    measure(&subject(&rule, &schedule), &pictures, &request(6, 10), &mut |done| told.push(done))
        .unwrap();
    assert!(told.windows(2).all(|pair| pair[0] < pair[1]) && told.last() == Some(&10.0));
}
