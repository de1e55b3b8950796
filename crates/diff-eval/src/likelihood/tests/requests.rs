//! What does not matter, and what is refused.

use super::{golden::Network, request, subject};
use crate::{
    Error,
    gap::CleanPictures,
    likelihood::{Likelihood, LikelihoodRequest, Parts, csv, measure, summary},
};
use diff_core::{ReverseVariance, Schedule, ScheduleSpec};
use diff_models::{GaussianMixture, pictures::Transform};
use diff_train::data::{self, DataConfig};

fn schedule() -> Schedule {
    Schedule::new(&ScheduleSpec { timesteps: 12, ..ScheduleSpec::default() }).unwrap()
}

fn pictures(num: usize) -> CleanPictures {
    let values = (0..4 * num).map(|i| (1.7 * i as f64).sin()).collect();
    CleanPictures::from_values([1, 2, 2], values).unwrap()
}

#[test]
fn batches_change_nothing_and_noise_belongs_to_picture_and_time() {
    let schedule = schedule();
    let of = |request: &LikelihoodRequest| {
        let subject = subject(&Network, &schedule);
        measure(&subject, &pictures(7), request, &mut |_| {}).unwrap()
    };
    let whole = LikelihoodRequest { variance: ReverseVariance::Learned, ..request(12, 7) };
    let all = of(&whole);
    for batch in [1, 3, 7] {
        assert_eq!(of(&LikelihoodRequest { batch, ..whole.clone() }), all, "{batch}");
    }
    let fewer = of(&LikelihoodRequest { num: 3, ..whole.clone() });
    assert_eq!(fewer.pictures, all.pictures[..3]);
    // A time has its noise whatever other times are visited.
    let first = of(&LikelihoodRequest { times: vec![1, 5], ..whole.clone() });
    assert_eq!(first.terms[0], all.terms[0]);
    assert_ne!(of(&LikelihoodRequest { seed: 6, ..whole }).pictures, all.pictures);
}

#[test]
fn progress_goes_up_to_all_pictures() {
    let (schedule, mut heard) = (schedule(), Vec::new());
    let request = LikelihoodRequest { batch: 2, ..request(12, 5) };
    let subject = subject(&Network, &schedule);
    measure(&subject, &pictures(5), &request, &mut |done| heard.push(done)).unwrap();
    assert!(heard.windows(2).all(|pair| pair[0] < pair[1]) && heard.last() == Some(&5.0));
}

#[test]
fn impossible_requests_are_refused_by_name() {
    let schedule = schedule();
    let good = request(12, 2);
    let refuse = |request: LikelihoodRequest, words: &[&str]| {
        let message = request.check(&schedule, &pictures(3)).unwrap_err().to_string();
        assert!(words.iter().all(|word| message.contains(word)), "{message}");
    };
    good.check(&schedule, &pictures(3)).unwrap();
    refuse(LikelihoodRequest { times: vec![3, 3], ..good.clone() }, &["3"]);
    refuse(LikelihoodRequest { times: vec![1, 13], ..good.clone() }, &["13", "12"]);
    refuse(LikelihoodRequest { times: vec![], ..good.clone() }, &[]);
    refuse(LikelihoodRequest { num: 4, ..good.clone() }, &["num = 4", "at most 3"]);
    refuse(LikelihoodRequest { num: 0, ..good.clone() }, &["num = 0"]);
    refuse(LikelihoodRequest { batch: 0, ..good.clone() }, &["batch = 0"]);
    let one = Schedule::from_betas(&[0.5]).unwrap();
    let message = request(1, 1).check(&one, &pictures(1)).unwrap_err().to_string();
    assert!(message.contains("timesteps = 1"), "{message}");
    let digits = data::open(&DataConfig::default()).unwrap();
    let logits = CleanPictures::of(digits, Transform::Logit).unwrap();
    let message = good.check(&schedule, &logits).unwrap_err().to_string();
    assert!(message.contains("data.transform = logit") && message.contains("256"), "{message}");
}

#[test]
fn a_variance_that_a_network_does_not_say_is_refused() {
    let schedule = schedule();
    let (mean, variance) = (vec![0.0; 4], vec![0.1; 4]);
    let plain = GaussianMixture::single(mean, variance, [1, 2, 2], schedule.clone()).unwrap();
    let learned = LikelihoodRequest { variance: ReverseVariance::Learned, ..request(12, 2) };
    let subject = subject(&plain, &schedule);
    let refused = measure(&subject, &pictures(2), &learned, &mut |_| {}).unwrap_err();
    assert!(matches!(refused, Error::Core(diff_core::Error::Argument { .. })), "{refused}");
    assert!(refused.to_string().contains("variance = learned"), "{refused}");
}

#[test]
fn means_have_intervals_of_their_own_and_differences_those_of_pairs() {
    let parts = |bits: f64| Parts { prior: 0.25, transitions: bits, decoder: 2.0 };
    let of = |more: f64| Likelihood {
        times: vec![1, 2],
        terms: vec![2.0, 4.5 + more],
        pictures: (0..10).map(|i| parts(f64::from(i) + more)).collect(),
    };
    let found = summary(&of(0.5), Some(&of(0.0)), 100, 3).unwrap();
    assert_eq!((found.total.value, found.decoder.value), (7.25, 2.0));
    assert_eq!((found.prior.value, found.transitions.value), (0.25, 5.0));
    let interval = found.total.interval.unwrap();
    assert!(interval.low < 6.5 && 8.0 < interval.high, "{interval:?}");
    let flat = found.prior.interval.unwrap();
    assert!((flat.low - 0.25).abs() < 1e-12 && (flat.high - 0.25).abs() < 1e-12);
    // Picture by picture the second is above by 0.5, without any spread.
    let above = found.above.unwrap();
    let apart = above.interval.unwrap();
    assert!((apart.high - apart.low).abs() < 1e-9 && (above.value - 0.5).abs() < 1e-12);
    let names: Vec<_> = found.named().map(|(name, _)| name).collect();
    assert_eq!(names, ["bits_per_dim", "prior", "transitions", "decoder", "above_first"]);
    let alone = summary(&of(0.0), None, 0, 3).unwrap();
    assert!(alone.above.is_none() && alone.total.interval.is_none());
    let two = [("a".to_string(), of(0.0)), ("b,c".to_string(), of(0.5))];
    assert_eq!(csv(&two), "t,a,\"b,c\"\n1,2e0,2e0\n2,4.5e0,5e0\n");
}
