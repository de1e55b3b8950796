//! Kernels transformed and laid out in the order in which [`super::forward`] reads them.

#![allow(unsafe_code)] // every piece writes its own rows
#![allow(clippy::needless_range_loop)] // vectors in plain loops, see `cpu::product`

use super::{GAP, Plan, transform};
use crate::ops::cpu::{Aligned, Real, Right, Shared, TERMS, panel, widths};
use pulp::{Simd, WithSimd};
use rayon::prelude::*;

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
        (0..panels * inputs).into_par_iter().with_min_len(16).for_each(|piece| {
            let make = Make {
                weight,
                out,
                layout,
                outputs,
                at: (piece / inputs, piece % inputs),
                strides,
                turned,
            };
            match plan {
                Plan::Two => T::run(Sized::<T, 4>(make)),
                Plan::Four => T::run(Sized::<T, 6>(make)),
            }
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

/// The kernels of one input channel and a panel of output channels.
struct Make<'a, T> {
    weight: &'a [T],
    out: Shared<'a, T>,
    layout: Layout,
    outputs: usize,
    /// Panel of output channels, input channel.
    at: (usize, usize),
    strides: (usize, usize),
    turned: bool,
}

struct Sized<'a, T, const N: usize>(Make<'a, T>);

impl<T: Real, const N: usize> WithSimd for Sized<'_, T, N> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Make { out, layout, outputs, at: (panel_at, input), .. } = self.0;
        let (lanes, width) = (T::lanes::<S>(), panel::<T, S>());
        let block = input / TERMS * TERMS;
        let row = (panel_at * layout.count(block) + input - block) * width;
        let zero = T::splat(simd, T::zero());
        // Written anew for every vector but for channels that there are none of.
        let mut values = [[T::zero(); MOST]; 9];
        let mut rows = [[zero; N]; 3];
        for vector in (0..width).step_by(lanes) {
            let first = panel_at * width + vector;
            if first + lanes > outputs {
                values = [[T::zero(); MOST]; 9];
            }
            self.0.gather(first, input, lanes.min(outputs.saturating_sub(first)), &mut values);
            let mut taps = [[zero; 3]; 3];
            for i in 0..9 {
                taps[i / 3][i % 3] = T::load(simd, &values[i][..lanes]);
            }
            for i in 0..3 {
                rows[i] = transform::kernel::<T, S, N>(simd, taps[i]);
            }
            for j in 0..N {
                let column = [rows[0][j], rows[1][j], rows[2][j]];
                let column = transform::kernel::<T, S, N>(simd, column);
                for i in 0..N {
                    let start = layout.start(i * N + j, block) + row + vector;
                    // SAFETY: this input channel and panel are this piece's alone.
                    T::store(simd, unsafe { out.part(start..start + lanes) }, column[i]);
                }
            }
        }
    }
}

/// Numbers of a vector, at most.
const MOST: usize = 16;

impl<T: Real> Make<'_, T> {
    /// The taps of `count` output channels from `first` on, those of one tap side by side.
    #[inline(always)]
    fn gather(&self, first: usize, input: usize, count: usize, out: &mut [[T; MOST]; 9]) {
        for o in 0..count {
            let start = input * self.strides.0 + (first + o) * self.strides.1;
            let taps = &self.weight[start..start + 9];
            for i in 0..9 {
                out[i][o] = taps[if self.turned { 8 - i } else { i }];
            }
        }
    }
}
