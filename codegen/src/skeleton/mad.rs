//! `mad`: two-bit weights unpacked into a dot-product instruction, the family to beat.
//!
//! A byte holds four fields `u = t + 1`, one for each of four columns that are four apart, and four neighbouring bytes of a row
//! meet four neighbouring activations. `sum of t * a` is `sum of u * a` less the sum of the activations, which is taken back once a
//! K block (`correction`). *Classic* shifts every plane down; *shift-free* masks planes in place, keeps a sum for each, and shifts
//! the sums once at the end: `4^p` times a sum is divided exactly.

use proc_macro2::{Ident, TokenStream};
use quote::quote;

use super::{Skeleton, add_to_rows, at, ident};
use crate::budget::{Plane, Planes, planes};
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

    /// The sum of accumulator `accumulator` of a panel, or of one of its parts.
    fn sum(&self, panel: usize, accumulator: usize, part: usize) -> Ident {
        ident(&format!("{}sum{panel}_", self.part_name(part)), accumulator)
    }

    /// The 32-bit sum of a panel, or of one of its parts, where products are added into 16 bits first.
    fn wide(&self, panel: usize, part: usize) -> Ident {
        ident(&format!("{}wide", self.part_name(part)), panel)
    }

    /// How the names of a part's sums start.
    fn part_name(&self, part: usize) -> &'static str {
        match (self.words.dot_parts(), part) {
            (1, _) => "",
            (_, 0) => "low_",
            _ => "high_",
        }
    }

    /// `let mut <sum> = 0;` for every panel and accumulator.
    fn zero_sums(&self, panels: usize) -> TokenStream {
        let mut sums = TokenStream::new();
        for panel in 0..panels {
            for accumulator in 0..self.planes().scales.len() {
                for part in 0..self.words.dot_parts() {
                    let (sum, zero) = (self.sum(panel, accumulator, part), self.words.zero());
                    sums.extend(quote!(let mut #sum = #zero;));
                }
            }
        }
        sums
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
        let parts = self.words.dot_parts();
        let sums = (0..panels).flat_map(|panel| (0..parts).map(move |part| (panel, part)));
        let sums = sums.map(|(panel, part)| {
            let (wide, zero) = (self.wide(panel, part), self.words.zero());
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
                .map(|(index, plane)| self.plane(panel, index, plane));
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
        let mut sums = TokenStream::new();
        for panel in 0..panels {
            for (accumulator, &scale) in self.planes().scales.iter().enumerate() {
                // Widening brings every sum to the largest scale of all.
                let up = self.top_scale() - scale;
                for part in 0..w.dot_parts() {
                    let (wide, sum) = (self.wide(panel, part), self.sum(panel, accumulator, part));
                    let added = w.add_pairs16(quote!(#wide), quote!(#sum), up);
                    sums.extend(quote!(#wide = #added;));
                }
            }
        }
        sums
    }

    fn close(&self, panels: usize) -> TokenStream {
        let w = self.words;
        let stores = (0..panels).map(|panel| {
            let parts: Vec<TokenStream> = match self.narrow() {
                true => {
                    let (wide, rest) = (self.wide(panel, 0), self.wide(panel, 1));
                    let rows = match w.dot_parts() {
                        1 => quote!(#wide),
                        _ => w.join_parts(quote!(#wide), quote!(#rest)),
                    };
                    vec![self.scaled_down(rows, self.top_scale())]
                }
                false => self
                    .planes()
                    .scales
                    .iter()
                    .enumerate()
                    .map(|(accumulator, &scale)| {
                        let sum = self.sum(panel, accumulator, 0);
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
    /// `<sum> += <fields of plane index> * <its activations>;`
    fn plane(&self, panel: usize, index: usize, plane: Plane) -> TokenStream {
        let w = self.words;
        let fields = w.byte_bits(quote!(codes), plane.shift, plane.mask, w.splat8(plane.mask));
        let activations = ident("activations", index);
        let sum = self.sum(panel, plane.accumulator, 0);
        if w.dot_parts() == 1 {
            let dot = w.dot(quote!(#sum), fields, quote!(#activations));
            return quote!(#sum = #dot;);
        }
        let rest = self.sum(panel, plane.accumulator, 1);
        let dot = w.dot(quote!(#sum), quote!(fields), quote!(#activations));
        let dot_high = w.dot_high(quote!(#rest), quote!(fields), quote!(#activations));
        quote! {
            let fields = #fields;
            #sum = #dot;
            #rest = #dot_high;
        }
    }

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
