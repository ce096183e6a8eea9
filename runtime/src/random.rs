//! A random generator whose values will never change: the same seed gives the same text with every
//! version of tern and on every platform.
//!
//! xoshiro256++ 1.0 by D. Blackman and S. Vigna (<https://prng.di.unimi.it>), its state filled by
//! SplitMix64 from the seed, as its authors recommend. Not for cryptography.

/// The generator.
#[derive(Clone, Debug)]
pub(crate) struct Xoshiro256PlusPlus {
    state: [u64; 4],
}

impl Xoshiro256PlusPlus {
    /// A generator for a seed; every seed is good.
    pub fn new(mut seed: u64) -> Self {
        let mut split_mix = || {
            seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let z = (seed ^ seed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ z >> 31
        };
        Xoshiro256PlusPlus {
            state: std::array::from_fn(|_| split_mix()),
        }
    }

    /// The next 64 bits.
    pub fn next(&mut self) -> u64 {
        let s = &mut self.state;
        let result = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        result
    }

    /// A number in `[0, 1)`: the upper 53 bits.
    pub fn next_unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first outputs of the authors' C program from the state 1, 2, 3, 4.
    #[test]
    fn matches_the_reference_sequence() {
        let mut random = Xoshiro256PlusPlus {
            state: [1, 2, 3, 4],
        };
        let found: Vec<u64> = (0..5).map(|_| random.next()).collect();
        let expected = [
            41_943_041,
            58_720_359,
            3_588_806_011_781_223,
            3_591_011_842_654_386,
            9_228_616_714_210_784_205,
        ];
        assert_eq!(found, expected);
    }

    /// SplitMix64 from seed 0 begins with this well-known value.
    #[test]
    fn seeds_are_spread_by_split_mix() {
        assert_eq!(Xoshiro256PlusPlus::new(0).state[0], 0xe220_a839_7b1d_cdaf);
        let mut random = Xoshiro256PlusPlus::new(7);
        let mean = (0..10_000).map(|_| random.next_unit()).sum::<f64>() / 10_000.0;
        assert!((mean - 0.5).abs() < 0.01);
    }
}
