//! `lut` with 16-bit words: three trits index a table of their 27 sums, which are exact as they stand in 16 bits.
//!
//! Byte tables take two lookups for each sum, one for each digit. Where an ISA shuffles words, one lookup does, and a word has room
//! for three codes of five bits. The shuffle ignores the bits of an index above those five, so the codes are the word as it is, the
//! word shifted by 5 and the word shifted by 10: eight operations for nine trits of every row, without a mask or a sign.
//!
//! A window's sums are widened straight into their rows in memory. That happens once in 28 steps and saves the registers that
//! 32-bit sums would take. Where rows have scales it would round once a window, so there the sums of a K block stay in registers.

use proc_macro2::{Ident, TokenStream};
use quote::quote;

use super::{Skeleton, add_to_rows, at_token, ident, of_token, weights_at};
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
        let sums = self.wide_sums(panels).map(|(token, panel, half)| {
            let (wide, zero) = (self.wide(token, panel, half), self.words.zero());
            quote!(let mut #wide = #zero;)
        });
        quote!(#(#sums)*)
    }

    fn open_window(&self, panels: usize) -> TokenStream {
        let sums = self.tokens_and_panels(panels).map(|(token, panel)| {
            let (sum, zero) = (self.sum(token, panel), self.words.zero());
            quote!(let mut #sum = #zero;)
        });
        quote!(#(#sums)*)
    }

    fn step(&self, panels: usize) -> TokenStream {
        if self.spec.batch > 1 {
            return self.step_for_all(panels);
        }
        let tables = self.tables_of(0);
        let lookups = (0..panels).map(|panel| {
            let codes = self.codes(panel);
            let adds = (0..CODES).map(|code| {
                let index = self.index(quote!(codes), code);
                self.add(0, panel, code, index)
            });
            quote! {
                let codes = #codes;
                #(#adds)*
            }
        });
        quote! {
            #tables
            #(#lookups)*
        }
    }

    fn close_window(&self, panels: usize) -> TokenStream {
        let w = self.words;
        let sums = self.tokens_and_panels(panels);
        let vectors = sums.flat_map(|sum| [(sum, 0, "first"), (sum, 1, "second")]);
        let stores = vectors.map(|((token, panel), half, pick)| {
            let (sum, pick) = (self.sum(token, panel), quote::format_ident!("{pick}"));
            // Two vectors of 32-bit sums for the panel's one of 16-bit lanes.
            let widened = w.multiply_pairs16(quote!(#sum), quote!(#pick));
            let offset = (2 * panel + half) * 2 * self.spec.lanes();
            match self.spec.scales {
                Scales::Whole => add_to_rows(self.spec, w, token, offset, widened),
                Scales::Groups => {
                    let wide = self.wide(token, panel, half);
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
        let stores = self.wide_sums(panels).map(|(token, panel, half)| {
            let wide = self.wide(token, panel, half);
            let offset = (2 * panel + half) * 2 * self.spec.lanes();
            add_to_rows(self.spec, self.words, token, offset, quote!(#wide))
        });
        quote!(#(#stores)*)
    }
}

impl Lut16<'_> {
    fn tokens_and_panels(&self, panels: usize) -> impl Iterator<Item = (usize, usize)> {
        (0..self.spec.batch).flat_map(move |token| (0..panels).map(move |panel| (token, panel)))
    }

    /// A token's sums of a panel.
    fn sum(&self, token: usize, panel: usize) -> Ident {
        of_token(self.spec, &format!("sum{panel}"), token)
    }

    /// Every token with every half of a panel: a vector of 32-bit sums.
    fn wide_sums(&self, panels: usize) -> impl Iterator<Item = (usize, usize, usize)> {
        let sums = self.tokens_and_panels(panels);
        sums.flat_map(|(token, panel)| [0, 1].map(|half| (token, panel, half)))
    }

    /// A token's 32-bit sums of a half of a panel, where they do not go to the rows at the end of a window.
    fn wide(&self, token: usize, panel: usize, half: usize) -> Ident {
        of_token(self.spec, &format!("wide{}", 2 * panel + half), token)
    }

    /// `let table<code> = …;` for a token's tables of the step.
    fn tables_of(&self, token: usize) -> TokenStream {
        let tables = (0..CODES).map(|code| {
            let offset = code * self.spec.isa.vector_bytes();
            let load = self.words.load(at_token(self.spec, "at", token, offset));
            let table = ident("table", code);
            quote!(let #table = #load;)
        });
        quote!(#(#tables)*)
    }

    /// The words of a panel.
    fn codes(&self, panel: usize) -> TokenStream {
        self.words.load(weights_at(self.spec, panel, 0))
    }

    /// The words `codes` with code `code` at their lowest bits.
    fn index(&self, codes: TokenStream, code: usize) -> TokenStream {
        match code {
            0 => codes,
            _ => self.words.shift_right(16, codes, 5 * code as u32),
        }
    }

    /// `<sum> += <looked up>;`
    fn add(&self, token: usize, panel: usize, code: usize, index: TokenStream) -> TokenStream {
        let (w, sum, table) = (self.words, self.sum(token, panel), ident("table", code));
        let added = w.add(16, quote!(#sum), w.lookup16(quote!(#table), index));
        quote!(#sum = #added;)
    }

    /// The step of several tokens: every panel's words are shifted once.
    fn step_for_all(&self, panels: usize) -> TokenStream {
        let name = |panel: usize, code: usize| ident(&format!("codes{panel}_"), code);
        let codes = (0..panels).map(|panel| {
            let [first, second, third] = [0, 1, 2].map(|code| name(panel, code));
            let codes = self.codes(panel);
            let [next, last] = [1, 2].map(|code| self.index(quote!(#first), code));
            quote! {
                let #first = #codes;
                let (#second, #third) = (#next, #last);
            }
        });
        let tokens = (0..self.spec.batch).map(|token| {
            let tables = self.tables_of(token);
            let lookups = (0..panels).flat_map(|panel| (0..CODES).map(move |code| (panel, code)));
            let adds = lookups.map(|(panel, code)| {
                let index = name(panel, code);
                self.add(token, panel, code, quote!(#index))
            });
            quote!(#tables #(#adds)*)
        });
        quote! {
            #(#codes)*
            #(#tokens)*
        }
    }
}
