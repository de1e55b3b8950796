//! Properties of the house's trajectories, and the peers' lists against their own code.

// Clippy takes the helpers of an integration test for library code.
#![allow(clippy::unwrap_used)]

use diff_core::{Error, PeerTrajectory, Schedule, ScheduleSpec, Trajectory, trajectory};
use proptest::prelude::*;

/// The times that a name stands for under some schedule of this length.
fn resolve(name: &str, steps: usize, timesteps: usize) -> diff_core::Result<Vec<usize>> {
    trajectory::resolve(name, steps, &constant(timesteps))
}

type House = fn(usize, usize) -> diff_core::Result<Trajectory>;

const HOUSE: [(&str, House); 5] = [
    ("linear", Trajectory::linear),
    ("quadratic", Trajectory::quadratic),
    ("trailing", Trajectory::trailing),
    ("log-snr", |steps, timesteps| Trajectory::log_snr(steps, &constant(timesteps))),
    ("karras", |steps, timesteps| Trajectory::karras(steps, 7.0, &constant(timesteps))),
];

fn constant(timesteps: usize) -> Schedule {
    Schedule::from_betas(&vec![0.01; timesteps]).unwrap()
}

fn check_house(steps: usize, timesteps: usize) {
    for (name, make) in HOUSE {
        let made = make(steps, timesteps).unwrap();
        let times = made.times();
        assert_eq!((times.len(), made.timesteps()), (steps, timesteps), "{name}");
        assert!(times.windows(2).all(|pair| pair[0] < pair[1]), "{name} {steps} {timesteps}");
        assert!(times[0] >= 1 && times[steps - 1] == timesteps, "{name} {steps} {timesteps}");
        if steps > 1 && name != "trailing" {
            assert_eq!(times[0], 1, "{name} {steps} {timesteps}");
        }
        assert_eq!(resolve(name, steps, timesteps).unwrap(), times);
        if steps == timesteps {
            assert_eq!(times, (1..=timesteps).collect::<Vec<_>>(), "{name}");
        }
    }
}

#[test]
fn every_count_gives_exactly_that_many_increasing_times() {
    for timesteps in [1, 2, 3, 10, 37, 100] {
        for steps in 1..=timesteps {
            check_house(steps, timesteps);
        }
    }
}

proptest! {
    #[test]
    fn any_count_of_any_length_too(timesteps in 1usize..3000, part in 0.0f64..1.0) {
        check_house(1 + (part * (timesteps - 1) as f64).round() as usize, timesteps);
    }

    #[test]
    fn no_peer_leaves_the_range_or_turns_back(timesteps in 1usize..1500, part in 0.0f64..1.0) {
        let steps = 1 + (part * (timesteps - 1) as f64).round() as usize;
        for name in trajectory::NAMES {
            // Some rules have no list for some counts; those are errors, never a panic.
            if let Ok(times) = resolve(name, steps, timesteps) {
                prop_assert!(!times.is_empty());
                prop_assert!(times.windows(2).all(|pair| pair[0] <= pair[1]), "{} {:?}", name, times);
                prop_assert!(times.iter().all(|t| (1..=timesteps).contains(t)), "{} {:?}", name, times);
            }
        }
    }
}

#[test]
fn linear_is_analytic_dpms_list() {
    for steps in [2, 10, 25, 50, 999, 1000] {
        let peer = PeerTrajectory::BaoLinear.times(steps, 1000).unwrap();
        assert_eq!(Trajectory::linear(steps, 1000).unwrap().times(), peer, "{steps}");
    }
}

#[test]
fn quadratic_moves_repeats_apart_and_keeps_the_rest() {
    // 1 + 99 (i/9)^2 = 1, 2.2, 5.9, 12, 20.6, 31.6, 45, 60.9, 79.2, 100.
    let ten = Trajectory::quadratic(10, 100).unwrap();
    assert_eq!(ten.times(), [1, 2, 6, 12, 21, 32, 45, 61, 79, 100]);
    // 1 + 9 (i/8)^2 = 1, 1.1, 1.6, 2.3, 3.3, 4.5, 6.1, 7.9, 10: raised to 1..=8, 10.
    let dense = Trajectory::quadratic(9, 10).unwrap();
    assert_eq!(dense.times(), [1, 2, 3, 4, 5, 6, 7, 8, 10]);
    assert_eq!(Trajectory::quadratic(1, 10).unwrap().times(), [10]);
    assert_eq!(Trajectory::linear(1, 10).unwrap().times(), [10]);
    assert_eq!(Trajectory::trailing(4, 10).unwrap().times(), [2, 5, 8, 10]);
}

/// `count` members of `start`, each `stride` apart.
fn strided(start: usize, stride: usize, count: usize) -> Vec<usize> {
    (0..count).map(|i| start + i * stride).collect()
}

