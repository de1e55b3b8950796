//! Randomness that is addressed, not consumed: every number is a function of (seed, purpose,
//! sample index, step, lane, position), so a sample does not depend on its batch, on threads, or
//! on where a run was interrupted.
//!
//! The generator is Philox 4x32-10 (Salmon et al., 2011). Normals come from a Box-Muller transform
//! in f32 with our own polynomials, built from single additions and multiplications only: platform
//! maths libraries differ in the last bits, correctly rounded elementary operations do not.

/// What a number is for. Two purposes never share a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Purpose {
    /// Initial weights; the index is the parameter's position in the network.
    Init = 1,
    /// x_T of a sample.
    Latent = 2,
    /// Noise added by a stochastic sampler step.
    StepNoise = 3,
    /// Noise of the forward process in training; the lane is the position in the window.
    TrainNoise = 4,
    /// Time steps drawn in training.
    TrainTime = 5,
    /// Order of the data in an epoch; the index is the epoch.
    DataOrder = 6,
    /// Data augmentation.
    Augment = 7,
    /// Dropout masks; the lane is the layer.
    Dropout = 8,
    /// Class labels drawn for sampling or dropped in training.
    Label = 9,
    /// Draws of tests, oracles and measurements.
    Measure = 10,
}

/// Where a stream of numbers starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// The run's seed.
    pub seed: u64,
    /// What the numbers are for.
    pub purpose: Purpose,
    /// Global sample index (or what the purpose says), below 2^40.
    pub index: u64,
    /// Training step or sampler time.
    pub step: u32,
    /// A further word where a purpose needs one.
    pub lane: u16,
}

impl Address {
    /// The stream of `seed` for `purpose`, at index, step and lane 0.
    pub fn new(seed: u64, purpose: Purpose) -> Self {
        Address { seed, purpose, index: 0, step: 0, lane: 0 }
    }

    /// The same stream at a sample index; indices are taken modulo 2^40.
    pub fn index(self, index: u64) -> Self {
        Address { index, ..self }
    }

    /// The same stream at a step.
    pub fn step(self, step: u32) -> Self {
        Address { step, ..self }
    }

    /// The same stream at a lane.
    pub fn lane(self, lane: u16) -> Self {
        Address { lane, ..self }
    }

    /// Four random words: number `block` of this stream.
    pub fn block(self, block: u32) -> [u32; 4] {
        self.blocks::<1>(block).map(|[word]| word)
    }

    /// Uniform numbers in (0, 1), [`unit()`] of the stream's words: never 0, never 1.
    pub fn fill_uniform(self, out: &mut [f32]) {
        self.fill(out, |words| words.map(unit));
    }

    /// Standard normal numbers, |z| < 6.77.
    pub fn fill_normal(self, out: &mut [f32]) {
        self.fill(out, |[a, b, c, d]| {
            let ([z0, z1], [z2, z3]) = (box_muller(a, b), box_muller(c, d));
            [z0, z1, z2, z3]
        });
    }

    /// A whole number in 0..bound without bias worth mentioning (below bound / 2^64). `bound` >= 1.
    pub fn below(self, bound: u64) -> u64 {
        let [a, b, ..] = self.block(0);
        scale(a, b, bound)
    }

    /// A random order of 0..n (Fisher-Yates).
    pub fn permutation(self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        for i in (1..n).rev() {
            let [a, b, ..] = self.block(i as u32);
            order.swap(i, scale(a, b, i as u64 + 1) as usize);
        }
        order
    }

    /// Random words of `N` blocks from number `first` on: word i of block `first` + n is `[i][n]`.
    ///
    /// Written out for as many blocks as a vector has lanes, and inlined, so that a caller compiled
    /// for wide vectors draws that many at once.
    #[inline(always)]
    pub fn blocks<const N: usize>(self, first: u32) -> [[u32; N]; 4] {
        let (counter, key) = self.start(first);
        let mut counters = counter.map(|word| [word; N]);
        for (n, word) in counters[0].iter_mut().enumerate() {
            *word = word.wrapping_add(n as u32);
        }
        rounds(counters, key)
    }

    /// Counter and key of a block.
    #[inline(always)]
    fn start(self, block: u32) -> ([u32; 4], [u32; 2]) {
        let high = ((self.index >> 32) as u32 & 0xff) << 24;
        let word3 = high | (self.lane as u32) << 8 | self.purpose as u32;
        let key = [self.seed as u32, (self.seed >> 32) as u32];
        ([block, self.step, self.index as u32, word3], key)
    }

