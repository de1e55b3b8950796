//! Every operation at shapes of the CIFAR-10 network, eight pictures at a time, beside the same made
//! of candle's operations: `cargo bench --workspace --profile dev --bench ops -- [NAME]`.
//!
//! `forward` makes the result, `gradients` also the gradients of all inputs; rates count a product's
//! operations by its definition, and the numbers of the result elsewhere.

#![allow(missing_docs, clippy::unwrap_used)] // a bench

use candle_core::{D, DType, Device, Tensor, Var};
use criterion::{Criterion, Throughput};
use diff_core::rng::{Address, Purpose};
use diff_models::{
    Context,
    ops::{self, Algorithm, ConvGeometry, Convolution, Extra, GroupNormSpec},
};
use std::hint::black_box;

const BATCH: usize = 8;

fn numbers(shape: &[usize]) -> Tensor {
    Tensor::randn(0f32, 1.0, shape, &Device::Cpu).unwrap()
}

/// An operation, or what candle has in its place.
type Op<'a> = &'a (dyn Fn(&[Tensor]) -> Tensor + Sync);

/// Times `ours` and candle's, where it has one: the result alone, and with all gradients.
fn case(c: &mut Criterion, name: &str, work: u64, inputs: &[Tensor], sides: &[(&str, Op)]) {
    let variables: Vec<Var> = inputs.iter().map(|x| Var::from_tensor(x).unwrap()).collect();
    let tracked: Vec<Tensor> = variables.iter().map(|v| v.as_tensor().clone()).collect();
    let mut group = c.benchmark_group(name);
    group.throughput(Throughput::Elements(work));
    for (side, op) in sides {
        group.bench_function(format!("forward/{side}"), |b| {
            ops::within(|| b.iter(|| black_box(op(inputs))));
        });
        group.bench_function(format!("gradients/{side}"), |b| {
            ops::within(|| {
                b.iter(|| black_box(ops::backward(&op(&tracked).sum_all().unwrap()).unwrap()));
            });
        });
    }
    group.finish();
}

fn convolutions(c: &mut Criterion) {
    for (size, inputs, outputs, kernel, stride) in [
        (32, 3, 128, 3, 1),
        (32, 128, 128, 3, 1),
        (32, 256, 128, 3, 1),
        (32, 128, 128, 3, 2),
        (16, 256, 256, 3, 1),
        (8, 512, 256, 3, 1),
        (4, 256, 256, 3, 1),
    ] {
        let given = [
            numbers(&[BATCH, size, size, inputs]),
            numbers(&[outputs, inputs, kernel, kernel]),
            numbers(&[outputs]),
        ];
        let geometry = ConvGeometry::new(stride, (kernel / 2, kernel / 2));
        let ours = |algorithm| {
            let conv = Convolution::new(geometry, algorithm);
            move |x: &[Tensor]| conv.apply(&x[0], &x[1], &x[2], Extra::default()).unwrap()
        };
        // candle's own layout, without the permutations that ours would need.
        let candle = |x: &[Tensor]| {
            let pictures = x[0].reshape((BATCH, inputs, size, size)).unwrap();
            let y = pictures.conv2d(&x[1], kernel / 2, stride, 1, 1).unwrap();
            y.broadcast_add(&x[2].reshape((1, outputs, 1, 1)).unwrap()).unwrap()
        };
        let pixels = BATCH * (size / stride) * (size / stride);
        let work = 2 * pixels * inputs * outputs * kernel * kernel;
        let name = format!("conv2d {size}x{size} {inputs}-{outputs} {kernel}x{kernel}/{stride}");
        let (fast, exact) = (ours(Algorithm::Fast), ours(Algorithm::Exact));
        let sides: [(&str, Op); 3] = [("fast", &fast), ("exact", &exact), ("candle", &candle)];
        case(c, &name, work as u64, &given, &sides);
    }
}

fn linear(c: &mut Criterion) {
    for (rows, inputs, outputs) in [(BATCH, 512, 256), (BATCH * 256, 256, 256)] {
        let given = [numbers(&[rows, inputs]), numbers(&[outputs, inputs]), numbers(&[outputs])];
        let ours = |x: &[Tensor]| ops::linear(&x[0], &x[1], &x[2]).unwrap();
        let candle = |x: &[Tensor]| {
            let y = x[0].matmul(&x[1].t().unwrap()).unwrap();
            y.broadcast_add(&x[2]).unwrap()
        };
        let name = format!("linear {rows} {inputs}-{outputs}");
        let work = (2 * rows * inputs * outputs) as u64;
        case(c, &name, work, &given, &[("ours", &ours), ("candle", &candle)]);
    }
}

fn group_norm_silu(c: &mut Criterion) {
    for (size, channels) in [(32, 128), (16, 256), (4, 256)] {
        let spec = GroupNormSpec { groups: 32, eps: 1e-5 };
        let given =
            [numbers(&[BATCH, size, size, channels]), numbers(&[channels]), numbers(&[channels])];
        let ours = |x: &[Tensor]| ops::group_norm_silu(&x[0], &x[1], &x[2], spec).unwrap();
        let candle = |x: &[Tensor]| {
            // In candle's layout a group's channels are neighbours.
            let groups = x[0].reshape((BATCH, 32, size * size * channels / 32)).unwrap();
            let mean = groups.mean_keepdim(2).unwrap();
            let centred = groups.broadcast_sub(&mean).unwrap();
            let variance = centred.sqr().unwrap().mean_keepdim(2).unwrap();
            let scale = (variance + spec.eps).unwrap().sqrt().unwrap();
            let n = centred.broadcast_div(&scale).unwrap();
            let n = n.reshape((BATCH, channels, size * size)).unwrap();
            let weight = x[1].reshape((1, channels, 1)).unwrap();
            let bias = x[2].reshape((1, channels, 1)).unwrap();
            n.broadcast_mul(&weight).unwrap().broadcast_add(&bias).unwrap().silu().unwrap()
        };
        let name = format!("group_norm_silu {size}x{size} {channels}");
        let work = (BATCH * size * size * channels) as u64;
        case(c, &name, work, &given, &[("ours", &ours), ("candle", &candle)]);
    }
}

