//! Intrinsics of 512-bit vectors: AVX-512 F and BW, VNNI, VBMI, GFNI.

use super::operations::*;
use super::*;

/// The mask of the bytes for which `holds`.
fn mask8(holds: impl Fn(usize) -> bool) -> __mmask64 {
    (0..64).fold(0, |mask, i| mask | u64::from(holds(i)) << i)
}

/// Bytes of `a` where the mask has a one, of `b` elsewhere.
fn where8(mask: __mmask64, a: __m512i, b: __m512i) -> __m512i {
    Integers::each(|i| if mask >> i & 1 == 1 { a.u8(i) } else { b.u8(i) })
}

/// Each bit by a truth table of three: the bit of `a` is the highest of its index.
fn choose_bits(table: i32, a: __m512i, b: __m512i, c: __m512i) -> __m512i {
    let rows = (0..8u32).filter(|row| table >> row & 1 == 1);
    let matches = |row: u32, place: u32, x: u8| if row >> place & 1 == 1 { x } else { !x };
    rows.fold(splat8(0), |found, row| {
        let all =
            |i| matches(row, 2, a.u8(i)) & matches(row, 1, b.u8(i)) & matches(row, 0, c.u8(i));
        Integers::each(|i| found.u8(i) | all(i))
    })
}

/// Bytes of two vectors by seven bits of index, of which the highest says which vector.
fn permute_two8(low: __m512i, index: __m512i, high: __m512i) -> __m512i {
    Integers::each(|i| match usize::from(index.u8(i) & 127) {
        at @ 64.. => high.u8(at - 64),
        at => low.u8(at),
    })
}

/// The eight bits that start at each offset in the same 64-bit lane of `a`, and go on at its start.
fn pick_bytes(offsets: __m512i, a: __m512i) -> __m512i {
    Integers::each(|i| a.u64(i / 8).rotate_right(u32::from(offsets.u8(i) & 63)) as u8)
}

/// Each byte times the bit matrix in the same 64-bit lane, whose last byte gives the lowest bit of the product, plus a constant.
fn multiply_bits(a: __m512i, rows: __m512i, constant: u8) -> __m512i {
    let bit =
        |i: usize, bit: usize| (rows.u8(i / 8 * 8 + 7 - bit) & a.u8(i)).count_ones() as u8 & 1;
    Integers::each(|i| (0..8).fold(constant, |product, place| product ^ bit(i, place) << place))
}

