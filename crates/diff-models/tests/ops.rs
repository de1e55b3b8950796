//! Every operation against its definition, and its gradient against finite differences in f64.

#![allow(clippy::unwrap_used, clippy::panic)] // a test

mod common;

use candle_core::{DType, Device, Result, Tensor};
use common::{
    gradients::{Op, check_f32, check_gradients, input},
    relative, values, wave,
};
use diff_core::rng::{Address, Purpose};
use diff_models::{
    Context,
    ops::{self, Algorithm, ConvGeometry, Convolution, GroupNormSpec},
};

const GEOMETRIES: [((usize, usize), ConvGeometry); 7] = [
    ((3, 3), ConvGeometry::new(1, (1, 1))),
    ((1, 1), ConvGeometry::new(1, (0, 0))),
    ((3, 3), ConvGeometry::new(2, (1, 1))),
    ((3, 3), ConvGeometry { stride: 2, before: (0, 0), after: (1, 1) }),
    ((5, 5), ConvGeometry::new(2, (2, 2))),
    ((1, 3), ConvGeometry::new(1, (0, 1))),
    ((4, 2), ConvGeometry { stride: 3, before: (2, 0), after: (1, 1) }),
];

/// The definition, term by term.
fn direct_conv(
    x: &Tensor,
    w: &Tensor,
    b: &Tensor,
    geometry: ConvGeometry,
) -> (Vec<usize>, Vec<f64>) {
    let (batch, height, width, inputs) = x.dims4().unwrap();
    let (outputs, _, kh, kw) = w.dims4().unwrap();
    let (rows, columns) = geometry.outputs((height, width), (kh, kw)).unwrap();
    let (x, w, b) = (values(x), values(w), values(b));
    let mut out = Vec::new();
    for n in 0..batch {
        for (row, column) in (0..rows).flat_map(|r| (0..columns).map(move |c| (r, c))) {
            for o in 0..outputs {
                let mut sum = b[o];
                for (dy, dx) in (0..kh).flat_map(|dy| (0..kw).map(move |dx| (dy, dx))) {
                    let y = (row * geometry.stride + dy).wrapping_sub(geometry.before.0);
                    let z = (column * geometry.stride + dx).wrapping_sub(geometry.before.1);
                    if y < height && z < width {
                        for i in 0..inputs {
                            let weight = w[((o * inputs + i) * kh + dy) * kw + dx];
                            sum += x[((n * height + y) * width + z) * inputs + i] * weight;
                        }
                    }
                }
                out.push(sum);
            }
        }
    }
    (vec![batch, rows, columns, outputs], out)
}

#[test]
fn convolution_follows_its_definition() {
    for (kernel, geometry) in GEOMETRIES {
        for (height, width) in [(4, 6), (5, 3), (8, 8)] {
            if geometry.outputs((height, width), kernel).is_none() {
                continue;
            }
            let x = input(&[2, height, width, 3], 0.71);
            let (w, b) = (input(&[4, 3, kernel.0, kernel.1], 0.37), input(&[4], 0.9));
            let out = ops::conv2d(&x, &w, &b, geometry).unwrap();
            let (dims, expected) = direct_conv(&x, &w, &b, geometry);
            assert_eq!(out.dims(), dims, "{kernel:?} {geometry:?}");
            let error = relative(&values(&out), &expected);
            assert!(error < 1e-14, "{kernel:?} {geometry:?} {height} x {width}: {error}");
        }
    }
}

#[test]
fn convolution_gradients() {
    for (kernel, geometry) in GEOMETRIES {
        for (height, width) in [(4, 6), (5, 3)] {
            if geometry.outputs((height, width), kernel).is_none() {
                continue;
            }
            let inputs = [
                input(&[2, height, width, 2], 0.71),
                input(&[3, 2, kernel.0, kernel.1], 0.37),
                input(&[3], 0.9),
            ];
            let name = format!("conv2d {kernel:?} {geometry:?} {height} x {width}");
            check_gradients(&name, &inputs, |x| ops::conv2d(&x[0], &x[1], &x[2], geometry));
        }
    }
}

