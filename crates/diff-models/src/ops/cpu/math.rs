//! Functions of vectors.

use super::Real;
use pulp::Simd;

/// 1 / (1 + e^-x).
#[inline(always)]
pub(in crate::ops) fn sigmoid<T: Real, S: Simd>(simd: S, x: T::Vector<S>) -> T::Vector<S> {
    let one = T::splat(simd, T::one());
    let minus = T::minus(simd, T::splat(simd, T::zero()), x);
    T::divided(simd, one, T::plus(simd, one, T::exponential(simd, minus)))
}

/// e^x, within 2 units in the last place; at the ends of the range it stays finite.
#[inline(always)]
pub(super) fn exp<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    // Adding this leaves the nearest integer in the lowest bits.
    const SHIFT: f32 = 12_582_912.0;
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let number = |value: f32| simd.splat_f32s(value);
    // In this order a NaN stays one.
    let x = simd.max_f32s(number(-87.0), simd.min_f32s(number(88.0), x));
    let shifted = simd.mul_add_e_f32s(x, number(std::f32::consts::LOG2_E), number(SHIFT));
    let n = simd.sub_f32s(shifted, number(SHIFT));
    let r = simd.mul_add_e_f32s(n, number(-LN2_HIGH), x);
    let r = simd.mul_add_e_f32s(n, number(-LN2_LOW), r);
    let mut p = number(1.987_569_1e-4);
    p = simd.mul_add_e_f32s(p, r, number(1.398_199_9e-3));
    p = simd.mul_add_e_f32s(p, r, number(8.333_452e-3));
    p = simd.mul_add_e_f32s(p, r, number(4.166_579_6e-2));
    p = simd.mul_add_e_f32s(p, r, number(0.166_666_65));
    p = simd.mul_add_e_f32s(p, r, number(0.5));
    let p = simd.add_f32s(simd.mul_add_e_f32s(p, simd.mul_f32s(r, r), r), number(1.0));
    let bits = simd.transmute_u32s_f32s(shifted);
    let bits = simd.wrapping_dyn_shl_u32s(bits, simd.splat_u32s(23));
    let power = simd.transmute_f32s_u32s(simd.add_u32s(bits, simd.splat_u32s(127 << 23)));
    simd.mul_f32s(p, power)
}

/// e^x number by number, in the precision of the standard library.
#[inline(always)]
pub(super) fn exp_exactly<S: Simd>(simd: S, x: S::f64s) -> S::f64s {
    let mut values = [0f64; 8];
    let values = &mut values[..S::F64_LANES];
    simd.partial_store_f64s(values, x);
    values.iter_mut().for_each(|v| *v = v.exp());
    simd.partial_load_f64s(values)
}

/// erf(x), within 4e-7: x P(x^2) / Q(x^2), fitted so that the largest error for |x| < 3.9 is the least.
#[inline(always)]
pub(super) fn erf<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    const P: [f32; 6] = [
        std::f32::consts::FRAC_2_SQRT_PI,
        0.191_936_98,
        5.296_637_5e-2,
        3.836_695_8e-3,
        2.874_518e-4,
        2.050_403e-6,
    ];
    const Q: [f32; 6] =
        [1.0, 0.503_431_5, 0.114_756_525, 1.510_885_2e-2, 1.181_687_7e-3, 3.823_061_3e-5];
    let number = |value: f32| simd.splat_f32s(value);
    // In this order a NaN stays one.
    let x = simd.max_f32s(number(-3.9), simd.min_f32s(number(3.9), x));
    let square = simd.mul_f32s(x, x);
    let (mut p, mut q) = (number(P[5]), number(Q[5]));
    for i in (0..5).rev() {
        p = simd.mul_add_e_f32s(p, square, number(P[i]));
        q = simd.mul_add_e_f32s(q, square, number(Q[i]));
    }
    simd.mul_f32s(x, simd.div_f32s(p, q))
}

