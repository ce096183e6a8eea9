//! `mad`: two-bit weights unpacked into a dot-product instruction, the family to beat.
//!
//! A byte holds four fields `u = t + 1`, one for each of four columns that are four apart, and four neighbouring bytes of a row
//! meet four neighbouring activations. `sum of t * a` is `sum of u * a` less the sum of the activations, which is taken back once a
//! K block (`correction`). *Classic* shifts every plane down; *shift-free* masks planes in place, keeps a sum for each, and shifts
//! the sums once at the end: `4^p` times a sum is divided exactly.

use proc_macro2::TokenStream;
use quote::quote;

use super::fields::Sums;
use super::{Skeleton, ident, weights_at};
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

    fn sums(&self) -> Sums<'_> {
        Sums {
            spec: self.spec,
            words: self.words,
            scales: self.planes().scales,
        }
    }

    /// The fields of a plane of `codes`, where they stand.
    fn fields(&self, codes: TokenStream, plane: Plane) -> TokenStream {
        let w = self.words;
        w.byte_bits(codes, plane.shift, plane.mask, w.splat8(plane.mask))
    }

    /// `<sum> += <fields of plane index> * <its activations>;`
    fn plane(&self, panel: usize, index: usize, plane: Plane) -> TokenStream {
        let (sums, fields) = (self.sums(), self.fields(quote!(codes), plane));
        if self.words.dot_parts() == 1 {
            return sums.add((0, panel), plane.accumulator, fields, index);
        }
        let adds = sums.add((0, panel), plane.accumulator, quote!(fields), index);
        quote! {
            let fields = #fields;
            #adds
        }
    }

    /// The step of several tokens: plane by plane, for all of them.
    fn step_for_all(&self, panels: usize) -> TokenStream {
        let (w, sums) = (self.words, self.sums());
        let codes = |panel: usize| ident("codes", panel);
        let loads = (0..panels).map(|panel| {
            let load = w.load(weights_at(self.spec, panel, 0));
            let codes = codes(panel);
            quote!(let #codes = #load;)
        });
        let planes = self.planes().planes.into_iter().enumerate();
        let planes = planes.map(|(index, plane)| {
            let fields = |panel: usize| {
                let codes = codes(panel);
                self.fields(quote!(#codes), plane)
            };
            sums.add_for_all(panels, plane.accumulator, fields, index)
        });
        quote! {
            #(#loads)*
            #(#planes)*
        }
    }
}

impl Skeleton for Mad<'_> {
    fn constants(&self) -> TokenStream {
        self.sums().constants()
    }

    fn open(&self, panels: usize) -> TokenStream {
        self.sums().open(panels)
    }

    fn open_window(&self, panels: usize) -> TokenStream {
        self.sums().open_window(panels)
    }

    fn step(&self, panels: usize) -> TokenStream {
        if self.spec.batch > 1 {
            return self.step_for_all(panels);
        }
        let activations = self.sums().activations(4);
        let dots = (0..panels).map(|panel| {
            let codes = weights_at(self.spec, panel, 0);
            let codes = self.words.load(codes);
            let planes = self.planes().planes.into_iter().enumerate();
            let planes = planes.map(|(index, plane)| self.plane(panel, index, plane));
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
        self.sums().close_window(panels)
    }

    fn close(&self, panels: usize) -> TokenStream {
        self.sums().close(panels)
    }
}