intrinsics! {
    ["avx512f"] fn _mm512_setzero_si512() -> __m512i { splat8(0) }
    ["avx512f"] fn _mm512_set1_epi8(value: i8) -> __m512i { splat8(value) }
    ["avx512f"] fn _mm512_set1_epi16(value: i16) -> __m512i { splat16(value) }
    ["avx512f"] fn _mm512_set1_epi32(value: i32) -> __m512i { splat32(value) }
    ["avx512f"] fn _mm512_and_si512(a: __m512i, b: __m512i) -> __m512i { and(a, b) }
    ["avx512f"] fn _mm512_or_si512(a: __m512i, b: __m512i) -> __m512i { or(a, b) }
    ["avx512f"] fn _mm512_xor_si512(a: __m512i, b: __m512i) -> __m512i { xor(a, b) }
    ["avx512f"] fn _mm512_andnot_si512(a: __m512i, b: __m512i) -> __m512i { and_not(a, b) }
    ["avx512bw"] fn _mm512_add_epi8(a: __m512i, b: __m512i) -> __m512i { add8(a, b) }
    ["avx512bw"] fn _mm512_add_epi16(a: __m512i, b: __m512i) -> __m512i { add16(a, b) }
    ["avx512bw"] fn _mm512_adds_epi16(a: __m512i, b: __m512i) -> __m512i { add_saturated16(a, b) }
    ["avx512f"] fn _mm512_add_epi32(a: __m512i, b: __m512i) -> __m512i { add32(a, b) }
    ["avx512bw"] fn _mm512_sub_epi8(a: __m512i, b: __m512i) -> __m512i { sub8(a, b) }
    ["avx512bw"] fn _mm512_sub_epi16(a: __m512i, b: __m512i) -> __m512i { sub16(a, b) }
    ["avx512f"] fn _mm512_sub_epi32(a: __m512i, b: __m512i) -> __m512i { sub32(a, b) }
    ["avx512bw"] fn _mm512_slli_epi16<const BY: u32, in [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 255]>(a: __m512i) -> __m512i { shift_left16(a, BY) }
    ["avx512f"] fn _mm512_slli_epi32<const BY: u32, in [0, 1, 2, 8, 16, 24, 31, 32, 255]>(a: __m512i) -> __m512i { shift_left32(a, BY) }
    ["avx512bw"] fn _mm512_srli_epi16<const BY: u32, in [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 255]>(a: __m512i) -> __m512i { shift_right16(a, BY) }
    ["avx512f"] fn _mm512_srli_epi32<const BY: u32, in [0, 1, 2, 8, 16, 24, 31, 32, 255]>(a: __m512i) -> __m512i { shift_right32(a, BY) }
    ["avx512f"] fn _mm512_srli_epi64<const BY: u32, in [0, 1, 32, 63, 64, 255]>(a: __m512i) -> __m512i { shift_right64(a, BY) }
    ["avx512bw"] fn _mm512_srai_epi16<const BY: u32, in [0, 1, 4, 8, 15, 16, 255]>(a: __m512i) -> __m512i { shift_right_signed16(a, BY) }
    ["avx512f"] fn _mm512_srai_epi32<const BY: u32, in [0, 1, 2, 3, 4, 6, 8, 16, 31, 32, 255]>(a: __m512i) -> __m512i { shift_right_signed32(a, BY) }
    ["avx512bw"] fn _mm512_mullo_epi16(a: __m512i, b: __m512i) -> __m512i { multiply16(a, b) }
    ["avx512f"] fn _mm512_mullo_epi32(a: __m512i, b: __m512i) -> __m512i { multiply32(a, b) }
    ["avx512f"] fn _mm512_mul_epu32(a: __m512i, b: __m512i) -> __m512i { multiply_even32(a, b) }
    ["avx512bw"] fn _mm512_madd_epi16(a: __m512i, b: __m512i) -> __m512i { multiply_pairs16(a, b) }
    ["avx512bw"] fn _mm512_maddubs_epi16(u: __m512i, s: __m512i) -> __m512i { multiply_pairs8(u, s) }
    ["avx512bw"] fn _mm512_shuffle_epi8(table: __m512i, index: __m512i) -> __m512i { shuffle8(table, index) }
    ["avx512f"] fn _mm512_shuffle_epi32<const BY: i32, in [0, 8, 216, 27, 255]>(a: __m512i) -> __m512i { shuffle32(a, BY) }
    ["avx512bw"] fn _mm512_unpacklo_epi8(a: __m512i, b: __m512i) -> __m512i { low_lanes(a, b, 1) }
    ["avx512bw"] fn _mm512_unpacklo_epi16(a: __m512i, b: __m512i) -> __m512i { low_lanes(a, b, 2) }
    ["avx512f"] fn _mm512_unpacklo_epi32(a: __m512i, b: __m512i) -> __m512i { low_lanes(a, b, 4) }
    ["avx512f"] fn _mm512_unpacklo_epi64(a: __m512i, b: __m512i) -> __m512i { low_lanes(a, b, 8) }
    ["avx512bw"] fn _mm512_unpackhi_epi8(a: __m512i, b: __m512i) -> __m512i { high_lanes(a, b, 1) }
    ["avx512bw"] fn _mm512_unpackhi_epi16(a: __m512i, b: __m512i) -> __m512i { high_lanes(a, b, 2) }
    ["avx512f"] fn _mm512_unpackhi_epi32(a: __m512i, b: __m512i) -> __m512i { high_lanes(a, b, 4) }
    ["avx512f"] fn _mm512_unpackhi_epi64(a: __m512i, b: __m512i) -> __m512i { high_lanes(a, b, 8) }
    ["avx512f"] fn _mm512_cvtepi32_ps(a: __m512i) -> __m512 { to_floats(a) }
    ["avx512f"] fn _mm512_add_ps(a: __m512, b: __m512) -> __m512 { add_floats(a, b) }
    ["avx512f"] fn _mm512_mul_ps(a: __m512, b: __m512) -> __m512 { multiply_floats(a, b) }
    ["avx512f"] fn _mm512_castps_si512(a: __m512) -> __m512i { a.0 }
    ["avx512f"] fn _mm512_castsi512_ps(a: __m512i) -> __m512 { Floats(a) }
    ["avx512f"] fn _mm512_set1_epi64(value: i64) -> __m512i { Integers::each(|i| (value >> (i % 8 * 8)) as u8) }
    ["avx512f"] fn _mm512_broadcast_i32x4(a: __m128i) -> __m512i { splat128(a) }
    ["avx512vnni"] fn _mm512_dpbusd_epi32(sum: __m512i, u: __m512i, s: __m512i) -> __m512i { dot(sum, u, s) }
    ["avx512f"] fn _mm512_ternarylogic_epi32<const TABLE: i32, in [0, 30, 150, 168, 202, 216, 232, 254, 255]>(a: __m512i, b: __m512i, c: __m512i) -> __m512i { choose_bits(TABLE, a, b, c) }
    ["avx512bw"] fn _mm512_movepi8_mask(a: __m512i) -> __mmask64 { mask8(|i| a.i8(i) < 0) }
    ["avx512bw"] fn _mm512_movm_epi8(mask: __mmask64) -> __m512i { where8(mask, splat8(-1), splat8(0)) }
    ["avx512bw"] fn _mm512_mask_add_epi8(other: __m512i, mask: __mmask64, a: __m512i, b: __m512i) -> __m512i { where8(mask, add8(a, b), other) }
    ["avx512bw"] fn _mm512_mask_sub_epi8(other: __m512i, mask: __mmask64, a: __m512i, b: __m512i) -> __m512i { where8(mask, sub8(a, b), other) }
    ["avx512vbmi"] fn _mm512_permutexvar_epi8(index: __m512i, table: __m512i) -> __m512i { Integers::each(|i| table.u8(usize::from(index.u8(i) & 63))) }
    ["avx512bw"] fn _mm512_permutexvar_epi16(index: __m512i, table: __m512i) -> __m512i { Integers::each(|i| table.u16(usize::from(index.u16(i) & 31))) }
    ["avx512f"] fn _mm512_permutexvar_epi32(index: __m512i, table: __m512i) -> __m512i { Integers::each(|i| table.u32((index.u32(i) & 15) as usize)) }
    ["avx512f"] fn _mm512_permutexvar_epi64(index: __m512i, table: __m512i) -> __m512i { Integers::each(|i| table.u64((index.u64(i) & 7) as usize)) }
    ["avx512vbmi"] fn _mm512_permutex2var_epi8(low: __m512i, index: __m512i, high: __m512i) -> __m512i { permute_two8(low, index, high) }
    ["avx512vbmi"] fn _mm512_multishift_epi64_epi8(offsets: __m512i, a: __m512i) -> __m512i { pick_bytes(offsets, a) }
    ["gfni", "avx512f"] fn _mm512_gf2p8affine_epi64_epi8<const CONSTANT: i32, in [0, 1, 99, 255]>(a: __m512i, rows: __m512i) -> __m512i { multiply_bits(a, rows, CONSTANT as u8) }
}
