//! `decode` of five trits a byte by tables of at most 64 entries, for ISAs whose vectors of tables are short.
//!
//! The views of `d5` are tables of 128 entries, eight vectors of 16 bytes for each of the two. Code `m5` needs 64, 16 and 32 entries:
//! it is a number of mixed digits, `28 * pair + three`, and 28 is the smallest multiple of four that holds the 27 values of three
//! trits. So the six upper bits of a byte tell the pair, without a remainder to care for; the fields of the pair tell what it is worth;
//! what is left of the byte is the number of the other three. On ARM 5 operations decode the 80 trits of a vector of 16 bytes.
//!
//! Where 64 entries would be four lookups and as many selections, a product finds the pair: the six bits are `7 * pair` and less
//! than seven more, and 37 / 256 is just above one seventh. A table of nine entries gives the fields. 15 operations for the 160 trits
//! of 32 bytes on AVX2.
//!
//! The alternative that ternary formats use elsewhere has no tables: the byte as a fraction, whose next trit a product by three
//! brings to the top. That is a product, two operations that round, and a shift for each trit, 24 operations and products in all
//! where this takes ARM 15.

use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote};

use super::fields::Sums;
use super::{Skeleton, comment, ident, number, weights_at};
use crate::budget::DECODED_SCALES;
use crate::isa::Vocabulary;
use crate::spec::KernelSpec;

/// A kernel that decodes numbers of mixed digits.
pub struct Mixed<'a> {
    pub spec: &'a KernelSpec,
    pub words: &'a dyn Vocabulary,
}