/// Every input pixel adds its kernel to the result, two pixels apart.
#[test]
fn transposed_convolution_follows_its_definition_and_has_its_gradients() {
    let inputs = [input(&[2, 3, 4, 2], 0.71), input(&[2, 3, 5, 5], 0.37), input(&[3], 0.9)];
    let convolution = Convolution::new(ConvGeometry::same(3), Algorithm::Exact);
    let op = |x: &[Tensor]| ops::conv_transpose2x(&x[0], &x[1], &x[2], &convolution);
    let out = op(&inputs).unwrap();
    assert_eq!(out.dims(), [2, 6, 8, 3]);
    let (x, w, b) = (values(&inputs[0]), values(&inputs[1]), values(&inputs[2]));
    let mut expected: Vec<f64> = (0..2 * 6 * 8 * 3).map(|i| b[i % 3]).collect();
    for (i, x) in x.iter().enumerate() {
        let (channel, column, row, image) = (i % 2, i / 2 % 4, i / 8 % 3, i / 24);
        for (ky, kx, o) in (0..75).map(|k| (k / 15, k / 3 % 5, k % 3)) {
            let (y, z) = ((2 * row + ky).wrapping_sub(2), (2 * column + kx).wrapping_sub(2));
            if y < 6 && z < 8 {
                let weight = w[((channel * 3 + o) * 5 + ky) * 5 + kx];
                expected[((image * 6 + y) * 8 + z) * 3 + o] += x * weight;
            }
        }
    }
    assert!(relative(&values(&out), &expected) < 1e-14);
    check_gradients("conv_transpose2x", &inputs, op);
    let refused =
        ops::conv_transpose2x(&inputs[0], &input(&[2, 3, 3, 3], 1.0), &inputs[2], &convolution);
    assert!(refused.unwrap_err().to_string().contains("3 x 3: supported: 5 x 5"));
}

#[test]
fn linear_gradients_also_for_single_rows_and_columns() {
    for (rows, outputs) in [(3, 4), (1, 4), (3, 1), (1, 1)] {
        let inputs = [input(&[rows, 5], 0.71), input(&[outputs, 5], 0.37), input(&[outputs], 0.9)];
        check_gradients("linear", &inputs, |x| ops::linear(&x[0], &x[1], &x[2]));
    }
}

#[test]
fn group_norm_follows_its_definition_and_has_its_gradients() {
    let inputs = [input(&[2, 2, 3, 6], 1.71), input(&[6], 0.37), input(&[6], 0.9)];
    for groups in [1, 2, 3] {
        let spec = GroupNormSpec { groups, eps: 1e-3 };
        let out = values(&ops::group_norm(&inputs[0], &inputs[1], &inputs[2], spec).unwrap());
        let (x, w, b) = (values(&inputs[0]), values(&inputs[1]), values(&inputs[2]));
        for (i, found) in out.iter().enumerate() {
            let (sample, channel) = (i / 36, i % 6);
            let each = 6 / groups;
            let same = |j: &usize| j / 36 == sample && (j % 6) / each == channel / each;
            let members: Vec<f64> = (0..72).filter(same).map(|j| x[j]).collect();
            let n = members.len() as f64;
            let mean = members.iter().sum::<f64>() / n;
            let variance = members.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
            let expected = (x[i] - mean) / (variance + 1e-3).sqrt() * w[channel] + b[channel];
            assert!((found - expected).abs() < 1e-13, "{found} {expected}");
        }
        check_gradients("group_norm", &inputs, |x| ops::group_norm(&x[0], &x[1], &x[2], spec));
        check_gradients("group_norm_silu", &inputs, |x| {
            ops::group_norm_silu(&x[0], &x[1], &x[2], spec)
        });
        let [x, w, b] = inputs.clone();
        let with_scale_shift = [x, w, b, input(&[2, 12], 0.53)];
        check_gradients("group_norm_scale_shift_silu", &with_scale_shift, |x| {
            ops::group_norm_scale_shift_silu(&x[0], &x[1], &x[2], &x[3], spec)
        });
    }
}

#[test]
fn silu_softmax_and_upsampling_gradients() {
    let x = [input(&[2, 3, 2, 5], 0.71)];
    check_gradients("silu", &x, |x| ops::silu(&x[0]));
    check_gradients("softmax", &x, |x| ops::softmax(&x[0]));
    check_gradients("upsample", &x, |x| ops::upsample_nearest2x(&x[0]));
    let even = [input(&[2, 4, 2, 5], 0.71)];
    check_gradients("downsample", &even, |x| ops::downsample_average2x(&x[0]));
    let (small, large) = (&even[0], ops::upsample_nearest2x(&even[0]).unwrap());
    let back = ops::downsample_average2x(&large).unwrap();
    assert_eq!(values(&back), values(small));
    let odd = ops::downsample_average2x(&x[0]).unwrap_err().to_string();
    assert!(odd.contains("3 x 2: expected even sides"), "{odd}");
}

