//! What is between latents.

#![cfg(test)]

use candle_core::{DType, Device, Tensor};
use diff_core::rng::{Address, Purpose};
use diff_models::noise::normals;
use diff_sample::latents::{grid, line, slerp};

fn values(x: &Tensor) -> Vec<f64> {
    x.flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn slerp_ends_at_its_ends_and_keeps_what_lengths_have_in_common() {
    let norm = |x: &[f64]| x.iter().map(|v| v * v).sum::<f64>().sqrt();
    let near = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-12);
    let (a, b) = ([3.0, 0.0, 4.0, 0.0], [0.0, -5.0, 0.0, 0.0]);
    assert_eq!((slerp(&a, &b, 0.0), slerp(&a, &b, 1.0)), (a.to_vec(), b.to_vec()));
    for u in [0.1, 0.25, 0.5, 0.9] {
        assert!((norm(&slerp(&a, &b, u)) - 5.0).abs() < 1e-12, "{u}");
        assert!(near(&slerp(&a, &b, u), &slerp(&b, &a, 1.0 - u)), "{u}");
    }
    // At right angles cosine and sine of the quarter turn; lengths that differ are mixed with it.
    let quarter = slerp(&[2.0, 0.0], &[0.0, 6.0], 1.0 / 3.0);
    let half = 0.5f64;
    assert!(near(&quarter, &[2.0 * 0.75f64.sqrt(), 6.0 * half]), "{quarter:?}");
    // Without an angle it is linear: equal, parallel, opposite and zero vectors.
    for (a, b) in [([1.0, 2.0], [1.0, 2.0]), ([1.0, 2.0], [3.0, 6.0]), ([1.0, 2.0], [-1.0, -2.0])] {
        for u in [0.0, 0.3, 0.5, 1.0] {
            let linear = [a[0] * (1.0 - u) + b[0] * u, a[1] * (1.0 - u) + b[1] * u];
            assert!(near(&slerp(&a, &b, u), &linear), "{a:?} {b:?} {u}");
        }
    }
    assert_eq!(slerp(&[0.0, 0.0], &[2.0, 4.0], 0.25), [0.5, 1.0]);
    assert_eq!(slerp(&[2.0, 4.0], &[0.0, 0.0], 0.25), [1.5, 3.0]);
    assert_eq!(slerp(&[0.0, 0.0], &[0.0, 0.0], 0.25), [0.0, 0.0]);
}

#[test]
fn lines_and_grids_are_made_of_slerps_of_whole_latents() {
    let rows = [0, 1, 2, 3].map(|i| Address::new(5, Purpose::Latent).index(i));
    let latents = normals(&rows, &[1, 3, 3], DType::F64, &Device::Cpu).unwrap();
    let corner: Vec<Tensor> = (0..4).map(|i| latents.get(i).unwrap()).collect();
    let flat: Vec<Vec<f64>> = corner.iter().map(values).collect();
    let row = line(&corner[0], &corner[1], 11).unwrap();
    assert_eq!(row.dims(), [11, 1, 3, 3]);
    for i in 0..11 {
        let expected = slerp(&flat[0], &flat[1], i as f64 / 10.0);
        assert_eq!(values(&row.get(i).unwrap()), expected, "{i}");
    }
    let square = grid([&corner[0], &corner[1], &corner[2], &corner[3]], 3).unwrap();
    assert_eq!(square.dims(), [9, 1, 3, 3]);
    let cell = |u: usize, v: usize| values(&square.get(3 * u + v).unwrap());
    let corners = [cell(0, 0), cell(2, 0), cell(0, 2), cell(2, 2)];
    assert_eq!(corners.to_vec(), flat);
    let (left, right) = (slerp(&flat[0], &flat[1], 0.5), slerp(&flat[2], &flat[3], 0.5));
    assert_eq!((cell(1, 0), cell(1, 1)), (left.clone(), slerp(&left, &right, 0.5)));
    let message = line(&corner[0], &corner[1], 1).unwrap_err().to_string();
    assert!(message.contains("line = 1") && message.contains("at least 2"), "{message}");
    assert!(line(&corner[0], &latents, 3).is_err());
}
