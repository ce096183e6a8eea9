//! `addsub`: activations added where the "plus" plane has a bit and subtracted where the "minus" plane has one. No table and no
//! multiplication: what a ternary product needs at the least, and the baseline that the other families are compared with.
//!
//! Rows lie in byte lanes. An activation is two digits, `a = 16 high + low`, so that byte sums take eight columns before they are widened.

use proc_macro2::TokenStream;
use quote::quote;

use super::{Skeleton, at, bytes, ident, weights_at};
use crate::isa::Vocabulary;
use crate::spec::KernelSpec;

/// An add/sub kernel.
pub struct Addsub<'a> {
    pub spec: &'a KernelSpec,
    pub words: &'a dyn Vocabulary,
}

impl Skeleton for Addsub<'_> {
    fn constants(&self) -> TokenStream {
        TokenStream::new()
    }

    fn open(&self, panels: usize) -> TokenStream {
        bytes::open(self.words, self.spec, panels)
    }

    fn open_window(&self, panels: usize) -> TokenStream {
        bytes::open_window(self.words, self.spec, panels)
    }

    fn step(&self, panels: usize) -> TokenStream {
        let loads = (0..panels).flat_map(|panel| {
            ["plus", "minus"]
                .into_iter()
                .enumerate()
                .map(move |(index, plane)| {
                    let offset = index * self.spec.lanes();
                    let bits = ident(plane, panel);
                    let load = self.words.load(weights_at(self.spec, panel, offset));
                    quote!(let mut #bits = #load;)
                })
        });
        let columns = (0..self.spec.code.step_cols()).map(|column| self.column(panels, column));
        quote! {
            #(#loads)*
            #(#columns)*
        }
    }

    fn close_window(&self, panels: usize) -> TokenStream {
        bytes::close_window(self.words, self.spec, panels)
    }

    fn close(&self, panels: usize) -> TokenStream {
        bytes::close(self.words, self.spec, panels)
    }
}

impl Addsub<'_> {
    /// One column: both digits of its activation, added and subtracted under the highest bits of the planes, which move up.
    fn column(&self, panels: usize, column: usize) -> TokenStream {
        let w = self.words;
        let (low, high) = (
            w.load_splat32(at("at", 8 * column)),
            w.load_splat32(at("at", 8 * column + 4)),
        );
        let last = column + 1 == self.spec.code.step_cols();
        let panels = (0..panels).map(|panel| {
            let planes = ["plus", "minus"].map(|plane| {
                let bits = ident(plane, panel);
                let condition = w.highest_bit(quote!(#bits));
                let sums = bytes::DIGITS.map(|digit| {
                    let (sum, value) = (ident(digit, panel), ident(&format!("{digit}_digit"), 0));
                    let added = match plane {
                        "plus" => w.add_where(quote!(condition), quote!(#sum), quote!(#value)),
                        _ => w.sub_where(quote!(condition), quote!(#sum), quote!(#value)),
                    };
                    quote!(#sum = #added;)
                });
                let next = (!last).then(|| {
                    // A shift of wider lanes, whose strays never reach a highest bit. Bytes added to themselves the compiler
                    // sees through: it tests single bits instead, and then takes every masked addition apart.
                    let moved = w.shift_left(16, quote!(#bits), 1);
                    quote!(#bits = #moved;)
                });
                quote! {
                    let condition = #condition;
                    #(#sums)*
                    #next
                }
            });
            quote!(#(#planes)*)
        });
        quote! {
            let (low_digit0, high_digit0) = (#low, #high);
            #(#panels)*
        }
    }
}
