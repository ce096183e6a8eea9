//! Vectors as plain bytes, and what they are made of.

/// A vector of integers in `N` bytes. Which lanes it has is up to each intrinsic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Integers<const N: usize>(pub [u8; N]);

/// A vector of `f32` lanes in `N` bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Floats<const N: usize>(pub Integers<N>);

/// What a lane may hold.
pub trait Lane: Copy {
    /// Bytes of a lane.
    const BYTES: usize;

    /// The value in the bytes of a lane.
    fn read(bytes: &[u8]) -> Self;

    /// Fills the bytes of a lane.
    fn write(self, bytes: &mut [u8]);
}

macro_rules! lanes {
    ($($lane:ident)*) => {
        $(
            impl Lane for $lane {
                const BYTES: usize = size_of::<$lane>();

                fn read(bytes: &[u8]) -> $lane {
                    $lane::from_le_bytes(bytes.try_into().expect("the bytes of a lane"))
                }

                fn write(self, bytes: &mut [u8]) {
                    bytes.copy_from_slice(&self.to_le_bytes());
                }
            }
        )*

        /// Each lane of a vector, by its type.
        impl<const N: usize> Integers<N> {
            $(
                pub fn $lane(&self, lane: usize) -> $lane {
                    self.get(lane)
                }
            )*
        }
    };
}

lanes!(i8 u8 i16 u16 i32 u32 u64 f32);

impl<const N: usize> Integers<N> {
    /// The vector whose lanes are given by their number.
    pub fn each<T: Lane>(lane: impl Fn(usize) -> T) -> Integers<N> {
        let mut bytes = [0; N];
        for (i, bytes) in bytes.chunks_exact_mut(T::BYTES).enumerate() {
            lane(i).write(bytes);
        }
        Integers(bytes)
    }

    fn get<T: Lane>(&self, lane: usize) -> T {
        T::read(&self.0[lane * T::BYTES..][..T::BYTES])
    }
}

impl<const N: usize> Floats<N> {
    /// The vector whose lanes are given by their number.
    pub fn each(lane: impl Fn(usize) -> f32) -> Floats<N> {
        Floats(Integers::each(lane))
    }

    /// A lane.
    pub fn lane(&self, lane: usize) -> f32 {
        self.0.f32(lane)
    }
}
