//! Matrix products: the one inner loop of convolutions, linear layers and attention.
//!
//! Vectors are handled in plain loops: what takes them through iterators or closures may be compiled
//! as a function of its own, which then has no vector instructions.
//!
//! An element of the result is a chain of multiply-adds over the terms in their order, cut every
//! [`TERMS`]. So its bits depend neither on the other rows and columns nor on the threads.
#![allow(unsafe_code)] // the innermost loop reads without bounds checks, which were made before
#![allow(clippy::needless_range_loop)] // see above

use super::{Aligned, Real, Shared};
use pulp::{Simd, WithSimd};
use rayon::prelude::*;
use std::marker::PhantomData;

/// Rows of the result that are kept in registers.
pub(in crate::ops) const ROWS: usize = 6;
/// Terms that are added up before they join the result: a panel of so many stays in the
/// first-level cache.
pub(in crate::ops) const TERMS: usize = 128;

/// The left matrix: element (i, k) at `i * row + k * term`.
#[derive(Clone, Copy)]
pub(in crate::ops) struct Left<'a, T> {
    pub(in crate::ops) values: &'a [T],
    pub(in crate::ops) row: usize,
    pub(in crate::ops) term: usize,
}

/// The right matrix in panels of [`panel`] columns: element (k, j) at
/// `j / panel * stride + k * term + j % panel`. It is read in whole vectors of columns.
#[derive(Clone, Copy)]
pub(in crate::ops) struct Right<'a, T> {
    pub(in crate::ops) values: &'a [T],
    pub(in crate::ops) term: usize,
    pub(in crate::ops) stride: usize,
}

/// What a product is written to: element (i, j) at `at + i * row + j`.
#[derive(Clone, Copy)]
pub(in crate::ops) struct Target<'a, T> {
    out: Shared<'a, T>,
    at: usize,
    row: usize,
    add: bool,
}

impl<'a, T> Target<'a, T> {
    /// Rows that start every `row` numbers.
    pub(in crate::ops) fn new(values: &'a mut [T], row: usize) -> Self {
        Target { out: Shared::new(values), at: 0, row, add: false }
    }

    /// The same, inside of a result that other threads write to as well.
    ///
    /// # Safety
    /// What the product covers is written by no other thread meanwhile.
    pub(in crate::ops) unsafe fn within(out: Shared<'a, T>, at: usize, row: usize) -> Self {
        Target { out, at, row, add: false }
    }

    /// Adds to what is there instead of overwriting it.
    pub(in crate::ops) fn adding(self, add: bool) -> Self {
        Target { add, ..self }
    }

    /// The same, `row` rows down and `column` columns to the right.
    #[inline(always)]
    pub(in crate::ops) fn moved(self, row: usize, column: usize) -> Self {
        Target { at: self.at + row * self.row + column, ..self }
    }

    #[inline(always)]
    fn line(&mut self, row: usize, columns: usize) -> &mut [T] {
        let start = self.at + row * self.row;
        // SAFETY: ours alone by the word of whoever made this target, and one line at a time.
        unsafe { self.out.part(start..start + columns) }
    }
}

/// Rows, terms and columns of a product.
pub(in crate::ops) type Extent = (usize, usize, usize);

/// Columns of a panel: four vectors, or two where there are few registers.
#[inline(always)]
pub(in crate::ops) fn panel<T: Real, S: Simd>() -> usize {
    let vectors = if S::REGISTER_COUNT >= 32 { 4 } else { 2 };
    vectors * T::lanes::<S>()
}

/// Numbers in a vector, and columns of a panel, of the instructions that this machine has.
pub(in crate::ops) fn widths<T: Real>() -> (usize, usize) {
    struct Widths<T>(PhantomData<T>);
    impl<T: Real> WithSimd for Widths<T> {
        type Output = (usize, usize);

        #[inline(always)]
        fn with_simd<S: Simd>(self, _: S) -> (usize, usize) {
            (T::lanes::<S>(), panel::<T, S>())
        }
    }
    T::run(Widths::<T>(PhantomData))
}

/// A right matrix copied into panels; columns beyond the last one are zero.
pub(in crate::ops) struct Panels<T> {
    values: Aligned<T>,
    terms: usize,
    width: usize,
}

