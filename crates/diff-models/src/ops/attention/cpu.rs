//! Attention on the CPU: some queries at a time against all keys, so that the weights of one block
//! stay in cache and are never kept. The gradient computes them anew.
#![allow(unsafe_code)] // threads write disjoint parts of one buffer

use super::{QkvOrder, rows};
use crate::{
    error::Result,
    ops::{
        cpu::{
            Left, MOST, Panels, Piece, Real, Rows, Shared, Target, Values, filled, tensor, total,
            with_scratch,
        },
        graph::{self, Operation, Step},
    },
};
use candle_core::Tensor;
use pulp::{Simd, WithSimd};
use rayon::prelude::*;

/// Queries that are taken together.
const QUERIES: usize = 48;

pub(super) fn attention(q: &Tensor, k: &Tensor, v: &Tensor, heads: usize) -> Result<Tensor> {
    let (batch, queries, channels) = rows(q)?;
    let keys = rows(k)?.1;
    let op = Attention { batch, queries, keys, heads, width: channels / heads, joint: None };
    graph::apply(op, &[q, k, v])
}

pub(super) fn self_attention(qkv: &Tensor, heads: usize, order: QkvOrder) -> Result<Tensor> {
    let (batch, tokens, channels) = rows(qkv)?;
    let (queries, keys, width) = (tokens, tokens, channels / (3 * heads));
    let op = Attention { batch, queries, keys, heads, width, joint: Some(order) };
    graph::apply(op, &[qkv])
}

/// Inputs: queries, keys and values, or all of them in one.
#[derive(Clone, Copy)]
struct Attention {
    batch: usize,
    queries: usize,
    keys: usize,
    heads: usize,
    /// Of a head.
    width: usize,
    /// How queries, keys and values lie in the rows of one tensor, if they do.
    joint: Option<QkvOrder>,
}

/// Which of the three.
#[derive(Clone, Copy)]
enum Kind {
    Query,
    Key,
    Value,
}

impl Operation for Attention {
    fn keeps_output(&self) -> bool {
        true
    }

    fn name(&self) -> &'static str {
        "attention"
    }

    /// Two products, and five for the gradients.
    fn multiply_adds(&self, _: &[Tensor], wanted: Option<&[bool]>) -> u64 {
        let each = self.batch * self.queries * self.keys * self.channels();
        each as u64 * if wanted.is_some() { 5 } else { 2 }
    }

    fn forward<T: Real>(&self, of: &[Tensor]) -> candle_core::Result<Tensor> {
        let sources = of.iter().map(Values::<T>::of).collect::<candle_core::Result<Vec<_>>>()?;
        let [q, k, v] = self.sources(&sources);
        let y = filled(self.batch * self.queries * self.channels(), |out| {
            (0..self.batch * self.heads).into_par_iter().for_each(|piece| {
                let head = (piece / self.heads, piece % self.heads);
                let turned = self.turned(&k[self.start(Kind::Key, head)..]);
                let values = &v[self.start(Kind::Value, head)..];
                let values = self.rows(values, self.row(), self.keys);
                let blocks = self.queries.div_ceil(QUERIES);
                (0..blocks).into_par_iter().for_each(|block| {
                    let first = block * QUERIES;
                    let count = QUERIES.min(self.queries - first);
                    let queries = &q[self.start(Kind::Query, head) + first * self.row()..];
                    let at = self.result(head) + first * self.channels();
                    with_scratch(count * self.keys, |weights| {
                        self.weights(queries, &turned, count, weights);
                        // SAFETY: these queries of this head are this piece's alone.
                        let target = unsafe { Target::within(out, at, self.channels()) };
                        T::run(Piece {
                            target,
                            left: Left { values: weights, row: self.keys, term: 1 },
                            right: values.right(),
                            extent: (count, self.keys, self.width),
                        });
                    });
                });
            });
        });
        let mut shape = of[0].dims().to_vec();
        shape.iter_mut().last().into_iter().for_each(|last| *last = self.channels());
        tensor(y, shape, &of[0])
    }

    fn backward<T: Real>(&self, step: &Step) -> candle_core::Result<Vec<Option<Tensor>>> {
        let sources =
            step.inputs.iter().map(Values::<T>::of).collect::<candle_core::Result<Vec<_>>>()?;
        let [q, k, v] = self.sources(&sources);
        let (ys, dys): (&[T], &[T]) = (&Values::of(step.output()?)?, &Values::of(step.dy)?);
        let mut gradients: Vec<Vec<T>> =
            sources.iter().map(|values| vec![T::zero(); values.len()]).collect();
        let shared: Vec<Shared<T>> = gradients.iter_mut().map(|dx| Shared::new(dx)).collect();
        (0..self.batch * self.heads).into_par_iter().for_each(|piece| {
            let head = (piece / self.heads, piece % self.heads);
            let kinds = [Kind::Query, Kind::Key, Kind::Value];
            let [of_q, of_k, of_v] = kinds.map(|kind| self.start(kind, head));
            // SAFETY: this head's channels are this piece's alone.
            let target =
                |i: usize, at| unsafe { Target::within(shared[self.source(i)], at, self.row()) };
            let targets = [target(0, of_q), target(1, of_k), target(2, of_v)];
            let at = self.result(head);
            let head = Head { q: &q[of_q..], k: &k[of_k..], v: &v[of_v..] };
            self.backward_head(head, &ys[at..], &dys[at..], targets);
        });
        let each = gradients.into_iter().zip(step.inputs);
        each.map(|(values, x)| tensor(values, x.shape().clone(), x).map(Some)).collect()
    }
}

