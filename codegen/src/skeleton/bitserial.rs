//! `bitserial`: T-MAC's own form (arXiv:2407.00088), one lookup for each bit plane, with exact sums.
//!
//! Four columns of a bit plane make a nibble, and a nibble indexes the 16 sums of four activations. The table knows nothing of
//! trits: it would serve weights of any number of bits, one plane after another.
//!
//! The planes are "plus" and "minus", as in `addsub`, and not the two bits of `t + 1`. A minus plane's entries are subtracted from
//! the very sums that the plus plane's are added to, where the planes of `t + 1` would need sums of their own, each with its
//! widening, until they are put together as `first + 2 second`. And since no row has both bits in a column, what a group adds and
//! subtracts comes to 512 at most, as large as one entry. All 16 entries are kept: to halve the table by a sign would save no
//! operation, since 16 is what a shuffle holds, but cost some for the sign.

use proc_macro2::TokenStream;
use quote::quote;

use super::{Skeleton, at, bytes, ident, weights_at};
use crate::isa::Vocabulary;
use crate::spec::KernelSpec;

/// A bit-serial table kernel.
pub struct Bitserial<'a> {
    pub spec: &'a KernelSpec,
    pub words: &'a dyn Vocabulary,
}

impl Skeleton for Bitserial<'_> {
    fn constants(&self) -> TokenStream {
        let nibble = self.words.splat8(0x0f);
        quote!(let nibble = #nibble;)
    }

    fn open(&self, panels: usize) -> TokenStream {
        bytes::open(self.words, self.spec, panels)
    }

    fn open_window(&self, panels: usize) -> TokenStream {
        bytes::open_window(self.words, self.spec, panels)
    }

    fn step(&self, panels: usize) -> TokenStream {
        let w = self.words;
        let [low, high] = [0, 1].map(|digit| w.load_table(at("at", digit * w.table_bytes())));
        let lookups = (0..panels).map(|panel| {
            let codes = w.load(weights_at(self.spec, panel, 0));
            let plus = w.and(quote!(codes), quote!(nibble));
            let minus = w.byte_bits(quote!(codes), 4, 0x0f, quote!(nibble));
            let sums = bytes::DIGITS.map(|digit| {
                let (sum, table) = (ident(digit, panel), quote::format_ident!("{digit}_table"));
                let added = w.add(8, quote!(#sum), w.lookup(&[quote!(#table)], quote!(plus)));
                let both = w.sub(8, added, w.lookup(&[quote!(#table)], quote!(minus)));
                quote!(#sum = #both;)
            });
            quote! {
                let codes = #codes;
                let (plus, minus) = (#plus, #minus);
                #(#sums)*
            }
        });
        quote! {
            let (low_table, high_table) = (#low, #high);
            #(#lookups)*
        }
    }

    fn close_window(&self, panels: usize) -> TokenStream {
        bytes::close_window(self.words, self.spec, panels)
    }

    fn close(&self, panels: usize) -> TokenStream {
        bytes::close(self.words, self.spec, panels)
    }
}
