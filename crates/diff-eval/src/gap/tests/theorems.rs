//! The total gap, its bounds, and the drawing.

use super::{Rule, assert_close, norm, schedule, subject, tiny, waves};
use crate::gap::{
    BoundsRequest, CleanPictures, Subject, bounds, illustrate,
    noise::{Addressed, Noise},
};
use candle_core::DType;
use diff_core::gap::{TauMode, total};

#[test]
fn theorem_2_holds_for_networks_and_its_left_side_is_equal_for_single_steps() {
    let schedule = schedule(40);
    let pictures = waves(3);
    for (seed, tau) in [(1, TauMode::On), (2, TauMode::Off), (3, TauMode::Normalised)] {
        let network = tiny(&schedule, seed);
        let subject = Subject { dtype: DType::F32, ..subject(&network.denoiser, &schedule) };
        let request = BoundsRequest { num: 5, windows: 4, tau, seed: 9, batch: 2 };
        let report = bounds(&subject, &pictures, &request, &mut |_| {}).unwrap();
        assert_eq!(report.bounds.iter().map(|b| b.window).collect::<Vec<_>>(), [1, 2, 3, 4]);
        for b in &report.bounds {
            // The averages, like the pictures, up to rounding: K = 1 is an equality.
            assert!(b.hold && b.upper * (1.0 + 1e-12) >= b.sequence_aware);
            assert!(b.sequence_aware > b.lower && b.lower > 0.0);
        }
        let single = report.bounds[0];
        assert_close(&[single.upper], &[single.sequence_aware], 1e-12, "K = 1");
        assert!(report.bounds[3].sequence_aware < 0.9 * report.bounds[3].upper);
        if tau == TauMode::On {
            assert_close(&[single.lower], &[report.loss / 41f64.powi(2)], 1e-12, "L_theta");
        }
    }
}

#[test]
fn the_total_gap_of_known_residuals_is_theorem_1s() {
    let schedule = schedule(30);
    let pictures = CleanPictures::from_values([1, 1, 2], vec![0.2, -0.4]).unwrap();
    // f = 0: the residuals are minus the noise, which is known by its address.
    let rule = Rule::new(|_, _| 0.0);
    let request = BoundsRequest { num: 2, windows: 1, tau: TauMode::On, seed: 3, batch: 9 };
    let report = bounds(&subject(&rule, &schedule), &pictures, &request, &mut |_| {}).unwrap();
    let norms = [0, 1].map(|number| {
        let residual = |t| {
            let mut row = vec![0.0; 2];
            Addressed { seed: 3 }.forward(number, t, &mut row);
            row.iter().map(|eps| -eps).collect()
        };
        let residuals: Vec<Vec<f64>> = (2..=30).map(residual).collect();
        norm(&total(&schedule, 2, &residuals).unwrap())
    });
    assert_close(&[report.gap_l2], &[(norms[0] + norms[1]) / 2.0], 1e-12, "norm");
    let squares = norms[0].powi(2) + norms[1].powi(2);
    assert_close(&[report.loss], &[squares / 2.0], 1e-12, "L_theta");
}

#[test]
fn errors_that_alternate_cancel_and_errors_that_agree_do_not() {
    let drawn = illustrate(0.05).unwrap();
    assert_eq!((drawn.t.len(), drawn.t[0], drawn.t[1000]), (1001, 1000, 0));
    let sample = drawn.exact[1000];
    assert!((0.2..1.2).contains(&sample), "{sample} is near no mode");
    let (same, alternating) = (drawn.same_sign_deviation(), drawn.alternating_deviation());
    assert!(10.0 * alternating < same && same > 0.05, "{same} {alternating}");
    let svg = drawn.to_svg();
    assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n") && !svg.contains("NaN"));
    for tag in ["svg", "g", "title", "text"] {
        let opened =
            svg.matches(&format!("<{tag} ")).count() + svg.matches(&format!("<{tag}>")).count();
        assert_eq!(opened, svg.matches(&format!("</{tag}>")).count(), "{tag}");
    }
    assert_eq!(svg.matches("linejoin").count(), 5, "three paths and two distances");
    assert_eq!(svg.matches("<title>").count(), 2);
}
