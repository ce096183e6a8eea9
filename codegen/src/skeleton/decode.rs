//! `decode`: weights denser than two bits, turned into two-bit fields by constant tables and multiplied as in `mad`.
//!
//! No table is built for a token: the operand is the int8 activations, and the tables are the same for all weights.
//!
//! * `d5`: five trits a byte. A lookup of two table vectors takes seven bits of its index and a byte has eight. A sign in the
//!   eighth would have to be spread over its byte, and every field `u` turned into `2 - u` under it: an addition and a
//!   complement for each of both decoded bytes, 16 operations in all (under mask registers fewer, but those are slow on Zen 4).
//!   So the code has no sign. It is made such that one lookup needs its lower seven bits and the other its upper seven: a shift
//!   takes the place of all that, and a step takes 13 operations.
//! * `d3`: twelve codes of three trits in eight bytes. `pick_bytes` brings codes of five bits into bytes and a lookup of one vector
//!   decodes them, three fields a byte: 25 operations for 36 trits, none of them a lookup of two vectors, which are slow on
//!   Intel's cores. Neither a pick nor the lookup needs a mask: what a byte holds beside its code the lookup ignores, bits 6 and 7
//!   by itself and bit 5 because the table stands there twice.

use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote};

use super::fields::Sums;
use super::{Skeleton, comment, ident, weights_at};
use crate::budget::DECODED_SCALES;
use crate::isa::Vocabulary;
use crate::spec::{Code, KernelSpec};

/// A decoding kernel.
pub struct Decode<'a> {
    pub spec: &'a KernelSpec,
    pub words: &'a dyn Vocabulary,
}

impl Skeleton for Decode<'_> {
    fn tables(&self) -> TokenStream {
        match self.spec.code {
            Code::D3 => table_d3(),
            _ => tables_d5(),
        }
    }

    fn constants(&self) -> TokenStream {
        let (sums, own) = (self.sums().constants(), self.vectors_of_tables());
        quote!(#sums #own)
    }

    fn open(&self, panels: usize) -> TokenStream {
        self.sums().open(panels)
    }

    fn open_window(&self, _panels: usize) -> TokenStream {
        TokenStream::new()
    }

    fn step(&self, panels: usize) -> TokenStream {
        match (self.spec.code, self.spec.batch) {
            (Code::D3, 1) => self.step_d3(panels),
            (Code::D3, _) => self.step_d3_for_all(panels),
            (_, 1) => self.step_d5(panels),
            _ => self.step_d5_for_all(panels),
        }
    }

    fn close_window(&self, _panels: usize) -> TokenStream {
        TokenStream::new()
    }

    fn close(&self, panels: usize) -> TokenStream {
        self.sums().close(panels)
    }
}

