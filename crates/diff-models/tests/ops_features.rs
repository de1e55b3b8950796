//! Operations of feature networks: definitions, gradients, both number types.

#![allow(clippy::unwrap_used)] // a test

mod common;

use candle_core::Tensor;
use common::{
    gradients::{Op, check_f32, check_gradients, input},
    values,
};
use diff_models::ops::{self, Affine, Algorithm, ConvGeometry, Convolution, PixelGrid, Windows};

fn ceil(size: usize, stride: usize) -> Windows {
    Windows { ceil: true, ..Windows::new(size, stride) }
}

/// Values that lie far from each other, so that the largest stays the largest when one moves a little.
fn apart(shape: &[usize]) -> Tensor {
    let count: usize = shape.iter().product();
    let values: Vec<f64> = (0..count).map(|i| (i * 7919 % count) as f64 / count as f64).collect();
    Tensor::from_vec(values, shape, &candle_core::Device::Cpu).unwrap()
}

#[test]
fn pooling_follows_its_definition() {
    let [batch, height, width, channels] = [2, 7, 6, 3];
    let x = input(&[batch, height, width, channels], 0.71);
    let flat = values(&x);
    let all = [
        Windows::new(2, 2),
        Windows::new(3, 2),
        ceil(3, 2),
        ceil(2, 3),
        Windows::around(3),
        Windows { padding: 1, ..ceil(3, 2) },
    ];
    for windows in all {
        let (rows, columns) = (windows.outputs(height).unwrap(), windows.outputs(width).unwrap());
        let (mut largest, mut means) = (Vec::new(), Vec::new());
        for i in 0..batch * rows * columns * channels {
            let (c, column) = (i % channels, i / channels % columns);
            let (row, n) = (i / channels / columns % rows, i / channels / columns / rows);
            let at = |y: usize, x: usize| flat[((n * height + y) * width + x) * channels + c];
            let inside = |index: usize, size: usize, length: usize| {
                let start = (index * windows.stride) as isize - windows.padding as isize;
                (start..start + size as isize)
                    .filter(move |i| (0..length as isize).contains(i))
                    .map(|i| i as usize)
            };
            let seen: Vec<f64> = inside(row, windows.size, height)
                .flat_map(|y| inside(column, windows.size, width).map(move |x| (y, x)))
                .map(|(y, x)| at(y, x))
                .collect();
            largest.push(seen.iter().copied().fold(f64::NEG_INFINITY, f64::max));
            means.push(seen.iter().sum::<f64>() / seen.len() as f64);
        }
        let max = ops::max_pool(&x, windows).unwrap();
        assert_eq!(max.dims(), [batch, rows, columns, channels], "{windows:?}");
        assert_eq!(values(&max), largest, "{windows:?}");
        let average = values(&ops::average_pool(&x, windows).unwrap());
        let close = |(a, b): (&f64, &f64)| (a - b).abs() < 1e-14;
        assert!(average.iter().zip(&means).all(close), "{windows:?}");
        let apart = [apart(&[2, 5, 4, 3])];
        check_gradients("max_pool", &apart, |x| ops::max_pool(&x[0], windows));
        check_gradients("average_pool", &apart, |x| ops::average_pool(&x[0], windows));
    }
}

/// PyTorch: rows and columns of windows with `ceil_mode`, none of which begins beyond the end.
#[test]
fn windows_are_counted_as_pytorch_does() {
    let counts = |windows: Windows| [3, 4, 5, 6, 7].map(|length| windows.outputs(length).unwrap());
    assert_eq!(counts(Windows::new(3, 2)), [1, 1, 2, 2, 3]);
    assert_eq!(counts(ceil(3, 2)), [1, 2, 2, 3, 3]);
    assert_eq!(counts(Windows { padding: 1, ..ceil(2, 2) }), [2, 3, 3, 4, 4]);
    assert_eq!(Windows::new(3, 2).outputs(2), None);
    let x = input(&[1, 2, 8, 1], 0.3);
    let message = ops::max_pool(&x, Windows::new(3, 2)).unwrap_err().to_string();
    assert!(message.contains("2 x 8") && message.contains("3 x 3"), "{message}");
    let far = Windows { padding: 2, ..Windows::new(3, 2) };
    assert!(ops::average_pool(&x, far).is_err());
}