#[test]
fn softmax_and_group_norm_equal_candles_own() {
    let x = input(&[3, 4, 5, 6], 0.71);
    let theirs = candle_nn::ops::softmax(&x, 3).unwrap();
    assert!(relative(&values(&ops::softmax(&x).unwrap()), &values(&theirs)) < 1e-14);
    let (w, b) = (input(&[6], 0.37), input(&[6], 0.9));
    let theirs = candle_nn::GroupNorm::new(w.clone(), b.clone(), 6, 2, 1e-5).unwrap();
    let image = x.permute((0, 3, 1, 2)).unwrap().contiguous().unwrap();
    let theirs =
        candle_nn::Module::forward(&theirs, &image).unwrap().permute((0, 2, 3, 1)).unwrap();
    let spec = GroupNormSpec { groups: 2, eps: 1e-5 };
    let ours = ops::group_norm(&x, &w, &b, spec).unwrap();
    assert!(relative(&values(&ours), &values(&theirs)) < 1e-12);
}

#[test]
fn upsampling_repeats_pixels_and_adds_to_other_gradients() {
    let x =
        Tensor::new(&[1f64, 2.0, 3.0, 4.0], &Device::Cpu).unwrap().reshape((1, 2, 2, 1)).unwrap();
    let up = ops::upsample_nearest2x(&x).unwrap();
    let expected = [1.0, 1.0, 2.0, 2.0, 1.0, 1.0, 2.0, 2.0, 3.0, 3.0, 4.0, 4.0, 3.0, 3.0, 4.0, 4.0];
    assert_eq!(values(&up), expected);
    // A second consumer of the same tensor; candle's own upsampling loses one of the two.
    check_gradients("two paths", &[x], |x| {
        Ok((ops::upsample_nearest2x(&x[0])?.sum_all()? + x[0].sqr()?.sum_all()?)?)
    });
}

#[test]
fn attention_gradients_for_one_head_and_several() {
    for heads in [1, 2] {
        let inputs = [input(&[2, 3, 4], 0.71), input(&[2, 5, 4], 0.37), input(&[2, 5, 4], 0.9)];
        check_gradients("attention", &inputs, |x| ops::attention(&x[0], &x[1], &x[2], heads));
    }
}

#[test]
fn attention_takes_maps_as_rows_of_pixels() {
    let rows = [input(&[2, 6, 4], 0.71), input(&[2, 6, 4], 0.37), input(&[2, 6, 4], 0.9)];
    let maps = rows.each_ref().map(|x| x.reshape((2, 3, 2, 4)).unwrap());
    let expected = ops::attention(&rows[0], &rows[1], &rows[2], 2).unwrap();
    let found = ops::attention(&maps[0], &maps[1], &maps[2], 2).unwrap();
    assert_eq!(found.dims(), [2, 3, 2, 4]);
    assert_eq!(values(&found), values(&expected));
}

#[test]
fn sums_joined_maps_and_looked_up_rows_have_their_gradients() {
    let maps = [input(&[2, 2, 3, 4], 0.71), input(&[2, 2, 3, 4], 0.37)];
    check_gradients("add", &maps, |x| ops::add(&x[0], &x[1]));
    check_gradients("scale", &maps[..1], |x| ops::scale(&x[0], -1.5));
    let narrow = [maps[0].clone(), input(&[2, 2, 3, 1], 0.9)];
    check_gradients("concat", &narrow, |x| ops::concat(&[&x[0], &x[1]]));
    let joined = ops::concat(&[&narrow[0], &narrow[1]]).unwrap();
    assert_eq!(values(&joined), values(&Tensor::cat(&narrow, 3).unwrap()));
    let table = [input(&[3, 5], 0.71)];
    check_gradients("embedding", &table, |x| ops::embedding(&x[0], &[2, 0, 2, 2], None));
    let refused = ops::embedding(&table[0], &[3], None).unwrap_err().to_string();
    assert!(refused.contains("label 3: expected 0..3"), "{refused}");
}

