//! Memory for kernels: aligned scratch that threads keep, and results that several threads fill.
#![allow(unsafe_code)] // numbers that are written before they are read; bounds are checked here

use super::Lanes;
use rayon::prelude::*;
use std::{cell::RefCell, marker::PhantomData, ops::Range, slice};

/// One cache line, so that no vector lies across two.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// Numbers that start on a cache line.
pub(in crate::ops) struct Aligned<T> {
    lines: Vec<Line>,
    length: usize,
    number: PhantomData<T>,
}

impl<T: Lanes> Aligned<T> {
    /// `length` zeros.
    pub(in crate::ops) fn zeros(length: usize) -> Self {
        let lines = vec![Line([0; 64]); (length * size_of::<T>()).div_ceil(64)];
        Aligned { lines, length, number: PhantomData }
    }

    /// `length` numbers, all of which `fill` has to write.
    pub(in crate::ops) fn filled(length: usize, fill: impl FnOnce(Shared<T>)) -> Self {
        let count = (length * size_of::<T>()).div_ceil(64);
        let mut lines: Vec<Line> = Vec::with_capacity(count);
        fill(Shared { start: lines.as_mut_ptr().cast(), length, borrowed: PhantomData });
        // SAFETY: within the capacity; `fill` wrote the numbers, and nothing reads beyond them.
        unsafe { lines.set_len(count) };
        Aligned { lines, length, number: PhantomData }
    }
}

impl<T: Lanes> std::ops::Deref for Aligned<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: the lines hold `length` numbers and all bit patterns are numbers.
        unsafe { slice::from_raw_parts(self.lines.as_ptr().cast(), self.length) }
    }
}

impl<T: Lanes> std::ops::DerefMut for Aligned<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as above, and borrowed exclusively.
        unsafe { slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.length) }
    }
}

thread_local! {
    static SCRATCH: RefCell<Vec<Vec<Line>>> = const { RefCell::new(Vec::new()) };
}

/// Calls `work` with `length` numbers of this thread's scratch memory; they hold anything.
pub(in crate::ops) fn with_scratch<T: Lanes, R>(
    length: usize,
    work: impl FnOnce(&mut [T]) -> R,
) -> R {
    let lines = SCRATCH.with_borrow_mut(Vec::pop).unwrap_or_default();
    let mut scratch = Aligned::<T> { lines, length, number: PhantomData };
    let needed = (length * size_of::<T>()).div_ceil(64);
    if scratch.lines.len() < needed {
        scratch.lines.resize(needed, Line([0; 64]));
    }
    let result = work(&mut scratch);
    SCRATCH.with_borrow_mut(|kept| kept.push(scratch.lines));
    result
}

/// A result whose parts are written by several threads.
#[derive(Clone, Copy)]
pub(in crate::ops) struct Shared<'a, T> {
    start: *mut T,
    length: usize,
    borrowed: PhantomData<&'a mut [T]>,
}

// SAFETY: a pointer to numbers; whoever writes through it takes care (`Shared::part`).
unsafe impl<T: Send> Send for Shared<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Shared<'_, T> {}

impl<'a, T> Shared<'a, T> {
    pub(in crate::ops) fn new(values: &'a mut [T]) -> Self {
        Shared { start: values.as_mut_ptr(), length: values.len(), borrowed: PhantomData }
    }

    /// The numbers at `range`.
    ///
    /// # Safety
    /// No other thread may touch them as long as the slice lives.
    #[inline(always)]
    pub(in crate::ops) unsafe fn part(&self, range: Range<usize>) -> &'a mut [T] {
        assert!(range.start <= range.end && range.end <= self.length, "{range:?}: {}", self.length);
        // SAFETY: within bounds; exclusive by the caller's word.
        unsafe { slice::from_raw_parts_mut(self.start.add(range.start), range.len()) }
    }
}

/// `length` numbers, all of which `fill` has to write.
pub(in crate::ops) fn filled<T: Lanes>(length: usize, fill: impl FnOnce(Shared<T>)) -> Vec<T> {
    let mut values: Vec<T> = Vec::with_capacity(length);
    fill(Shared { start: values.as_mut_ptr(), length, borrowed: PhantomData });
    // SAFETY: within the capacity, and `fill` wrote all of it.
    unsafe { values.set_len(length) };
    values
}

/// `length` numbers in pieces of `each`, made side by side; `make` gets a piece's number and writes
/// all of it.
pub(in crate::ops) fn filled_chunks<T: Lanes>(
    length: usize,
    each: usize,
    make: impl Fn(usize, &mut [T]) + Sync,
) -> Vec<T> {
    // Few numbers are not worth a thread.
    const LEAST: usize = 4096;
    let pieces = length.checked_div(each).unwrap_or(0);
    filled(length, |out| {
        (0..pieces).into_par_iter().with_min_len((LEAST / each.max(1)).max(1)).for_each(|piece| {
            // SAFETY: pieces do not overlap.
            make(piece, unsafe { out.part(piece * each..(piece + 1) * each) });
        });
    })
}

/// `length` numbers, made side by side; `make` gets a range and writes all of it.
pub(in crate::ops) fn pieces<T: Lanes>(
    length: usize,
    make: impl Fn(Range<usize>, &mut [T]) + Sync,
) -> Vec<T> {
    const EACH: usize = 8192;
    filled(length, |out| {
        (0..length.div_ceil(EACH)).into_par_iter().for_each(|piece| {
            let range = piece * EACH..((piece + 1) * EACH).min(length);
            // SAFETY: pieces do not overlap.
            make(range.clone(), unsafe { out.part(range) });
        });
    })
}
