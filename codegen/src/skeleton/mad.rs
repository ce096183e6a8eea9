//! `mad`: two-bit weights unpacked into a dot-product instruction, the family to beat.
//!
//! A byte holds four fields `u = t + 1`, one for each of four columns that are four apart, and four neighbouring bytes of a row
//! meet four neighbouring activations. `sum of t * a` is `sum of u * a` less the sum of the activations, which is taken back once a
//! K block (`correction`). *Classic* shifts every plane down; *shift-free* masks planes in place, keeps a sum for each, and shifts
//! the sums once at the end: `4^p` times a sum is divided exactly.

use proc_macro2::{Ident, Literal, TokenStream};
use quote::quote;

use super::{Skeleton, add_to_rows, at, ident};
use crate::budget::{Planes, planes};
use crate::isa::Vocabulary;
use crate::spec::{KernelSpec, Variant};

/// A multiply-add kernel.
pub struct Mad<'a> {
    pub spec: &'a KernelSpec,
    pub words: &'a dyn Vocabulary,
}

impl Mad<'_> {
    fn planes(&self) -> Planes {
        planes(self.spec.isa, self.spec.variant.unwrap_or(Variant::Classic))
    }

    /// Whether products are added into 16 bits first.
    fn narrow(&self) -> bool {
        self.words.dot_bits() == 16
    }

    /// The sum of accumulator `accumulator` of a panel.
    fn sum(&self, panel: usize, accumulator: usize) -> Ident {
        ident(&format!("sum{panel}_"), accumulator)
    }

    /// `let mut <sum> = 0;` for every panel and accumulator.
    fn zero_sums(&self, panels: usize) -> TokenStream {
        let sums = (0..panels).flat_map(|panel| {
            (0..self.planes().scales.len()).map(move |accumulator| (panel, accumulator))
        });
        let sums = sums.map(|(panel, accumulator)| {
            let (sum, zero) = (self.sum(panel, accumulator), self.words.zero());
            quote!(let mut #sum = #zero;)
        });
        quote!(#(#sums)*)
    }
}

impl Skeleton for Mad<'_> {
    fn constants(&self) -> TokenStream {
        let total = self.words.splat32(quote!(correction));
        quote!(let total = #total;)
    }

    fn open(&self, panels: usize) -> TokenStream {
        if !self.narrow() {
            return self.zero_sums(panels);
        }
        let sums = (0..panels).map(|panel| {
            let (wide, zero) = (ident("wide", panel), self.words.zero());
            quote!(let mut #wide = #zero;)
        });
        quote!(#(#sums)*)
    }

    fn open_window(&self, panels: usize) -> TokenStream {
        if self.narrow() {
            self.zero_sums(panels)
        } else {
            TokenStream::new()
        }
    }

    fn step(&self, panels: usize) -> TokenStream {
        let w = self.words;
        let activations = (0..4).map(|plane| {
            let name = ident("activations", plane);
            let load = w.load_splat32(at("at", 4 * plane));
            quote!(let #name = #load;)
        });
        let dots = (0..panels).map(|panel| {
            let codes = w.load(at("weights", panel * self.spec.panel_step_bytes()));
            let planes = self
                .planes()
                .planes
                .into_iter()
                .enumerate()
                .map(|(index, plane)| {
                    let shifted = match plane.shift {
                        0 => quote!(codes),
                        by => w.shift_right(16, quote!(codes), by),
                    };
                    let fields = w.and(shifted, w.splat8(plane.mask));
                    let sum = self.sum(panel, plane.accumulator);
                    let activations = ident("activations", index);
                    let dot = w.dot(quote!(#sum), fields, quote!(#activations));
                    quote!(#sum = #dot;)
                });
            quote! {
                let codes = #codes;
                #(#planes)*
            }
        });
        quote! {
            #(#activations)*
            #(#dots)*
        }
    }

    fn close_window(&self, panels: usize) -> TokenStream {
        if !self.narrow() {
            return TokenStream::new();
        }
        let w = self.words;
        let sums = (0..panels).flat_map(|panel| {
            self.planes()
                .scales
                .iter()
                .enumerate()
                .map(move |(accumulator, &scale)| {
                    let (wide, sum) = (ident("wide", panel), self.sum(panel, accumulator));
                    // The widening multiplication brings every sum to the largest scale of all.
                    let factor = Literal::i16_unsuffixed(1 << (self.top_scale() - scale));
                    let pairs = w.multiply_pairs16(quote!(#sum), w.splat16(quote!(#factor)));
                    let added = w.add(32, quote!(#wide), pairs);
                    quote!(#wide = #added;)
                })
        });
        quote!(#(#sums)*)
    }

    fn close(&self, panels: usize) -> TokenStream {
        let w = self.words;
        let stores = (0..panels).map(|panel| {
            let parts: Vec<TokenStream> = match self.narrow() {
                true => {
                    let wide = ident("wide", panel);
                    vec![self.scaled_down(quote!(#wide), self.top_scale())]
                }
                false => self
                    .planes()
                    .scales
                    .iter()
                    .enumerate()
                    .map(|(accumulator, &scale)| {
                        let sum = self.sum(panel, accumulator);
                        self.scaled_down(quote!(#sum), scale)
                    })
                    .collect(),
            };
            let value = parts
                .into_iter()
                .reduce(|a, b| w.add(32, a, b))
                .unwrap_or_else(|| w.zero());
            let offset = panel * self.spec.lanes() * 4;
            add_to_rows(self.spec, w, offset, w.add(32, value, quote!(total)))
        });
        quote!(#(#stores)*)
    }
}

impl Mad<'_> {
    /// The largest power of two that an accumulator carries.
    fn top_scale(&self) -> u32 {
        self.planes().scales.iter().copied().max().unwrap_or(0)
    }

    /// `sum / 2^scale`, exact.
    fn scaled_down(&self, sum: TokenStream, scale: u32) -> TokenStream {
        match scale {
            0 => sum,
            by => self.words.shift_right_signed32(sum, by),
        }
    }
}