/// The f64 paths are compared with plain expressions to the last digits; this holds the f32 paths,
/// which use the machine's vectors, against them.
#[test]
fn in_f32_every_operation_is_close_to_f64() {
    let spec = GroupNormSpec { groups: 4, eps: 1e-6 };
    let conv = |geometry: ConvGeometry| -> Op {
        Box::new(move |x| ops::conv2d(&x[0], &x[1], &x[2], geometry))
    };
    let x = |shape: &[usize]| input(shape, 1.71);
    // No whole vectors, tiles, panels or blocks anywhere.
    let sizes = [
        (3, 16, 18, 36, 70, 3, ConvGeometry::same(3)),
        (2, 17, 9, 133, 49, 3, ConvGeometry::same(3)),
        (5, 4, 4, 20, 260, 3, ConvGeometry::same(3)),
        (2, 9, 7, 33, 18, 3, ConvGeometry::half(0)),
        (2, 5, 7, 33, 67, 1, ConvGeometry::same(1)),
        (2, 9, 9, 3, 20, 5, ConvGeometry::same(5)),
    ];
    let mut cases: Vec<(String, Op, Vec<Tensor>)> = Vec::new();
    for (batch, height, width, inputs, outputs, kernel, geometry) in sizes {
        let weight = x(&[outputs, inputs, kernel, kernel]);
        let tensors = vec![x(&[batch, height, width, inputs]), weight, x(&[outputs])];
        cases.push((format!("conv2d {inputs} {outputs} {geometry:?}"), conv(geometry), tensors));
    }
    cases.extend([
        (
            "linear".to_string(),
            Box::new(|x: &[Tensor]| ops::linear(&x[0], &x[1], &x[2])) as Op,
            vec![x(&[131, 77]), x(&[83, 77]), x(&[83])],
        ),
        (
            "group_norm_silu".to_string(),
            Box::new(move |x| ops::group_norm_silu(&x[0], &x[1], &x[2], spec)),
            vec![x(&[3, 5, 7, 36]), x(&[36]), x(&[36])],
        ),
        (
            "group_norm_scale_shift_silu".to_string(),
            Box::new(move |x| ops::group_norm_scale_shift_silu(&x[0], &x[1], &x[2], &x[3], spec)),
            vec![x(&[3, 5, 7, 36]), x(&[36]), x(&[36]), x(&[3, 72])],
        ),
        (
            "attention".to_string(),
            Box::new(|x| ops::attention(&x[0], &x[1], &x[2], 2)),
            vec![x(&[2, 53, 38]), x(&[2, 101, 38]), x(&[2, 101, 38])],
        ),
        ("silu".to_string(), Box::new(|x| ops::silu(&x[0])), vec![x(&[3, 67])]),
        (
            "upsample".to_string(),
            Box::new(|x| ops::upsample_nearest2x(&x[0])),
            vec![x(&[2, 3, 5, 19])],
        ),
        (
            "concat".to_string(),
            Box::new(|x| ops::concat(&[&x[0], &x[1]])),
            vec![x(&[2, 3, 5, 19]), x(&[2, 3, 5, 6])],
        ),
        ("add".to_string(), Box::new(|x| ops::add(&x[0], &x[1])), vec![x(&[3, 67]), x(&[3, 67])]),
    ]);
    cases.iter().for_each(|(name, op, tensors)| check_f32(name, op, tensors));
}

#[test]
fn a_row_has_the_same_bits_in_any_batch_and_on_any_number_of_threads() {
    let single = |shape: &[usize]| wave(shape, 1.71, 0.3);
    let (weight, bias) = (single(&[36, 36, 3, 3]), single(&[36]));
    let (matrix, spec) = (single(&[36, 36]), GroupNormSpec { groups: 4, eps: 1e-6 });
    let x = single(&[7, 18, 17, 36]);
    let all = |x: &Tensor| -> Vec<f64> {
        let h = ops::group_norm_silu(x, &bias, &bias, spec).unwrap();
        let h = ops::conv2d(&h, &weight, &bias, ConvGeometry::same(3)).unwrap();
        let q = ops::linear(&h, &matrix, &bias).unwrap();
        values(&ops::attention(&q, &h, &h, 2).unwrap())
    };
    let expected = all(&x);
    let each = expected.len() / 7;
    for (first, count) in [(0, 1), (3, 1), (2, 2), (1, 6)] {
        let part = all(&x.narrow(0, first, count).unwrap().contiguous().unwrap());
        assert!(part == expected[first * each..(first + count) * each], "{first} {count}");
    }
    for threads in [1, 2, 3, 5] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        assert!(pool.install(|| all(&x)) == expected, "{threads} threads");
    }
}