impl<T: Real> Panels<T> {
    /// The `terms` x `columns` matrix whose element (k, j) is `values[k * term + j * column]`.
    pub(in crate::ops) fn new(
        values: &[T],
        (terms, columns): (usize, usize),
        (term, column): (usize, usize),
    ) -> Self {
        let (_, width) = widths::<T>();
        let mut panels = Aligned::zeros(columns.div_ceil(width) * terms * width);
        let pack = |(p, panel): (usize, &mut [T])| {
            let first = p * width;
            let count = width.min(columns - first);
            pack(panel, width, count, &values[first * column..], (term, column));
        };
        panels.par_chunks_mut((terms * width).max(1)).enumerate().for_each(pack);
        Panels { values: panels, terms, width }
    }

    pub(in crate::ops) fn right(&self) -> Right<'_, T> {
        Right { values: &self.values, term: self.width, stride: self.terms * self.width }
    }
}

/// One panel: `count` columns of a matrix, and zeros up to `width`.
fn pack<T: Real>(
    panel: &mut [T],
    width: usize,
    count: usize,
    values: &[T],
    (term, column): (usize, usize),
) {
    // A cache line of the source holds many terms of one column: use them together.
    const TOGETHER: usize = 16;
    for (block, rows) in panel.chunks_mut(TOGETHER * width).enumerate() {
        if column == 1 {
            for (k, row) in rows.chunks_exact_mut(width).enumerate() {
                let from = (block * TOGETHER + k) * term;
                row[..count].copy_from_slice(&values[from..from + count]);
            }
            continue;
        }
        for j in 0..count {
            for (k, row) in rows.chunks_exact_mut(width).enumerate() {
                row[j] = values[(block * TOGETHER + k) * term + j * column];
            }
        }
    }
}

/// A right matrix that is used as it lies if it is a single panel of whole vectors; others are
/// copied, as rows that are far apart share cache sets.
pub(in crate::ops) enum Rows<'a, T> {
    Lying(Right<'a, T>),
    Packed(Panels<T>),
}

impl<'a, T: Real> Rows<'a, T> {
    /// The `terms` x `columns` matrix whose rows start every `row` numbers.
    pub(in crate::ops) fn new(
        values: &'a [T],
        (terms, columns): (usize, usize),
        row: usize,
    ) -> Self {
        let (lanes, width) = widths::<T>();
        match columns.is_multiple_of(lanes) && columns <= width && row <= width {
            true => Rows::Lying(Right { values, term: row, stride: width }),
            false => Rows::Packed(Panels::new(values, (terms, columns), (row, 1))),
        }
    }

    pub(in crate::ops) fn right(&self) -> Right<'_, T> {
        match self {
            Rows::Lying(right) => *right,
            Rows::Packed(panels) => panels.right(),
        }
    }
}

/// Left times right, in this thread.
#[inline(always)]
fn product<T: Real, S: Simd>(
    simd: S,
    mut target: Target<T>,
    left: Left<T>,
    right: Right<T>,
    (rows, terms, columns): Extent,
) {
    if terms == 0 && !target.add {
        (0..rows).for_each(|row| target.line(row, columns).fill(T::zero()));
    }
    let (lanes, width) = (T::lanes::<S>(), panel::<T, S>());
    for first in (0..terms).step_by(TERMS) {
        let count = TERMS.min(terms - first);
        let left = Left { values: &left.values[first * left.term..], ..left };
        let mut column = 0;
        while column < columns {
            let from = column / width * right.stride + first * right.term + column % width;
            let right = Right { values: &right.values[from..], ..right };
            let target = target.moved(0, column).adding(target.add || first > 0);
            // A panel's tail of three vectors is taken as two and one.
            let rest = (width - column % width).min(columns - column);
            column += match rest.div_ceil(lanes) {
                4.. => strip::<T, S, 4>(simd, target, left, right, (rows, count, rest)),
                2.. => strip::<T, S, 2>(simd, target, left, right, (rows, count, rest)),
                _ => strip::<T, S, 1>(simd, target, left, right, (rows, count, rest)),
            };
        }
    }
}

