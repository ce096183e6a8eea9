//! The vocabulary of AVX2 and of AVX-VNNI, which adds a dot product to it: 256-bit vectors, shuffles within 128-bit lanes,
//! conditions as byte masks.

use proc_macro2::Literal;
use quote::quote;

use super::{Isa, Tokens, Vocabulary, intrinsic, shift};

/// 256-bit vectors.
pub struct Avx2 {
    /// Whether AVX-VNNI multiplies and adds into 32 bits at once.
    pub vnni: bool,
}

/// The features that AVX-VNNI's kernels need in the encoding of AVX-512VL.
pub const AVX512VL_FEATURES: &[&str] = &["avx2", "avx512vl", "avx512vnni"];

/// The text of AVX-VNNI's kernels in the encoding of AVX-512VL, which has the same dot product under another name.
///
/// More CPUs have this encoding than the other, so a test runs it for both.
pub fn in_avx512vl(text: &str) -> String {
    text.replace(
        &Isa::AvxVnni.features().join(","),
        &AVX512VL_FEATURES.join(","),
    )
    .replace("_mm256_dpbusd_avx_epi32", "_mm256_dpbusd_epi32")
}

impl Vocabulary for Avx2 {
    fn vector(&self) -> Tokens {
        quote!(__m256i)
    }
    fn zero(&self) -> Tokens {
        quote!(_mm256_setzero_si256())
    }
    fn splat8(&self, byte: u8) -> Tokens {
        let byte = Literal::i8_unsuffixed(byte as i8);
        quote!(_mm256_set1_epi8(#byte))
    }
    fn splat16(&self, value: Tokens) -> Tokens {
        quote!(_mm256_set1_epi16(#value))
    }
    fn splat32(&self, value: Tokens) -> Tokens {
        quote!(_mm256_set1_epi32(#value))
    }
    fn load(&self, at: Tokens) -> Tokens {
        quote!(_mm256_loadu_si256(#at.cast()))
    }
    fn store(&self, at: Tokens, value: Tokens) -> Tokens {
        quote!(_mm256_storeu_si256(#at.cast(), #value))
    }
    fn load_splat32(&self, at: Tokens) -> Tokens {
        quote!(_mm256_set1_epi32(#at.cast::<i32>().read_unaligned()))
    }
    fn load_table(&self, at: Tokens) -> Tokens {
        quote!(_mm256_broadcastsi128_si256(_mm_loadu_si128(#at.cast())))
    }
    fn table_bytes(&self) -> usize {
        16
    }
    fn and(&self, a: Tokens, b: Tokens) -> Tokens {
        quote!(_mm256_and_si256(#a, #b))
    }
    fn or_and(&self, a: Tokens, b: Tokens, mask: Tokens) -> Tokens {
        quote!(_mm256_and_si256(_mm256_or_si256(#a, #b), #mask))
    }
    fn xor(&self, a: Tokens, b: Tokens) -> Tokens {
        quote!(_mm256_xor_si256(#a, #b))
    }
    fn merge_bits(&self, mask: Tokens, a: Tokens, b: Tokens) -> Tokens {
        quote!(_mm256_or_si256(_mm256_and_si256(#mask, #a), _mm256_andnot_si256(#mask, #b)))
    }
    fn add(&self, bits: u32, a: Tokens, b: Tokens) -> Tokens {
        let name = intrinsic("_mm256_add_epi", bits);
        quote!(#name(#a, #b))
    }
    fn sub(&self, bits: u32, a: Tokens, b: Tokens) -> Tokens {
        let name = intrinsic("_mm256_sub_epi", bits);
        quote!(#name(#a, #b))
    }
    fn shift_right(&self, bits: u32, a: Tokens, by: u32) -> Tokens {
        shift("_mm256_srli_epi", bits, a, by)
    }
    fn shift_right_signed32(&self, a: Tokens, by: u32) -> Tokens {
        shift("_mm256_srai_epi", 32, a, by)
    }
    fn shift_left(&self, bits: u32, a: Tokens, by: u32) -> Tokens {
        shift("_mm256_slli_epi", bits, a, by)
    }
    fn multiply16(&self, a: Tokens, b: Tokens) -> Tokens {
        quote!(_mm256_mullo_epi16(#a, #b))
    }
    fn multiply32(&self, a: Tokens, b: Tokens) -> Tokens {
        quote!(_mm256_mullo_epi32(#a, #b))
    }
    /// A shuffle of bytes gives zero where the highest bit of the index is set: for a table of two vectors each index is moved
    /// such that it has that bit in one of them.
    fn lookup(&self, table: &[Tokens], index: Tokens) -> Tokens {
        match table {
            [t] => quote!(_mm256_shuffle_epi8(#t, #index)),
            [low, high] => quote!(_mm256_or_si256(
                _mm256_shuffle_epi8(#low, _mm256_add_epi8(#index, _mm256_set1_epi8(0x70))),
                _mm256_shuffle_epi8(#high, _mm256_sub_epi8(#index, _mm256_set1_epi8(16)))
            )),
            _ => unreachable!("a table is one or two vectors"),
        }
    }
    /// The even and the odd bytes' products in 16 bits, and the upper halves of those.
    fn scale_bytes(&self, u: Tokens, factor: u8) -> Tokens {
        assert!(factor < 128, "the products take the factor as signed");
        let (even, odd) = (i16::from(factor), i16::from(factor) << 8);
        let [even, odd] = [even, odd].map(Literal::i16_unsuffixed);
        quote!(_mm256_or_si256(
            _mm256_srli_epi16::<8>(_mm256_maddubs_epi16(#u, _mm256_set1_epi16(#even))),
            _mm256_and_si256(
                _mm256_maddubs_epi16(#u, _mm256_set1_epi16(#odd)),
                _mm256_set1_epi16(-256)
            )
        ))
    }
    fn dot(&self, sum: Tokens, u: Tokens, s: Tokens) -> Tokens {
        match self.vnni {
            true => quote!(_mm256_dpbusd_avx_epi32(#sum, #u, #s)),
            false => quote!(_mm256_add_epi16(#sum, _mm256_maddubs_epi16(#u, #s))),
        }
    }
    fn dot_in_order(&self, sum: Tokens, u: Tokens, s: Tokens) -> Tokens {
        match self.vnni {
            true => self.dot(sum, u, s),
            // Saturating additions are no slower, and their order matters.
            false => quote!(_mm256_adds_epi16(#sum, _mm256_maddubs_epi16(#u, #s))),
        }
    }
    fn dot_bits(&self) -> u32 {
        if self.vnni { 32 } else { 16 }
    }
    fn highest_bit(&self, a: Tokens) -> Tokens {
        quote!(_mm256_cmpgt_epi8(_mm256_setzero_si256(), #a))
    }
    fn add_where(&self, condition: Tokens, sum: Tokens, a: Tokens) -> Tokens {
        quote!(_mm256_add_epi8(#sum, _mm256_and_si256(#condition, #a)))
    }
    fn sub_where(&self, condition: Tokens, sum: Tokens, a: Tokens) -> Tokens {
        quote!(_mm256_sub_epi8(#sum, _mm256_and_si256(#condition, #a)))
    }
    fn spread_highest_bit(&self, a: Tokens) -> Tokens {
        quote!(_mm256_cmpgt_epi8(_mm256_setzero_si256(), #a))
    }
    fn multiply_pairs16(&self, a: Tokens, b: Tokens) -> Tokens {
        quote!(_mm256_madd_epi16(#a, #b))
    }
    fn add_scaled(&self, out: Tokens, sums: Tokens, scales: Tokens) -> Tokens {
        quote!(_mm256_castps_si256(_mm256_add_ps(
            _mm256_castsi256_ps(#out),
            _mm256_mul_ps(_mm256_cvtepi32_ps(#sums), _mm256_castsi256_ps(#scales))
        )))
    }
    fn prefetch(&self, at: Tokens) -> Option<Tokens> {
        Some(quote!(_mm_prefetch::<_MM_HINT_T1>(#at.cast())))
    }
}
