//! Functions that the compiler can turn into vector instructions.

use super::Real;

/// What [`Real`] adds to `num_traits::Float`.
pub(in crate::ops) trait Exponential {
    /// e^x, within 2 units in the last place; ends where the number type does, without infinities.
    fn fast_exp(self) -> Self;
}

impl Exponential for f32 {
    #[inline(always)]
    fn fast_exp(self) -> f32 {
        // Adding this leaves the nearest integer in the lowest bits.
        const SHIFT: f32 = 12_582_912.0;
        const LN2_HIGH: f32 = 0.693_359_4;
        const LN2_LOW: f32 = -2.121_944_4e-4;
        let x = self.clamp(-87.0, 88.0);
        let shifted = x * std::f32::consts::LOG2_E + SHIFT;
        let n = shifted - SHIFT;
        let r = x - n * LN2_HIGH - n * LN2_LOW;
        let mut p = 1.987_569_1e-4;
        for coefficient in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 0.166_666_65, 0.5] {
            p = p * r + coefficient;
        }
        let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23));
        (p * (r * r) + r + 1.0) * power
    }
}

impl Exponential for f64 {
    #[inline(always)]
    fn fast_exp(self) -> f64 {
        self.exp()
    }
}

/// 1 / (1 + e^-x).
#[inline(always)]
pub(in crate::ops) fn sigmoid<T: Real>(x: T) -> T {
    T::one() / (T::one() + (-x).fast_exp())
}

#[cfg(test)]
mod tests {
    use super::Exponential;

    #[test]
    fn the_exponential_is_within_two_units_in_the_last_place() {
        let mut worst = 0f64;
        for i in 0..175_000 {
            let x = -87.0 + i as f32 * 1e-3;
            let exact = f64::from(x).exp();
            worst = worst.max((f64::from(x.fast_exp()) - exact).abs() / exact);
        }
        assert!(worst < 2.0 * f64::from(f32::EPSILON), "{worst}");
        assert_eq!(0f32.fast_exp(), 1.0);
        assert!((-1e30f32).fast_exp() < 1e-37 && 1e30f32.fast_exp().is_finite());
        assert!(f32::NAN.fast_exp().is_nan());
    }
}
