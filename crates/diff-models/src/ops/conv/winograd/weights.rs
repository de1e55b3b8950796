//! Kernels transformed and laid out in the order in which [`super::forward`] reads them.

#![allow(unsafe_code)] // every piece writes its own rows
#![allow(clippy::needless_range_loop)] // vectors in plain loops, see `cpu::product`

use super::{GAP, Plan, transform};
use crate::ops::cpu::{Aligned, Real, Right, Shared, TERMS, panel, widths, with_scratch};
use pulp::{Simd, WithSimd};
use rayon::prelude::*;
use std::ops::Range;

/// G w G' of every pair of channels: for every block of input channels, frequency and panel of
/// output channels, a row of the panel for each input channel.
pub(in crate::ops) struct Weights<T> {
    values: Aligned<T>,
    layout: Layout,
}

/// Where they are. Between frequencies is a gap, so that they do not share cache sets.
#[derive(Clone, Copy)]
struct Layout {
    inputs: usize,
    /// Panels of output channels, and channels of one.
    panels: usize,
    width: usize,
    frequencies: usize,
}

impl Layout {
    /// Input channels of the block that starts at `input`.
    #[inline(always)]
    fn count(&self, input: usize) -> usize {
        TERMS.min(self.inputs - input)
    }

    /// Where a frequency of the block that starts at `input` begins; panels follow one another.
    #[inline(always)]
    fn start(&self, frequency: usize, input: usize) -> usize {
        let before = self.frequencies * (self.panels * self.width * input + GAP * (input / TERMS));
        let each = self.panels * self.width * self.count(input) + GAP;
        before + frequency * each
    }

    fn length(&self) -> usize {
        let blocks = self.inputs.div_ceil(TERMS);
        self.frequencies * (self.panels * self.width * self.inputs + GAP * blocks)
    }
}

impl<T: Real> Weights<T> {
    /// From `[O, I, 3, 3]`; `turned` gives those of the gradient of the input: kernels turned by
    /// half a turn, channels exchanged.
    pub(in crate::ops) fn new(
        weight: &[T],
        (inputs, outputs): (usize, usize),
        plan: Plan,
        turned: bool,
    ) -> Self {
        let (_, width) = widths::<T>();
        let panels = outputs.div_ceil(width);
        let frequencies = plan.length() * plan.length();
        let layout = Layout { inputs, panels, width, frequencies };
        let values = Aligned::filled(layout.length(), |out| {
            Self::make(out, layout, weight, outputs, plan, turned);
        });
        Weights { values, layout }
    }

    fn make(
        out: Shared<T>,
        layout: Layout,
        weight: &[T],
        outputs: usize,
        plan: Plan,
        turned: bool,
    ) {
        let Layout { inputs, panels, width, frequencies } = layout;
        for input in (0..inputs).step_by(TERMS) {
            for frequency in 0..frequencies {
                let gap = layout.start(frequency, input) + panels * width * layout.count(input);
                // SAFETY: nobody else is at work yet.
                unsafe { out.part(gap..gap + GAP) }.fill(T::zero());
            }
        }
        // Where channel pair (i, o) is: i * strides.0 + o * strides.1.
        let strides = if turned { (outputs * 9, 9) } else { (9, inputs * 9) };
        let strips = inputs.div_ceil(STRIP);
        (0..panels * strips).into_par_iter().for_each(|piece| {
            let (panel, input) = (piece / strips, piece % strips * STRIP);
            let count = STRIP.min(inputs - input);
            with_scratch(frequencies * count * width, |scratch| {
                let make = Make {
                    weight,
                    outputs,
                    inputs: input..input + count,
                    first: panel * width,
                    strides,
                    turned,
                    out: scratch,
                };
                match plan {
                    Plan::Two => T::run(Sized::<T, 4>(make)),
                    Plan::Four => T::run(Sized::<T, 6>(make)),
                }
                let block = input / TERMS * TERMS;
                let row = (panel * layout.count(block) + input - block) * width;
                for (frequency, values) in scratch.chunks_exact(count * width).enumerate() {
                    let start = layout.start(frequency, block) + row;
                    // SAFETY: these input channels and this panel are this piece's alone.
                    unsafe { out.part(start..start + values.len()) }.copy_from_slice(values);
                }
            });
        });
    }

    /// The matrix of a frequency, from panel `first` of output channels on, for the block of input
    /// channels that starts at `input`.
    #[inline(always)]
    pub(super) fn right(&self, frequency: usize, input: usize, first: usize) -> Right<'_, T> {
        let Layout { panels, width, .. } = self.layout;
        let count = self.layout.count(input);
        let at = self.layout.start(frequency, input) + first * count * width;
        let values = &self.values[at..at + (panels - first) * count * width];
        Right { values, term: width, stride: count * width }
    }
}

/// Input channels of a piece of work; they divide a block. Its kernels are made in the second-level
/// cache and then copied: straight to where they belong, they would be written a few lines at a time
/// to more places than a processor keeps track of.
const STRIP: usize = 16;

/// The kernels of some input channels and a panel of output channels, a frequency after the other.
struct Make<'a, T> {
    weight: &'a [T],
    outputs: usize,
    inputs: Range<usize>,
    /// The first output channel.
    first: usize,
    strides: (usize, usize),
    turned: bool,
    out: &'a mut [T],
}

struct Sized<'a, T, const N: usize>(Make<'a, T>);

impl<T: Real, const N: usize> WithSimd for Sized<'_, T, N> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Make { weight, outputs, inputs, first, strides, turned, out } = self.0;
        let (lanes, width) = (T::lanes::<S>(), panel::<T, S>());
        let step = inputs.len() * width;
        let zero = T::splat(simd, T::zero());
        // Written anew for every vector but for channels that there are none of.
        let mut values = [[T::zero(); MOST]; 9];
        let mut rows = [[zero; N]; 3];
        for vector in (0..width).step_by(lanes) {
            let first = first + vector;
            let count = lanes.min(outputs.saturating_sub(first));
            if count < lanes {
                values = [[T::zero(); MOST]; 9];
            }
            for input in inputs.clone() {
                let start = input * strides.0 + first * strides.1;
                gather(weight, (start, strides.1), count, turned, &mut values);
                let mut taps = [[zero; 3]; 3];
                for i in 0..9 {
                    taps[i / 3][i % 3] = T::load(simd, &values[i][..lanes]);
                }
                for i in 0..3 {
                    rows[i] = transform::kernel::<T, S, N>(simd, taps[i]);
                }
                let row = (input - inputs.start) * width + vector;
                for j in 0..N {
                    let column = [rows[0][j], rows[1][j], rows[2][j]];
                    let column = transform::kernel::<T, S, N>(simd, column);
                    for i in 0..N {
                        T::store(simd, &mut out[(i * N + j) * step + row..], column[i]);
                    }
                }
            }
        }
    }
}

/// Numbers of a vector, at most.
const MOST: usize = 16;

/// The taps of `count` kernels that start every `step` numbers, those of one tap side by side.
#[inline(always)]
fn gather<T: Real>(
    weight: &[T],
    (start, step): (usize, usize),
    count: usize,
    turned: bool,
    out: &mut [[T; MOST]; 9],
) {
    for o in 0..count {
        let taps = &weight[start + o * step..][..9];
        for i in 0..9 {
            out[i][o] = taps[if turned { 8 - i } else { i }];
        }
    }
}