/// erf(x) number by number, to the last few digits: 2/sqrt(pi) e^-x^2 sum 2^n x^(2n+1) / (2n+1)!!.
#[inline(always)]
pub(super) fn erf_exactly<S: Simd>(simd: S, x: S::f64s) -> S::f64s {
    let mut values = [0f64; 8];
    let values = &mut values[..S::F64_LANES];
    simd.partial_store_f64s(values, x);
    for v in values.iter_mut().filter(|v| v.is_finite()) {
        let x = v.clamp(-6.0, 6.0);
        let (mut term, mut sum, mut n) = (x, x, 1.0);
        while term.abs() > 1e-18 * sum.abs() {
            term *= 2.0 * x * x / (2.0 * n + 1.0);
            sum += term;
            n += 1.0;
        }
        *v = std::f64::consts::FRAC_2_SQRT_PI * (-x * x).exp() * sum;
    }
    simd.partial_load_f64s(values)
}

#[cfg(test)]
mod tests {
    use super::super::{Lanes, Real};
    use pulp::{Simd, WithSimd};

    struct Exp<'a, T>(&'a mut [T]);

    impl<T: Real> WithSimd for Exp<'_, T> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            for values in self.0.chunks_mut(T::lanes::<S>()) {
                let x = T::load_partial(simd, values);
                T::store_partial(simd, values, T::exponential(simd, x));
            }
        }
    }

    #[test]
    fn the_exponential_is_within_two_units_in_the_last_place() {
        let x: Vec<f32> = (0..175_000).map(|i| -87.0 + i as f32 * 1e-3).collect();
        let mut found = x.clone();
        f32::run(Exp(&mut found));
        for (x, found) in x.iter().zip(found) {
            let exact = f64::from(*x).exp();
            let error = (f64::from(found) - exact).abs() / exact;
            assert!(error < 2.0 * f64::from(f32::EPSILON), "{x}: {error}");
        }
        let mut ends = [0f32, -1e30, 1e30];
        f32::run(Exp(&mut ends));
        assert!(ends[0] == 1.0 && ends[1] < 1e-37 && ends[2] > 1e38 && ends[2].is_finite());
        let mut double = [1f64, -2.0, 0.5];
        f64::run(Exp(&mut double));
        assert_eq!(double, [1f64.exp(), (-2f64).exp(), 0.5f64.exp()]);
    }

    struct Erf<'a, T>(&'a mut [T]);

    impl<T: Real> WithSimd for Erf<'_, T> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            for values in self.0.chunks_mut(T::lanes::<S>()) {
                let x = T::load_partial(simd, values);
                T::store_partial(simd, values, T::error_function(simd, x));
            }
        }
    }

    /// Values of Python's `math.erf`.
    #[test]
    fn the_error_function_is_exact_in_f64_and_within_4e_7_in_f32() {
        let mut known = [0f64, 0.1, -0.5, 1.0, -2.0, 3.0, 5.0, 40.0];
        f64::run(Erf(&mut known));
        let expected = [
            0.0,
            0.112_462_916_018_284_89,
            -0.520_499_877_813_046_5,
            0.842_700_792_949_714_9,
            -0.995_322_265_018_952_7,
            0.999_977_909_503_001_4,
            0.999_999_999_998_462_5,
            1.0,
        ];
        for (found, expected) in known.iter().zip(expected) {
            assert!((found - expected).abs() < 4e-15, "{found} {expected}");
        }
        let x: Vec<f32> = (-50_000..50_000).map(|i| i as f32 * 1e-4).collect();
        let (mut found, mut exact) =
            (x.clone(), x.iter().map(|x| f64::from(*x)).collect::<Vec<_>>());
        f32::run(Erf(&mut found));
        f64::run(Erf(&mut exact));
        for ((x, found), exact) in x.iter().zip(found).zip(exact) {
            assert!((f64::from(found) - exact).abs() < 4e-7, "{x}: {found} {exact}");
        }
    }
}