#[test]
fn lists_of_ermongroup_and_analytic_dpm() {
    let resolve = |name, steps| resolve(name, steps, 1000).unwrap();
    assert_eq!(resolve("ddim-uniform", 10), strided(1, 100, 10));
    for (steps, length) in [(30, 31), (300, 334), (600, 1000)] {
        assert_eq!(resolve("ddim-uniform", steps).len(), length);
    }
    let paper = |code: &[usize]| code.iter().map(|k| k + 1).collect::<Vec<_>>();
    let ten = [0, 9, 39, 88, 158, 246, 355, 483, 632, 800];
    assert_eq!(resolve("ddim-quad", 10), paper(&ten));
    let twenty =
        [0, 2, 8, 19, 35, 55, 79, 108, 141, 179, 221, 268, 319, 374, 434, 498, 567, 640, 718, 800];
    assert_eq!(resolve("ddim-quad", 20), paper(&twenty));
    for (steps, repeats) in [(50, 1), (100, 4), (1000, 312)] {
        let times = resolve("ddim-quad", steps);
        assert_eq!(times.len(), steps);
        assert_eq!(times.windows(2).filter(|pair| pair[0] == pair[1]).count(), repeats);
    }
    assert_eq!(resolve("bao-linear", 10), strided(1, 111, 10));
    let twenty_five = resolve("bao-linear", 25);
    assert_eq!(twenty_five[..8], [1, 43, 84, 126, 168, 209, 251, 292]);
    assert_eq!(twenty_five[21..], [875, 917, 958, 1000]);
    assert_eq!(resolve("bao-linear", 50)[..8], [1, 21, 42, 62, 83, 103, 123, 144]);
    assert_eq!(resolve("bao-power:1", 10), resolve("bao-linear", 10));
    // 1 + 999 (1 - sqrt(y)), y = 1, 3/4, 1/2, 1/4, 0.
    assert_eq!(resolve("bao-power", 5), [1, 135, 294, 500, 1000]);
}

#[test]
fn lists_of_diffusers() {
    // diffusers 0.42.1: s = DDIMScheduler(num_train_timesteps=T, timestep_spacing=spacing)
    // s.set_timesteps(S); [int(k) + 1 for k in reversed(s.timesteps.tolist())]
    let table: [(&str, usize, usize, &[usize]); 9] = [
        ("leading", 1000, 7, &[1, 143, 285, 427, 569, 711, 853]),
        ("leading", 37, 11, &[1, 4, 7, 10, 13, 16, 19, 22, 25, 28, 31]),
        ("linspace", 1000, 10, &[1, 112, 223, 334, 445, 556, 667, 778, 889, 1000]),
        ("linspace", 1000, 7, &[1, 167, 334, 501, 667, 833, 1000]),
        ("linspace", 37, 11, &[1, 5, 8, 12, 15, 19, 23, 26, 30, 33, 37]),
        ("linspace", 1000, 1, &[1]),
        ("trailing", 1000, 7, &[143, 286, 429, 571, 714, 857, 1000]),
        ("trailing", 37, 11, &[3, 7, 10, 13, 17, 20, 24, 27, 30, 34, 37]),
        ("trailing", 1000, 1, &[1000]),
    ];
    for (spacing, timesteps, steps, want) in table {
        let name = format!("diffusers-{spacing}");
        assert_eq!(resolve(&name, steps, timesteps).unwrap(), want, "{name} {steps}");
    }
    // steps_offset=1, as Stable Diffusion's configuration has it.
    assert_eq!(resolve("diffusers-leading:1", 4, 1000).unwrap(), [2, 252, 502, 752]);
    // diffusers appends network time -1 here.
    assert_eq!(resolve("diffusers-trailing", 61, 1000).unwrap().len(), 61);
}

#[test]
fn lists_of_guided_diffusion_and_of_the_report() {
    let resolve = |name, steps| resolve(name, steps, 1000);
    assert_eq!(resolve("guided", 10).unwrap(), strided(1, 111, 10));
    assert_eq!(resolve("guided", 1).unwrap(), [1]);
    assert_eq!(resolve("guided-ddim", 50).unwrap(), strided(1, 20, 50));
    // No whole stride through 1000 has 300 members.
    assert!(resolve("guided-ddim", 300).is_err());
    assert_eq!(resolve("s2", 10).unwrap(), strided(100, 100, 10));
    // torch.linspace(1000, 0, 8).to(torch.long)
    assert_eq!(resolve("s2", 7).unwrap(), [142, 285, 428, 571, 714, 857, 1000]);
}