#[test]
fn the_first_of_equal_values_gets_the_gradient() {
    let x = candle_core::Var::from_tensor(
        &Tensor::ones((1, 2, 2, 1), candle_core::DType::F64, &candle_core::Device::Cpu).unwrap(),
    )
    .unwrap();
    let y = ops::max_pool(&x, Windows::new(2, 2)).unwrap();
    let grads = y.sum_all().unwrap().backward().unwrap();
    assert_eq!(values(grads.get(&x).unwrap()), [1.0, 0.0, 0.0, 0.0]);
}

#[test]
fn what_is_not_a_number_stays_that() {
    for lanes in [1, 8, 19] {
        let mut numbers = vec![-1f32; 2 * 2 * lanes];
        numbers[lanes - 1] = f32::NAN;
        let x = Tensor::from_vec(numbers, (1, 2, 2, lanes), &candle_core::Device::Cpu).unwrap();
        let pooled = values(&ops::max_pool(&x, Windows::new(2, 2)).unwrap());
        assert!(pooled[lanes - 1].is_nan() && pooled[..lanes - 1].iter().all(|v| *v == -1.0));
    }
    // ReLU, in all three ways in which convolutions run.
    for (inputs, kernel, algorithm) in
        [(1, 1, Algorithm::Fast), (3, 3, Algorithm::Exact), (16, 3, Algorithm::Fast)]
    {
        for dtype in [candle_core::DType::F32, candle_core::DType::F64] {
            let x = Tensor::full(f64::NAN, (1, 4, 4, inputs), &candle_core::Device::Cpu).unwrap();
            let weight = input(&[18, inputs, kernel, kernel], 0.3);
            let [x, weight, bias] =
                [x, weight, input(&[18], 0.9)].map(|tensor| tensor.to_dtype(dtype).unwrap());
            let convolution = Convolution {
                rectified: true,
                ..Convolution::new(ConvGeometry::same(kernel), algorithm)
            };
            let y = convolution.apply(&x, &weight, &bias, ops::Extra::default()).unwrap();
            assert!(values(&y).iter().all(|v| v.is_nan()), "{inputs} {kernel} {dtype:?}");
        }
    }
}

#[test]
fn rectified_maps_have_no_negative_numbers_and_the_gradients_of_the_others() {
    let inputs = [input(&[2, 5, 4, 3], 0.71), input(&[4, 3, 3, 3], 0.37), input(&[4], 0.9)];
    let convolution = Convolution {
        rectified: true,
        ..Convolution::new(ConvGeometry::same(3), Algorithm::Exact)
    };
    let op = |x: &[Tensor]| convolution.apply(&x[0], &x[1], &x[2], ops::Extra::default());
    let plain =
        values(&ops::conv2d(&inputs[0], &inputs[1], &inputs[2], convolution.geometry).unwrap());
    assert!(plain.iter().any(|v| *v < 0.0) && plain.iter().any(|v| *v > 0.0));
    let expected: Vec<f64> = plain.iter().map(|v| v.max(0.0)).collect();
    assert_eq!(values(&op(&inputs).unwrap()), expected);
    check_gradients("conv2d, rectified", &inputs, op);
    let rows = [input(&[7, 3], 0.71), input(&[4, 3], 0.37), input(&[4], 0.9), input(&[7, 4], 0.23)];
    let affine = Affine::new(None).rectified(true);
    check_gradients("linear, rectified", &rows, |x| {
        affine.apply(&x[0], &x[1], Some(&x[2]), Some(&x[3]))
    });
}

/// Half-pixel places are `(i + 0.5) in / out - 0.5`, at least 0; TensorFlow 1's are `i in / out`.
#[test]
fn resizing_follows_its_definition() {
    let line = Tensor::new(&[0f64, 10.0, 20.0, 30.0], &candle_core::Device::Cpu).unwrap();
    let line = line.reshape((1, 1, 4, 1)).unwrap();
    let resized =
        |width: usize, grid| values(&ops::resize_bilinear(&line, (1, width), grid).unwrap());
    let half = PixelGrid::HalfPixel;
    assert_eq!(resized(8, half), [0.0, 2.5, 7.5, 12.5, 17.5, 22.5, 27.5, 30.0]);
    assert_eq!(resized(2, half), [5.0, 25.0]);
    assert_eq!(resized(8, PixelGrid::Corner), [0.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0, 30.0]);
    assert_eq!(resized(2, PixelGrid::Corner), [0.0, 20.0]);
    for grid in [half, PixelGrid::Corner] {
        for size in [(7, 3), (3, 9)] {
            let x = [input(&[2, 4, 5, 3], 0.71)];
            check_gradients("resize_bilinear", &x, |x| ops::resize_bilinear(&x[0], size, grid));
        }
    }
    assert!(ops::resize_bilinear(&line, (0, 3), half).is_err());
}