#[test]
fn nothing_in_gives_nothing_out() {
    let none = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
    let (weight, bias) = (none(&[20, 20, 3, 3]), none(&[20]));
    let x = none(&[0, 4, 4, 20]);
    let spec = GroupNormSpec { groups: 4, eps: 1e-6 };
    let same = ConvGeometry::same(3);
    assert_eq!(ops::conv2d(&x, &weight, &bias, same).unwrap().dims(), [0, 4, 4, 20]);
    assert_eq!(ops::group_norm_silu(&x, &bias, &bias, spec).unwrap().dims(), [0, 4, 4, 20]);
    assert_eq!(ops::linear(&x, &none(&[3, 20]), &none(&[3])).unwrap().dims(), [0, 4, 4, 3]);
    assert_eq!(ops::upsample_nearest2x(&x).unwrap().dims(), [0, 8, 8, 20]);
    assert_eq!(ops::concat(&[&x, &x]).unwrap().dims(), [0, 4, 4, 40]);
    assert_eq!(ops::silu(&x).unwrap().dims(), [0, 4, 4, 20]);
    assert_eq!(ops::attention(&x, &x, &x, 2).unwrap().dims(), [0, 4, 4, 20]);
    let order = ops::QkvOrder::ByHead;
    let qkv = none(&[0, 4, 4, 60]);
    assert_eq!(ops::self_attention(&qkv, 2, order).unwrap().dims(), [0, 4, 4, 20]);
    assert_eq!(ops::downsample_average2x(&x).unwrap().dims(), [0, 2, 2, 20]);
    let (one, no_keys) = (none(&[1, 2, 20]), none(&[1, 0, 20]));
    let refused = ops::attention(&one, &no_keys, &no_keys, 2).unwrap_err().to_string();
    assert!(refused.contains("no keys"), "{refused}");
}

#[test]
fn softmax_survives_large_numbers() {
    let x = Tensor::new(&[1000f32, 999.0, -1000.0], &Device::Cpu).unwrap();
    let e = std::f64::consts::E;
    let found = values(&ops::softmax(&x).unwrap());
    for (found, expected) in found.into_iter().zip([e / (e + 1.0), 1.0 / (e + 1.0), 0.0]) {
        assert!((found - expected).abs() < 1e-7);
    }
}

#[test]
fn dropout_gradients_pass_where_the_mask_does() {
    let context = Context::Train { dropout: Address::new(1, Purpose::Dropout) };
    check_gradients("dropout", &[input(&[2, 9], 0.71)], |x| ops::dropout(&x[0], 0.4, &context, 3));
}

#[test]
fn shapes_that_do_not_fit_are_refused() -> Result<()> {
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu);
    let same = ConvGeometry::same(3);
    let x = zeros(&[1, 4, 4, 3])?;
    let message = |result: diff_models::Result<Tensor>| result.unwrap_err().to_string();
    let conv = message(ops::conv2d(&x, &zeros(&[2, 4, 3, 3])?, &zeros(&[2])?, same));
    assert!(conv.contains("[2, 4, 3, 3]") && conv.contains("[1, 4, 4, 3]"), "{conv}");
    let linear = message(ops::linear(&x, &zeros(&[2, 4])?, &zeros(&[2])?));
    assert!(linear.contains("[2, 4]"), "{linear}");
    let spec = GroupNormSpec { groups: 2, eps: 1e-5 };
    let norm = message(ops::group_norm(&x, &zeros(&[3])?, &zeros(&[3])?, spec));
    assert!(norm.contains("3 channels do not fall into 2"), "{norm}");
    let (three, two) = (zeros(&[3])?, zeros(&[1, 3])?);
    let spec = GroupNormSpec { groups: 3, eps: 1e-5 };
    let norm = message(ops::group_norm_scale_shift_silu(&x, &three, &three, &two, spec));
    assert!(norm.contains("scale_shift of shape [1, 3]"), "{norm}");
    Ok(())
}