    fn fill(self, out: &mut [f32], four: impl Fn([u32; 4]) -> [f32; 4]) {
        const LANES: usize = 8;
        for (group, out) in out.chunks_mut(4 * LANES).enumerate() {
            let words = self.blocks::<LANES>((group * LANES) as u32);
            for (n, out) in out.chunks_mut(4).enumerate() {
                let values = four(words.map(|word| word[n]));
                out.copy_from_slice(&values[..out.len()]);
            }
        }
    }
}

/// Philox 4x32 with ten rounds.
pub fn philox(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    rounds(counter.map(|word| [word]), key).map(|[word]| word)
}

/// [`philox`] of `N` counters.
#[inline(always)]
#[allow(clippy::needless_range_loop)] // a plain loop over lanes becomes vectors
fn rounds<const N: usize>(mut counters: [[u32; N]; 4], mut key: [u32; 2]) -> [[u32; N]; 4] {
    for _ in 0..10 {
        for n in 0..N {
            let a = 0xD251_1F53_u64 * counters[0][n] as u64;
            let b = 0xCD9E_8D57_u64 * counters[2][n] as u64;
            counters[0][n] = (b >> 32) as u32 ^ counters[1][n] ^ key[0];
            counters[1][n] = b as u32;
            counters[2][n] = (a >> 32) as u32 ^ counters[3][n] ^ key[1];
            counters[3][n] = a as u32;
        }
        key = [key[0].wrapping_add(0x9E37_79B9), key[1].wrapping_add(0xBB67_AE85)];
    }
    counters
}

/// floor(word * bound / 2^64) for the 64-bit word (a, b).
fn scale(a: u32, b: u32, bound: u64) -> u64 {
    let word = (a as u64) << 32 | b as u64;
    ((word as u128 * bound as u128) >> 64) as u64
}

/// A word as a number in (0, 1): its upper 24 bits plus a half, times 2^-24, rounded.
#[inline(always)]
pub fn unit(word: u32) -> f32 {
    // The last sum would round up to 2^24.
    ((word >> 8) as f32 + 0.5).min(16_777_215.0) * (1.0 / 16_777_216.0)
}

/// Two independent normals from two words: sqrt(-2 ln u) (cos, sin)(2 pi v).
fn box_muller(a: u32, b: u32) -> [f32; 2] {
    // Halves of 2^-32 are kept while `a` is small, which is where the tail of the normal lies.
    let u = (a as f32 + 0.5) * (1.0 / 4_294_967_296.0);
    let radius = (-2.0 * ln(u)).sqrt();
    let (sin, cos) = sin_cos_turn(b);
    [radius * cos, radius * sin]
}

/// Natural logarithm for u in [2^-33, 1], at most 1 ulp from the truth.
fn ln(u: f32) -> f32 {
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let bits = u.to_bits();
    let shifted = bits.wrapping_sub(0x3f35_04f3); // sqrt(1/2), so that the mantissa straddles 1
    let exponent = (shifted as i32) >> 23;
    let mantissa = f32::from_bits((shifted & 0x007f_ffff) + 0x3f35_04f3);
    let f = mantissa - 1.0;
    let s = f / (f + 2.0);
    let z = s * s;
    let tail =
        z * (0.666_666_7 + z * (0.4 + z * (0.285_714_3 + z * (0.222_222_2 + z * 0.181_818_2))));
    let e = exponent as f32;
    // ln(1+f) = f - s (f - tail), the classic arrangement that keeps f exact.
    e * LN2_HIGH + (f - (s * (f - tail) - e * LN2_LOW))
}