/// The tables and their entries.
fn sizes(w: &dyn Vocabulary) -> [(&'static str, usize); 3] {
    let pairs = if w.looks_four_vectors_up() { 64 } else { 16 };
    [("PAIRS", pairs), ("BASES", 16), ("THREES", 32)]
}

/// `u * SEVENTH / 256` is `u / 7` for all that the upper six bits of a code may be.
const SEVENTH: u8 = 37;
const _: () = {
    let mut upper = 0;
    while upper <= (28 * 8 + 26) / 4 {
        assert!(upper * SEVENTH as usize / 256 == upper / 7);
        upper += 1;
    }
};

impl Skeleton for Mixed<'_> {
    fn tables(&self) -> TokenStream {
        tables(self.words)
    }

    fn constants(&self) -> TokenStream {
        let (sums, vectors) = (self.sums().constants(), table_vectors(self.words));
        quote!(#sums #vectors)
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
        let sums = self.sums();
        let activations = sums.activations(FIELDS.len());
        let dots = (0..panels).map(|panel| {
            let names = DECODED.map(|name| format_ident!("{name}"));
            let decoded = self.decoded(panel, &names);
            let products = FIELDS.into_iter().enumerate();
            let products = products.map(|(group, (byte, field))| {
                sums.add((0, panel), field, self.fields(&names[byte], field), group)
            });
            quote! {
                #decoded
                #(#products)*
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

impl Mixed<'_> {
    /// The step of several tokens: every panel is decoded once.
    fn step_for_all(&self, panels: usize) -> TokenStream {
        let sums = self.sums();
        let names = |panel: usize| DECODED.map(|name| ident(name, panel));
        let decoded = (0..panels).map(|panel| self.decoded(panel, &names(panel)));
        let products = FIELDS.into_iter().enumerate();
        let products = products.map(|(group, (byte, field))| {
            let fields = |panel: usize| self.fields(&names(panel)[byte], field);
            sums.add_for_all(panels, field, fields, group)
        });
        quote! {
            #(#decoded)*
            #(#products)*
        }
    }

    /// The decoded bytes of a panel, by `names`.
    fn decoded(&self, panel: usize, names: &[Ident; 2]) -> TokenStream {
        let (codes, decoded) = (
            self.words.load(weights_at(self.spec, panel, 0)),
            decoded(self.words, names),
        );
        quote! {
            let codes = #codes;
            #decoded
        }
    }

    /// Field `field` of all bytes of `decoded`, where it stands.
    fn fields(&self, decoded: &Ident, field: usize) -> TokenStream {
        let mask = self.words.splat8(3 << DECODED_SCALES[field]);
        self.words.and(quote!(#decoded), mask)
    }

    fn sums(&self) -> Sums<'_> {
        Sums {
            spec: self.spec,
            words: self.words,
            scales: &DECODED_SCALES,
        }
    }
}

/// What a byte is decoded into: the fields of its first two trits, and those of the last three.
pub(super) const DECODED: [&str; 2] = ["pairs", "threes"];

/// For each trit of a code, which of [`DECODED`] holds it, and the number of its field there.
pub(super) const FIELDS: [(usize, usize); 5] = [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2)];

/// `let <pairs> = …; let <threes> = …;`: the fields of the first two and of the last three trits of `codes`.
pub(super) fn decoded(w: &dyn Vocabulary, [pairs, threes]: &[Ident; 2]) -> TokenStream {
    let tables = sizes(w).map(|(table, entries)| vectors(w, table, entries));
    let upper = w.byte_bits(quote!(codes), 2, 0x3f, w.splat8(0x3f));
    let pair = match w.looks_four_vectors_up() {
        true => quote!(upper),
        false => w.scale_bytes(quote!(upper), SEVENTH),
    };
    let found = w.lookup(&tables[0], pair);
    let rest = w.sub(8, quote!(codes), w.lookup(&tables[1], quote!(#pairs)));
    let left = w.lookup(&tables[2], quote!(rest));
    quote! {
        let upper = #upper;
        let #pairs = #found;
        let rest = #rest;
        let #threes = #left;
    }
}

/// The vectors of a table, by name.
fn vectors(w: &dyn Vocabulary, table: &str, entries: usize) -> Vec<TokenStream> {
    let name = table.to_lowercase();
    let vectors = (0..entries / w.table_bytes()).map(|vector| {
        let vector = ident(&format!("table_of_{name}"), vector);
        quote!(#vector)
    });
    vectors.collect()
}

/// `let table_of_<name><i> = …;` for every vector of every table.
pub(super) fn table_vectors(w: &dyn Vocabulary) -> TokenStream {
    let loads = sizes(w).into_iter().flat_map(|(table, entries)| {
        let name = format_ident!("{table}");
        let vectors = vectors(w, table, entries).into_iter().enumerate();
        vectors.map(move |(vector, variable)| {
            let offset = number(vector * w.table_bytes());
            let load = match vector {
                0 => w.load_table(quote!(#name.as_ptr())),
                _ => w.load_table(quote!(#name.as_ptr().add(#offset))),
            };
            quote!(let #variable = #load;)
        })
    });
    quote!(#(#loads)*)
}

/// The tables of `tern_kernels::Code::M5`. Fields stand at bits 0, 2 and 4.
pub(super) fn tables(w: &dyn Vocabulary) -> TokenStream {
    let pairs = match w.looks_four_vectors_up() {
        true => pairs(
            "The fields of the first two trits, by the upper six bits of a code.",
            64,
            quote!(index / 7),
        ),
        false => pairs(
            "The fields of the first two trits, by the number of the pair.",
            16,
            quote!(index),
        ),
    };
    let bases = comment("What a pair is worth, by its fields.");
    let threes = comment("The fields of the last three trits, by what is left.");
    quote! {
        #pairs
        #bases
        const BASES: [u8; 16] = {
            let (mut bases, mut pair) = ([0; 16], 0);
            while pair < 9 {
                bases[(pair / 3) | ((pair % 3) << 2)] = 28 * pair as u8;
                pair += 1;
            }
            bases
        };
        #threes
        const THREES: [u8; 32] = {
            let (mut fields, mut three) = ([0; 32], 0);
            while three < 27 {
                fields[three] = ((three / 9) | ((three / 3 % 3) << 2) | ((three % 3) << 4)) as u8;
                three += 1;
            }
            fields
        };
    }
}

/// `const PAIRS: [u8; <entries>] = …;`, where `pair` is the number of the pair that `index` stands for.
fn pairs(note: &str, entries: usize, pair: TokenStream) -> TokenStream {
    let (note, entries) = (comment(note), number(entries));
    quote! {
        #note
        const PAIRS: [u8; #entries] = {
            let (mut fields, mut index) = ([0; #entries], 0);
            while index < #entries {
                let pair = #pair;
                fields[index] = ((pair / 3) | ((pair % 3) << 2)) as u8;
                index += 1;
            }
            fields
        };
    }
}
