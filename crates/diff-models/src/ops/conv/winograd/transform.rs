//! The one-dimensional transforms of Winograd's F(2,3) and F(4,3) (Lavin and Gray, 2016), on vectors
//! of channels. N = 4 or 6 is the length of a transformed row, M = N - 2 that of the result.

use crate::ops::cpu::Real;
use pulp::Simd;

/// a x.
#[inline(always)]
fn scaled<T: Real, S: Simd>(simd: S, a: f64, x: T::Vector<S>) -> T::Vector<S> {
    T::times(simd, T::splat(simd, T::from_f64(a)), x)
}

/// a x + y.
#[inline(always)]
fn fused<T: Real, S: Simd>(simd: S, a: f64, x: T::Vector<S>, y: T::Vector<S>) -> T::Vector<S> {
    T::fused(simd, T::splat(simd, T::from_f64(a)), x, y)
}

/// B' d: what a row of the picture becomes.
#[inline(always)]
pub(super) fn input<T: Real, S: Simd, const N: usize>(
    simd: S,
    d: [T::Vector<S>; N],
) -> [T::Vector<S>; N] {
    let mut out = d;
    if N == 4 {
        out[0] = T::minus(simd, d[0], d[2]);
        out[1] = T::plus(simd, d[1], d[2]);
        out[2] = T::minus(simd, d[2], d[1]);
        out[3] = T::minus(simd, d[1], d[3]);
        return out;
    }
    let (even, odd) =
        (fused::<T, S>(simd, -4.0, d[2], d[4]), fused::<T, S>(simd, -4.0, d[1], d[3]));
    let (near, far) = (T::minus(simd, d[4], d[2]), T::minus(simd, d[3], d[1]));
    out[0] = fused::<T, S>(simd, 4.0, d[0], fused::<T, S>(simd, -5.0, d[2], d[4]));
    out[1] = T::plus(simd, even, odd);
    out[2] = T::minus(simd, even, odd);
    out[3] = fused::<T, S>(simd, 2.0, far, near);
    out[4] = fused::<T, S>(simd, -2.0, far, near);
    out[5] = fused::<T, S>(simd, 4.0, d[1], fused::<T, S>(simd, -5.0, d[3], d[5]));
    out
}

/// A' m: a row of the result.
#[inline(always)]
pub(super) fn output<T: Real, S: Simd, const N: usize, const M: usize>(
    simd: S,
    m: [T::Vector<S>; N],
) -> [T::Vector<S>; M] {
    let (sum, difference) = (T::plus(simd, m[1], m[2]), T::minus(simd, m[1], m[2]));
    let mut out = [sum; M];
    out[0] = T::plus(simd, m[0], sum);
    if N == 4 {
        out[1] = T::minus(simd, difference, m[3]);
        return out;
    }
    let (far, wide) = (T::plus(simd, m[3], m[4]), T::minus(simd, m[3], m[4]));
    out[0] = T::plus(simd, out[0], far);
    out[1] = fused::<T, S>(simd, 2.0, wide, difference);
    out[2] = fused::<T, S>(simd, 4.0, far, sum);
    out[3] = fused::<T, S>(simd, 8.0, wide, T::plus(simd, difference, m[5]));
    out
}

/// A y: the transpose of [`output`], for gradients.
#[inline(always)]
pub(super) fn output_transposed<T: Real, S: Simd, const N: usize, const M: usize>(
    simd: S,
    y: [T::Vector<S>; M],
) -> [T::Vector<S>; N] {
    let mut out = [y[0]; N];
    if N == 4 {
        out[1] = T::plus(simd, y[0], y[1]);
        out[2] = T::minus(simd, y[0], y[1]);
        out[3] = T::minus(simd, T::splat(simd, T::zero()), y[1]);
        return out;
    }
    let (even, odd) = (T::plus(simd, y[0], y[2]), T::plus(simd, y[1], y[3]));
    let (even4, odd8) =
        (fused::<T, S>(simd, 4.0, y[2], y[0]), fused::<T, S>(simd, 4.0, y[3], y[1]));
    out[1] = T::plus(simd, even, odd);
    out[2] = T::minus(simd, even, odd);
    out[3] = fused::<T, S>(simd, 2.0, odd8, even4);
    out[4] = fused::<T, S>(simd, -2.0, odd8, even4);
    out[5] = y[3];
    out
}

/// G w: what a row of the kernel becomes.
#[inline(always)]
pub(super) fn kernel<T: Real, S: Simd, const N: usize>(
    simd: S,
    w: [T::Vector<S>; 3],
) -> [T::Vector<S>; N] {
    let mut out = [w[0]; N];
    let ends = T::plus(simd, w[0], w[2]);
    if N == 4 {
        out[1] = scaled::<T, S>(simd, 0.5, T::plus(simd, ends, w[1]));
        out[2] = scaled::<T, S>(simd, 0.5, T::minus(simd, ends, w[1]));
        out[3] = w[2];
        return out;
    }
    out[0] = scaled::<T, S>(simd, 0.25, w[0]);
    out[1] = scaled::<T, S>(simd, -1.0 / 6.0, T::plus(simd, ends, w[1]));
    out[2] = scaled::<T, S>(simd, -1.0 / 6.0, T::minus(simd, ends, w[1]));
    let even = T::plus(
        simd,
        scaled::<T, S>(simd, 1.0 / 24.0, w[0]),
        scaled::<T, S>(simd, 1.0 / 6.0, w[2]),
    );
    let odd = scaled::<T, S>(simd, 1.0 / 12.0, w[1]);
    out[3] = T::plus(simd, even, odd);
    out[4] = T::minus(simd, even, odd);
    out[5] = w[2];
    out
}

/// G' u: the transpose of [`kernel`], for gradients.
#[inline(always)]
pub(super) fn kernel_transposed<T: Real, S: Simd, const N: usize>(
    simd: S,
    u: [T::Vector<S>; N],
) -> [T::Vector<S>; 3] {
    let (sum, difference) = (T::plus(simd, u[1], u[2]), T::minus(simd, u[1], u[2]));
    if N == 4 {
        let half = scaled::<T, S>(simd, 0.5, sum);
        return [
            T::plus(simd, u[0], half),
            scaled::<T, S>(simd, 0.5, difference),
            T::plus(simd, half, u[3]),
        ];
    }
    let (far, wide) = (T::plus(simd, u[3], u[4]), T::minus(simd, u[3], u[4]));
    let near = scaled::<T, S>(simd, -1.0 / 6.0, sum);
    [
        T::plus(
            simd,
            scaled::<T, S>(simd, 0.25, u[0]),
            T::plus(simd, near, scaled::<T, S>(simd, 1.0 / 24.0, far)),
        ),
        T::plus(
            simd,
            scaled::<T, S>(simd, -1.0 / 6.0, difference),
            scaled::<T, S>(simd, 1.0 / 12.0, wide),
        ),
        T::plus(simd, T::plus(simd, near, scaled::<T, S>(simd, 1.0 / 6.0, far)), u[5]),
    ]
}
