//! Numbers in vectors of the widest kind the processor has, chosen when the program runs.

use super::{Real, math};
use pulp::{Arch, Simd, WithSimd};

/// Numbers of a vector, at most.
pub(in crate::ops) const MOST: usize = 16;

/// A number that comes in vectors. Vectors are loaded from and stored to slices that hold at least
/// one; the partial forms take what is there, and zeros.
pub(in crate::ops) trait Lanes: Copy + Send + Sync + 'static {
    type Vector<S: Simd>: Copy;

    /// Does `work` with the instructions that this machine has.
    fn run<W: WithSimd>(work: W) -> W::Output;

    fn lanes<S: Simd>() -> usize;
    fn splat<S: Simd>(simd: S, value: Self) -> Self::Vector<S>;
    fn load<S: Simd>(simd: S, from: &[Self]) -> Self::Vector<S>;
    fn load_partial<S: Simd>(simd: S, from: &[Self]) -> Self::Vector<S>;
    /// [`Lanes::load`], or its partial form where there is less.
    #[inline(always)]
    fn load_some<S: Simd>(simd: S, from: &[Self]) -> Self::Vector<S> {
        match from.len() == Self::lanes::<S>() {
            true => Self::load(simd, from),
            false => Self::load_partial(simd, from),
        }
    }
    /// [`Lanes::store`], or its partial form where there is room for less.
    #[inline(always)]
    fn store_some<S: Simd>(simd: S, to: &mut [Self], vector: Self::Vector<S>) {
        match to.len() == Self::lanes::<S>() {
            true => Self::store(simd, to, vector),
            false => Self::store_partial(simd, to, vector),
        }
    }
    fn store<S: Simd>(simd: S, to: &mut [Self], vector: Self::Vector<S>);
    fn store_partial<S: Simd>(simd: S, to: &mut [Self], vector: Self::Vector<S>);
    /// a b + c, in one rounding where the processor can.
    fn fused<S: Simd>(
        simd: S,
        a: Self::Vector<S>,
        b: Self::Vector<S>,
        c: Self::Vector<S>,
    ) -> Self::Vector<S>;
    fn plus<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;
    fn minus<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;
    fn times<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;
    fn divided<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;
    fn largest<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;
    /// x, or 0 where it is negative; what is not a number stays that.
    fn rectified<S: Simd>(simd: S, x: Self::Vector<S>) -> Self::Vector<S>;
    /// e^x.
    fn exponential<S: Simd>(simd: S, x: Self::Vector<S>) -> Self::Vector<S>;
    /// erf(x).
    fn error_function<S: Simd>(simd: S, x: Self::Vector<S>) -> Self::Vector<S>;
}

/// The sum of a vector's numbers.
#[inline(always)]
pub(in crate::ops) fn total<T: Real, S: Simd>(simd: S, vector: T::Vector<S>) -> T {
    let mut numbers = [T::zero(); MOST];
    T::store(simd, &mut numbers, vector);
    let mut sum = T::zero();
    for number in &numbers[..T::lanes::<S>()] {
        sum += *number;
    }
    sum
}

macro_rules! lanes {
    ($number:ty, $run:expr, $vector:ident, $lanes:ident, $splat:ident, $mul_add:ident, $add:ident, $sub:ident,
     $mul:ident, $div:ident, $max:ident, $less:ident, $select:ident, $exp:path, $erf:path, $slice:ident, $slice_mut:ident, $load:ident, $store:ident) => {
        impl Lanes for $number {
            type Vector<S: Simd> = S::$vector;

            #[inline(always)]
            fn run<W: WithSimd>(work: W) -> W::Output {
                $run.dispatch(work)
            }

            #[inline(always)]
            fn lanes<S: Simd>() -> usize {
                S::$lanes
            }

            #[inline(always)]
            fn splat<S: Simd>(simd: S, value: Self) -> S::$vector {
                simd.$splat(value)
            }

            #[inline(always)]
            fn load<S: Simd>(_: S, from: &[Self]) -> S::$vector {
                S::$slice(&from[..S::$lanes]).0[0]
            }

            #[inline(always)]
            fn load_partial<S: Simd>(simd: S, from: &[Self]) -> S::$vector {
                simd.$load(from)
            }

            #[inline(always)]
            fn store<S: Simd>(_: S, to: &mut [Self], vector: S::$vector) {
                S::$slice_mut(&mut to[..S::$lanes]).0[0] = vector;
            }

            #[inline(always)]
            fn store_partial<S: Simd>(simd: S, to: &mut [Self], vector: S::$vector) {
                simd.$store(to, vector);
            }

            #[inline(always)]
            fn fused<S: Simd>(simd: S, a: S::$vector, b: S::$vector, c: S::$vector) -> S::$vector {
                simd.$mul_add(a, b, c)
            }

            #[inline(always)]
            fn plus<S: Simd>(simd: S, a: S::$vector, b: S::$vector) -> S::$vector {
                simd.$add(a, b)
            }

            #[inline(always)]
            fn minus<S: Simd>(simd: S, a: S::$vector, b: S::$vector) -> S::$vector {
                simd.$sub(a, b)
            }

            #[inline(always)]
            fn times<S: Simd>(simd: S, a: S::$vector, b: S::$vector) -> S::$vector {
                simd.$mul(a, b)
            }

            #[inline(always)]
            fn divided<S: Simd>(simd: S, a: S::$vector, b: S::$vector) -> S::$vector {
                simd.$div(a, b)
            }

            #[inline(always)]
            fn largest<S: Simd>(simd: S, a: S::$vector, b: S::$vector) -> S::$vector {
                simd.$max(a, b)
            }

            #[inline(always)]
            fn rectified<S: Simd>(simd: S, x: S::$vector) -> S::$vector {
                let zero = simd.$splat(0.0);
                simd.$select(simd.$less(x, zero), zero, x)
            }

            #[inline(always)]
            fn exponential<S: Simd>(simd: S, x: S::$vector) -> S::$vector {
                $exp(simd, x)
            }

            #[inline(always)]
            fn error_function<S: Simd>(simd: S, x: S::$vector) -> S::$vector {
                $erf(simd, x)
            }
        }
    };
}

lanes!(
    f32,
    Arch::new(),
    f32s,
    F32_LANES,
    splat_f32s,
    mul_add_e_f32s,
    add_f32s,
    sub_f32s,
    mul_f32s,
    div_f32s,
    max_f32s,
    less_than_f32s,
    select_f32s,
    math::exp,
    math::erf,
    as_simd_f32s,
    as_mut_simd_f32s,
    partial_load_f32s,
    partial_store_f32s
);
// For tests of gradients, which need no speed: all instruction sets would double the time to build.
lanes!(
    f64,
    Arch::Scalar,
    f64s,
    F64_LANES,
    splat_f64s,
    mul_add_e_f64s,
    add_f64s,
    sub_f64s,
    mul_f64s,
    div_f64s,
    max_f64s,
    less_than_f64s,
    select_f64s,
    math::exp_exactly,
    math::erf_exactly,
    as_simd_f64s,
    as_mut_simd_f64s,
    partial_load_f64s,
    partial_store_f64s
);
