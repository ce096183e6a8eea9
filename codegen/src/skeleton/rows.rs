//! `decode` of five rows a byte (`r5`): dot products that need no masks.
//!
//! In the other codes of this family a byte holds five columns of one row, so each trit has an activation of its own and must stand alone
//! in its byte before the two are multiplied. Here a byte holds one column of five rows, and the same activation belongs to all
//! of it. A dot product is linear: that of the bytes `84 u0 + 28 u1 + 9 u2 + 3 u3 + u4` is `84 U0 + 28 U1 + 9 U2 + 3 U3 + U4`, where
//! `U` are the sums of the five rows. So any five numbers made of the trits will do, as long as the sums can be solved for at the
//! end of a K block, and those are chosen that cost least:
//!
//! * `worth = 84 u0 + 28 u1` and `first = u0`, each a lookup of 64 entries by the upper six bits of the code: both weights are
//!   multiples of four, and 28 holds the 27 values of the other three trits (see `mixed.rs`);
//! * `rest = 9 u2 + 3 u3 + u4`, which is what `worth` leaves of the code;
//! * `pair = u2 + 4 u3`, a lookup of 64 entries by `rest`, and `third = u2`, its lowest two bits.
//!
//! That is a shift, three lookups, a difference and a mask for 320 trits, where `d5` takes a shift, two lookups of 128 entries and five
//! masks, and one broadcast of activations instead of five. The loops by themselves on Zen 4: 6.2 cycles for a vector from the second-level
//! cache where `d5` took 9.1, and from memory, interleaved with plain reading, 98 % of its speed where `d5` had 77.
//!
//! The sums of rows follow by exact divisions: `U1 = (worth - 84 first) / 28`, a shift and a product with the inverse of seven modulo
//! 2^32, and differences for the others.

use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote};

use super::{Skeleton, add_to_rows, at_token, comment, ident, of_token, own_names, weights_at};
use crate::budget::ROWS_SUMS;
use crate::isa::Vocabulary;
use crate::spec::KernelSpec;

/// A kernel that multiplies bytes of five rows.
pub struct Rows<'a> {
    pub spec: &'a KernelSpec,
    pub words: &'a dyn Vocabulary,
}

/// What a step makes of its codes, each multiplied into a sum of its own.
const VALUES: [&str; ROWS_SUMS] = ["worth", "first", "rest", "pair", "third"];

/// The inverse of seven modulo 2^32: a product with it divides multiples of seven.
const SEVENTH: i32 = -1_227_133_513;
const _: () = assert!(7_i32.wrapping_mul(SEVENTH) == 1);

