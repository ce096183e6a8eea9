//! Loads, stores and prefetches, which the lists cannot hold: they take addresses.

use super::*;

macro_rules! loads_and_stores {
    ($($load:ident $store:ident $vector:ident $memory:ident)*) => {
        $(
            /// The vector at `at`.
            ///
            /// # Safety
            ///
            /// Its bytes are readable.
            pub unsafe fn $load(at: *const $memory) -> $vector {
                // SAFETY: by the contract.
                unsafe { at.cast::<$vector>().read_unaligned() }
            }

            /// Writes `vector` at `at`.
            ///
            /// # Safety
            ///
            /// Its bytes are writable.
            pub unsafe fn $store(at: *mut $memory, vector: $vector) {
                // SAFETY: by the contract.
                unsafe { at.cast::<$vector>().write_unaligned(vector) }
            }
        )*
    };
}

loads_and_stores! {
    _mm_loadu_si128 _mm_storeu_si128 __m128i __m128i
    _mm256_loadu_si256 _mm256_storeu_si256 __m256i __m256i
    _mm512_loadu_si512 _mm512_storeu_si512 __m512i __m512i
}

/// The hint for the second-level cache.
pub const _MM_HINT_T1: i32 = 2;

/// Nothing that a program could see.
pub fn _mm_prefetch<const HINT: i32>(_: *const i8) {}