/// (sin, cos) of `word` / 2^32 turns.
fn sin_cos_turn(word: u32) -> (f32, f32) {
    const TURN: f32 = std::f32::consts::TAU / 4_294_967_296.0;
    let quadrant = word.wrapping_add(1 << 29) >> 30;
    let x = word.wrapping_sub(quadrant << 30) as i32 as f32 * TURN; // in [-pi/4, pi/4)
    let z = x * x;
    let sin =
        x + x * z * (-0.166_666_67 + z * (8.333_333e-3 + z * (-1.984_127e-4 + z * 2.755_731_9e-6)));
    let cos = 1.0
        - z * (0.5
            + z * (-4.166_666_8e-2
                + z * (1.388_888_9e-3 + z * (-2.480_158_7e-5 + z * 2.755_732e-7))));
    match quadrant & 3 {
        0 => (sin, cos),
        1 => (cos, -sin),
        2 => (-sin, -cos),
        _ => (-cos, sin),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_word_becomes_0_or_1() {
        assert_eq!(unit(0), 0.5 / 16_777_216.0);
        assert_eq!(unit(u32::MAX), 1.0 - f32::EPSILON / 2.0);
    }

    #[test]
    fn philox_known_answers() {
        // Random123's kat_vectors, philox4x32 10.
        assert_eq!(philox([0; 4], [0; 2]), [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
        assert_eq!(
            philox([u32::MAX; 4], [u32::MAX; 2]),
            [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]
        );
        assert_eq!(
            philox([0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], [0xa4093822, 0x299f31d0]),
            [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1]
        );
    }

    #[test]
    fn normals_follow_the_exact_transform() {
        let address = Address::new(7, Purpose::Measure);
        for block in 0..50_000 {
            let [a, b, ..] = address.block(block);
            let [x, y] = box_muller(a, b);
            let u = ((a as f32 + 0.5) as f64) / 4_294_967_296.0;
            let radius = (-2.0 * u.ln()).sqrt();
            let (sin, cos) = (b as f64 / 4_294_967_296.0 * std::f64::consts::TAU).sin_cos();
            // Relative to the radius: near a zero of the sine the angle's own rounding shows.
            assert!((x as f64 - radius * cos).abs() <= 3e-7 * radius, "{a} {b}");
            assert!((y as f64 - radius * sin).abs() <= 3e-7 * radius, "{a} {b}");
        }
    }

    #[test]
    fn extreme_words_stay_finite() {
        for a in [0, 1, 2, 1 << 31, u32::MAX - 1, u32::MAX] {
            for b in [0, 1, (1 << 29) - 1, 1 << 29, 1 << 30, 1 << 31, 3 << 30, u32::MAX] {
                let [x, y] = box_muller(a, b);
                assert!(x.abs() < 6.77 && y.abs() < 6.77, "{a} {b} -> {x} {y}");
            }
        }
    }

    #[test]
    fn normals_have_the_right_moments() {
        let mut z = vec![0f32; 1 << 20];
        Address::new(1, Purpose::Measure).fill_normal(&mut z);
        let n = z.len() as f64;
        let moment = |k: i32| z.iter().map(|v| (*v as f64).powi(k)).sum::<f64>() / n;
        assert!(moment(1).abs() < 4.0 / n.sqrt());
        assert!((moment(2) - 1.0).abs() < 4.0 * (2.0 / n).sqrt());
        assert!(moment(3).abs() < 4.0 * (15.0 / n).sqrt());
        assert!((moment(4) - 3.0).abs() < 4.0 * (96.0 / n).sqrt());
    }

    #[test]
    fn known_normals_and_uniforms() {
        let mut z = [0f32; 6];
        Address::new(42, Purpose::Latent).index(3).step(5).lane(2).fill_normal(&mut z);
        assert_eq!(z.map(f32::to_bits), KNOWN_NORMALS, "{z:?}");
        let mut u = [0f32; 2];
        Address::new(42, Purpose::TrainTime).fill_uniform(&mut u);
        assert_eq!(u.map(f32::to_bits), KNOWN_UNIFORMS, "{u:?}");
    }

    // All but the first are the exact transform rounded to f32 (math.log, sqrt, cos, sin of
    // CPython); the first is 2 ulp above it (0x3cfe517a).
    const KNOWN_NORMALS: [u32; 6] =
        [0x3cfe517c, 0xbed851c0, 0x3d517795, 0x3d2bc434, 0x3f029dd0, 0xbfbb3bba];
    const KNOWN_UNIFORMS: [u32; 2] = [0x3e513d2a, 0x3dbc67c4];

    #[test]
    fn every_part_of_an_address_matters() {
        let base = Address::new(1, Purpose::Latent);
        let others = [
            Address::new(2, Purpose::Latent),
            Address::new(1 << 32, Purpose::Latent),
            Address::new(1, Purpose::StepNoise),
            base.index(1),
            base.index(1 << 32),
            base.step(1),
            base.lane(1),
        ];
        for (i, a) in others.iter().enumerate() {
            assert_ne!(a.block(0), base.block(0));
            for b in &others[..i] {
                assert_ne!(a.block(0), b.block(0));
            }
        }
    }

    #[test]
    fn a_prefix_does_not_depend_on_the_length() {
        let address = Address::new(9, Purpose::StepNoise);
        let (mut long, mut short) = ([0f32; 11], [0f32; 5]);
        address.fill_normal(&mut long);
        address.fill_normal(&mut short);
        assert_eq!(long[..5], short);
    }

    #[test]
    fn a_permutation_holds_every_index_once() {
        for n in [0, 1, 2, 7, 1000] {
            let mut order = Address::new(3, Purpose::DataOrder).permutation(n);
            order.sort_unstable();
            assert_eq!(order, (0..n).collect::<Vec<_>>());
        }
    }
}
