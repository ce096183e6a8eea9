//! `lut` with 16-bit words: three trits index a table of their 27 sums, which are exact as they stand in 16 bits.
//!
//! Byte tables take two lookups for each sum, one for each digit. Where an ISA shuffles words, one lookup does, and a word has room
//! for three codes of five bits. The shuffle ignores the bits of an index above those five, so the codes are the word as it is, the
//! word shifted by 5 and the word shifted by 10: eight operations for nine trits of every row, without a mask or a sign.
//!
//! A window's sums are widened straight into their rows in memory. That happens once in 28 steps and saves the registers that
//! 32-bit sums would take. Where rows have scales it would round once a window, so there the sums of a K block stay in registers.

use proc_macro2::TokenStream;
use quote::quote;

use super::{Skeleton, add_to_rows, at, ident};
use crate::isa::Vocabulary;
use crate::spec::{KernelSpec, Scales};

/// A table kernel whose entries are words.
pub struct Lut16<'a> {
    pub spec: &'a KernelSpec,
    pub words: &'a dyn Vocabulary,
}

/// Codes in a word.
const CODES: usize = 3;

impl Skeleton for Lut16<'_> {
    fn constants(&self) -> TokenStream {
        // Products with these pick one of two neighbouring 16-bit lanes and widen it.
        let [first, second] = [quote!(1), quote!(1 << 16)].map(|one| self.words.splat32(one));
        quote!(let (first, second) = (#first, #second);)
    }

    fn open(&self, panels: usize) -> TokenStream {
        if self.spec.scales == Scales::Whole {
            return TokenStream::new();
        }
        let sums = (0..2 * panels).map(|vector| {
            let (wide, zero) = (ident("wide", vector), self.words.zero());
            quote!(let mut #wide = #zero;)
        });
        quote!(#(#sums)*)
    }

    fn open_window(&self, panels: usize) -> TokenStream {
        let sums = (0..panels).map(|panel| {
            let (sum, zero) = (ident("sum", panel), self.words.zero());
            quote!(let mut #sum = #zero;)
        });
        quote!(#(#sums)*)
    }

    fn step(&self, panels: usize) -> TokenStream {
        let w = self.words;
        let tables = (0..CODES).map(|code| {
            let table = ident("table", code);
            let load = w.load(at("at", code * self.spec.isa.vector_bytes()));
            quote!(let #table = #load;)
        });
        let lookups = (0..panels).map(|panel| {
            let codes = w.load(at("weights", panel * self.spec.panel_step_bytes()));
            let sum = ident("sum", panel);
            let adds = (0..CODES).map(|code| {
                let table = ident("table", code);
                let index = match code {
                    0 => quote!(codes),
                    _ => w.shift_right(16, quote!(codes), 5 * code as u32),
                };
                let added = w.add(16, quote!(#sum), w.lookup16(quote!(#table), index));
                quote!(#sum = #added;)
            });
            quote! {
                let codes = #codes;
                #(#adds)*
            }
        });
        quote! {
            #(#tables)*
            #(#lookups)*
        }
    }

    fn close_window(&self, panels: usize) -> TokenStream {
        let w = self.words;
        let vectors = (0..panels).flat_map(|panel| [(panel, "first"), (panel, "second")]);
        let stores = vectors.enumerate().map(|(vector, (panel, pick))| {
            let (sum, pick) = (ident("sum", panel), quote::format_ident!("{pick}"));
            // Two vectors of 32-bit sums for the panel's one of 16-bit lanes.
            let widened = w.multiply_pairs16(quote!(#sum), quote!(#pick));
            match self.spec.scales {
                Scales::Whole => self.add_to_rows(vector, widened),
                Scales::Groups => {
                    let wide = ident("wide", vector);
                    let added = w.add(32, quote!(#wide), widened);
                    quote!(#wide = #added;)
                }
            }
        });
        quote!(#(#stores)*)
    }

    fn close(&self, panels: usize) -> TokenStream {
        if self.spec.scales == Scales::Whole {
            return TokenStream::new();
        }
        let stores = (0..2 * panels).map(|vector| {
            let wide = ident("wide", vector);
            self.add_to_rows(vector, quote!(#wide))
        });
        quote!(#(#stores)*)
    }
}

impl Lut16<'_> {
    /// Adds a vector of 32-bit sums to its rows: the panel's first half or its second.
    fn add_to_rows(&self, vector: usize, sums: TokenStream) -> TokenStream {
        add_to_rows(self.spec, self.words, vector * 2 * self.spec.lanes(), sums)
    }
}
