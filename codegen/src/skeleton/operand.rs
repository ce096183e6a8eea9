//! Build functions: a token's activations in the form that the kernels of a code read.
//!
//! They are loops in plain Rust, emitted with the features of the kernel's ISA: the compiler vectorises them.

use proc_macro2::{Literal, TokenStream};
use quote::{format_ident, quote};

use super::{comment, features, number};
use crate::budget::{Digits, T7_EXCESS};
use crate::isa::Isa;
use crate::spec::{Code, KernelSpec};

/// Bytes of prepared activations in one step.
pub fn step_bytes(spec: &KernelSpec) -> usize {
    match (spec.isa, spec.code) {
        // All signed sums of five trits as `i16`, indexed by the whole byte.
        (Isa::Scalar, Code::T5) => 256 * 2,
        (Isa::Scalar, Code::Planes) => 8,
        (_, Code::B2) => 16,
        // Two digits of each column, four times: one 32-bit lane.
        (_, Code::Planes) => 8 * 2 * 4,
        // Eight groups of 16 low and 16 high digits.
        (_, Code::T3) => 8 * 2 * 16,
        (_, Code::T5) => 2 * 128,
        // Eight codes of 64 low and 64 high digits.
        (_, Code::T7) => 8 * 2 * 64,
    }
}

