//! NumPy's legacy generator, which the splits and subsets of torch-fidelity are drawn with.

/// Words of the state.
const WORDS: usize = 624;
/// How far back a word looks.
const BACK: usize = 397;

/// `numpy.random.RandomState`: MT19937 (Matsumoto and Nishimura, 1998), seeded by a whole number, and
/// the bounded draws and shuffles that NumPy has frozen for it.
pub(crate) struct RandomState {
    words: [u32; WORDS],
    next: usize,
}

impl RandomState {
    /// `RandomState(seed)`.
    pub(crate) fn new(seed: u32) -> Self {
        let mut words = [seed; WORDS];
        for i in 1..WORDS {
            let last = words[i - 1];
            words[i] = (last ^ (last >> 30)).wrapping_mul(1_812_433_253).wrapping_add(i as u32);
        }
        RandomState { words, next: WORDS }
    }

    /// 32 random bits.
    fn bits(&mut self) -> u32 {
        if self.next == WORDS {
            self.refill();
        }
        let mut word = self.words[self.next];
        self.next += 1;
        word ^= word >> 11;
        word ^= (word << 7) & 0x9d2c_5680;
        word ^= (word << 15) & 0xefc6_0000;
        word ^ (word >> 18)
    }

    fn refill(&mut self) {
        for i in 0..WORDS {
            let (this, after) = (self.words[i], self.words[(i + 1) % WORDS]);
            let mixed = (this & 0x8000_0000) | (after & 0x7fff_ffff);
            let odd = if mixed & 1 == 1 { 0x9908_b0df } else { 0 };
            self.words[i] = self.words[(i + BACK) % WORDS] ^ (mixed >> 1) ^ odd;
        }
        self.next = 0;
    }

    /// A whole number in 0..=`most`: draws of as many bits as it has, until one is not greater.
    fn at_most(&mut self, most: u32) -> u32 {
        let mask = most.checked_ilog2().map_or(0, |bits| u32::MAX >> (31 - bits));
        loop {
            let value = self.bits() & mask;
            if value <= most {
                return value;
            }
        }
    }

    /// `permutation(n)`.
    pub(crate) fn permutation(&mut self, n: u32) -> Vec<u32> {
        let mut order: Vec<u32> = (0..n).collect();
        for i in (1..n).rev() {
            order.swap(i as usize, self.at_most(i) as usize);
        }
        order
    }

    /// `choice(n, size, replace=False)`, of a `size` that is at most `n`.
    pub(crate) fn choice(&mut self, n: u32, size: usize) -> Vec<u32> {
        let mut order = self.permutation(n);
        order.truncate(size);
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_numpy() {
        // numpy.random.RandomState(5489).randint(0, 2**32, dtype=numpy.uint32): the first of MT19937's
        // own test, and the 10,000th, which the C++ standard names.
        let mut state = RandomState::new(5489);
        assert_eq!(state.bits(), 3_499_211_612);
        assert_eq!((1..10_000).map(|_| state.bits()).last(), Some(4_123_659_995));
        // NumPy 2.4, one call after the other on RandomState(2020).
        let mut state = RandomState::new(2020);
        assert_eq!(state.permutation(10), [2, 4, 9, 1, 5, 7, 6, 3, 8, 0]);
        assert_eq!(state.choice(7, 3), [4, 3, 1]);
        assert_eq!(state.permutation(1), [0]);
        assert_eq!(state.permutation(5), [1, 0, 2, 4, 3]);
        assert_eq!(state.permutation(2000)[..5], [1422, 1025, 54, 1780, 1361]);
        assert_eq!(RandomState::new(u32::MAX).permutation(6), [1, 4, 5, 0, 2, 3]);
        assert!(state.permutation(0).is_empty());
    }
}
