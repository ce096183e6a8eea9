//! `gemm`: the dot-product layout times the activations of many tokens.
//!
//! A register tile of sums, some vectors of rows by some tokens, takes one quad of columns at a time: a vector of weights is
//! loaded once for all tokens of the tile, and four activations of a token once for all its rows. Sums of 16 bits (where that is
//! all a dot product has) are added to the output at the end of each window, sums of 32 bits at the end of the run.
//! What fills no whole tile goes through narrower ones. What a loop costs beside its products is four operations for each turn, which
//! the smaller tiles of 16 registers would feel: there a whole tile takes two quads a turn. With 32 registers a turn has twice as many
//! products, and the compiler, given two quads of 24 sums at once, loads so far ahead that it moves vectors to memory.
//!
//! The distances from the first token of a tile to the others are variables of which the compiler does not know that they are multiples
//! of each other. If it does, it makes each token's address of that of the token before: 38 instructions a quad in place of 34 on AVX2.
//!
//! Where the ISA multiplies small matrices ([`Vocabulary::multiply_2x2`]), two quads of a row are one of its operands' rows and the
//! tokens go in pairs; see [`super::gemm2x2`].

use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote};

use super::{Statements, at, comment, features, ident, number, strided};
use crate::batched::GemmSpec;
use crate::budget;
use crate::isa::{Isa, Vocabulary};

/// Tokens of the widest tile whose distances fit the general registers of x86-64 beside the pointers of the loop.
const DISTANCES_MAX: usize = 8;

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
    let groups = widths(spec).into_iter().enumerate().map(|(index, tokens)| {
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
    let distances = skeleton.distances();
    let stride = stride(spec.lanes());
    quote! {
        #docs
        #features
        pub unsafe fn #id(args: &GemmArgs) {
            let GemmArgs { strip_stride, vectors, quads, token_stride, out_stride, .. } = *args;
            #stride
            let (mut activations, mut sums) = (args.activations.cast::<u8>(), args.out);
            let mut left = args.tokens;
            #distances
            #safety
            unsafe {
                #(#groups)*
            }
        }
    }
}

/// What a kernel runs for one quad of a whole tile, and what at the end of a window; `None` for plain Rust and where the tile is of
/// small matrices.
pub fn gemm_statements(spec: &GemmSpec) -> Option<Statements> {
    let words = spec.isa.vocabulary()?;
    let skeleton = Gemm { spec, words };
    (!spec.isa.multiplies_2x2()).then(|| Statements {
        step: skeleton.quad(spec.vectors, spec.tokens),
        window: skeleton.close(spec.vectors, spec.tokens),
    })
}

/// Tokens of the whole tile, and of the narrower ones for what is left.
fn widths(spec: &GemmSpec) -> Vec<usize> {
    let half = match spec.isa.multiplies_2x2() {
        true => spec.tokens / 4 * 2,
        false => spec.tokens / 2,
    };
    let mut widths = vec![spec.tokens, half, 1];
    // A half of nothing stands between two ones.
    widths.retain(|&tokens| tokens > 0);
    widths.dedup();
    widths
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
pub(super) struct Gemm<'a> {
    pub(super) spec: &'a GemmSpec,
    pub(super) words: &'a dyn Vocabulary,
}