/// `pub unsafe fn <build id>(args: &BuildArgs) { … }`
pub fn build(spec: &KernelSpec, name: &str) -> TokenStream {
    let (name, features) = (format_ident!("{name}"), features(spec.isa));
    let title = format!(
        " Prepares activations for the kernels of packing `{}`.",
        spec.packing()
    );
    let (cols, bytes) = (number(spec.code.step_cols()), number(step_bytes(spec)));
    let body = match (spec.isa, spec.code) {
        (_, Code::B2) | (Isa::Scalar, Code::Planes) => quote!(out.copy_from_slice(step);),
        (_, Code::Planes) => planes(),
        (Isa::Scalar, Code::T5) => scalar_table(),
        (_, Code::T7) => halves(),
        (_, Code::T5) => mirrored_five(),
        (_, Code::T3) => mirrored_three(),
    };
    let cast = match (spec.isa, spec.code) {
        (_, Code::B2) | (Isa::Scalar, Code::Planes) => quote!(u8),
        _ => quote!(i8),
    };
    let safety = comment(
        "SAFETY: by the contract of `BuildArgs`, which gives both ranges, apart from each other.",
    );
    quote! {
        #[doc = #title]
        #[doc = ""]
        #[doc = " Emitted by `codegen/src/skeleton/operand.rs`. Change that file, not this text."]
        #[doc = ""]
        #[doc = " # Safety"]
        #[doc = ""]
        #[doc = " `args` meets the contract of [`BuildArgs`]."]
        #features
        pub unsafe fn #name(args: &BuildArgs) {
            #safety
            let (activations, operand) = unsafe {
                (
                    core::slice::from_raw_parts(args.activations.cast::<#cast>(), args.steps * #cols),
                    core::slice::from_raw_parts_mut(args.operand, args.steps * #bytes),
                )
            };
            for (step, out) in activations.chunks_exact(#cols).zip(operand.chunks_exact_mut(#bytes)) {
                #body
            }
        }
    }
}

/// Digits of activations, each four times.
fn planes() -> TokenStream {
    quote! {
        for (&a, out) in step.iter().zip(out.chunks_exact_mut(8)) {
            let high = (i16::from(a) + 8) >> 4;
            let low = i16::from(a) - 16 * high;
            out[..4].fill(low as u8);
            out[4..].fill(high as u8);
        }
    }
}

/// `const TRITS: [[i16; 32]; 3] = { … };`: the three trits of each number below 27, the first trit the fastest (`step` 1) or
/// the slowest (`step` 2), and `let three = …`: the sums of three activations `a`, `b`, `c` in that order.
fn three_trits(fastest_first: bool) -> TokenStream {
    let places = if fastest_first { [0, 1, 2] } else { [2, 1, 0] }.map(number);
    let [first, second, third] = places;
    quote! {
        const TRITS: [[i16; 32]; 3] = {
            let (mut trits, mut n) = ([[0; 32]; 3], 0);
            while n < 27 {
                trits[#first][n] = (n % 3) as i16 - 1;
                trits[#second][n] = (n / 3 % 3) as i16 - 1;
                trits[#third][n] = (n / 9) as i16 - 1;
                n += 1;
            }
            trits
        };
        let three = |a: i16, b: i16, c: i16| {
            core::array::from_fn::<i16, 32, _>(|n| TRITS[0][n] * a + TRITS[1][n] * b + TRITS[2][n] * c)
        };
    }
}

/// `*high = …; *low = …;`: signed digits of `sum`, `sum = radix * high + low`.
///
/// A multiplication by `1 / radix` in 15 fraction bits, rounded; a digit that is off by one rounding is still a right digit.
/// The expression is the one that vector units have an instruction for.
fn signed_digits(code: Code) -> TokenStream {
    let radix = Digits::of(code).map_or(1, |digits| digits.radix);
    let factor = Literal::i32_unsuffixed((32768 + radix / 2) / radix);
    let radix = Literal::i16_unsuffixed(radix as i16);
    quote! {
        let digit = (((i32::from(*sum) * #factor >> 14) + 1) >> 1) as i16;
        *high = digit as u8;
        *low = (*sum - #radix * digit) as u8;
    }
}

/// The 122 sums of magnitudes of five trits, split into signed digits.
///
/// Number `n` of the balanced sums of three trits is their value plus 13. Four trits are three copies of those, moved by the
/// fourth activation; five are half of the copy in the middle and the whole of the upper one.
fn mirrored_five() -> TokenStream {
    let (three, digits) = (three_trits(true), signed_digits(Code::T5));
    quote! {
        #three
        let three = three(i16::from(step[0]), i16::from(step[1]), i16::from(step[2]));
        let (fourth, fifth) = (i16::from(step[3]), i16::from(step[4]));
        // Each copy is 27 sums and some scratch that the next copy overwrites.
        let mut four = [0i16; 96];
        for (at, moved) in [(0, -fourth), (27, 0), (54, fourth)] {
            for n in 0..32 {
                four[at + n] = three[n] + moved;
            }
        }
        let mut sums = [0i16; 144];
        sums[..48].copy_from_slice(&four[40..88]);
        for n in 0..96 {
            sums[41 + n] = four[n] + fifth;
        }
        let (low, high) = out.split_at_mut(128);
        for ((sum, low), high) in sums[..128].iter().zip(low).zip(high) {
            #digits
        }
    }
}

/// The 14 sums of magnitudes of three trits for each of eight groups, split into signed digits.
fn mirrored_three() -> TokenStream {
    let digits = signed_digits(Code::T3);
    quote! {
        const TRITS: [[i16; 16]; 3] = {
            let (mut trits, mut n) = ([[0; 16]; 3], 0);
            while n < 14 {
                // Adding 13 turns balanced digits into plain ones.
                trits[0][n] = ((n + 13) % 3) as i16 - 1;
                trits[1][n] = ((n + 13) / 3 % 3) as i16 - 1;
                trits[2][n] = ((n + 13) / 9) as i16 - 1;
                n += 1;
            }
            trits
        };
        for (group, out) in step.chunks_exact(3).zip(out.chunks_exact_mut(32)) {
            let [a, b, c] = [group[0], group[1], group[2]].map(i16::from);
            let sums: [i16; 16] =
                core::array::from_fn(|n| TRITS[0][n] * a + TRITS[1][n] * b + TRITS[2][n] * c);
            let (low, high) = out.split_at_mut(16);
            for ((sum, low), high) in sums.iter().zip(low).zip(high) {
                #digits
            }
        }
    }
}

/// The 54 sums of three trits and a bit, split into unsigned digits. The second code of a pair takes the shared trit negatively.
fn halves() -> TokenStream {
    let excess = Literal::i16_unsuffixed(T7_EXCESS as i16);
    let three = three_trits(false);
    quote! {
        #three
        for (seven, out) in step.chunks_exact(7).zip(out.chunks_exact_mut(256)) {
            let a = |i: usize| i16::from(seven[i]);
            let codes = [(three(a(0), a(1), a(2)), a(3)), (three(a(4), a(5), a(6)), -a(3))];
            for ((three, bit), out) in codes.iter().zip(out.chunks_exact_mut(128)) {
                let mut sums = [0i16; 64];
                for (at, moved) in [(0, #excess), (27, #excess + bit)] {
                    for n in 0..32 {
                        sums[at + n] = three[n] + moved;
                    }
                }
                let (low, high) = out.split_at_mut(64);
                for ((sum, low), high) in sums.iter().zip(low).zip(high) {
                    *low = (sum & 31) as u8;
                    *high = (sum >> 5) as u8;
                }
            }
        }
    }
}

/// All 243 signed sums of five trits as `i16`, in the byte order of the target, indexed by magnitude and sign.
fn scalar_table() -> TokenStream {
    quote! {
        const TRITS: [[i16; 128]; 5] = {
            let (mut trits, mut n) = ([[0; 128]; 5], 0);
            while n < 122 {
                // Adding 121 turns balanced digits into plain ones.
                let (mut rest, mut place) = (n + 121, 0);
                while place < 5 {
                    trits[place][n] = (rest % 3) as i16 - 1;
                    rest /= 3;
                    place += 1;
                }
                n += 1;
            }
            trits
        };
        let mut sums = [0i16; 128];
        for (&a, trits) in step.iter().zip(&TRITS) {
            for (sum, t) in sums.iter_mut().zip(trits) {
                *sum += t * i16::from(a);
            }
        }
        let (plus, minus) = out.split_at_mut(256);
        for ((sum, plus), minus) in
            sums.iter().zip(plus.chunks_exact_mut(2)).zip(minus.chunks_exact_mut(2))
        {
            plus.copy_from_slice(&sum.to_ne_bytes());
            minus.copy_from_slice(&(-sum).to_ne_bytes());
        }
    }
}
