//! `gemm`: the dot-product layout times the activations of many tokens.
//!
//! A register tile of sums, some vectors of rows by some tokens, takes one quad of columns at a time: a vector of weights is
//! loaded once for all tokens of the tile, and four activations of a token once for all its rows. Sums of 16 bits (where that is
//! all a dot product has) are added to the output at the end of each window, sums of 32 bits at the end of the run.
//! What fills no whole tile goes through narrower ones.

use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote};

use super::{at, comment, features, ident, number, strided};
use crate::batched::GemmSpec;
use crate::budget;
use crate::isa::{Isa, Vocabulary};

/// `pub unsafe fn <id>(args: &GemmArgs) { … }`
pub fn gemm(spec: &GemmSpec) -> TokenStream {
    let Some(words) = spec.isa.vocabulary() else {
        return portable(spec);
    };
    let skeleton = Gemm { spec, words };
    let (id, docs, features) = (
        format_ident!("{}", spec.id()),
        docs(spec),
        features(spec.isa),
    );
    let mut widths = vec![spec.tokens, spec.tokens / 2, 1];
    widths.dedup();
    widths.retain(|&tokens| tokens > 0);
    let groups = widths.iter().enumerate().map(|(index, &tokens)| {
        let note =
            (index == 1).then(|| comment("Tokens that fill no tile go through narrower ones."));
        let rows = skeleton.rows(tokens);
        let count = number(tokens);
        let [next_token, next_out] = ["token_stride", "out_stride"].map(|stride| {
            let stride = format_ident!("{stride}");
            if tokens == 1 {
                quote!(#stride)
            } else {
                quote!(#count * #stride)
            }
        });
        quote! {
            #note
            while left >= #count {
                #rows
                activations = activations.wrapping_add(#next_token);
                sums = sums.wrapping_add(#next_out);
                left -= #count;
            }
        }
    });
    let safety = comment(
        "SAFETY: by the contract of `GemmArgs`, which gives every byte that is read or written here, and the CPU's ISA.",
    );
    quote! {
        #docs
        #features
        pub unsafe fn #id(args: &GemmArgs) {
            let GemmArgs { stride, vectors, quads, token_stride, out_stride, .. } = *args;
            let (mut activations, mut sums) = (args.activations.cast::<u8>(), args.out);
            let mut left = args.tokens;
            #safety
            unsafe {
                #(#groups)*
            }
        }
    }
}

fn docs(spec: &GemmSpec) -> TokenStream {
    let id = spec.id();
    let isa = spec.isa;
    let title = format!(
        " `{id}`: the dot-product layout times many tokens on {}.",
        isa.name()
    );
    let tile = match isa {
        Isa::Scalar => format!(" Rows in groups of {}, tokens one by one.", spec.lanes()),
        _ => format!(
            " Tiles of {} vectors of {} rows, and {} tokens.",
            spec.vectors,
            spec.lanes(),
            spec.tokens
        ),
    };
    let numbers = match (isa, spec.window) {
        (Isa::Scalar, _) => " Sums are `i32` throughout.".to_owned(),
        (_, None) => format!(
            " {} of {} vector registers. Sums are `i32` throughout.",
            budget::gemm_registers(spec),
            isa.registers()
        ),
        (_, Some(window)) => format!(
            " {} of {} vector registers. Quads before narrow sums are widened: {window} (bound {}).",
            budget::gemm_registers(spec),
            isa.registers(),
            budget::gemm_window_max(isa).unwrap_or(window),
        ),
    };
    quote! {
        #[doc = #title]
        #[doc = ""]
        #[doc = #tile]
        #[doc = #numbers]
        #[doc = " Emitted by `codegen/src/skeleton/gemm.rs`. Change that file, not this text."]
        #[doc = ""]
        #[doc = " # Safety"]
        #[doc = ""]
        #[doc = " `args` meets the contract of [`GemmArgs`]."]
    }
}

/// What the parts of one kernel share.
struct Gemm<'a> {
    spec: &'a GemmSpec,
    words: &'a dyn Vocabulary,
}

impl Gemm<'_> {
    /// All rows for `tokens` tokens: whole tiles, then single vectors.
    fn rows(&self, tokens: usize) -> TokenStream {
        let (vectors, bytes) = (number(self.spec.vectors), self.spec.lanes() * 4);
        let advance = |vectors: usize| {
            let (bytes, rows) = (number(vectors * bytes), number(vectors * self.spec.lanes()));
            quote! {
                weights = weights.wrapping_add(#bytes);
                out = out.wrapping_add(#rows);
            }
        };
        let (tile, next) = (
            self.tile(self.spec.vectors, tokens),
            advance(self.spec.vectors),
        );
        let singles = (self.spec.vectors > 1).then(|| {
            let (tile, next) = (self.tile(1, tokens), advance(1));
            quote!(for _ in 0..vectors % #vectors { #tile #next })
        });
        quote! {
            let (mut weights, mut out) = (args.weights, sums);
            for _ in 0..vectors / #vectors { #tile #next }
            #singles
        }
    }

    /// One register tile over the whole run of quads.
    fn tile(&self, vectors: usize, tokens: usize) -> TokenStream {
        let zero = self.words.zero();
        let opens = sums(vectors, tokens).map(|(_, _, sum)| quote!(let mut #sum = #zero;));
        let opens = quote!(#(#opens)*);
        let (quad, close) = (self.quad(vectors, tokens), self.close(vectors, tokens));
        match self.spec.window {
            None => quote! {
                let (mut at, mut four) = (weights, activations);
                #opens
                for _ in 0..quads { #quad }
                #close
            },
            Some(window) => {
                let window = number(window);
                quote! {
                    let (mut at, mut four) = (weights, activations);
                    let mut rest = quads;
                    while rest > 0 {
                        let window = rest.min(#window);
                        #opens
                        for _ in 0..window { #quad }
                        #close
                        rest -= window;
                    }
                }
            }
        }
    }

    /// One quad of columns.
    fn quad(&self, vectors: usize, tokens: usize) -> TokenStream {
        let w = self.words;
        let loads = (0..vectors).map(|vector| {
            let (codes, load) = (
                ident("codes", vector),
                w.load(at("at", vector * self.spec.lanes() * 4)),
            );
            quote!(let #codes = #load;)
        });
        let dots = (0..tokens).map(|token| {
            let from = strided("four", token, "token_stride");
            let load = w.load_splat32(from);
            let dots = (0..vectors).map(|vector| {
                let (sum, codes) = (sum(vector, token), ident("codes", vector));
                let dot = w.dot(quote!(#sum), quote!(#codes), quote!(a));
                quote!(#sum = #dot;)
            });
            quote! {
                let a = #load;
                #(#dots)*
            }
        });
        quote! {
            #(#loads)*
            #(#dots)*
            at = at.wrapping_add(stride);
            four = four.wrapping_add(4);
        }
    }

    /// Adds the tile's sums to the output.
    fn close(&self, vectors: usize, tokens: usize) -> TokenStream {
        let w = self.words;
        let rows = (0..tokens).map(|token| {
            let start = strided("out", token, "out_stride");
            let stores = (0..vectors).map(|vector| {
                let sum = sum(vector, token);
                let wide = match self.spec.window {
                    None => quote!(#sum),
                    // A product with ones adds neighbouring 16-bit sums.
                    Some(_) => w.multiply_pairs16(quote!(#sum), w.splat16(quote!(1))),
                };
                let rows = at("rows", vector * self.spec.lanes() * 4);
                let store = w.store(rows.clone(), w.add(32, wide, w.load(rows)));
                quote!(#store;)
            });
            quote! {
                let rows = #start.cast::<u8>();
                #(#stores)*
            }
        });
        quote!(#(#rows)*)
    }
}

/// The sum of a vector of rows and a token.
fn sum(vector: usize, token: usize) -> Ident {
    ident(&format!("sum{vector}_"), token)
}

/// All sums of a tile.
fn sums(vectors: usize, tokens: usize) -> impl Iterator<Item = (usize, usize, Ident)> {
    (0..tokens)
        .flat_map(move |token| (0..vectors).map(move |vector| (vector, token, sum(vector, token))))
}

/// The same in plain Rust, for any target.
fn portable(spec: &GemmSpec) -> TokenStream {
    let (id, docs) = (format_ident!("{}", spec.id()), docs(spec));
    let [lanes, bytes] = [spec.lanes(), spec.lanes() * 4].map(number);
    let safety = comment(
        "SAFETY: by the contract of `GemmArgs`, which gives the activations and the sums of every token.",
    );
    let safety_too = comment("SAFETY: by the contract of `GemmArgs`, which gives every quad.");
    quote! {
        #docs
        pub unsafe fn #id(args: &GemmArgs) {
            let rows = args.vectors * #lanes;
            for token in 0..args.tokens {
                #safety
                let (activations, out) = unsafe {
                    (
                        core::slice::from_raw_parts(args.activations.add(token * args.token_stride), 4 * args.quads),
                        core::slice::from_raw_parts_mut(args.out.add(token * args.out_stride), rows),
                    )
                };
                for (quad, four) in activations.chunks_exact(4).enumerate() {
                    let four = [0, 1, 2, 3].map(|i| i32::from(four[i]));
                    #safety_too
                    let weights = unsafe {
                        core::slice::from_raw_parts(args.weights.add(quad * args.stride), args.vectors * #bytes)
                    };
                    for (sum, u) in out.iter_mut().zip(weights.chunks_exact(4)) {
                        for (&u, a) in u.iter().zip(four) {
                            *sum = sum.wrapping_add(i32::from(u) * a);
                        }
                    }
                }
            }
        }
    }
}