#[test]
fn lists_a_user_types() {
    assert_eq!(resolve("1,10,100", 3, 100).unwrap(), [1, 10, 100]);
    for (text, steps) in [
        ("1,10,100", 4),
        ("1,10,101", 3),
        ("10,1", 2),
        ("1,1", 2),
        ("0,1", 2),
        ("1,x", 2),
        ("1,", 1),
    ] {
        let error = resolve(text, steps, 100).unwrap_err();
        assert!(error.is_usage() && error.to_string().contains("100"), "{text}: {error}");
    }
    assert!(Trajectory::custom(&[], 10).is_err());
    assert_eq!(Trajectory::custom(&[3, 7], 10).unwrap().times(), [3, 7]);
}

#[test]
fn errors_name_the_counts_and_the_nearest_name() {
    let message = |name, steps| resolve(name, steps, 10).unwrap_err().to_string();
    for steps in [0, 11] {
        let error = message("linear", steps);
        assert!(error.contains(&format!("S = {steps}")) && error.contains("T = 10"), "{error}");
    }
    let error = message("quadratc", 5);
    assert!(error.contains("did you mean `quadratic`") && error.contains("S = 5"), "{error}");
    assert!(message("bao-power:x", 5).contains("bao-power:2"));
    assert!(message("linear:3", 5).contains("expected one of"));
    assert!(message("bao-power:-1", 5).contains("power above 0"));
    assert!(message("bao-linear", 1).contains("at least 2"));
    assert!(message("diffusers-leading:1", 10).contains("T = 10"));
    let huge = format!("diffusers-leading:{}", usize::MAX);
    assert!(resolve(&huge, 2, 10).is_err());
    assert!(matches!(Trajectory::linear(0, 0), Err(Error::Argument { .. })));
    assert!(Trajectory::linear(usize::MAX, usize::MAX).is_err());
}

/// Made with diffusers 0.42.1: DPMSolverMultistepScheduler, and UniPC for one that has no other step.
#[test]
fn lists_by_noise_are_those_of_diffusers() {
    // s = DPMSolverMultistepScheduler(beta_end=0.02, beta_start=1e-4, use_lu_lambdas=True, ..)
    let schedule = Schedule::new(&ScheduleSpec::default()).unwrap();
    let table: [(&str, usize, &[usize]); 4] = [
        ("log-snr", 5, &[1, 31, 303, 723, 1000]),
        ("log-snr", 10, &[1, 6, 23, 74, 203, 411, 604, 758, 887, 1000]),
        ("karras", 5, &[1, 143, 594, 844, 1000]),
        ("karras", 10, &[1, 19, 103, 302, 512, 664, 776, 865, 938, 1000]),
    ];
    for (name, steps, want) in table {
        assert_eq!(trajectory::resolve(name, steps, &schedule).unwrap(), want, "{name} {steps}");
    }
}

#[test]
fn lists_by_noise_are_even_in_what_they_say() {
    let schedule = Schedule::new(&ScheduleSpec::default()).unwrap();
    for (name, of) in [
        ("log-snr", (&|sigma: f64| sigma.ln()) as &dyn Fn(f64) -> f64),
        ("karras", &|sigma| sigma.powf(1.0 / 7.0)),
        ("karras:3", &|sigma| sigma.powf(1.0 / 3.0)),
    ] {
        let times = trajectory::resolve(name, 9, &schedule).unwrap();
        let place = |t: usize| of(schedule.ve_sigma(t));
        for (i, t) in times.iter().enumerate() {
            let wanted = place(1) + i as f64 / 8.0 * (place(1000) - place(1));
            let around = (place(t - (*t > 1) as usize), place(t + (*t < 1000) as usize));
            assert!(around.0 <= wanted && wanted <= around.1, "{name} {i}: {t}");
        }
    }
    assert_eq!(
        trajectory::resolve("karras:1e9", 9, &schedule).unwrap(),
        trajectory::resolve("log-snr", 9, &schedule).unwrap()
    );
    // A schedule that ends in noise alone has a list too.
    let spec = ScheduleSpec { kind: diff_core::ScheduleKind::Jsd, ..ScheduleSpec::default() };
    let times = Trajectory::log_snr(20, &Schedule::new(&spec).unwrap()).unwrap();
    assert_eq!((times.times()[0], times.times()[19]), (1, 1000));
    for rho in ["karras:0", "karras:-1", "karras:inf"] {
        let error = resolve(rho, 5, 10).unwrap_err().to_string();
        assert!(error.contains("above 0"), "{error}");
    }
    assert!(resolve("karras:x", 5, 10).unwrap_err().to_string().contains("karras:7"));
    for name in ["karras", "karras:5", "log-snr"] {
        let error = trajectory::resolve_by_length(name, 5, 10).unwrap_err().to_string();
        assert!(error.contains("Gaussian noise"), "{error}");
    }
    assert_eq!(trajectory::resolve_by_length("linear", 2, 10).unwrap(), [1, 10]);
}