impl Attention {
    fn channels(&self) -> usize {
        self.heads * self.width
    }

    /// The input in which queries (0), keys (1) and values (2) are.
    fn source(&self, kind: usize) -> usize {
        if self.joint.is_some() { 0 } else { kind }
    }

    /// Queries, keys and values.
    fn sources<'a, T: Real>(&self, inputs: &'a [Values<T>]) -> [&'a [T]; 3] {
        [0, 1, 2].map(|kind| &*inputs[self.source(kind)])
    }

    /// From one row of the inputs to the next.
    fn row(&self) -> usize {
        self.channels() * if self.joint.is_some() { 3 } else { 1 }
    }

    /// Where a kind of a picture's head starts in its input.
    fn start(&self, kind: Kind, (image, head): (usize, usize)) -> usize {
        let rows = if let Kind::Query = kind { self.queries } else { self.keys };
        let column = match self.joint {
            None => head * self.width,
            Some(QkvOrder::ByHead) => (3 * head + kind as usize) * self.width,
            Some(QkvOrder::ByKind) => (kind as usize * self.heads + head) * self.width,
        };
        image * rows * self.row() + column
    }

    /// Where a picture's head starts in the result.
    fn result(&self, (image, head): (usize, usize)) -> usize {
        image * self.queries * self.channels() + head * self.width
    }

    /// A head's rows, each `row` apart, as the right matrix of products over them.
    fn rows<'a, T: Real>(&self, values: &'a [T], row: usize, rows: usize) -> Rows<'a, T> {
        Rows::new(values, (rows, self.width), row)
    }

    /// A head's keys or values as the right matrix of products over its width: [d, M].
    fn turned<T: Real>(&self, rows: &[T]) -> Panels<T> {
        Panels::new(rows, (self.width, self.keys), (1, self.row()))
    }

    /// softmax(q k' / sqrt(d)) of `count` queries.
    fn weights<T: Real>(&self, q: &[T], keys: &Panels<T>, count: usize, out: &mut [T]) {
        T::run(Piece {
            target: Target::new(out, self.keys),
            left: Left { values: q, row: self.row(), term: 1 },
            right: keys.right(),
            extent: (count, self.width, self.keys),
        });
        let scale = T::from_f64((self.width as f64).powf(-0.5));
        T::run(Softmax { rows: out, length: self.keys, scale });
    }

    /// With P the weights: dv = P' dy, dS = P (dy v' - rowsum(dy y)) / sqrt(d), dq = dS k,
    /// dk = dS' q.
    fn backward_head<T: Real>(
        &self,
        Head { q, k, v }: Head<T>,
        y: &[T],
        dy: &[T],
        [dq, dk, dv]: [Target<T>; 3],
    ) {
        let (turned_k, turned_v) = (self.turned(k), self.turned(v));
        let keys = self.rows(k, self.row(), self.keys);
        let channels = self.channels();
        let scale = T::from_f64((self.width as f64).powf(-0.5));
        for first in (0..self.queries).step_by(QUERIES) {
            let count = QUERIES.min(self.queries - first);
            let (q, start) = (&q[first * self.row()..], first * channels);
            let (y, dy) = (&y[start..], &dy[start..]);
            with_scratch(2 * count * self.keys, |scratch| {
                let (weights, dscores) = scratch.split_at_mut(count * self.keys);
                self.weights(q, &turned_k, count, weights);
                T::run(Piece {
                    target: Target::new(dscores, self.keys),
                    left: Left { values: dy, row: channels, term: 1 },
                    right: turned_v.right(),
                    extent: (count, self.width, self.keys),
                });
                let of_rows = (y, dy, channels, self.width);
                T::run(Slopes { dscores, weights, length: self.keys, of_rows, scale });
                T::run(Piece {
                    target: dq.moved(first, 0),
                    left: Left { values: dscores, row: self.keys, term: 1 },
                    right: keys.right(),
                    extent: (count, self.keys, self.width),
                });
                let add = first > 0;
                let products = [(dk, &*dscores, q, self.row()), (dv, &*weights, dy, channels)];
                for (target, left, right, row) in products {
                    let right = self.rows(right, row, count);
                    T::run(Piece {
                        target: target.adding(add),
                        left: Left { values: left, row: 1, term: self.keys },
                        right: right.right(),
                        extent: (self.keys, count, self.width),
                    });
                }
            });
        }
    }
}