impl Skeleton for Rows<'_> {
    fn tables(&self) -> TokenStream {
        let [worth, first, pair] = [
            table(
                "WORTH",
                "What the first two rows are worth, by the upper six bits of a code.",
                quote!(index / 7 * 28),
            ),
            table(
                "FIRST",
                "The first row's trit, by the same bits.",
                quote!(index / 21),
            ),
            table(
                "PAIR",
                "The trits of the third and fourth rows, two bits each, by what the first two leave of the code.",
                quote!(index / 9 % 3 + index / 3 % 3 * 4),
            ),
        ];
        quote!(#worth #first #pair)
    }

    fn constants(&self) -> TokenStream {
        let totals = own_names(self.spec).map(|own| {
            let (total, correction) = (own("total"), own("correction"));
            let value = self.words.splat32(quote!(#correction));
            quote!(let #total = #value;)
        });
        let tables = load_tables(self.words, ["WORTH", "FIRST", "PAIR"]);
        quote!(#(#totals)* #tables)
    }

    fn open(&self, panels: usize) -> TokenStream {
        let sums = self.tokens_and_panels(panels).flat_map(|(token, panel)| {
            VALUES.map(|value| {
                let (sum, zero) = (self.sum(token, panel, value), self.words.zero());
                quote!(let mut #sum = #zero;)
            })
        });
        quote!(#(#sums)*)
    }

    fn open_window(&self, _panels: usize) -> TokenStream {
        TokenStream::new()
    }

    fn step(&self, panels: usize) -> TokenStream {
        if self.spec.batch > 1 {
            return self.step_for_all(panels);
        }
        let (activations, names) = (
            self.activations(0),
            VALUES.map(|name| format_ident!("{name}")),
        );
        let dots = (0..panels).map(|panel| {
            let (values, adds) = (self.values(panel, &names), self.add((0, panel), &names));
            quote!(#values #adds)
        });
        quote!(#activations #(#dots)*)
    }

    fn close_window(&self, _panels: usize) -> TokenStream {
        TokenStream::new()
    }

    fn close(&self, panels: usize) -> TokenStream {
        let rows = self
            .tokens_and_panels(panels)
            .map(|(token, panel)| self.close_panel(token, panel));
        quote!(#(#rows)*)
    }
}

impl Rows<'_> {
    /// Every token with every panel.
    fn tokens_and_panels(&self, panels: usize) -> impl Iterator<Item = (usize, usize)> {
        (0..self.spec.batch).flat_map(move |token| (0..panels).map(move |panel| (token, panel)))
    }

    /// A token's sum of one of [`VALUES`] of a panel.
    fn sum(&self, token: usize, panel: usize, value: &str) -> Ident {
        of_token(self.spec, &format!("sum{panel}_{value}"), token)
    }

    /// `let activations = …;`: four neighbouring activations of a token in every 32-bit lane.
    fn activations(&self, token: usize) -> TokenStream {
        let load = self.words.load_splat32(at_token(self.spec, "at", token, 0));
        quote!(let activations = #load;)
    }

    /// The step of several tokens: every panel is taken apart once.
    fn step_for_all(&self, panels: usize) -> TokenStream {
        let names = |panel: usize| VALUES.map(|name| ident(name, panel));
        let values = (0..panels).map(|panel| self.values(panel, &names(panel)));
        let products = (0..self.spec.batch).map(|token| {
            let activations = self.activations(token);
            let adds = (0..panels).map(|panel| self.add((token, panel), &names(panel)));
            quote!(#activations #(#adds)*)
        });
        quote!(#(#values)* #(#products)*)
    }

    /// `let <value> = …;` for all [`VALUES`] of a panel.
    fn values(
        &self,
        panel: usize,
        [worth, first, rest, pair, third]: &[Ident; ROWS_SUMS],
    ) -> TokenStream {
        let w = self.words;
        let codes = w.load(weights_at(self.spec, panel, 0));
        let upper = upper_bits(w);
        let [by_worth, by_first] = ["table_of_worth", "table_of_first"].map(|table| {
            let table = format_ident!("{table}");
            w.lookup(&[quote!(#table)], quote!(upper))
        });
        let left = w.sub(8, quote!(codes), quote!(#worth));
        let by_pair = w.lookup(&[quote!(table_of_pair)], quote!(#rest));
        let lowest = w.and(quote!(#pair), w.splat8(3));
        quote! {
            let codes = #codes;
            let upper = #upper;
            let (#worth, #first) = (#by_worth, #by_first);
            let #rest = #left;
            let #pair = #by_pair;
            let #third = #lowest;
        }
    }

    /// `<sum> += value * activations` for the values of a panel.
    fn add(&self, (token, panel): (usize, usize), names: &[Ident; ROWS_SUMS]) -> TokenStream {
        let adds = names.iter().zip(VALUES).map(|(name, value)| {
            let sum = self.sum(token, panel, value);
            let dot = self
                .words
                .dot(quote!(#sum), quote!(#name), quote!(activations));
            quote!(#sum = #dot;)
        });
        quote!(#(#adds)*)
    }

    /// Solves a panel's sums for those of its rows, and adds these to the token's.
    fn close_panel(&self, token: usize, panel: usize) -> TokenStream {
        let w = self.words;
        let [worth, first, rest, pair, third] = VALUES.map(|value| {
            let sum = self.sum(token, panel, value);
            quote!(#sum)
        });
        let times = |sum: TokenStream, by: TokenStream| w.multiply32(sum, w.splat32(by));
        let of_second = w.sub(32, worth, times(first.clone(), quote!(84)));
        let second = times(w.shift_right_signed32(of_second, 2), quote!(#SEVENTH));
        let fourth = w.shift_right_signed32(w.sub(32, pair, third.clone()), 2);
        let of_fifth = w.sub(32, rest, times(third.clone(), quote!(9)));
        let fifth = w.sub(32, of_fifth, times(quote!(fourth), quote!(3)));
        let rows = [first, quote!(second), third, quote!(fourth), quote!(fifth)];
        let stores = rows.into_iter().enumerate().map(|(place, sums)| {
            let total = of_token(self.spec, "total", token);
            let bytes = self.spec.isa.vector_bytes();
            let offset = panel * self.spec.lanes() * 4 + place * bytes;
            let sums = w.add(32, sums, quote!(#total));
            add_to_rows(self.spec, w, token, offset, sums)
        });
        let note = comment("The rows' own sums; both divisions are exact.");
        quote! {
            #note
            let (second, fourth) = (#second, #fourth);
            let fifth = #fifth;
            #(#stores)*
        }
    }
}

/// The upper six bits of `codes`, where a lookup of 64 entries takes them: what the shift brings in from the next byte is above those.
fn upper_bits(w: &dyn Vocabulary) -> TokenStream {
    w.shift_right(16, quote!(codes), 2)
}

/// `const <name>: [u8; 64] = …;` of what `value` is for each `index`.
fn table(name: &str, note: &str, value: TokenStream) -> TokenStream {
    let (name, note) = (format_ident!("{name}"), comment(note));
    quote! {
        #note
        const #name: [u8; 64] = {
            let (mut entries, mut index) = ([0; 64], 0);
            while index < 64 {
                entries[index] = (#value) as u8;
                index += 1;
            }
            entries
        };
    }
}

/// `let table_of_<name> = …;` for every table.
fn load_tables<const N: usize>(w: &dyn Vocabulary, names: [&str; N]) -> TokenStream {
    let loads = names.map(|name| {
        let variable = format_ident!("table_of_{}", name.to_lowercase());
        let name = format_ident!("{name}");
        let load = w.load_table(quote!(#name.as_ptr()));
        quote!(let #variable = #load;)
    });
    quote!(#(#loads)*)
}

/// Where [`trit_fields`] has the trit of each of the five rows: which vector, and from which bit.
pub(super) const TRIT_FIELDS: [(&str, u32); ROWS_SUMS] = [
    ("pairs", 0),
    ("pairs", 2),
    ("threes", 0),
    ("threes", 2),
    ("threes", 4),
];

/// `let (pairs, threes) = …;`: the trits of all five rows of `codes` in fields of two bits.
pub(super) fn trit_fields(w: &dyn Vocabulary) -> TokenStream {
    let upper = upper_bits(w);
    let [pairs, worth] = ["table_of_pairs", "table_of_worth"].map(|table| {
        let table = format_ident!("{table}");
        w.lookup(&[quote!(#table)], quote!(upper))
    });
    let rest = w.sub(8, quote!(codes), worth);
    let threes = w.lookup(&[quote!(table_of_threes)], quote!(rest));
    quote! {
        let upper = #upper;
        let pairs = #pairs;
        let rest = #rest;
        let threes = #threes;
    }
}

/// The tables of [`trit_fields`].
pub(super) fn trit_tables(w: &dyn Vocabulary) -> TokenStream {
    let [pairs, worth, threes] = [
        table(
            "PAIRS",
            "The trits of the first two rows, two bits each, by the upper six bits of a code.",
            quote!(index / 21 + index / 7 % 3 * 4),
        ),
        table("WORTH", "What they are worth.", quote!(index / 7 * 28)),
        table(
            "THREES",
            "The trits of the other three, by what is left.",
            quote!(index / 9 % 3 + index / 3 % 3 * 4 + index % 3 * 16),
        ),
    ];
    let vectors = load_tables(w, ["PAIRS", "WORTH", "THREES"]);
    quote!(#pairs #worth #threes #vectors)
}
