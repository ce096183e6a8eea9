//! The vocabulary of AVX-512 with its byte extensions: 512-bit vectors, conditions in mask registers. The ISA of a kernel says which
//! extensions it may use. Two words depend on that: with VBMI a table of bytes is a whole vector, without it 16 bytes in every
//! 128-bit lane, as on AVX2; and a sign is spread over its byte by a bit matrix or by way of a mask register.

use proc_macro2::Literal;
use quote::quote;

use super::{Tokens, Vocabulary, intrinsic, shift};

/// 512-bit vectors.
pub struct Avx512 {
    /// Whether there are byte permutes across the whole vector (VBMI), and with them bit matrices (GFNI).
    pub vbmi: bool,
}

impl Vocabulary for Avx512 {
    fn vector(&self) -> Tokens {
        quote!(__m512i)
    }
    fn zero(&self) -> Tokens {
        quote!(_mm512_setzero_si512())
    }
    fn splat8(&self, byte: u8) -> Tokens {
        let byte = Literal::i8_unsuffixed(byte as i8);
        quote!(_mm512_set1_epi8(#byte))
    }
    fn splat16(&self, value: Tokens) -> Tokens {
        quote!(_mm512_set1_epi16(#value))
    }
    fn splat32(&self, value: Tokens) -> Tokens {
        quote!(_mm512_set1_epi32(#value))
    }
    fn load(&self, at: Tokens) -> Tokens {
        quote!(_mm512_loadu_si512(#at.cast()))
    }
    fn store(&self, at: Tokens, value: Tokens) -> Tokens {
        quote!(_mm512_storeu_si512(#at.cast(), #value))
    }
    fn load_splat32(&self, at: Tokens) -> Tokens {
        quote!(_mm512_set1_epi32(#at.cast::<i32>().read_unaligned()))
    }
    fn load_table(&self, at: Tokens) -> Tokens {
        match self.vbmi {
            true => self.load(at),
            false => quote!(_mm512_broadcast_i32x4(_mm_loadu_si128(#at.cast()))),
        }
    }
    fn table_bytes(&self) -> usize {
        if self.vbmi { 64 } else { 16 }
    }
    fn and(&self, a: Tokens, b: Tokens) -> Tokens {
        quote!(_mm512_and_si512(#a, #b))
    }
    fn or_and(&self, a: Tokens, b: Tokens, mask: Tokens) -> Tokens {
        // 0xa8 is the truth table of `(a | b) & mask`.
        quote!(_mm512_ternarylogic_epi32::<0xa8>(#a, #b, #mask))
    }
    fn xor(&self, a: Tokens, b: Tokens) -> Tokens {
        quote!(_mm512_xor_si512(#a, #b))
    }
    fn merge_bits(&self, mask: Tokens, a: Tokens, b: Tokens) -> Tokens {
        // 0xca is the truth table of `mask ? a : b`.
        quote!(_mm512_ternarylogic_epi32::<0xca>(#mask, #a, #b))
    }
    fn add(&self, bits: u32, a: Tokens, b: Tokens) -> Tokens {
        let name = intrinsic("_mm512_add_epi", bits);
        quote!(#name(#a, #b))
    }
    fn sub(&self, bits: u32, a: Tokens, b: Tokens) -> Tokens {
        let name = intrinsic("_mm512_sub_epi", bits);
        quote!(#name(#a, #b))
    }
    fn shift_right(&self, bits: u32, a: Tokens, by: u32) -> Tokens {
        shift("_mm512_srli_epi", bits, a, by)
    }
    fn shift_right_signed32(&self, a: Tokens, by: u32) -> Tokens {
        shift("_mm512_srai_epi", 32, a, by)
    }
    fn shift_left(&self, bits: u32, a: Tokens, by: u32) -> Tokens {
        shift("_mm512_slli_epi", bits, a, by)
    }
    fn multiply16(&self, a: Tokens, b: Tokens) -> Tokens {
        quote!(_mm512_mullo_epi16(#a, #b))
    }
    fn multiply32(&self, a: Tokens, b: Tokens) -> Tokens {
        quote!(_mm512_mullo_epi32(#a, #b))
    }
    fn lookup(&self, table: &[Tokens], index: Tokens) -> Tokens {
        match (table, self.vbmi) {
            ([t], true) => quote!(_mm512_permutexvar_epi8(#index, #t)),
            ([t], false) => quote!(_mm512_shuffle_epi8(#t, #index)),
            ([low, high], true) => quote!(_mm512_permutex2var_epi8(#low, #index, #high)),
            _ => unreachable!("a table is one vector, or two with VBMI"),
        }
    }
    fn lookup16(&self, table: Tokens, index: Tokens) -> Tokens {
        quote!(_mm512_permutexvar_epi16(#index, #table))
    }
    fn bit_offsets(&self, offsets: [u8; 8]) -> Tokens {
        // The bytes of either half, the first one last.
        let [low, high] = [0, 4].map(|half| &offsets[half..half + 4]).map(|bytes| {
            let digits = bytes.iter().rev().map(|byte| format!("{byte:02x}"));
            digits.collect::<String>()
        });
        let written = format!("0x{high}_{low}");
        let offsets: Literal = written.parse().expect("a number in hexadecimal digits");
        quote!(_mm512_set1_epi64(#offsets))
    }
    fn pick_bytes(&self, offsets: Tokens, a: Tokens) -> Tokens {
        quote!(_mm512_multishift_epi64_epi8(#offsets, #a))
    }
    fn dot(&self, sum: Tokens, u: Tokens, s: Tokens) -> Tokens {
        quote!(_mm512_dpbusd_epi32(#sum, #u, #s))
    }
    fn dot_bits(&self) -> u32 {
        32
    }
    fn highest_bit(&self, a: Tokens) -> Tokens {
        quote!(_mm512_movepi8_mask(#a))
    }
    fn add_where(&self, condition: Tokens, sum: Tokens, a: Tokens) -> Tokens {
        quote!(_mm512_mask_add_epi8(#sum, #condition, #sum, #a))
    }
    fn sub_where(&self, condition: Tokens, sum: Tokens, a: Tokens) -> Tokens {
        quote!(_mm512_mask_sub_epi8(#sum, #condition, #sum, #a))
    }
    fn spread_highest_bit(&self, a: Tokens) -> Tokens {
        if !self.vbmi {
            return quote!(_mm512_movm_epi8(_mm512_movepi8_mask(#a)));
        }
        // Each row of the bit matrix picks bit 7. A mask register would do too, but operations under masks crowd Zen 4's
        // vector pipes: the same kernel took 1.2 times as long with them.
        let rows = self.splat8(0x80);
        quote!(_mm512_gf2p8affine_epi64_epi8::<0>(#a, #rows))
    }
    fn multiply_pairs16(&self, a: Tokens, b: Tokens) -> Tokens {
        quote!(_mm512_madd_epi16(#a, #b))
    }
    fn add_scaled(&self, out: Tokens, sums: Tokens, scales: Tokens) -> Tokens {
        quote!(_mm512_castps_si512(_mm512_add_ps(
            _mm512_castsi512_ps(#out),
            _mm512_mul_ps(_mm512_cvtepi32_ps(#sums), _mm512_castsi512_ps(#scales))
        )))
    }
    fn prefetch(&self, at: Tokens) -> Option<Tokens> {
        Some(quote!(_mm_prefetch::<_MM_HINT_T1>(#at.cast())))
    }
}
