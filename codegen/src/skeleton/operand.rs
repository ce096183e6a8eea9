//! Build functions: a token's activations in the form that the kernels of a code read.
//!
//! They are loops over constant tables in plain Rust, emitted with the features of the kernel's ISA: the compiler vectorises them.

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

/// Trits of a group and entries of its table.
fn table(spec: &KernelSpec) -> (usize, usize) {
    match (spec.isa, spec.code) {
        (Isa::Scalar, _) => (5, 256),
        (_, Code::T5) => (5, 128),
        (_, Code::T3) => (3, 16),
        _ => (4, 64),
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
        (Isa::Scalar, Code::T5) => scalar_table(spec),
        (_, Code::T7) => halves(spec),
        _ => mirrored(spec),
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

/// `const TRITS: [[i16; N]; G] = { … };`: for each trit of a group, its value in each entry.
fn constant(spec: &KernelSpec) -> TokenStream {
    let (group, entries) = table(spec);
    let (group, entries) = (number(group), number(entries));
    let fill = match (spec.isa, spec.code) {
        (_, Code::T7) => quote! {
            while n < 54 {
                trits[0][n] = (n / 9 % 3) as i16 - 1;
                trits[1][n] = (n / 3 % 3) as i16 - 1;
                trits[2][n] = (n % 3) as i16 - 1;
                trits[3][n] = (n / 27) as i16;
                n += 1;
            }
        },
        (isa, code) => {
            // Adding (3^g - 1) / 2 turns balanced digits into plain ones.
            let (codes, half) = if code == Code::T3 {
                (14, 13)
            } else {
                (122, 121)
            };
            let (codes, half) = (number(codes), number(half));
            let negative =
                (isa == Isa::Scalar).then(|| quote!(trits[place][n + 128] = -trits[place][n];));
            quote! {
                while n < #codes {
                    let (mut rest, mut place) = (n + #half, 0);
                    while place < #group {
                        trits[place][n] = (rest % 3) as i16 - 1;
                        #negative
                        rest /= 3;
                        place += 1;
                    }
                    n += 1;
                }
            }
        }
    };
    quote! {
        const TRITS: [[i16; #entries]; #group] = {
            let (mut trits, mut n) = ([[0; #entries]; #group], 0);
            #fill
            trits
        };
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

/// Sums of magnitudes, split into signed digits: `value = radix * high + low`.
fn mirrored(spec: &KernelSpec) -> TokenStream {
    let ((group, entries), constant) = (table(spec), constant(spec));
    let radix = Digits::of(spec.code).map_or(1, |digits| digits.radix);
    // A multiplication by 1 / radix in 15 fraction bits, rounded: a digit off by one rounding is still a right digit.
    let factor = Literal::i32_unsuffixed((32768 + radix / 2) / radix);
    let (radix, group) = (Literal::i16_unsuffixed(radix as i16), number(group));
    let (count, both) = (number(entries), number(2 * entries));
    quote! {
        #constant
        for (group, out) in step.chunks_exact(#group).zip(out.chunks_exact_mut(#both)) {
            let mut sums = [0i16; #count];
            for (&a, trits) in group.iter().zip(&TRITS) {
                for (sum, t) in sums.iter_mut().zip(trits) {
                    *sum += t * i16::from(a);
                }
            }
            let (low, high) = out.split_at_mut(#count);
            for ((sum, low), high) in sums.iter().zip(low).zip(high) {
                let digit = ((i32::from(*sum) * #factor + 0x4000) >> 15) as i16;
                *high = digit as u8;
                *low = (sum - #radix * digit) as u8;
            }
        }
    }
}

/// Sums of three trits and a bit, split into unsigned digits. The second code of a pair takes the shared trit negatively.
fn halves(spec: &KernelSpec) -> TokenStream {
    let ((_, entries), constant) = (table(spec), constant(spec));
    let excess = Literal::i16_unsuffixed(T7_EXCESS as i16);
    let (count, both, pair) = (number(entries), number(2 * entries), number(4 * entries));
    quote! {
        #constant
        for (seven, out) in step.chunks_exact(7).zip(out.chunks_exact_mut(#pair)) {
            let a = |i: usize| i16::from(seven[i]);
            let codes = [[a(0), a(1), a(2), a(3)], [a(4), a(5), a(6), -a(3)]];
            for (code, out) in codes.iter().zip(out.chunks_exact_mut(#both)) {
                let mut sums = [#excess; #count];
                for (&a, trits) in code.iter().zip(&TRITS) {
                    for (sum, t) in sums.iter_mut().zip(trits) {
                        *sum += t * a;
                    }
                }
                let (low, high) = out.split_at_mut(#count);
                for ((sum, low), high) in sums.iter().zip(low).zip(high) {
                    *low = (sum & 31) as u8;
                    *high = (sum >> 5) as u8;
                }
            }
        }
    }
}

/// All signed sums as `i16`, in the byte order of the target.
fn scalar_table(spec: &KernelSpec) -> TokenStream {
    let ((_, entries), constant) = (table(spec), constant(spec));
    let count = number(entries);
    quote! {
        #constant
        let mut sums = [0i16; #count];
        for (&a, trits) in step.iter().zip(&TRITS) {
            for (sum, t) in sums.iter_mut().zip(trits) {
                *sum += t * i16::from(a);
            }
        }
        for (sum, out) in sums.iter().zip(out.chunks_exact_mut(2)) {
            out.copy_from_slice(&sum.to_ne_bytes());
        }
    }
}
