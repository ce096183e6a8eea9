//! Intrinsics of 256-bit vectors: AVX2 and AVX-VNNI.

use super::operations::*;
use super::*;

intrinsics! {
    ["avx2"] fn _mm256_setzero_si256() -> __m256i { splat8(0) }
    ["avx2"] fn _mm256_set1_epi8(value: i8) -> __m256i { splat8(value) }
    ["avx2"] fn _mm256_set1_epi16(value: i16) -> __m256i { splat16(value) }
    ["avx2"] fn _mm256_set1_epi32(value: i32) -> __m256i { splat32(value) }
    ["avx2"] fn _mm256_and_si256(a: __m256i, b: __m256i) -> __m256i { and(a, b) }
    ["avx2"] fn _mm256_or_si256(a: __m256i, b: __m256i) -> __m256i { or(a, b) }
    ["avx2"] fn _mm256_xor_si256(a: __m256i, b: __m256i) -> __m256i { xor(a, b) }
    ["avx2"] fn _mm256_andnot_si256(a: __m256i, b: __m256i) -> __m256i { and_not(a, b) }
    ["avx2"] fn _mm256_add_epi8(a: __m256i, b: __m256i) -> __m256i { add8(a, b) }
    ["avx2"] fn _mm256_add_epi16(a: __m256i, b: __m256i) -> __m256i { add16(a, b) }
    ["avx2"] fn _mm256_adds_epi16(a: __m256i, b: __m256i) -> __m256i { add_saturated16(a, b) }
    ["avx2"] fn _mm256_add_epi32(a: __m256i, b: __m256i) -> __m256i { add32(a, b) }
    ["avx2"] fn _mm256_sub_epi8(a: __m256i, b: __m256i) -> __m256i { sub8(a, b) }
    ["avx2"] fn _mm256_sub_epi16(a: __m256i, b: __m256i) -> __m256i { sub16(a, b) }
    ["avx2"] fn _mm256_sub_epi32(a: __m256i, b: __m256i) -> __m256i { sub32(a, b) }
    ["avx2"] fn _mm256_slli_epi16<const BY: i32, in [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 255]>(a: __m256i) -> __m256i { shift_left16(a, BY as u32) }
    ["avx2"] fn _mm256_slli_epi32<const BY: i32, in [0, 1, 2, 8, 16, 24, 31, 32, 255]>(a: __m256i) -> __m256i { shift_left32(a, BY as u32) }
    ["avx2"] fn _mm256_srli_epi16<const BY: i32, in [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 255]>(a: __m256i) -> __m256i { shift_right16(a, BY as u32) }
    ["avx2"] fn _mm256_srli_epi32<const BY: i32, in [0, 1, 2, 8, 16, 24, 31, 32, 255]>(a: __m256i) -> __m256i { shift_right32(a, BY as u32) }
    ["avx2"] fn _mm256_srli_epi64<const BY: i32, in [0, 1, 32, 63, 64, 255]>(a: __m256i) -> __m256i { shift_right64(a, BY as u32) }
    ["avx2"] fn _mm256_srai_epi16<const BY: i32, in [0, 1, 4, 8, 15, 16, 255]>(a: __m256i) -> __m256i { shift_right_signed16(a, BY as u32) }
    ["avx2"] fn _mm256_srai_epi32<const BY: i32, in [0, 1, 2, 3, 4, 6, 8, 16, 31, 32, 255]>(a: __m256i) -> __m256i { shift_right_signed32(a, BY as u32) }
    ["avx2"] fn _mm256_mullo_epi16(a: __m256i, b: __m256i) -> __m256i { multiply16(a, b) }
    ["avx2"] fn _mm256_mullo_epi32(a: __m256i, b: __m256i) -> __m256i { multiply32(a, b) }
    ["avx2"] fn _mm256_mul_epu32(a: __m256i, b: __m256i) -> __m256i { multiply_even32(a, b) }
    ["avx2"] fn _mm256_madd_epi16(a: __m256i, b: __m256i) -> __m256i { multiply_pairs16(a, b) }
    ["avx2"] fn _mm256_maddubs_epi16(u: __m256i, s: __m256i) -> __m256i { multiply_pairs8(u, s) }
    ["avx2"] fn _mm256_shuffle_epi8(table: __m256i, index: __m256i) -> __m256i { shuffle8(table, index) }
    ["avx2"] fn _mm256_shuffle_epi32<const BY: i32, in [0, 8, 216, 27, 255]>(a: __m256i) -> __m256i { shuffle32(a, BY) }
    ["avx2"] fn _mm256_unpacklo_epi8(a: __m256i, b: __m256i) -> __m256i { low_lanes(a, b, 1) }
    ["avx2"] fn _mm256_unpacklo_epi16(a: __m256i, b: __m256i) -> __m256i { low_lanes(a, b, 2) }
    ["avx2"] fn _mm256_unpacklo_epi32(a: __m256i, b: __m256i) -> __m256i { low_lanes(a, b, 4) }
    ["avx2"] fn _mm256_unpacklo_epi64(a: __m256i, b: __m256i) -> __m256i { low_lanes(a, b, 8) }
    ["avx2"] fn _mm256_unpackhi_epi8(a: __m256i, b: __m256i) -> __m256i { high_lanes(a, b, 1) }
    ["avx2"] fn _mm256_unpackhi_epi16(a: __m256i, b: __m256i) -> __m256i { high_lanes(a, b, 2) }
    ["avx2"] fn _mm256_unpackhi_epi32(a: __m256i, b: __m256i) -> __m256i { high_lanes(a, b, 4) }
    ["avx2"] fn _mm256_unpackhi_epi64(a: __m256i, b: __m256i) -> __m256i { high_lanes(a, b, 8) }
    ["avx2"] fn _mm256_cvtepi32_ps(a: __m256i) -> __m256 { to_floats(a) }
    ["avx2"] fn _mm256_add_ps(a: __m256, b: __m256) -> __m256 { add_floats(a, b) }
    ["avx2"] fn _mm256_mul_ps(a: __m256, b: __m256) -> __m256 { multiply_floats(a, b) }
    ["avx2"] fn _mm256_castps_si256(a: __m256) -> __m256i { a.0 }
    ["avx2"] fn _mm256_castsi256_ps(a: __m256i) -> __m256 { Floats(a) }
    ["avx2"] fn _mm256_cmpgt_epi8(a: __m256i, b: __m256i) -> __m256i { greater8(a, b) }
    ["avx2"] fn _mm256_broadcastsi128_si256(a: __m128i) -> __m256i { splat128(a) }
    ["avxvnni"] fn _mm256_dpbusd_avx_epi32(sum: __m256i, u: __m256i, s: __m256i) -> __m256i { dot(sum, u, s) }
}
