//! Loads, stores and prefetches, which the other lists cannot hold: they take addresses.

use super::super::samples::Samples;
use super::*;

/// Bytes around what is loaded or stored: addresses of every alignment below that.
const AROUND: usize = 64;

macro_rules! loads_and_stores {
    ($([$feature:tt] $load:ident $store:ident $vector:ident)*) => {
        $(
            /// The vector at `at`.
            ///
            /// # Safety
            ///
            /// Its bytes are readable.
            pub unsafe fn $load(at: *const $vector) -> $vector {
                // SAFETY: by the contract.
                unsafe { at.read_unaligned() }
            }

            /// Writes `vector` at `at`.
            ///
            /// # Safety
            ///
            /// Its bytes are writable.
            pub unsafe fn $store(at: *mut $vector, vector: $vector) {
                // SAFETY: by the contract.
                unsafe { at.write_unaligned(vector) }
            }
        )*

        /// The list, for the test that compares it with the CPU's own.
        pub const COMPARISONS: &[Comparison] = &[$(
            Comparison {
                name: stringify!($load),
                constants: &[],
                detected: || std::arch::is_x86_feature_detected!($feature),
                compare: |samples| {
                    let (start, bytes) = place(samples);
                    let at = bytes[start..].as_ptr();
                    // SAFETY: a vector's bytes and more follow, and the callers have asked whether the CPU has the instruction.
                    let (emulated, real) = unsafe {
                        ($load(at.cast()), bytes_as(real::$load(at.cast())))
                    };
                    assert_eq!(emulated, real, "{}", stringify!($load));
                },
            },
            Comparison {
                name: stringify!($store),
                constants: &[],
                detected: || std::arch::is_x86_feature_detected!($feature),
                compare: |samples| {
                    let (start, mut emulated) = place(samples);
                    let (mut real, vector) = (emulated, samples.draw());
                    // SAFETY: as for the load.
                    unsafe {
                        $store(emulated[start..].as_mut_ptr().cast(), vector);
                        let vector = bytes_as::<$vector, real::$vector>(vector);
                        real::$store(real[start..].as_mut_ptr().cast(), vector);
                    }
                    assert_eq!(emulated, real, "{}", stringify!($store));
                },
            }
        ),*];
    };
}

loads_and_stores! {
    ["sse2"] _mm_loadu_si128 _mm_storeu_si128 __m128i
    ["avx2"] _mm256_loadu_si256 _mm256_storeu_si256 __m256i
    ["avx512f"] _mm512_loadu_si512 _mm512_storeu_si512 __m512i
}

/// Bytes, and where among them a vector starts, with room for the widest.
fn place(samples: &mut Samples) -> (usize, [u8; 2 * AROUND + size_of::<__m512i>()]) {
    samples.next_kind();
    let start = samples.draw::<u64>() as usize % AROUND;
    (start, std::array::from_fn(|_| samples.draw::<i8>() as u8))
}

/// The hint for the second-level cache.
pub const _MM_HINT_T1: i32 = 2;

/// Nothing that a program could see, and so nothing to compare.
pub fn _mm_prefetch<const HINT: i32>(_: *const i8) {}