/// ds = p (ds - sum(y dy)) scale of every row, in place.
struct Slopes<'a, T> {
    dscores: &'a mut [T],
    weights: &'a [T],
    length: usize,
    /// Results and their gradients, how far apart their rows are, and how long they are.
    of_rows: (&'a [T], &'a [T], usize, usize),
    scale: T,
}

impl<T: Real> WithSimd for Slopes<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Slopes { dscores, weights, length, of_rows: (y, dy, step, width), scale } = self;
        let lanes = T::lanes::<S>();
        let scale = T::splat(simd, scale);
        for row in 0..dscores.len() / length {
            let mut sum = T::splat(simd, T::zero());
            for first in (0..width).step_by(lanes) {
                let at = row * step + first..row * step + width.min(first + lanes);
                let (y, dy) = (T::load_some(simd, &y[at.clone()]), T::load_some(simd, &dy[at]));
                sum = T::fused(simd, y, dy, sum);
            }
            let mean = T::splat(simd, total::<T, S>(simd, sum));
            for first in (0..length).step_by(lanes) {
                let at = row * length + first..row * length + length.min(first + lanes);
                let p = T::load_some(simd, &weights[at.clone()]);
                let ds = T::minus(simd, T::load_some(simd, &dscores[at.clone()]), mean);
                let ds = T::times(simd, T::times(simd, p, ds), scale);
                T::store_some(simd, &mut dscores[at], ds);
            }
        }
    }
}

/// The rows of one head, each as far apart as the inputs' rows.
struct Head<'a, T> {
    q: &'a [T],
    k: &'a [T],
    v: &'a [T],
}

/// exp(scale x) / sum exp(scale x) of every row, in place.
struct Softmax<'a, T> {
    rows: &'a mut [T],
    length: usize,
    scale: T,
}

impl<T: Real> WithSimd for Softmax<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let lanes = T::lanes::<S>();
        let scale = T::splat(simd, self.scale);
        for row in self.rows.chunks_exact_mut(self.length) {
            // A vector of largest values, and what is left over number by number.
            let whole = row.len() / lanes * lanes;
            let mut most = T::splat(simd, T::neg_infinity());
            for values in row[..whole].chunks_exact(lanes) {
                most = T::largest(simd, most, T::load(simd, values));
            }
            let mut least = [T::neg_infinity(); MOST];
            T::store(simd, &mut least, most);
            let largest = least.iter().chain(&row[whole..]);
            let largest = largest.fold(T::neg_infinity(), |a, b| if *b > a { *b } else { a });
            let shift = T::splat(simd, largest);
            let mut total = T::splat(simd, T::zero());
            for values in row[..whole].chunks_exact_mut(lanes) {
                let value = T::times(simd, T::minus(simd, T::load(simd, values), shift), scale);
                let value = T::exponential(simd, value);
                total = T::plus(simd, total, value);
                T::store(simd, values, value);
            }
            let rest = &mut row[whole..];
            let value = T::times(simd, T::minus(simd, T::load_partial(simd, rest), shift), scale);
            T::store_partial(simd, rest, T::exponential(simd, value));
            let mut sums = [T::zero(); MOST];
            T::store(simd, &mut sums, total);
            let sum = sums.iter().chain(&*rest).fold(T::zero(), |sum, v| sum + *v);
            let factor = T::splat(simd, T::one() / sum);
            for values in row.chunks_mut(lanes) {
                let value = T::times(simd, T::load_some(simd, values), factor);
                T::store_some(simd, values, value);
            }
        }
    }
}
