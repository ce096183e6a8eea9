//! `lut`, `mad` and `addsub` in plain Rust, for any target: what runs where no vector kernel does.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};

use super::{comment, docs, number, operand};
use crate::spec::{Code, KernelSpec, Scales};

/// `pub unsafe fn <id>(args: &GemvArgs) { … }`
pub fn gemv(spec: &KernelSpec) -> TokenStream {
    let (id, docs) = (format_ident!("{}", spec.id()), docs(spec));
    let lanes = number(spec.lanes());
    let (bytes, operand_bytes) = (
        number(spec.panel_step_bytes()),
        number(operand::step_bytes(spec)),
    );
    let (step, row) = match spec.code {
        Code::B2 => (mad(), quote!(lane)),
        Code::Planes => (addsub(spec), lane_row(spec)),
        _ => (lut(), lane_row(spec)),
    };
    let safety =
        comment("SAFETY: by the contract of `GemvArgs`, which gives the weights and the tokens.");
    let safety_too = comment(
        "SAFETY: by the contract of `GemvArgs`, which gives both ranges, apart from each other.",
    );
    let safety_scales =
        comment("SAFETY: by the contract of `GemvArgs`, which gives a scale for each row.");
    // The outputs, and how a panel's sums are added to them.
    let (outputs, scales, rows, add) = match spec.scales {
        Scales::Whole => (
            quote!(token.out),
            TokenStream::new(),
            quote!(out.chunks_exact_mut(#lanes)),
            quote! {
                for (lane, sum) in sums.iter().enumerate() {
                    out[#row] += sum;
                }
            },
        ),
        Scales::Groups => (
            quote!(token.out.cast::<f32>()),
            quote! {
                #safety_scales
                let scales = unsafe { core::slice::from_raw_parts(args.scales, panels * #lanes) };
            },
            quote!(out.chunks_exact_mut(#lanes).zip(scales.chunks_exact(#lanes))),
            quote! {
                for (lane, &sum) in sums.iter().enumerate() {
                    out[#row] += sum as f32 * scales[#row];
                }
            },
        ),
    };
    let unpacked = match spec.scales {
        Scales::Whole => quote!((weights, out)),
        Scales::Groups => quote!((weights, (out, scales))),
    };
    quote! {
        #docs
        pub unsafe fn #id(args: &GemvArgs) {
            let (panels, steps) = (args.strips + args.singles, args.steps);
            #safety
            let (weights, tokens) = unsafe {
                (
                    core::slice::from_raw_parts(args.weights, panels * steps * #bytes),
                    core::slice::from_raw_parts(args.tokens, args.count),
                )
            };
            #scales
            for token in tokens {
                #safety_too
                let (operand, out) = unsafe {
                    (
                        core::slice::from_raw_parts(token.operand, steps * #operand_bytes),
                        core::slice::from_raw_parts_mut(#outputs, panels * #lanes),
                    )
                };
                for #unpacked in weights.chunks_exact(steps * #bytes).zip(#rows) {
                    let mut sums = [token.correction; #lanes];
                    for (weights, at) in weights.chunks_exact(#bytes).zip(operand.chunks_exact(#operand_bytes)) {
                        #step
                    }
                    #add
                }
            }
        }
    }
}

/// The row that a byte lane belongs to: rows that share four bytes lie a quarter of the panel apart.
fn lane_row(spec: &KernelSpec) -> TokenStream {
    let quarter = number(spec.lanes() / 4);
    quote!(lane % 4 * #quarter + lane / 4)
}

/// A byte indexes a table of all 256 signed sums.
fn lut() -> TokenStream {
    quote! {
        for (sum, &code) in sums.iter_mut().zip(weights) {
            let entry = usize::from(code) * 2;
            *sum += i32::from(i16::from_ne_bytes([at[entry], at[entry + 1]]));
        }
    }
}

/// Four fields a byte, four bytes a row.
fn mad() -> TokenStream {
    quote! {
        for (sum, row) in sums.iter_mut().zip(weights.chunks_exact(4)) {
            for plane in 0..4 {
                for (code, &a) in row.iter().zip(&at[4 * plane..4 * plane + 4]) {
                    *sum += i32::from(code >> (2 * plane) & 3) * i32::from(a as i8);
                }
            }
        }
    }
}

/// A bit of a plane keeps or clears the activation: `a & -1` or `a & 0`.
fn addsub(spec: &KernelSpec) -> TokenStream {
    let lanes = number(spec.lanes());
    quote! {
        let (plus, minus) = weights.split_at(#lanes);
        for ((sum, &plus), &minus) in sums.iter_mut().zip(plus).zip(minus) {
            for (column, &a) in at.iter().enumerate() {
                let a = i32::from(a as i8);
                *sum += a & -i32::from(plus >> (7 - column) & 1);
                *sum -= a & -i32::from(minus >> (7 - column) & 1);
            }
        }
    }
}
