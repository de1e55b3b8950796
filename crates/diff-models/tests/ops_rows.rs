//! The operations of transformers on rows: definitions, gradients, both number types.

#![allow(clippy::unwrap_used)] // a test

mod common;

use candle_core::{DType, Device, Tensor};
use common::{
    gradients::{Op, check_f32, check_gradients, input},
    relative, values,
};
use diff_models::ops::{self, Affine};

#[test]
fn layer_norm_follows_its_definition_and_has_its_gradients() {
    for channels in [1, 5, 16, 37] {
        let inputs =
            [input(&[2, 3, channels], 1.71), input(&[channels], 0.37), input(&[channels], 0.9)];
        let op = |x: &[Tensor]| ops::layer_norm(&x[0], &x[1], &x[2], 1e-3);
        let out = values(&op(&inputs).unwrap());
        let (x, w, b) = (values(&inputs[0]), values(&inputs[1]), values(&inputs[2]));
        for (row, (x, out)) in x.chunks(channels).zip(out.chunks(channels)).enumerate() {
            let mean = x.iter().sum::<f64>() / channels as f64;
            let variance = x.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / channels as f64;
            for c in 0..channels {
                let expected = (x[c] - mean) / (variance + 1e-3).sqrt() * w[c] + b[c];
                assert!((out[c] - expected).abs() < 1e-13, "{channels} {row} {c}");
            }
        }
        // The gradient by x of a row of one number is zero, and so is its distance from anything.
        if channels > 1 {
            check_gradients("layer_norm", &inputs, op);
        }
    }
}

#[test]
fn geglu_follows_its_definition_and_has_its_gradients() {
    let x = input(&[3, 4, 10], 1.3);
    let out = ops::geglu(&x).unwrap();
    let gate = x.narrow(2, 5, 5).unwrap().gelu_erf().unwrap();
    let expected = (x.narrow(2, 0, 5).unwrap() * gate).unwrap();
    assert_eq!(out.dims(), [3, 4, 5]);
    assert!(relative(&values(&out), &values(&expected)) < 1e-14);
    check_gradients("geglu", &[x], |x| ops::geglu(&x[0]));
    let refused = ops::geglu(&input(&[2, 3], 1.0)).unwrap_err().to_string();
    assert!(refused.contains("3 channels"), "{refused}");
}

#[test]
fn a_turned_map_is_the_map_of_the_turned_weights_and_biases_may_be_missing() {
    let (x, weight, bias) = (input(&[2, 7, 5], 0.71), input(&[4, 5], 0.37), input(&[4], 0.9));
    let residual = input(&[2, 7, 4], 0.23);
    let turned = weight.t().unwrap().contiguous().unwrap();
    let plain = Affine::new(None);
    for (bias, residual) in
        [(None, None), (Some(&bias), None), (None, Some(&residual)), (Some(&bias), Some(&residual))]
    {
        let mut expected = values(&x.reshape((14, 5)).unwrap().matmul(&turned).unwrap());
        for (i, value) in expected.iter_mut().enumerate() {
            *value += bias.map_or(0.0, |b| values(b)[i % 4]);
            *value += residual.map_or(0.0, |r| values(r)[i]);
        }
        let found = [
            plain.apply(&x, &weight, bias, residual).unwrap(),
            Affine::turned().apply(&x, &turned, bias, residual).unwrap(),
        ];
        for found in found {
            assert_eq!(found.dims(), [2, 7, 4]);
            assert!(relative(&values(&found), &expected) < 1e-14);
        }
    }
    let all = [x.clone(), turned.clone(), bias, residual];
    check_gradients("turned", &all, |x| {
        Affine::turned().apply(&x[0], &x[1], Some(&x[2]), Some(&x[3]))
    });
    check_gradients("turned, alone", &all[..2], |x| {
        Affine::turned().apply(&x[0], &x[1], None, None)
    });
    check_gradients("without bias", &[x, weight, all[3].clone()], |x| {
        Affine::new(None).apply(&x[0], &x[1], None, Some(&x[2]))
    });
    let refused = Affine::turned().apply(&all[0], &all[0], None, None).unwrap_err().to_string();
    assert!(refused.contains("linear"), "{refused}");
}

/// (1, x) times the rows of a map is what the map makes of x; heads have their channels to themselves.
#[test]
fn maps_as_rows_and_rows_by_heads() {
    let (weight, bias) = (input(&[6, 2, 1, 1], 0.37), input(&[6], 0.9));
    let rows = ops::affine_rows(&weight, &bias).unwrap();
    assert_eq!(rows.dims(), [3, 6]);
    let x = input(&[4, 2], 0.71);
    let one = Tensor::ones((4, 1), DType::F64, &Device::Cpu).unwrap();
    let found = Tensor::cat(&[&one, &x], 1).unwrap().matmul(&rows).unwrap();
    let expected = ops::linear(&x, &weight.reshape((6, 2)).unwrap(), &bias).unwrap();
    assert!(relative(&values(&found), &values(&expected)) < 1e-14);
    check_gradients("affine_rows", &[weight, bias], |x| ops::affine_rows(&x[0], &x[1]));

    let x = Tensor::new(&[[1f64, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]], &Device::Cpu).unwrap();
    let spread = ops::spread_heads(&x, 2).unwrap();
    let expected =
        [[1.0, 2.0, 0.0, 0.0], [5.0, 6.0, 0.0, 0.0], [0.0, 0.0, 3.0, 4.0], [0.0, 0.0, 7.0, 8.0]];
    assert_eq!(spread.dims(), [4, 4]);
    assert_eq!(values(&spread), expected.concat());
    check_gradients("spread_heads", std::slice::from_ref(&x), |x| ops::spread_heads(&x[0], 2));
    assert!(ops::spread_heads(&x, 3).unwrap_err().to_string().contains("3 heads"));
}

#[test]
fn in_f32_they_are_close_to_f64() {
    let x = |shape: &[usize]| input(shape, 1.71);
    let cases: [(&str, Op, Vec<Tensor>); 3] = [
        (
            "layer_norm",
            Box::new(|x| ops::layer_norm(&x[0], &x[1], &x[2], 1e-5)),
            vec![x(&[131, 77]), x(&[77]), x(&[77])],
        ),
        ("geglu", Box::new(|x| ops::geglu(&x[0])), vec![x(&[131, 154])]),
        (
            "turned",
            Box::new(|x| Affine::turned().apply(&x[0], &x[1], Some(&x[2]), None)),
            vec![x(&[131, 77]), x(&[77, 83]), x(&[83])],
        ),
    ];
    cases.iter().for_each(|(name, op, tensors)| check_f32(name, op, tensors));
}

#[test]
fn nothing_in_gives_nothing_out() {
    let none = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
    let (x, w) = (none(&[0, 4, 6]), none(&[6]));
    assert_eq!(ops::layer_norm(&x, &w, &w, 1e-5).unwrap().dims(), [0, 4, 6]);
    assert_eq!(ops::geglu(&x).unwrap().dims(), [0, 4, 3]);
    assert_eq!(Affine::turned().apply(&x, &none(&[6, 2]), None, None).unwrap().dims(), [0, 4, 2]);
}