fn attention(c: &mut Criterion) {
    for (size, heads) in [(16, 1), (16, 4), (32, 1)] {
        let (tokens, channels) = (size * size, 256);
        let given = [(); 3].map(|()| numbers(&[BATCH, tokens, channels]));
        let ours = |x: &[Tensor]| ops::attention(&x[0], &x[1], &x[2], heads).unwrap();
        let candle = |x: &[Tensor]| {
            let width = channels / heads;
            let [q, k, v] = [0, 1, 2].map(|i| {
                let x = x[i].reshape((BATCH, tokens, heads, width)).unwrap();
                x.transpose(1, 2).unwrap().contiguous().unwrap()
            });
            let scores = (q.matmul(&k.t().unwrap()).unwrap() / (width as f64).sqrt()).unwrap();
            let top = scores.max_keepdim(D::Minus1).unwrap().detach();
            let e = scores.broadcast_sub(&top).unwrap().exp().unwrap();
            let weights = e.broadcast_div(&e.sum_keepdim(D::Minus1).unwrap()).unwrap();
            let y = weights.matmul(&v).unwrap().transpose(1, 2).unwrap();
            y.reshape((BATCH, tokens, channels)).unwrap()
        };
        let name = format!("attention {tokens} tokens {channels} / {heads}");
        let work = (4 * BATCH * tokens * tokens * channels) as u64;
        case(c, &name, work, &given, &[("ours", &ours), ("candle", &candle)]);
    }
}

fn passes(c: &mut Criterion) {
    let (size, channels) = (32, 128);
    let map = || numbers(&[BATCH, size, size, channels]);
    let given = [map(), map()];
    let work = given[0].elem_count() as u64;
    let context = Context::Train { dropout: Address::new(0, Purpose::Dropout) };
    let add = |x: &[Tensor]| ops::add(&x[0], &x[1]).unwrap();
    let candle_add = |x: &[Tensor]| (&x[0] + &x[1]).unwrap();
    case(c, "add", work, &given, &[("ours", &add), ("candle", &candle_add)]);
    let concat = |x: &[Tensor]| ops::concat(&[&x[0], &x[1]]).unwrap();
    let candle_concat = |x: &[Tensor]| Tensor::cat(&[&x[0], &x[1]], 3).unwrap();
    case(c, "concat", 2 * work, &given, &[("ours", &concat), ("candle", &candle_concat)]);
    let given = &given[..1];
    let silu = |x: &[Tensor]| ops::silu(&x[0]).unwrap();
    let candle_silu = |x: &[Tensor]| x[0].silu().unwrap();
    case(c, "silu", work, given, &[("ours", &silu), ("candle", &candle_silu)]);
    let dropout = |x: &[Tensor]| ops::dropout(&x[0], 0.1, &context, 0).unwrap();
    let candle_dropout = |x: &[Tensor]| {
        let drawn = Tensor::rand(0f32, 1.0, x[0].shape(), &Device::Cpu).unwrap();
        let kept = drawn.ge(0.1f32).unwrap().to_dtype(DType::F32).unwrap();
        (&x[0] * (kept / 0.9).unwrap()).unwrap()
    };
    case(c, "dropout", work, given, &[("ours", &dropout), ("candle", &candle_dropout)]);
    let upsample = |x: &[Tensor]| ops::upsample_nearest2x(&x[0]).unwrap();
    case(c, "upsample_nearest2x", 4 * work, given, &[("ours", &upsample)]);
}

/// Adam's update of one weight and both its moments.
fn adam(c: &mut Criterion) {
    let shape = [256, 256, 3, 3];
    let (weight, gradient) = (numbers(&shape), numbers(&shape));
    let (m, v) = (numbers(&shape), numbers(&shape).sqr().unwrap());
    let mut group = c.benchmark_group("adam 256-256 3x3");
    group.throughput(Throughput::Elements(weight.elem_count() as u64));
    group.bench_function("ours", |b| {
        let step = |[w, m, v]: [f32; 3], [g]: [f32; 1]| {
            let (m, v) = (0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g);
            [w - 1e-3 * m / (v.sqrt() + 1e-8), m, v]
        };
        ops::within(|| b.iter(|| ops::update([&weight, &m, &v], [&gradient], step).unwrap()));
    });
    group.bench_function("candle", |b| {
        let step = || -> candle_core::Result<Tensor> {
            let m = ((&m * 0.9)? + (&gradient * 0.1)?)?;
            let v = ((&v * 0.999)? + (gradient.sqr()? * 0.001)?)?;
            &weight - ((m * 1e-3)? / (v.sqrt()? + 1e-8)?)?
        };
        ops::within(|| b.iter(|| step().unwrap()));
    });
    group.finish();
}

fn main() {
    ops::settle(None).unwrap();
    let mut c = Criterion::default().sample_size(20).configure_from_args();
    convolutions(&mut c);
    linear(&mut c);
    group_norm_silu(&mut c);
    attention(&mut c);
    passes(&mut c);
    adam(&mut c);
    c.final_summary();
}