impl Decode<'_> {
    fn sums(&self) -> Sums<'_> {
        Sums {
            spec: self.spec,
            words: self.words,
            scales: &DECODED_SCALES,
        }
    }

    /// The constant that picks field `field` of every decoded byte.
    fn mask(&self, field: usize) -> TokenStream {
        self.words.splat8(3 << DECODED_SCALES[field])
    }

    /// The vectors that hold the tables, and what takes codes apart.
    pub(super) fn vectors_of_tables(&self) -> TokenStream {
        match self.spec.code {
            Code::D3 => self.constants_d3(),
            _ => self.constants_d5(),
        }
    }

    /// The two vectors of both tables.
    fn constants_d5(&self) -> TokenStream {
        let w = self.words;
        let [first0, last0] = [quote!(FIRST), quote!(LAST)].map(|t| w.load(quote!(#t.as_ptr())));
        let [first1, last1] =
            [quote!(FIRST), quote!(LAST)].map(|t| w.load(quote!(#t.as_ptr().add(64))));
        quote! {
            let (first0, first1) = (#first0, #first1);
            let (last0, last1) = (#last0, #last1);
        }
    }

    /// Five trits a byte: two decoded bytes, and five products.
    fn step_d5(&self, panels: usize) -> TokenStream {
        let sums = self.sums();
        let activations = sums.activations(5);
        let dots = (0..panels).map(|panel| {
            let decoded = self.decoded_d5(panel, [quote!(first), quote!(last)]);
            let fields = self.fields_d5(quote!(first), quote!(last));
            let products = fields
                .into_iter()
                .enumerate()
                .map(|(group, (field, scale))| sums.add((0, panel), scale, field, group));
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

    /// The same for several tokens: every panel is decoded once.
    fn step_d5_for_all(&self, panels: usize) -> TokenStream {
        // Numbered by the panel, and so not `first` and `last`: with a number those are halves of the tables.
        let names = |panel: usize| {
            ["decoded_first", "decoded_last"].map(|name| {
                let name = ident(name, panel);
                quote!(#name)
            })
        };
        let decoded = (0..panels).map(|panel| self.decoded_d5(panel, names(panel)));
        let products = (0..5).map(|group| {
            let field = |panel: usize| {
                let [first, last] = names(panel);
                self.fields_d5(first, last)[group].clone()
            };
            let scale = field(0).1;
            let sums = self.sums();
            sums.add_for_all(panels, scale, |panel| field(panel).0, group)
        });
        quote! {
            #(#decoded)*
            #(#products)*
        }
    }

    /// `let (<first>, <last>) = …;`: both decoded bytes of every code of a panel.
    pub(super) fn decoded_d5(
        &self,
        panel: usize,
        [first_name, last_name]: [TokenStream; 2],
    ) -> TokenStream {
        let w = self.words;
        let codes = w.load(weights_at(self.spec, panel, 0));
        let first = w.lookup(&[quote!(first0), quote!(first1)], quote!(codes));
        // The bit that a shift of words brings in from the next byte is the eighth, which the lookup ignores.
        let upper = w.shift_right(16, quote!(codes), 1);
        let last = w.lookup(&[quote!(last0), quote!(last1)], upper);
        quote! {
            let codes = #codes;
            let (#first_name, #last_name) = (#first, #last);
        }
    }

    /// The five fields of both decoded bytes, in the order of columns, each with the number of its scale.
    fn fields_d5(&self, first: TokenStream, last: TokenStream) -> [(TokenStream, usize); 5] {
        let field = |decoded: &TokenStream, field: usize| {
            let masked = self.words.and(decoded.clone(), self.mask(field));
            (masked, field)
        };
        let middle = self.words.or_and(first.clone(), last.clone(), self.mask(2));
        [
            field(&first, 0),
            field(&first, 1),
            (middle, 2),
            field(&last, 1),
            field(&last, 0),
        ]
    }

    /// The table, and where the codes stand in the words of a step.
    fn constants_d3(&self) -> TokenStream {
        let w = self.words;
        let table = w.load(quote!(FIELDS.as_ptr()));
        let [low, high, rest] = PICKS_D3.map(|[a, b, c, d]| {
            // The two rows of a 64-bit lane.
            w.bit_offsets([a, b, c, d, 32 + a, 32 + b, 32 + c, 32 + d])
        });
        let rest_of_low = w.splat32(quote!(0x3ff0_0000));
        let note = comment(
            "Bit offsets of codes 0 to 3 in the low words of two rows, of 4 to 7 in the high ones, of 8 to 11 in what both have left.",
        );
        quote! {
            let fields = #table;
            #note
            let (pick_low, pick_high, pick_rest) = (#low, #high, #rest);
            let rest_of_low = #rest_of_low;
        }
    }

    /// Twelve codes of three trits: three decoded vectors, and nine products.
    fn step_d3(&self, panels: usize) -> TokenStream {
        let (w, sums) = (self.words, self.sums());
        let activations = sums.activations(9);
        let dots = (0..panels).map(|panel| {
            let words = self.words_d3(panel, ["low", "high", "rest"].map(|n| format_ident!("{n}")));
            let vectors = ["low", "high", "rest"].into_iter().enumerate();
            let products = vectors.map(|(vector, name)| {
                let decoded = self.decoded_d3(name, format_ident!("{name}"));
                let adds = (0..3).map(|field| {
                    let masked = w.and(quote!(decoded), self.mask(field));
                    sums.add((0, panel), field, masked, 3 * vector + field)
                });
                quote! {
                    let decoded = #decoded;
                    #(#adds)*
                }
            });
            quote! {
                #words
                #(#products)*
            }
        });
        quote! {
            #activations
            #(#dots)*
        }
    }

    /// The same for several tokens: every vector of every panel is decoded once.
    fn step_d3_for_all(&self, panels: usize) -> TokenStream {
        let (w, sums) = (self.words, self.sums());
        let words = (0..panels)
            .map(|panel| self.words_d3(panel, ["low", "high", "rest"].map(|n| ident(n, panel))));
        let vectors = ["low", "high", "rest"].into_iter().enumerate();
        let products = vectors.map(|(vector, name)| {
            let decoded = (0..panels).map(|panel| {
                let (own, decoded) = (
                    ident("decoded", panel),
                    self.decoded_d3(name, ident(name, panel)),
                );
                quote!(let #own = #decoded;)
            });
            let adds = (0..3).map(|field| {
                let masked = |panel: usize| {
                    let decoded = ident("decoded", panel);
                    w.and(quote!(#decoded), self.mask(field))
                };
                sums.add_for_all(panels, field, masked, 3 * vector + field)
            });
            quote! {
                #(#decoded)*
                #(#adds)*
            }
        });
        quote! {
            #(#words)*
            #(#products)*
        }
    }

    /// `let (<low>, <high>) = …; let <rest> = …;`: both words of a step of every row of a panel, and what they have left.
    pub(super) fn words_d3(
        &self,
        panel: usize,
        [low_name, high_name, rest_name]: [Ident; 3],
    ) -> TokenStream {
        let w = self.words;
        let low = w.load(weights_at(self.spec, panel, 0));
        let high = w.load(weights_at(self.spec, panel, 4 * self.spec.lanes()));
        let rest = w.merge_bits(quote!(rest_of_low), quote!(#low_name), quote!(#high_name));
        quote! {
            let (#low_name, #high_name) = (#low, #high);
            let #rest_name = #rest;
        }
    }

    /// The fields of the codes in `words`, which stand where `pick_<place>` says.
    pub(super) fn decoded_d3(&self, place: &str, words: Ident) -> TokenStream {
        let pick = format_ident!("pick_{place}");
        let codes = self.words.pick_bytes(quote!(#pick), quote!(#words));
        // `fields` is the table here.
        self.words.lookup(&[quote!(fields)], codes)
    }
}

/// The bits that codes 0 to 3, 4 to 7 and 8 to 11 of a step start at: in the low word, in the high word, and in the low word's bits
/// 20 to 29 and the high word's other ones. Stated at `tern_kernels::Code::D3`.
const PICKS_D3: [[u8; 4]; 3] = [[0, 5, 10, 15], [10, 15, 20, 25], [20, 25, 0, 5]];

/// `const FIELDS: [u8; 64] = …;`: the fields of three trits by their code, twice.
fn table_d3() -> TokenStream {
    let note = comment(
        "The fields of three trits, for all 32 codes twice: the sixth bit of an index does not matter.",
    );
    quote! {
        #note
        const FIELDS: [u8; 64] = {
            let (mut fields, mut index) = ([0; 64], 0);
            while index < 64 {
                let code = index % 32;
                fields[index] = ((code / 9) | ((code / 3 % 3) << 2) | ((code % 3) << 4)) as u8;
                index += 1;
            }
            fields
        };
    }
}

/// `const FIRST: [u8; 128] = …;` and `const LAST: [u8; 128] = …;`: the fields that either view of a code D5 tells.
///
/// The meaning of the code is stated at `tern_kernels::Code::D5`. Fields stand at bits 0, 2 and 4; both tables hold the same
/// fields in mirrored order, and each one bit of the middle one.
fn tables_d5() -> TokenStream {
    let first = view_d5(
        "FIRST",
        quote!((view % 2, view / 2)),
        [quote!(k + 8 * bit), quote!(k + 1 + 2 * bit)],
        quote!(middle % 2),
        quote!(bit),
    );
    let last = view_d5(
        "LAST",
        quote!((view / 64, view % 64)),
        [quote!(k + 1 + 2 * bit), quote!(k + 8 * bit)],
        quote!(middle / 2 * 2),
        quote!(2 * bit),
    );
    let note = comment(
        "The first two trits and the lower bit of the third, by the lower seven bits of a code.",
    );
    let note_too =
        comment("The last two trits and the upper bit of the third, by the upper seven bits.");
    quote! {
        #note
        #first
        #note_too
        #last
    }
}

/// One of [`tables_d5`]: `parts` takes the seven bits of `view` apart into the view's own bit and the shared six.
///
/// `places` are its pair's place on the circle when it is behind the other pair and when it is ahead.
fn view_d5(
    name: &str,
    parts: TokenStream,
    places: [TokenStream; 2],
    middle_bit: TokenStream,
    alike_bit: TokenStream,
) -> TokenStream {
    let (name, [behind, ahead]) = (format_ident!("{name}"), places);
    quote! {
        const #name: [u8; 128] = {
            let (mut fields, mut view) = ([0; 128], 0);
            while view < 128 {
                let (bit, shared) = #parts;
                let (k, case) = (shared / 7, shared % 7);
                let (place, middle) = match case {
                    0 => (k, #alike_bit),
                    _ => {
                        let middle = (case - 1) / 2;
                        let place = if case % 2 == 1 { #behind } else { #ahead };
                        (place, #middle_bit)
                    }
                };
                let place = place % 9;
                fields[view] = ((place / 3) | ((place % 3) << 2) | (middle << 4)) as u8;
                view += 1;
            }
            fields
        };
    }
}