/// All rows of the first V vectors of columns; returns how many columns that were.
#[inline(always)]
fn strip<T: Real, S: Simd, const V: usize>(
    simd: S,
    target: Target<T>,
    left: Left<T>,
    right: Right<T>,
    (rows, terms, columns): Extent,
) -> usize {
    let columns = columns.min(V * T::lanes::<S>());
    let mut row = 0;
    while row < rows {
        let left = Left { values: &left.values[row * left.row..], ..left };
        let target = target.moved(row, 0);
        row += match rows - row {
            ROWS.. => tile::<T, S, ROWS, V>(simd, target, left, right, terms, columns),
            2.. => tile::<T, S, 2, V>(simd, target, left, right, terms, columns),
            _ => tile::<T, S, 1, V>(simd, target, left, right, terms, columns),
        };
    }
    columns
}

/// R rows and V vectors of columns, in registers; returns R.
#[inline(always)]
fn tile<T: Real, S: Simd, const R: usize, const V: usize>(
    simd: S,
    mut target: Target<T>,
    left: Left<T>,
    right: Right<T>,
    terms: usize,
    columns: usize,
) -> usize {
    let lanes = T::lanes::<S>();
    assert!(left.values.len() > (R - 1) * left.row + (terms - 1) * left.term);
    assert!(right.values.len() >= (terms - 1) * right.term + V * lanes);
    let mut sums = [[T::splat(simd, T::zero()); V]; R];
    for k in 0..terms {
        let mut vectors = [T::splat(simd, T::zero()); V];
        for j in 0..V {
            // SAFETY: checked above for the last term, and k is at most that.
            let values = unsafe {
                let start = right.values.as_ptr().add(k * right.term + j * lanes);
                std::slice::from_raw_parts(start, lanes)
            };
            vectors[j] = T::load(simd, values);
        }
        for i in 0..R {
            // SAFETY: as above, for the last row and term.
            let value = unsafe { *left.values.as_ptr().add(i * left.row + k * left.term) };
            let value = T::splat(simd, value);
            for j in 0..V {
                sums[i][j] = T::fused(simd, value, vectors[j], sums[i][j]);
            }
        }
    }
    let add = target.add;
    for i in 0..R {
        let line = target.line(i, columns);
        for j in 0..V {
            let end = columns.min((j + 1) * lanes);
            store(simd, &mut line[j * lanes..end], sums[i][j], add);
        }
    }
    R
}

/// A vector into as many numbers as `line` has.
#[inline(always)]
fn store<T: Real, S: Simd>(simd: S, line: &mut [T], vector: T::Vector<S>, add: bool) {
    match (line.len() == T::lanes::<S>(), add) {
        (true, false) => T::store(simd, line, vector),
        (true, true) => T::store(simd, line, T::plus(simd, T::load(simd, line), vector)),
        (false, false) => T::store_partial(simd, line, vector),
        (false, true) => {
            let sum = T::plus(simd, T::load_partial(simd, line), vector);
            T::store_partial(simd, line, sum);
        }
    }
}

/// Rows of a piece of work.
const BLOCK: usize = 8 * ROWS;

/// Left times right into row-major `out`, on all threads.
pub(in crate::ops) fn multiply<T: Real>(
    out: Shared<T>,
    add: bool,
    left: Left<T>,
    right: Right<T>,
    (rows, terms, columns): Extent,
) {
    let (_, width) = widths::<T>();
    let blocks = rows.div_ceil(BLOCK);
    // Few rows: share the columns out as well.
    let enough = 4 * rayon::current_num_threads();
    let wide = if blocks >= enough { columns.max(1) } else { width };
    let strips = columns.div_ceil(wide);
    (0..blocks * strips).into_par_iter().for_each(|piece| {
        let (row, column) = (piece / strips * BLOCK, piece % strips * wide);
        // SAFETY: the pieces are disjoint.
        let target = unsafe { Target::within(out, row * columns + column, columns) };
        T::run(Piece {
            target: target.adding(add),
            left: Left { values: &left.values[row * left.row..], ..left },
            right: Right { values: &right.values[column / width * right.stride..], ..right },
            extent: (BLOCK.min(rows - row), terms, wide.min(columns - column)),
        });
    });
}

/// A product to be made with the instructions that this machine has.
pub(in crate::ops) struct Piece<'a, T> {
    pub(in crate::ops) target: Target<'a, T>,
    pub(in crate::ops) left: Left<'a, T>,
    pub(in crate::ops) right: Right<'a, T>,
    pub(in crate::ops) extent: Extent,
}

impl<T: Real> WithSimd for Piece<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        product(simd, self.target, self.left, self.right, self.extent);
    }
}
