//! Arguments for comparing intrinsics: random ones, and often the ends of what a lane holds.

use super::vectors::{Floats, Integers};

/// A seeded generator of arguments (splitmix64).
pub struct Samples {
    state: u64,
    /// Bytes that are drawn at once, and whether they are one of the ends.
    lane: usize,
    extreme: bool,
}

impl Samples {
    pub fn new(seed: u64) -> Samples {
        Samples {
            state: seed,
            lane: 1,
            extreme: false,
        }
    }

    /// What the next arguments are made of: lanes of another width, all of them at an end or none.
    pub fn next_kind(&mut self) {
        let kind = self.next();
        self.lane = [1, 2, 4, 8][(kind % 4) as usize];
        self.extreme = kind >> 8 & 1 == 1;
    }

    /// An argument of whatever type.
    pub fn draw<T: Sample>(&mut self) -> T {
        T::draw(self)
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// The bits of a lane: in the extreme 0, 1, -1, the most, or the least of them.
    fn lane(&mut self) -> u64 {
        let (value, sign) = (self.next(), 1 << (8 * self.lane - 1));
        match self.extreme {
            true => [0, 1, u64::MAX, sign - 1, sign][(value % 5) as usize],
            false => value,
        }
    }
}

/// A type of arguments.
pub trait Sample {
    fn draw(samples: &mut Samples) -> Self;
}

impl<const N: usize> Sample for Integers<N> {
    fn draw(samples: &mut Samples) -> Integers<N> {
        let mut bytes = [0; N];
        for lane in bytes.chunks_exact_mut(samples.lane) {
            lane.copy_from_slice(&samples.lane().to_le_bytes()[..lane.len()]);
        }
        Integers(bytes)
    }
}

/// Any numbers, of every magnitude. Which of several NaNs an operation returns is nobody's concern, so there are none.
impl<const N: usize> Sample for Floats<N> {
    fn draw(samples: &mut Samples) -> Floats<N> {
        let lanes: [f32; 16] = std::array::from_fn(|_| {
            let value = f32::from_bits(samples.next() as u32);
            if value.is_finite() { value } else { -0.0 }
        });
        Floats::each(|i| lanes[i])
    }
}

macro_rules! scalars {
    ($($type:ident)*) => {
        $(
            impl Sample for $type {
                fn draw(samples: &mut Samples) -> $type {
                    samples.lane() as $type
                }
            }
        )*
    };
}

scalars!(i8 i16 i32 i64 u64);
