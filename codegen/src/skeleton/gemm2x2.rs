//! `gemm` with products of small matrices: 2 rows of 8 columns of weights times 2 tokens of 8 activations, 32 products an instruction
//! where a dot product of the same vectors has 16.
//!
//! The dot-product layout keeps four columns of a row together, so two quads side by side make the rows of an operand: one
//! interleaving of 32-bit lanes for each two rows, which all tokens of the tile share. A sum holds rows r and r + 1 of tokens n and
//! n + 1, `[r n, r n+1, r+1 n, r+1 n+1]`: the even lanes of two such sums are four rows of the first token, the odd lanes of
//! the second.

use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote};

use super::gemm::Gemm;
use super::{at, comment, ident, number, strided};

impl Gemm<'_> {
    /// One register tile over the whole run of quads, two quads and two tokens at a time.
    pub(super) fn pairs_tile(&self, vectors: usize, tokens: usize) -> TokenStream {
        let zero = self.words.zero();
        let opens = (0..tokens / 2).flat_map(|pair| {
            let zero = zero.clone();
            (0..vectors)
                .flat_map(move |vector| HALVES.map(|half| pair_sum(half, vector, pair)))
                .map(move |sum| quote!(let mut #sum = #zero;))
        });
        let (two, one) = (
            self.step(vectors, tokens, Quads::Two),
            self.step(vectors, tokens, Quads::One),
        );
        let close = self.close_pairs(vectors, tokens);
        let note = comment("A quad without a neighbour has zeros beside it.");
        quote! {
            let (mut at, mut four) = (weights, activations);
            #(#opens)*
            for _ in 0..quads / 2 { #two }
            if quads % 2 == 1 {
                #note
                #one
            }
            #close
        }
    }

    /// One or two quads of columns.
    fn step(&self, vectors: usize, tokens: usize, quads: Quads) -> TokenStream {
        let w = self.words;
        let loads = (0..vectors).map(|vector| {
            let offset = vector * self.spec.lanes() * 4;
            let first = w.load(at("at", offset));
            let second = match (quads, offset) {
                (Quads::One, _) => w.zero(),
                (Quads::Two, 0) => w.load(quote!(at.add(stride))),
                (Quads::Two, _) => {
                    let offset = number(offset);
                    w.load(quote!(at.add(stride + #offset)))
                }
            };
            let [low, high] = HALVES.map(|half| codes(half, vector));
            let [low_rows, high_rows] =
                [false, true].map(|high| w.interleave32(quote!(first), quote!(second), high));
            quote! {
                let (first, second) = (#first, #second);
                let (#low, #high) = (#low_rows, #high_rows);
            }
        });
        let products = (0..tokens / 2).map(|pair| {
            let [a, b] = [0, 1].map(|i| strided("four", 2 * pair + i, "token_stride"));
            let load = match quads {
                Quads::Two => w.load_halves(a, b),
                Quads::One => w.load_quarters(a, b),
            };
            let products = (0..vectors).flat_map(|vector| {
                HALVES.map(|half| {
                    let (sum, codes) = (pair_sum(half, vector, pair), codes(half, vector));
                    let product = w.multiply_2x2(quote!(#sum), quote!(#codes), quote!(a));
                    quote!(#sum = #product;)
                })
            });
            quote! {
                let a = #load;
                #(#products)*
            }
        });
        let advance = match quads {
            Quads::Two => quote! {
                at = at.wrapping_add(2 * stride);
                four = four.wrapping_add(8);
            },
            // Nothing follows it.
            Quads::One => TokenStream::new(),
        };
        quote! {
            #(#loads)*
            #(#products)*
            #advance
        }
    }

    /// Adds the tile's sums to the output.
    fn close_pairs(&self, vectors: usize, tokens: usize) -> TokenStream {
        let w = self.words;
        let rows = (0..tokens).map(|token| {
            let start = strided("out", token, "out_stride");
            let stores = (0..vectors).map(|vector| {
                let [low, high] = HALVES.map(|half| pair_sum(half, vector, token / 2));
                let rows = at("rows", vector * self.spec.lanes() * 4);
                let sums = w.pick32(quote!(#low), quote!(#high), token % 2 == 1);
                let store = w.store(rows.clone(), w.add(32, sums, w.load(rows)));
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

/// How many quads a step takes.
#[derive(Clone, Copy)]
enum Quads {
    One,
    Two,
}

/// The first two of the four rows that a vector of a quad covers, and the last two.
const HALVES: [&str; 2] = ["low", "high"];

/// The sums of two rows of a vector and of a pair of tokens.
fn pair_sum(half: &str, vector: usize, pair: usize) -> Ident {
    ident(&format!("{half}_sum{vector}_"), pair)
}

/// Eight columns of two rows of a vector.
fn codes(half: &str, vector: usize) -> Ident {
    format_ident!("{half}_codes{vector}")
}