impl Gemm<'_> {
    /// Whether the distances of tokens are variables of their own.
    fn has_distances(&self) -> bool {
        !self.spec.isa.multiplies_2x2() && self.spec.tokens <= DISTANCES_MAX
    }

    /// Bytes from a tile's first token to each of those after the second.
    fn distances(&self) -> TokenStream {
        let tokens = if self.has_distances() {
            2..self.spec.tokens
        } else {
            0..0
        };
        let note = (!tokens.is_empty()).then(|| {
            comment("Hidden from the compiler, which would add them up in the inner loop.")
        });
        let distances = tokens.map(|token| {
            let (distance, token) = (ident("distance", token), number(token));
            quote!(let #distance = core::hint::black_box(#token * token_stride);)
        });
        quote!(#note #(#distances)*)
    }

    /// Where the activations of a token of the tile are.
    fn activations(&self, token: usize) -> TokenStream {
        if self.has_distances() && token >= 2 {
            let distance = ident("distance", token);
            return quote!(four.add(#distance));
        }
        strided("four", token, "token_stride")
    }

    /// All rows for `tokens` tokens: in each strip whole tiles, then single vectors.
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
        let tiles = match self.spec.vectors {
            1 => quote!(vectors),
            _ => quote!(vectors / #vectors),
        };
        let singles = (self.spec.vectors > 1).then(|| {
            let (tile, next) = (self.tile(1, tokens), advance(1));
            quote!(for _ in 0..vectors % #vectors { #tile #next })
        });
        quote! {
            let (mut strip, mut out) = (args.weights, sums);
            for _ in 0..args.strips {
                let mut weights = strip;
                for _ in 0..#tiles { #tile #next }
                #singles
                strip = strip.wrapping_add(strip_stride);
            }
        }
    }

    /// One register tile over the whole run of quads.
    fn tile(&self, vectors: usize, tokens: usize) -> TokenStream {
        if self.spec.isa.multiplies_2x2() && tokens > 1 {
            return self.pairs_tile(vectors, tokens);
        }
        let zero = self.words.zero();
        let opens = self
            .sums(vectors, tokens)
            .map(|sum| quote!(let mut #sum = #zero;));
        let opens = quote!(#(#opens)*);
        let (quad, close) = (self.quad(vectors, tokens), self.close(vectors, tokens));
        // Single quads will do for what is left beside the whole tiles, and for large tiles.
        let whole = (vectors, tokens) == (self.spec.vectors, self.spec.tokens);
        let twice = whole && self.spec.isa.registers() <= 16;
        let note = comment("Two quads a turn: the compiler unrolls the inner loop.");
        let next = quote! {
            at = at.wrapping_add(stride);
            four = four.wrapping_add(4);
        };
        // After the last quad of all nothing follows; after that of a window another window may.
        let after = self.spec.window.is_some().then_some(&next);
        let turns = |count: TokenStream| match twice {
            false => quote!(for _ in 0..#count { #quad #next }),
            true => quote! {
                for _ in 0..#count / 2 {
                    #note
                    for _ in 0..2 { #quad #next }
                }
                if #count % 2 == 1 { #quad #after }
            },
        };
        match self.spec.window {
            None => {
                let turns = turns(quote!(quads));
                quote! {
                    let (mut at, mut four) = (weights, activations);
                    #opens
                    #turns
                    #close
                }
            }
            Some(window) => {
                let (window, turns) = (number(window), turns(quote!(window)));
                quote! {
                    let (mut at, mut four) = (weights, activations);
                    let mut rest = quads;
                    while rest > 0 {
                        let window = rest.min(#window);
                        #opens
                        #turns
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
            let load = w.load_splat32(self.activations(token));
            let dots = (0..vectors).map(|vector| {
                let (sum, codes) = (self.sum(vector, token, 0), ident("codes", vector));
                let dot = w.dot(quote!(#sum), quote!(#codes), quote!(a));
                // Where a vector of products needs two of sums, each half of its bytes has one.
                let rest = (w.dot_parts() > 1).then(|| {
                    let sum = self.sum(vector, token, 1);
                    let dot = w.dot_high(quote!(#sum), quote!(#codes), quote!(a));
                    quote!(#sum = #dot;)
                });
                quote!(#sum = #dot; #rest)
            });
            quote! {
                let a = #load;
                #(#dots)*
            }
        });
        quote! {
            #(#loads)*
            #(#dots)*
        }
    }

    /// Adds the tile's sums to the output.
    fn close(&self, vectors: usize, tokens: usize) -> TokenStream {
        let w = self.words;
        let rows = (0..tokens).map(|token| {
            let start = strided("out", token, "out_stride");
            let stores = (0..vectors).map(|vector| {
                let sum = self.sum(vector, token, 0);
                let rows = at("rows", vector * self.spec.lanes() * 4);
                let before = w.load(rows.clone());
                let after = match (self.spec.window, w.dot_parts()) {
                    (None, _) => w.add(32, quote!(#sum), before),
                    (Some(_), 1) => w.add_pairs16(before, quote!(#sum), 0),
                    (Some(_), _) => {
                        let high = self.sum(vector, token, 1);
                        let [low, high] =
                            [sum, high].map(|sum| w.add_pairs16(w.zero(), quote!(#sum), 0));
                        w.add(32, before, w.join_parts(low, high))
                    }
                };
                let store = w.store(rows, after);
                quote!(#store;)
            });
            quote! {
                let rows = #start.cast::<u8>();
                #(#stores)*
            }
        });
        quote!(#(#rows)*)
    }

    /// The sum of a vector of rows and a token, or of one of the two parts that some ISAs' products come in.
    fn sum(&self, vector: usize, token: usize, part: usize) -> Ident {
        let part = match (self.words.dot_parts(), part) {
            (1, _) => "",
            (_, 0) => "low_",
            _ => "high_",
        };
        ident(&format!("{part}sum{vector}_"), token)
    }

    /// All sums of a tile.
    fn sums(&self, vectors: usize, tokens: usize) -> impl Iterator<Item = Ident> {
        (0..tokens).flat_map(move |token| {
            (0..vectors).flat_map(move |vector| {
                (0..self.words.dot_parts()).map(move |part| self.sum(vector, token, part))
            })
        })
    }
}

/// Bytes from a quad of a strip to the next.
fn stride(lanes: usize) -> TokenStream {
    let bytes = number(4 * lanes);
    quote!(let stride = vectors * #bytes;)
}

/// The same in plain Rust, for any target.
fn portable(spec: &GemmSpec) -> TokenStream {
    let (id, docs) = (format_ident!("{}", spec.id()), docs(spec));
    let [lanes, bytes] = [spec.lanes(), spec.lanes() * 4].map(number);
    let safety = comment(
        "SAFETY: by the contract of `GemmArgs`, which gives every strip, and the activations and the sums of every token.",
    );
    quote! {
        #docs
        pub unsafe fn #id(args: &GemmArgs) {
            let (rows, stride) = (args.vectors * #lanes, args.vectors * #bytes);
            for token in 0..args.tokens {
                for strip in 0..args.strips {
                    #safety
                    let (weights, activations, out) = unsafe {
                        (
                            core::slice::from_raw_parts(args.weights.add(strip * args.strip_stride), args.quads * stride),
                            core::slice::from_raw_parts(args.activations.add(token * args.token_stride), 4 * args.quads),
                            core::slice::from_raw_parts_mut(args.out.add(token * args.out_stride + strip * rows), rows),
                        )
                    };
                    for (four, quad) in activations.chunks_exact(4).zip(weights.chunks_exact(stride)) {
                        let four = [0, 1, 2, 3].map(|i| i32::from(four[i]));
                        for (sum, u) in out.iter_mut().zip(quad.chunks_exact(4)) {
                            for (&u, a) in u.iter().zip(four) {
                                *sum = sum.wrapping_add(i32::from(u) * a);
                            }
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_for_what_is_left_are_ever_narrower() {
        for isa in [Isa::Avx2, Isa::I8mm] {
            for tokens in 1..=16 {
                let widths = widths(&GemmSpec {
                    isa,
                    vectors: 1,
                    tokens,
                    window: None,
                });
                assert!(widths.is_sorted_by(|a, b| a > b), "{tokens}: {widths:?}");
                assert_eq!((widths[0], widths.last()), (tokens, Some(&1)));
            }
        }
    }
}
