//! The vocabulary of SSSE3: 128-bit vectors with byte shuffles and byte products, conditions as byte masks. What SSE4.1 added later
//! is spelled without it.

use proc_macro2::Literal;
use quote::quote;

use super::{Tokens, Vocabulary, intrinsic, shift};

/// 128-bit vectors.
pub struct Ssse3;

impl Vocabulary for Ssse3 {
    fn vector(&self) -> Tokens {
        quote!(__m128i)
    }
    fn zero(&self) -> Tokens {
        quote!(_mm_setzero_si128())
    }
    fn splat8(&self, byte: u8) -> Tokens {
        let byte = Literal::i8_unsuffixed(byte as i8);
        quote!(_mm_set1_epi8(#byte))
    }
    fn splat16(&self, value: Tokens) -> Tokens {
        quote!(_mm_set1_epi16(#value))
    }
    fn splat32(&self, value: Tokens) -> Tokens {
        quote!(_mm_set1_epi32(#value))
    }
    fn load(&self, at: Tokens) -> Tokens {
        quote!(_mm_loadu_si128(#at.cast()))
    }
    fn store(&self, at: Tokens, value: Tokens) -> Tokens {
        quote!(_mm_storeu_si128(#at.cast(), #value))
    }
    fn load_splat32(&self, at: Tokens) -> Tokens {
        quote!(_mm_set1_epi32(#at.cast::<i32>().read_unaligned()))
    }
    fn load_table(&self, at: Tokens) -> Tokens {
        self.load(at)
    }
    fn table_bytes(&self) -> usize {
        16
    }
    fn and(&self, a: Tokens, b: Tokens) -> Tokens {
        quote!(_mm_and_si128(#a, #b))
    }
    fn or_and(&self, a: Tokens, b: Tokens, mask: Tokens) -> Tokens {
        quote!(_mm_and_si128(_mm_or_si128(#a, #b), #mask))
    }
    fn xor(&self, a: Tokens, b: Tokens) -> Tokens {
        quote!(_mm_xor_si128(#a, #b))
    }
    fn merge_bits(&self, mask: Tokens, a: Tokens, b: Tokens) -> Tokens {
        quote!(_mm_or_si128(_mm_and_si128(#mask, #a), _mm_andnot_si128(#mask, #b)))
    }
    fn add(&self, bits: u32, a: Tokens, b: Tokens) -> Tokens {
        let name = intrinsic("_mm_add_epi", bits);
        quote!(#name(#a, #b))
    }
    fn sub(&self, bits: u32, a: Tokens, b: Tokens) -> Tokens {
        let name = intrinsic("_mm_sub_epi", bits);
        quote!(#name(#a, #b))
    }
    fn shift_right(&self, bits: u32, a: Tokens, by: u32) -> Tokens {
        shift("_mm_srli_epi", bits, a, by)
    }
    fn shift_right_signed32(&self, a: Tokens, by: u32) -> Tokens {
        shift("_mm_srai_epi", 32, a, by)
    }
    fn shift_left(&self, bits: u32, a: Tokens, by: u32) -> Tokens {
        shift("_mm_slli_epi", bits, a, by)
    }
    fn multiply16(&self, a: Tokens, b: Tokens) -> Tokens {
        quote!(_mm_mullo_epi16(#a, #b))
    }
    fn multiply32(&self, a: Tokens, b: Tokens) -> Tokens {
        // The instruction came with SSE4.1. Before it there is a product of the even lanes alone, so the odd ones are moved there
        // for a second one. Kernels multiply 32-bit lanes at the end of a strip, not in their loops.
        quote!({
            let (a, b) = (#a, #b);
            let even = _mm_mul_epu32(a, b);
            let odd = _mm_mul_epu32(_mm_srli_epi64::<32>(a), _mm_srli_epi64::<32>(b));
            _mm_unpacklo_epi32(_mm_shuffle_epi32::<0b10_00>(even), _mm_shuffle_epi32::<0b10_00>(odd))
        })
    }
    fn lookup(&self, table: &[Tokens], index: Tokens) -> Tokens {
        let [t] = table else {
            unreachable!("an SSSE3 table is one vector")
        };
        quote!(_mm_shuffle_epi8(#t, #index))
    }
    fn dot(&self, sum: Tokens, u: Tokens, s: Tokens) -> Tokens {
        quote!(_mm_add_epi16(#sum, _mm_maddubs_epi16(#u, #s)))
    }
    fn dot_in_order(&self, sum: Tokens, u: Tokens, s: Tokens) -> Tokens {
        // Saturating additions are no slower, and their order matters.
        quote!(_mm_adds_epi16(#sum, _mm_maddubs_epi16(#u, #s)))
    }
    fn dot_bits(&self) -> u32 {
        16
    }
    fn highest_bit(&self, a: Tokens) -> Tokens {
        quote!(_mm_cmpgt_epi8(_mm_setzero_si128(), #a))
    }
    fn add_where(&self, condition: Tokens, sum: Tokens, a: Tokens) -> Tokens {
        quote!(_mm_add_epi8(#sum, _mm_and_si128(#condition, #a)))
    }
    fn sub_where(&self, condition: Tokens, sum: Tokens, a: Tokens) -> Tokens {
        quote!(_mm_sub_epi8(#sum, _mm_and_si128(#condition, #a)))
    }
    fn spread_highest_bit(&self, a: Tokens) -> Tokens {
        quote!(_mm_cmpgt_epi8(_mm_setzero_si128(), #a))
    }
    fn multiply_pairs16(&self, a: Tokens, b: Tokens) -> Tokens {
        quote!(_mm_madd_epi16(#a, #b))
    }
    fn add_scaled(&self, out: Tokens, sums: Tokens, scales: Tokens) -> Tokens {
        quote!(_mm_castps_si128(_mm_add_ps(
            _mm_castsi128_ps(#out),
            _mm_mul_ps(_mm_cvtepi32_ps(#sums), _mm_castsi128_ps(#scales))
        )))
    }
    fn prefetch(&self, at: Tokens) -> Option<Tokens> {
        Some(quote!(_mm_prefetch::<_MM_HINT_T1>(#at.cast())))
    }
}
