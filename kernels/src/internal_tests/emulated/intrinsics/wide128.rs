//! Intrinsics of 128-bit vectors: SSE2 and SSSE3.

use super::operations::*;
use super::*;

intrinsics! {
    ["sse2"] fn _mm_setzero_si128() -> __m128i { splat8(0) }
    ["sse2"] fn _mm_set1_epi8(value: i8) -> __m128i { splat8(value) }
    ["sse2"] fn _mm_set1_epi16(value: i16) -> __m128i { splat16(value) }
    ["sse2"] fn _mm_set1_epi32(value: i32) -> __m128i { splat32(value) }
    ["sse2"] fn _mm_and_si128(a: __m128i, b: __m128i) -> __m128i { and(a, b) }
    ["sse2"] fn _mm_or_si128(a: __m128i, b: __m128i) -> __m128i { or(a, b) }
    ["sse2"] fn _mm_xor_si128(a: __m128i, b: __m128i) -> __m128i { xor(a, b) }
    ["sse2"] fn _mm_andnot_si128(a: __m128i, b: __m128i) -> __m128i { and_not(a, b) }
    ["sse2"] fn _mm_add_epi8(a: __m128i, b: __m128i) -> __m128i { add8(a, b) }
    ["sse2"] fn _mm_add_epi16(a: __m128i, b: __m128i) -> __m128i { add16(a, b) }
    ["sse2"] fn _mm_adds_epi16(a: __m128i, b: __m128i) -> __m128i { add_saturated16(a, b) }
    ["sse2"] fn _mm_add_epi32(a: __m128i, b: __m128i) -> __m128i { add32(a, b) }
    ["sse2"] fn _mm_sub_epi8(a: __m128i, b: __m128i) -> __m128i { sub8(a, b) }
    ["sse2"] fn _mm_sub_epi16(a: __m128i, b: __m128i) -> __m128i { sub16(a, b) }
    ["sse2"] fn _mm_sub_epi32(a: __m128i, b: __m128i) -> __m128i { sub32(a, b) }
    ["sse2"] fn _mm_slli_epi16<const BY: i32, in [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 255]>(a: __m128i) -> __m128i { shift_left16(a, BY as u32) }
    ["sse2"] fn _mm_slli_epi32<const BY: i32, in [0, 1, 2, 8, 16, 24, 31, 32, 255]>(a: __m128i) -> __m128i { shift_left32(a, BY as u32) }
    ["sse2"] fn _mm_srli_epi16<const BY: i32, in [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 255]>(a: __m128i) -> __m128i { shift_right16(a, BY as u32) }
    ["sse2"] fn _mm_srli_epi32<const BY: i32, in [0, 1, 2, 8, 16, 24, 31, 32, 255]>(a: __m128i) -> __m128i { shift_right32(a, BY as u32) }
    ["sse2"] fn _mm_srli_epi64<const BY: i32, in [0, 1, 32, 63, 64, 255]>(a: __m128i) -> __m128i { shift_right64(a, BY as u32) }
    ["sse2"] fn _mm_srai_epi16<const BY: i32, in [0, 1, 4, 8, 15, 16, 255]>(a: __m128i) -> __m128i { shift_right_signed16(a, BY as u32) }
    ["sse2"] fn _mm_srai_epi32<const BY: i32, in [0, 1, 2, 3, 4, 6, 8, 16, 31, 32, 255]>(a: __m128i) -> __m128i { shift_right_signed32(a, BY as u32) }
    ["sse2"] fn _mm_mullo_epi16(a: __m128i, b: __m128i) -> __m128i { multiply16(a, b) }
    ["sse2"] fn _mm_mul_epu32(a: __m128i, b: __m128i) -> __m128i { multiply_even32(a, b) }
    ["sse2"] fn _mm_madd_epi16(a: __m128i, b: __m128i) -> __m128i { multiply_pairs16(a, b) }
    ["ssse3"] fn _mm_maddubs_epi16(u: __m128i, s: __m128i) -> __m128i { multiply_pairs8(u, s) }
    ["ssse3"] fn _mm_shuffle_epi8(table: __m128i, index: __m128i) -> __m128i { shuffle8(table, index) }
    ["sse2"] fn _mm_shuffle_epi32<const BY: i32, in [0, 8, 216, 27, 255]>(a: __m128i) -> __m128i { shuffle32(a, BY) }
    ["sse2"] fn _mm_unpacklo_epi8(a: __m128i, b: __m128i) -> __m128i { low_lanes(a, b, 1) }
    ["sse2"] fn _mm_unpacklo_epi16(a: __m128i, b: __m128i) -> __m128i { low_lanes(a, b, 2) }
    ["sse2"] fn _mm_unpacklo_epi32(a: __m128i, b: __m128i) -> __m128i { low_lanes(a, b, 4) }
    ["sse2"] fn _mm_unpacklo_epi64(a: __m128i, b: __m128i) -> __m128i { low_lanes(a, b, 8) }
    ["sse2"] fn _mm_unpackhi_epi8(a: __m128i, b: __m128i) -> __m128i { high_lanes(a, b, 1) }
    ["sse2"] fn _mm_unpackhi_epi16(a: __m128i, b: __m128i) -> __m128i { high_lanes(a, b, 2) }
    ["sse2"] fn _mm_unpackhi_epi32(a: __m128i, b: __m128i) -> __m128i { high_lanes(a, b, 4) }
    ["sse2"] fn _mm_unpackhi_epi64(a: __m128i, b: __m128i) -> __m128i { high_lanes(a, b, 8) }
    ["sse2"] fn _mm_cvtepi32_ps(a: __m128i) -> __m128 { to_floats(a) }
    ["sse2"] fn _mm_add_ps(a: __m128, b: __m128) -> __m128 { add_floats(a, b) }
    ["sse2"] fn _mm_mul_ps(a: __m128, b: __m128) -> __m128 { multiply_floats(a, b) }
    ["sse2"] fn _mm_castps_si128(a: __m128) -> __m128i { a.0 }
    ["sse2"] fn _mm_castsi128_ps(a: __m128i) -> __m128 { Floats(a) }
    ["sse2"] fn _mm_cmpgt_epi8(a: __m128i, b: __m128i) -> __m128i { greater8(a, b) }
}
