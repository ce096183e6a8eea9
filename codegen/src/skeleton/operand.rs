//! Build functions: a token's activations in the form that the kernels of a code read.
//!
//! They are loops in plain Rust, emitted with the features of the kernel's ISA: the compiler vectorises them.

use proc_macro2::{Literal, TokenStream};
use quote::{format_ident, quote};

use super::{comment, features, number};
use crate::budget::{Digits, T2_EXCESS, T7_EXCESS};
use crate::isa::Isa;
use crate::spec::{Code, KernelSpec};

/// Bytes of prepared activations in one step.
pub fn step_bytes(spec: &KernelSpec) -> usize {
    match (spec.isa, spec.code) {
        // All signed sums of five trits as `i16`, indexed by the whole byte.
        (Isa::Scalar, Code::T5) => 256 * 2,
        (Isa::Scalar, Code::Planes) => 8,
        // The activations as they are.
        (_, Code::B2 | Code::D3 | Code::D5 | Code::M5 | Code::R5) => spec.code.step_cols(),
        // Two digits of each column, four times: one 32-bit lane.
        (_, Code::Planes) => 8 * 2 * 4,
        // Two groups of 16 low and 16 high digits.
        (_, Code::T2) => 2 * 2 * 16,
        // Eight groups of 16 low and 16 high digits.
        (_, Code::T3 | Code::P3) => 8 * 2 * 16,
        // Eight groups of 32 low and 32 high digits.
        (_, Code::F3) => 8 * 2 * 32,
        (_, Code::T5) => 2 * 128,
        // Eight codes of 64 low and 64 high digits.
        (_, Code::T7) => 8 * 2 * 64,
        // 16 low and 16 high digits.
        (_, Code::S4) => 2 * 16,
        // Three codes of 32 words.
        (_, Code::W3) => 3 * 32 * 2,
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
        (_, Code::B2 | Code::D3 | Code::D5 | Code::M5 | Code::R5) | (Isa::Scalar, Code::Planes) => {
            quote!(out.copy_from_slice(step);)
        }
        (_, Code::Planes) => planes(),
        (Isa::Scalar, Code::T5) => scalar_table(),
        (_, Code::T2) => pairs(),
        (_, Code::T7) => halves(),
        (_, Code::F3) => full(),
        (_, Code::W3) => words(),
        (_, Code::S4) => subsets(),
        (_, code) => mirrored(code),
    };
    let cast = match (spec.isa, spec.code) {
        (_, Code::B2 | Code::D3 | Code::D5 | Code::M5 | Code::R5) | (Isa::Scalar, Code::Planes) => {
            quote!(u8)
        }
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

/// `*high = …; *low = …;`: the digits of `sum` as `budget::Digits` defines them; those of mirrored groups complement to the digits
/// of `-sum`.
///
/// A multiplication by `1 / radix` in 16 fraction bits, whose high half vector units compute in one instruction. A digit that
/// is off by one rounding is still a right digit: `budget` checks all of them.
fn digits(code: Code) -> TokenStream {
    let (radix, excess) = Digits::of(code).map_or((1, 0), |digits| (digits.radix, digits.excess));
    let factor = Literal::i32_unsuffixed(65536 / radix);
    let radix = Literal::i16_unsuffixed(radix as i16);
    let value = match Literal::i16_unsuffixed(-excess as i16) {
        _ if excess == 0 => quote!(sum),
        halves => quote!(*sum - #halves),
    };
    // Low bytes that are widened as they are looked up start at 128, where no complement makes them negative.
    let start = (code == Code::P3).then(|| quote!(^ 0x80));
    quote! {
        let digit = ((i32::from(*sum) * #factor) >> 16) as i16;
        *high = digit as u8;
        *low = (#value - #radix * digit) as u8 #start;
    }
}

/// `const TRITS: [[i16; N]; G] = { … };`: for each trit of a mirrored group, its value in each of the table's entries.
fn balanced_trits(group: usize, entries: usize) -> TokenStream {
    let half = 3usize.pow(group as u32) / 2;
    let [group, entries, codes, half] = [group, entries, half + 1, half].map(number);
    quote! {
        const TRITS: [[i16; #entries]; #group] = {
            let (mut trits, mut n) = ([[0; #entries]; #group], 0);
            while n < #codes {
                // The excess turns balanced digits into plain ones.
                let (mut rest, mut place) = (n + #half, 0);
                while place < #group {
                    trits[place][n] = (rest % 3) as i16 - 1;
                    rest /= 3;
                    place += 1;
                }
                n += 1;
            }
            trits
        };
    }
}

/// `let mut sums = …;`: for each entry the sum of the activations, each times its trit in `TRITS`.
///
/// One pass over the entries for each activation: every pass is a multiplication and an addition of whole vectors in registers.
/// Building larger groups from smaller ones takes fewer operations, but its unaligned stores and reloads took five times as long.
fn sums(entries: usize, start: i32, activations: TokenStream) -> TokenStream {
    let (entries, start) = (number(entries), Literal::i16_unsuffixed(start as i16));
    quote! {
        let mut sums = [#start; #entries];
        for (&a, trits) in #activations.iter().zip(&TRITS) {
            for (sum, t) in sums.iter_mut().zip(trits) {
                *sum += t * a;
            }
        }
    }
}

/// Sums of magnitudes, split into digits.
fn mirrored(code: Code) -> TokenStream {
    let (group, entries) = match code {
        Code::T3 | Code::P3 => (3, 16),
        _ => (5, 128),
    };
    let (trits, digits) = (balanced_trits(group, entries), digits(code));
    let sums = sums(entries, 0, quote!(group));
    let widened = (0..group).map(number);
    let [group, entries, both] = [group, entries, 2 * entries].map(number);
    quote! {
        #trits
        for (group, out) in step.chunks_exact(#group).zip(out.chunks_exact_mut(#both)) {
            let group = [#(i16::from(group[#widened])),*];
            #sums
            let (low, high) = out.split_at_mut(#entries);
            for ((sum, low), high) in sums.iter().zip(low).zip(high) {
                #digits
            }
        }
    }
}

/// The nine sums of two trits, split into unsigned digits; nothing indexes the seven entries beyond them.
fn pairs() -> TokenStream {
    let sums = sums(16, T2_EXCESS, quote!(group));
    let radix = Digits::of(Code::T2).map_or(1, |digits| digits.radix as usize);
    let radix = number(radix);
    quote! {
        const TRITS: [[i16; 16]; 2] = {
            let (mut trits, mut n) = ([[0; 16]; 2], 0);
            while n < 9 {
                trits[0][n] = (n / 3) as i16 - 1;
                trits[1][n] = (n % 3) as i16 - 1;
                n += 1;
            }
            trits
        };
        for (group, out) in step.chunks_exact(2).zip(out.chunks_exact_mut(32)) {
            let group = [i16::from(group[0]), i16::from(group[1])];
            #sums
            let (low, high) = out.split_at_mut(16);
            for ((&sum, low), high) in sums.iter().zip(low).zip(high) {
                let sum = sum as u16;
                *low = (sum % #radix) as u8;
                *high = (sum / #radix) as u8;
            }
        }
    }
}

/// The 54 sums of three trits and a bit, split into unsigned digits. The second code of a pair takes the shared trit negatively.
fn halves() -> TokenStream {
    let sums = sums(64, T7_EXCESS, quote!(code));
    quote! {
        const TRITS: [[i16; 64]; 4] = {
            let (mut trits, mut n) = ([[0; 64]; 4], 0);
            while n < 54 {
                trits[0][n] = (n / 9 % 3) as i16 - 1;
                trits[1][n] = (n / 3 % 3) as i16 - 1;
                trits[2][n] = (n % 3) as i16 - 1;
                trits[3][n] = (n / 27) as i16;
                n += 1;
            }
            trits
        };
        for (seven, out) in step.chunks_exact(7).zip(out.chunks_exact_mut(256)) {
            let a = |i: usize| i16::from(seven[i]);
            let codes = [[a(0), a(1), a(2), a(3)], [a(4), a(5), a(6), -a(3)]];
            for (code, out) in codes.iter().zip(out.chunks_exact_mut(128)) {
                #sums
                let (low, high) = out.split_at_mut(64);
                for ((sum, low), high) in sums.iter().zip(low).zip(high) {
                    *low = (sum & 31) as u8;
                    *high = (sum >> 5) as u8;
                }
            }
        }
    }
}

/// The 16 sums of four activations or fewer, each there or not as a bit of the index says, split into digits.
fn subsets() -> TokenStream {
    let (sums, digits) = (sums(16, 0, quote!(group)), digits(Code::S4));
    quote! {
        const TRITS: [[i16; 16]; 4] = {
            let (mut trits, mut n) = ([[0; 16]; 4], 0);
            while n < 16 {
                trits[0][n] = (n & 1) as i16;
                trits[1][n] = (n >> 1 & 1) as i16;
                trits[2][n] = (n >> 2 & 1) as i16;
                trits[3][n] = (n >> 3) as i16;
                n += 1;
            }
            trits
        };
        let group = [0, 1, 2, 3].map(|i| i16::from(step[i]));
        #sums
        let (low, high) = out.split_at_mut(16);
        for ((sum, low), high) in sums.iter().zip(low).zip(high) {
            #digits
        }
    }
}

/// `const TRITS: [[i16; 32]; 3] = { … };`: the trits of the 27 codes of a group of three; nothing indexes the five entries beyond.
fn full_trits() -> TokenStream {
    quote! {
        const TRITS: [[i16; 32]; 3] = {
            let (mut trits, mut n) = ([[0; 32]; 3], 0);
            while n < 27 {
                trits[0][n] = (n / 9) as i16 - 1;
                trits[1][n] = (n / 3 % 3) as i16 - 1;
                trits[2][n] = (n % 3) as i16 - 1;
                n += 1;
            }
            trits
        };
    }
}

/// The 27 sums of three trits as `i16`, in the byte order of the target.
fn words() -> TokenStream {
    let (trits, sums) = (full_trits(), sums(32, 0, quote!(group)));
    quote! {
        #trits
        for (group, out) in step.chunks_exact(3).zip(out.chunks_exact_mut(64)) {
            let group = [0, 1, 2].map(|i| i16::from(group[i]));
            #sums
            for (sum, entry) in sums.iter().zip(out.chunks_exact_mut(2)) {
                entry.copy_from_slice(&sum.to_ne_bytes());
            }
        }
    }
}

/// The 27 sums of three trits, split into digits.
fn full() -> TokenStream {
    let (trits, sums) = (full_trits(), sums(32, 0, quote!(group)));
    let digits = digits(Code::F3);
    quote! {
        #trits
        for (group, out) in step.chunks_exact(3).zip(out.chunks_exact_mut(64)) {
            let group = [0, 1, 2].map(|i| i16::from(group[i]));
            #sums
            let (low, high) = out.split_at_mut(32);
            for ((sum, low), high) in sums.iter().zip(low).zip(high) {
                #digits
            }
        }
    }
}

/// All 243 signed sums of five trits as `i16`, in the byte order of the target, indexed by magnitude and sign.
fn scalar_table() -> TokenStream {
    let (trits, sums) = (balanced_trits(5, 128), sums(128, 0, quote!(group)));
    quote! {
        #trits
        let group = [0, 1, 2, 3, 4].map(|i| i16::from(step[i]));
        #sums
        let (plus, minus) = out.split_at_mut(256);
        for ((sum, plus), minus) in
            sums.iter().zip(plus.chunks_exact_mut(2)).zip(minus.chunks_exact_mut(2))
        {
            plus.copy_from_slice(&sum.to_ne_bytes());
            minus.copy_from_slice(&(-sum).to_ne_bytes());
        }
    }
}
