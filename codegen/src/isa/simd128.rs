//! The vocabulary of WebAssembly SIMD and of relaxed SIMD, which adds a dot product to it: 128-bit vectors, one type for lanes of
//! every width, conditions as byte masks.
//!
//! There is no product of unsigned and signed bytes, but a relaxed one, and no prefetch. What runs the module turns these words into
//! its own CPU's instructions: SSE and AVX, or NEON.

use proc_macro2::{Literal, TokenStream};
use quote::{format_ident, quote};

use super::{Tokens, Vocabulary};

/// 128-bit vectors.
pub struct Simd128 {
    /// Whether relaxed SIMD multiplies bytes and adds four products into 32 bits.
    pub relaxed: bool,
}

impl Vocabulary for Simd128 {
    fn vector(&self) -> Tokens {
        quote!(v128)
    }
    fn zero(&self) -> Tokens {
        quote!(i32x4_splat(0))
    }
    fn splat8(&self, byte: u8) -> Tokens {
        let byte = Literal::i8_unsuffixed(byte as i8);
        quote!(i8x16_splat(#byte))
    }
    fn splat16(&self, value: Tokens) -> Tokens {
        quote!(i16x8_splat(#value))
    }
    fn splat32(&self, value: Tokens) -> Tokens {
        quote!(i32x4_splat(#value))
    }
    fn load(&self, at: Tokens) -> Tokens {
        quote!(v128_load(#at.cast()))
    }
    fn store(&self, at: Tokens, value: Tokens) -> Tokens {
        quote!(v128_store(#at.cast(), #value))
    }
    fn load_splat32(&self, at: Tokens) -> Tokens {
        quote!(v128_load32_splat(#at.cast()))
    }
    fn load_table(&self, at: Tokens) -> Tokens {
        self.load(at)
    }
    fn table_bytes(&self) -> usize {
        16
    }
    fn and(&self, a: Tokens, b: Tokens) -> Tokens {
        quote!(v128_and(#a, #b))
    }
    fn xor(&self, a: Tokens, b: Tokens) -> Tokens {
        quote!(v128_xor(#a, #b))
    }
    fn or_and(&self, a: Tokens, b: Tokens, mask: Tokens) -> Tokens {
        quote!(v128_and(v128_or(#a, #b), #mask))
    }
    fn merge_bits(&self, mask: Tokens, a: Tokens, b: Tokens) -> Tokens {
        quote!(v128_bitselect(#a, #b, #mask))
    }
    fn add(&self, bits: u32, a: Tokens, b: Tokens) -> Tokens {
        let name = intrinsic("i", bits, "add");
        quote!(#name(#a, #b))
    }
    fn sub(&self, bits: u32, a: Tokens, b: Tokens) -> Tokens {
        let name = intrinsic("i", bits, "sub");
        quote!(#name(#a, #b))
    }
    fn shift_right(&self, bits: u32, a: Tokens, by: u32) -> Tokens {
        let (name, by) = (intrinsic("u", bits, "shr"), Literal::u32_unsuffixed(by));
        quote!(#name(#a, #by))
    }
    fn shift_right_signed32(&self, a: Tokens, by: u32) -> Tokens {
        let by = Literal::u32_unsuffixed(by);
        quote!(i32x4_shr(#a, #by))
    }
    fn shift_left(&self, bits: u32, a: Tokens, by: u32) -> Tokens {
        let (name, by) = (intrinsic("i", bits, "shl"), Literal::u32_unsuffixed(by));
        quote!(#name(#a, #by))
    }
    fn multiply16(&self, a: Tokens, b: Tokens) -> Tokens {
        quote!(i16x8_mul(#a, #b))
    }
    fn multiply32(&self, a: Tokens, b: Tokens) -> Tokens {
        quote!(i32x4_mul(#a, #b))
    }
    fn lookup(&self, table: &[Tokens], index: Tokens) -> Tokens {
        let [t] = table else {
            unreachable!("a WebAssembly table is one vector")
        };
        quote!(i8x16_swizzle(#t, #index))
    }
    /// Even and odd bytes as words, and the product of words that adds neighbours. The compiler folds the field's own mask and
    /// shift into those of its halves, and splits activations once for all panels: two masks, products and additions remain.
    /// Widening the bytes where they stand (`extmul`) is as many operations here, but several instructions each on x86-64.
    ///
    /// The relaxed product leaves two things to the engine, neither of which shows here: whether a factor of the second operand with
    /// its highest bit set is negative, and whether two products saturate when they are added into 16 bits. No field is larger than
    /// 8, and 2 * 8 * -128 is far from saturating; a test of `budget` holds every plane to that.
    fn dot(&self, sum: Tokens, u: Tokens, s: Tokens) -> Tokens {
        if self.relaxed {
            return quote!(i32x4_relaxed_dot_i8x16_i7x16_add(#s, #u, #sum));
        }
        quote!({
            let (u, s) = (#u, #s);
            let even = i32x4_dot_i16x8(
                v128_and(u, i16x8_splat(0xff)),
                i16x8_shr(i16x8_shl(s, 8), 8)
            );
            let odd = i32x4_dot_i16x8(u16x8_shr(u, 8), i16x8_shr(s, 8));
            i32x4_add(#sum, i32x4_add(even, odd))
        })
    }
    fn dot_bits(&self) -> u32 {
        32
    }
    fn highest_bit(&self, a: Tokens) -> Tokens {
        quote!(i8x16_lt(#a, i8x16_splat(0)))
    }
    fn add_where(&self, condition: Tokens, sum: Tokens, a: Tokens) -> Tokens {
        quote!(i8x16_add(#sum, v128_and(#condition, #a)))
    }
    fn sub_where(&self, condition: Tokens, sum: Tokens, a: Tokens) -> Tokens {
        quote!(i8x16_sub(#sum, v128_and(#condition, #a)))
    }
    fn spread_highest_bit(&self, a: Tokens) -> Tokens {
        // A shift of bytes would say the same, but x86-64 has none and takes a comparison in its place.
        self.highest_bit(a)
    }
    fn multiply_pairs16(&self, a: Tokens, b: Tokens) -> Tokens {
        quote!(i32x4_dot_i16x8(#a, #b))
    }
    fn add_scaled(&self, out: Tokens, sums: Tokens, scales: Tokens) -> Tokens {
        quote!(f32x4_add(#out, f32x4_mul(f32x4_convert_i32x4(#sums), #scales)))
    }
    fn prefetch(&self, _at: Tokens) -> Option<Tokens> {
        None
    }
}

/// The intrinsic `operation` for lanes of `bits` bits; `sign` is `i` or `u`.
fn intrinsic(sign: &str, bits: u32, operation: &str) -> TokenStream {
    let name = format_ident!("{sign}{bits}x{}_{operation}", 128 / bits);
    quote!(#name)
}
