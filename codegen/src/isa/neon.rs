//! The vocabulary of 64-bit ARM: 128-bit vectors, conditions as byte masks, and one of three ways to multiply bytes.
//!
//! NEON's intrinsics have a type for every lane width, but skeletons have one vector, which is bytes here. Words for bytes are
//! intrinsics as they stand; words for wider lanes are helpers, emitted beside the kernels that call them, where the types change.

use proc_macro2::{Ident, Literal, TokenStream};
use quote::{format_ident, quote};

use super::{Helper, Tokens, Vocabulary};

/// 128-bit vectors.
pub struct Neon {
    /// How it multiplies bytes.
    pub dot: Dot,
}

/// The instruction that multiplies weights and activations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dot {
    /// `smlal`: eight products onto 16-bit sums.
    Widening,
    /// `sdot`: sixteen products of signed bytes, four onto each 32-bit sum.
    Signed,
    /// `usdot`: the same with unsigned weights.
    Mixed,
}

impl Vocabulary for Neon {
    fn vector(&self) -> Tokens {
        quote!(uint8x16_t)
    }
    fn zero(&self) -> Tokens {
        quote!(vdupq_n_u8(0))
    }
    fn splat8(&self, byte: u8) -> Tokens {
        let byte = Literal::u8_unsuffixed(byte);
        quote!(vdupq_n_u8(#byte))
    }
    fn splat16(&self, value: Tokens) -> Tokens {
        quote!(vreinterpretq_u8_s16(vdupq_n_s16(#value)))
    }
    fn splat32(&self, value: Tokens) -> Tokens {
        quote!(vreinterpretq_u8_s32(vdupq_n_s32(#value)))
    }
    fn load(&self, at: Tokens) -> Tokens {
        quote!(vld1q_u8(#at))
    }
    fn store(&self, at: Tokens, value: Tokens) -> Tokens {
        quote!(vst1q_u8(#at, #value))
    }
    fn load_splat32(&self, at: Tokens) -> Tokens {
        self.splat32(quote!(#at.cast::<i32>().read_unaligned()))
    }
    fn load_table(&self, at: Tokens) -> Tokens {
        self.load(at)
    }
    fn table_bytes(&self) -> usize {
        16
    }
    fn and(&self, a: Tokens, b: Tokens) -> Tokens {
        quote!(vandq_u8(#a, #b))
    }
    fn or_and(&self, a: Tokens, b: Tokens, mask: Tokens) -> Tokens {
        quote!(vandq_u8(vorrq_u8(#a, #b), #mask))
    }
    fn xor(&self, a: Tokens, b: Tokens) -> Tokens {
        quote!(veorq_u8(#a, #b))
    }
    fn merge_bits(&self, mask: Tokens, a: Tokens, b: Tokens) -> Tokens {
        quote!(vbslq_u8(#mask, #a, #b))
    }
    fn add(&self, bits: u32, a: Tokens, b: Tokens) -> Tokens {
        let name = lanes("add", bits);
        quote!(#name(#a, #b))
    }
    fn sub(&self, bits: u32, a: Tokens, b: Tokens) -> Tokens {
        let name = lanes("sub", bits);
        quote!(#name(#a, #b))
    }
    fn shift_right(&self, bits: u32, a: Tokens, by: u32) -> Tokens {
        shift("shift_right", bits, a, by)
    }
    fn shift_right_signed32(&self, a: Tokens, by: u32) -> Tokens {
        shift("shift_right_signed", 32, a, by)
    }
    fn shift_left(&self, bits: u32, a: Tokens, by: u32) -> Tokens {
        shift("shift_left", bits, a, by)
    }
    fn byte_bits(&self, a: Tokens, shift: u32, mask: u8, mask_vector: Tokens) -> Tokens {
        let by = Literal::u32_unsuffixed(shift);
        match shift {
            0 => self.and(a, mask_vector),
            // What the shift moves in is zero already.
            _ if mask == 0xff >> shift => quote!(vshrq_n_u8::<#by>(#a)),
            _ => self.and(quote!(vshrq_n_u8::<#by>(#a)), mask_vector),
        }
    }
    fn low_nibbles(&self, a: Tokens, b: Tokens) -> Tokens {
        quote!(vsliq_n_u8::<4>(#a, #b))
    }
    fn high_nibbles(&self, a: Tokens, b: Tokens) -> Tokens {
        quote!(vsriq_n_u8::<4>(#b, #a))
    }
    fn multiply16(&self, a: Tokens, b: Tokens) -> Tokens {
        quote!(multiply16(#a, #b))
    }
    fn multiply32(&self, a: Tokens, b: Tokens) -> Tokens {
        quote!(multiply32(#a, #b))
    }
    fn lookup(&self, table: &[Tokens], index: Tokens) -> Tokens {
        match table {
            [t] => quote!(vqtbl1q_u8(#t, #index)),
            [low, high] => quote!(vqtbl2q_u8(uint8x16x2_t(#low, #high), #index)),
            [a, b, c, d] => quote!(vqtbl4q_u8(uint8x16x4_t(#a, #b, #c, #d), #index)),
            _ => unreachable!("a table is one, two or four vectors"),
        }
    }
    fn looks_four_vectors_up(&self) -> bool {
        true
    }
    fn dot(&self, sum: Tokens, u: Tokens, s: Tokens) -> Tokens {
        match self.dot {
            Dot::Widening => quote!(multiply_add_low(#sum, #u, #s)),
            Dot::Signed | Dot::Mixed => quote!(dot(#sum, #u, #s)),
        }
    }
    fn dot_high(&self, sum: Tokens, u: Tokens, s: Tokens) -> Tokens {
        quote!(multiply_add_high(#sum, #u, #s))
    }
    fn dot_parts(&self) -> usize {
        match self.dot {
            Dot::Widening => 2,
            Dot::Signed | Dot::Mixed => 1,
        }
    }
    fn dot_bits(&self) -> u32 {
        match self.dot {
            Dot::Widening => 16,
            Dot::Signed | Dot::Mixed => 32,
        }
    }
    fn join_parts(&self, low: Tokens, high: Tokens) -> Tokens {
        quote!(add_neighbours32(#low, #high))
    }
    fn add_pairs16(&self, sum: Tokens, a: Tokens, scale: u32) -> Tokens {
        match scale {
            0 => quote!(add_pairs16(#sum, #a)),
            by => {
                let by = Literal::u32_unsuffixed(by);
                quote!(add_scaled_pairs16::<#by>(#sum, #a))
            }
        }
    }
    fn highest_bit(&self, a: Tokens) -> Tokens {
        self.spread_highest_bit(a)
    }
    fn add_where(&self, condition: Tokens, sum: Tokens, a: Tokens) -> Tokens {
        quote!(vaddq_u8(#sum, vandq_u8(#condition, #a)))
    }
    fn sub_where(&self, condition: Tokens, sum: Tokens, a: Tokens) -> Tokens {
        quote!(vsubq_u8(#sum, vandq_u8(#condition, #a)))
    }
    fn spread_highest_bit(&self, a: Tokens) -> Tokens {
        quote!(vcltzq_s8(vreinterpretq_s8_u8(#a)))
    }
    fn multiply_pairs16(&self, a: Tokens, b: Tokens) -> Tokens {
        quote!(multiply_pairs16(#a, #b))
    }
    fn add_scaled(&self, out: Tokens, sums: Tokens, scales: Tokens) -> Tokens {
        quote!(add_scaled(#out, #sums, #scales))
    }
    fn prefetch(&self, at: Tokens) -> Option<Tokens> {
        Some(quote!(prefetch_line(#at)))
    }

    fn helpers(&self) -> Vec<Helper> {
        let mut helpers = wide_lanes();
        helpers.extend(shifts());
        helpers.extend(products(self.dot));
        helpers.push(Helper {
            doc: "Asks for the cache line at `at`, which may be any address, in the second-level cache.",
            signature: quote!(prefetch_line(at: *const u8)),
            // The intrinsic is not stable.
            body: assembly(
                "SAFETY: a prefetch neither reads nor writes, whatever the address.",
                quote!("prfm pldl2keep, [{}]", in(reg) at, options(nomem, nostack, preserves_flags)),
            ),
        });
        helpers
    }
}

/// The word for lanes of `bits` bits: an intrinsic for bytes, a helper for what is wider.
fn lanes(word: &str, bits: u32) -> Ident {
    match bits {
        8 => format_ident!("v{word}q_u8"),
        _ => format_ident!("{word}{bits}"),
    }
}

/// A shift by a constant.
fn shift(word: &str, bits: u32, a: Tokens, by: u32) -> TokenStream {
    let (name, by) = (format_ident!("{word}{bits}"), Literal::u32_unsuffixed(by));
    quote!(#name::<#by>(#a))
}

/// `unsafe { core::arch::asm!(…); }` and why it is sound.
fn assembly(safety: &str, code: TokenStream) -> TokenStream {
    quote! {
        comment!(#safety);
        unsafe { core::arch::asm!(#code) };
    }
}

/// A word of two vectors whose lanes have the type `lanes` (`s16`), by the intrinsic `intrinsic` for them.
fn of_two(doc: &'static str, name: &str, intrinsic: &str, lanes: &str) -> Helper {
    let (name, intrinsic) = (
        format_ident!("{name}"),
        format_ident!("{intrinsic}q_{lanes}"),
    );
    let (of, back) = casts(lanes);
    Helper {
        doc,
        signature: quote!(#name(a: uint8x16_t, b: uint8x16_t) -> uint8x16_t),
        body: quote!(#back(#intrinsic(#of(a), #of(b)))),
    }
}

/// The casts from bytes to lanes of type `lanes`, and back.
fn casts(lanes: &str) -> (Ident, Ident) {
    (
        format_ident!("vreinterpretq_{lanes}_u8"),
        format_ident!("vreinterpretq_u8_{lanes}"),
    )
}

/// Sums, differences and products of lanes wider than a byte.
fn wide_lanes() -> Vec<Helper> {
    vec![
        of_two("`a + b` in 16-bit lanes.", "add16", "vadd", "u16"),
        of_two("`a + b` in 32-bit lanes.", "add32", "vadd", "u32"),
        of_two("`a - b` in 16-bit lanes.", "sub16", "vsub", "u16"),
        of_two(
            "Low 16 bits of `a * b` in 16-bit lanes.",
            "multiply16",
            "vmul",
            "u16",
        ),
        of_two(
            "Low 32 bits of `a * b` in 32-bit lanes.",
            "multiply32",
            "vmul",
            "u32",
        ),
        of_two(
            "Sums of neighbouring 32-bit lanes, those of `a` first.",
            "add_neighbours32",
            "vpadd",
            "s32",
        ),
        Helper {
            doc: "`out + sums as f32 * scales` in lanes of `f32`, where `sums` are 32-bit integers; rounded after the product too.",
            signature: quote!(add_scaled(out: uint8x16_t, sums: uint8x16_t, scales: uint8x16_t) -> uint8x16_t),
            body: quote! {
                let sums = vcvtq_f32_s32(vreinterpretq_s32_u8(sums));
                let scaled = vmulq_f32(sums, vreinterpretq_f32_u8(scales));
                vreinterpretq_u8_f32(vaddq_f32(vreinterpretq_f32_u8(out), scaled))
            },
        },
        Helper {
            doc: "Products of 16-bit lanes, neighbours added into 32 bits.",
            signature: quote!(multiply_pairs16(a: uint8x16_t, b: uint8x16_t) -> uint8x16_t),
            body: quote! {
                let (a, b) = (vreinterpretq_s16_u8(a), vreinterpretq_s16_u8(b));
                let low = vmull_s16(vget_low_s16(a), vget_low_s16(b));
                vreinterpretq_u8_s32(vpaddq_s32(low, vmull_high_s16(a, b)))
            },
        },
        Helper {
            doc: "`sum` in 32-bit lanes plus neighbouring 16-bit lanes of `a`.",
            signature: quote!(add_pairs16(sum: uint8x16_t, a: uint8x16_t) -> uint8x16_t),
            body: quote! {
                let sum = vpadalq_s16(vreinterpretq_s32_u8(sum), vreinterpretq_s16_u8(a));
                vreinterpretq_u8_s32(sum)
            },
        },
        Helper {
            doc: "`sum` in 32-bit lanes plus `2^BY` times neighbouring 16-bit lanes of `a`.",
            signature: quote!(add_scaled_pairs16<const BY: i32>(sum: uint8x16_t, a: uint8x16_t) -> uint8x16_t),
            body: quote! {
                let pairs = vshlq_n_s32::<BY>(vpaddlq_s16(vreinterpretq_s16_u8(a)));
                vreinterpretq_u8_s32(vaddq_s32(vreinterpretq_s32_u8(sum), pairs))
            },
        },
    ]
}

/// Shifts of lanes wider than a byte.
fn shifts() -> Vec<Helper> {
    let shift = |doc, name: &str, intrinsic: &str, lanes: &str| {
        let (name, intrinsic) = (
            format_ident!("{name}"),
            format_ident!("{intrinsic}q_n_{lanes}"),
        );
        let (of, back) = casts(lanes);
        Helper {
            doc,
            signature: quote!(#name<const BY: i32>(a: uint8x16_t) -> uint8x16_t),
            body: quote!(#back(#intrinsic::<BY>(#of(a)))),
        }
    };
    vec![
        shift(
            "`a >> BY` in unsigned 16-bit lanes.",
            "shift_right16",
            "vshr",
            "u16",
        ),
        shift(
            "`a >> BY` in unsigned 32-bit lanes.",
            "shift_right32",
            "vshr",
            "u32",
        ),
        shift(
            "`a >> BY` in signed 32-bit lanes.",
            "shift_right_signed32",
            "vshr",
            "s32",
        ),
        shift("`a << BY` in 16-bit lanes.", "shift_left16", "vshl", "u16"),
    ]
}

/// What [`Vocabulary::dot`] and [`Vocabulary::dot_high`] call.
fn products(dot: Dot) -> Vec<Helper> {
    let vectors = quote!((sum: uint8x16_t, u: uint8x16_t, s: uint8x16_t) -> uint8x16_t);
    // The intrinsics are not stable.
    let assembled = |doc, instruction: &str| {
        let code = format!("{instruction} {{0:v}}.4s, {{1:v}}.16b, {{2:v}}.16b");
        let assembly = assembly(
            "SAFETY: works on three registers and touches nothing else.",
            quote! {
                #code, inout(vreg) sum, in(vreg) u, in(vreg) s, options(pure, nomem, nostack, preserves_flags)
            },
        );
        let body = quote! {
            let mut sum = sum;
            #assembly
            sum
        };
        Helper {
            doc,
            signature: quote!(dot #vectors),
            body,
        }
    };
    match dot {
        Dot::Widening => vec![
            Helper {
                doc: "`sum` in 16-bit lanes plus the products of the first eight bytes.",
                signature: quote!(multiply_add_low #vectors),
                body: quote! {
                    let (u, s) = (vreinterpretq_s8_u8(u), vreinterpretq_s8_u8(s));
                    let sum = vreinterpretq_s16_u8(sum);
                    vreinterpretq_u8_s16(vmlal_s8(sum, vget_low_s8(u), vget_low_s8(s)))
                },
            },
            Helper {
                doc: "`sum` in 16-bit lanes plus the products of the last eight bytes.",
                signature: quote!(multiply_add_high #vectors),
                body: quote! {
                    let (u, s) = (vreinterpretq_s8_u8(u), vreinterpretq_s8_u8(s));
                    vreinterpretq_u8_s16(vmlal_high_s8(vreinterpretq_s16_u8(sum), u, s))
                },
            },
        ],
        Dot::Signed => vec![assembled(
            "`sum` in 32-bit lanes plus the products of signed bytes, four in each lane.",
            "sdot",
        )],
        Dot::Mixed => vec![assembled(
            "`sum` in 32-bit lanes plus the products of unsigned bytes `u` and signed bytes `s`, four in each lane.",
            "usdot",
        )],
    }
}