#[test]
fn unit_distance_follows_its_definition() {
    for channels in [1, 5, 19] {
        let shape = [2, 3, 2, channels];
        let inputs = [input(&shape, 0.71), input(&shape, 0.37), input(&[channels], 0.9)];
        let [a, b, w] = [0, 1, 2].map(|i| values(&inputs[i]));
        let unit = |x: &[f64]| -> Vec<f64> {
            let norm = x.iter().map(|v| v * v).sum::<f64>().sqrt() + 1e-10;
            x.iter().map(|v| v / norm).collect()
        };
        let mut expected = [0.0; 2];
        for (i, (a, b)) in a.chunks(channels).zip(b.chunks(channels)).enumerate() {
            let terms = unit(a).into_iter().zip(unit(b)).zip(&w);
            let sum: f64 = terms.map(|((a, b), w)| w * (a - b) * (a - b)).sum();
            expected[i / 6] += sum / 6.0;
        }
        let op = |x: &[Tensor]| ops::unit_distance(&x[0], &x[1], &x[2]);
        let found = values(&op(&inputs).unwrap());
        assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-14), "{channels}");
        // Of one channel there are two directions: the gradient by either number is none.
        if channels > 1 {
            check_gradients("unit_distance", &inputs, op);
        }
    }
    // A pixel of zeros has no direction, and a gradient that is a number.
    let zeros =
        Tensor::zeros((1, 1, 1, 3), candle_core::DType::F64, &candle_core::Device::Cpu).unwrap();
    let x = candle_core::Var::from_tensor(&zeros).unwrap();
    let y = ops::unit_distance(&x, &input(&[1, 1, 1, 3], 0.4), &input(&[3], 0.9)).unwrap();
    let grads = y.sum_all().unwrap().backward().unwrap();
    assert!(values(grads.get(&x).unwrap()).iter().all(|v| v.is_finite()));
}

#[test]
fn both_number_types_agree() {
    let geometry = ConvGeometry::new(1, (0, 3));
    let rectified = |geometry, algorithm| {
        let convolution = Convolution { rectified: true, ..Convolution::new(geometry, algorithm) };
        let op: Op =
            Box::new(move |x| convolution.apply(&x[0], &x[1], &x[2], ops::Extra::default()));
        op
    };
    let maps = [apart(&[3, 9, 7, 33])];
    let cases: [(&str, Op, Vec<Tensor>); 6] = [
        (
            "conv2d 1 x 7",
            rectified(geometry, Algorithm::Fast),
            vec![input(&[2, 5, 9, 20], 0.7), input(&[17, 20, 1, 7], 0.3), input(&[17], 0.9)],
        ),
        (
            "conv2d, rectified",
            rectified(ConvGeometry::same(3), Algorithm::Fast),
            vec![input(&[2, 17, 18, 20], 0.7), input(&[33, 20, 3, 3], 0.3), input(&[33], 0.9)],
        ),
        ("max_pool", Box::new(|x| ops::max_pool(&x[0], Windows::new(3, 2))), maps.to_vec()),
        ("average_pool", Box::new(|x| ops::average_pool(&x[0], Windows::around(3))), maps.to_vec()),
        (
            "resize_bilinear",
            Box::new(|x| ops::resize_bilinear(&x[0], (13, 5), PixelGrid::HalfPixel)),
            maps.to_vec(),
        ),
        (
            "unit_distance",
            Box::new(|x| ops::unit_distance(&x[0], &x[1], &x[2])),
            vec![input(&[2, 3, 4, 37], 0.7), input(&[2, 3, 4, 37], 0.3), input(&[37], 0.9)],
        ),
    ];
    for (name, op, inputs) in &cases {
        check_f32(name, op, inputs);
    }
}
