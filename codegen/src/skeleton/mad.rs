//! `mad`: two-bit weights unpacked into a dot-product instruction, the family to beat.
//!
//! A byte holds four fields `u = t + 1`, one for each of four columns that are four apart, and four neighbouring bytes of a row
//! meet four neighbouring activations. `sum of t * a` is `sum of u * a` less the sum of the activations, which is taken back once a
//! K block (`correction`). *Classic* shifts every plane down; *shift-free* masks planes in place, keeps a sum for each, and shifts
//! the sums once at the end: `4^p` times a sum is divided exactly.

use proc_macro2::{Literal, TokenStream};
use quote::quote;

use super::fields::Sums;
use super::{Skeleton, at, ident};
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

    fn sums(&self) -> Sums<'_> {
        Sums {
            spec: self.spec,
            words: self.words,
            scales: self.planes().scales,
        }
    }

    /// Whether products are added into 16 bits first.
    fn narrow(&self) -> bool {
        self.words.dot_bits() == 16
    }

    /// The largest power of two that an accumulator carries.
    fn top_scale(&self) -> u32 {
        self.planes().scales.iter().copied().max().unwrap_or(0)
    }
}

impl Skeleton for Mad<'_> {
    fn constants(&self) -> TokenStream {
        self.sums().constants()
    }

    fn open(&self, panels: usize) -> TokenStream {
        if !self.narrow() {
            return self.sums().zero(panels);
        }
        let sums = (0..panels).map(|panel| {
            let (wide, zero) = (ident("wide", panel), self.words.zero());
            quote!(let mut #wide = #zero;)
        });
        quote!(#(#sums)*)
    }

    fn open_window(&self, panels: usize) -> TokenStream {
        if self.narrow() {
            self.sums().zero(panels)
        } else {
            TokenStream::new()
        }
    }

    fn step(&self, panels: usize) -> TokenStream {
        let (w, sums) = (self.words, self.sums());
        let activations = sums.activations(4);
        let dots = (0..panels).map(|panel| {
            let codes = w.load(at("weights", panel * self.spec.panel_step_bytes()));
            let planes = self.planes().planes;
            let planes = planes.into_iter().enumerate().map(|(index, plane)| {
                let shifted = match plane.shift {
                    0 => quote!(codes),
                    by => w.shift_right(16, quote!(codes), by),
                };
                let fields = w.and(shifted, w.splat8(plane.mask));
                sums.add(panel, plane.accumulator, fields, index)
            });
            quote! {
                let codes = #codes;
                #(#planes)*
            }
        });
        quote! {
            #activations
            #(#dots)*
        }
    }

    fn close_window(&self, panels: usize) -> TokenStream {
        if !self.narrow() {
            return TokenStream::new();
        }
        let (w, sums) = (self.words, self.sums());
        let (sums, top) = (&sums, self.top_scale());
        let widened = (0..panels).flat_map(|panel| {
            sums.scales
                .iter()
                .enumerate()
                .map(move |(accumulator, &scale)| {
                    let (wide, sum) = (ident("wide", panel), sums.name(panel, accumulator));
                    // The widening multiplication brings every sum to the largest scale of all.
                    let factor = Literal::i16_unsuffixed(1 << (top - scale));
                    let pairs = w.multiply_pairs16(quote!(#sum), w.splat16(quote!(#factor)));
                    let added = w.add(32, quote!(#wide), pairs);
                    quote!(#wide = #added;)
                })
        });
        quote!(#(#widened)*)
    }

    fn close(&self, panels: usize) -> TokenStream {
        let sums = self.sums();
        let stores = (0..panels).map(|panel| {
            let value = match self.narrow() {
                true => {
                    let wide = ident("wide", panel);
                    sums.scaled_down(quote!(#wide), self.top_scale())
                }
                false => sums.whole(panel),
            };
            sums.add_to_rows(panel, value)
        });
        quote!(#(#stores)*)
    }
}
