//! `lut`: partial sums looked up in tables that are built from the activations once for each token.
//!
//! The idea is T-MAC's (arXiv:2407.00088), the grouping of whole trits that of TL2 (bitnet.cpp, arXiv:2502.11880) and of five
//! trits a byte that of lut_mm. Entries are exact: two byte tables hold the two digits of each sum, and byte lanes add
//! digits for as long as they cannot overflow.
//!
//! * `t2`: groups of two trits, as in TL1 (bitnet.cpp). Their nine sums all fit a table of 16, so that a code needs no sign.
//! * `t3`, `t5`: *mirrored* groups. Half of the sums are the negatives of the other half, so the table holds magnitudes and a sign
//!   bit of the code negates what was looked up. Digits stand for themselves plus one half, so that all that negating takes is to
//!   complement their bits (`budget::Digits`).
//! * `p3`: `t3` with digits that are the bytes of 16-bit sums, but for the radix, which complements ask to be odd. High bytes are small
//!   and byte lanes add many; low bytes fill a lane and are widened one by one.
//! * `f3`: all 27 sums of three trits in a table of 32 entries, where an ISA looks up two vectors at once: nothing to negate.
//! * `t7`: groups of three and a half trits. The half is what makes 54 sums of the 64 that one byte shuffle can hold, without a sign.

use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote};

use super::{Skeleton, at_token, bytes, ident, weights_at};
use crate::isa::Vocabulary;
use crate::spec::{Code, KernelSpec};

/// A table kernel.
pub struct Lut<'a> {
    pub spec: &'a KernelSpec,
    pub words: &'a dyn Vocabulary,
}

impl Skeleton for Lut<'_> {
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
        match self.spec.code {
            Code::T2 => self.step_t2(panels),
            Code::T3 | Code::P3 => self.step_t3(panels),
            Code::F3 => self.step_f3(panels),
            Code::T5 => self.step_t5(panels),
            Code::T7 => self.step_t7(panels),
            Code::B2
            | Code::D3
            | Code::D5
            | Code::M5
            | Code::R5
            | Code::Planes
            | Code::W3
            | Code::S4 => {
                unreachable!("not a code of this skeleton")
            }
        }
    }

    fn close_window(&self, panels: usize) -> TokenStream {
        bytes::close_window(self.words, self.spec, panels)
    }

    fn close(&self, panels: usize) -> TokenStream {
        bytes::close(self.words, self.spec, panels)
    }
}

impl Lut<'_> {
    /// Vector `index` of the step's weights of a panel.
    fn weights(&self, panel: usize, index: usize) -> TokenStream {
        let offset = index * self.spec.lanes();
        self.words.load(weights_at(self.spec, panel, offset))
    }

    /// The table vector at `offset` bytes of a token's tables of the step.
    fn table(&self, token: usize, offset: usize) -> TokenStream {
        self.words
            .load_table(at_token(self.spec, "at", token, offset))
    }

    fn own(&self, token: usize, panel: usize) -> bytes::Own<'_> {
        bytes::Own {
            spec: self.spec,
            token,
            panel,
        }
    }

    /// `<digit sum> += <looked up, with its sign>;`
    fn add(&self, digit: &str, token: usize, panel: usize, value: TokenStream) -> TokenStream {
        let sum = self.own(token, panel).bytes(digit);
        let added = self.words.add(8, quote!(#sum), value);
        quote!(#sum = #added;)
    }

    /// What the tokens of a batch share of a panel, called `name` where no other panel's is needed at the same time.
    fn shared(&self, name: &str, panel: usize) -> Ident {
        match self.spec.batch {
            1 => format_ident!("{name}"),
            _ => ident(name, panel),
        }
    }

    /// Tables and what is looked up in them: for one token panel after panel, each taken apart by `codes` as it is needed; for several
    /// all panels are taken apart once, and then comes token after token, each with its own tables.
    fn look_up(
        &self,
        panels: usize,
        tables: impl Fn(usize) -> TokenStream,
        codes: impl Fn(usize) -> TokenStream,
        adds: impl Fn(usize, usize) -> TokenStream,
    ) -> TokenStream {
        if self.spec.batch == 1 {
            let panels = (0..panels).map(|panel| {
                let (codes, adds) = (codes(panel), adds(0, panel));
                quote!(#codes #adds)
            });
            let tables = tables(0);
            return quote!(#tables #(#panels)*);
        }
        let codes = (0..panels).map(codes);
        let tokens = (0..self.spec.batch).map(|token| {
            let (tables, adds) = (tables(token), (0..panels).map(|panel| adds(token, panel)));
            quote!(#tables #(#adds)*)
        });
        quote!(#(#codes)* #(#tokens)*)
    }

    /// Two trits a nibble, the first two of a step in the low one.
    fn step_t2(&self, panels: usize) -> TokenStream {
        let w = self.words;
        let tables = |token: usize| {
            let [low0, high0, low1, high1] =
                [0, 1, 2, 3].map(|i| self.table(token, i * w.table_bytes()));
            quote! {
                let (low_table0, high_table0) = (#low0, #high0);
                let (low_table1, high_table1) = (#low1, #high1);
            }
        };
        let names = |panel: usize| ["first", "second"].map(|name| self.shared(name, panel));
        let codes = |panel: usize| {
            let ([first, second], load) = (names(panel), self.weights(panel, 0));
            let [low, high] =
                [0, 4].map(|place| w.byte_bits(quote!(pair), place, 0x0f, quote!(nibble)));
            quote! {
                let pair = #load;
                let (#first, #second) = (#low, #high);
            }
        };
        let adds = |token: usize, panel: usize| {
            let groups = names(panel).into_iter().enumerate();
            let adds = groups.flat_map(|(group, codes)| {
                bytes::DIGITS.map(|digit| {
                    let table = ident(&format!("{digit}_table"), group);
                    let found = w.lookup(&[quote!(#table)], quote!(#codes));
                    self.add(digit, token, panel, found)
                })
            });
            quote!(#(#adds)*)
        };
        let (nibble, lookups) = (w.splat8(0x0f), self.look_up(panels, tables, codes, adds));
        quote! {
            let nibble = #nibble;
            #lookups
        }
    }

    /// Five trits a byte: seven bits of magnitude index two table vectors (the lookup ignores the eighth), which is the sign.
    fn step_t5(&self, panels: usize) -> TokenStream {
        let w = self.words;
        let tables = |token: usize| {
            let [low0, low1, high0, high1] =
                [0, 1, 2, 3].map(|i| self.table(token, i * w.table_bytes()));
            quote! {
                let (low_table0, low_table1) = (#low0, #low1);
                let (high_table0, high_table1) = (#high0, #high1);
            }
        };
        let names = |panel: usize| ["codes", "signs"].map(|name| self.shared(name, panel));
        let codes = |panel: usize| {
            let ([codes, signs], load) = (names(panel), self.weights(panel, 0));
            let spread = w.spread_highest_bit(quote!(#codes));
            quote! {
                let #codes = #load;
                let #signs = #spread;
            }
        };
        let adds = |token: usize, panel: usize| {
            let [codes, signs] = names(panel);
            let low = w.lookup(&[quote!(low_table0), quote!(low_table1)], quote!(#codes));
            let high = w.lookup(&[quote!(high_table0), quote!(high_table1)], quote!(#codes));
            let add = |digit: &str, found: TokenStream| {
                self.add(digit, token, panel, w.xor(found, quote!(#signs)))
            };
            let add_low = add("low", quote!(found_low));
            let add_high = add("high", quote!(found_high));
            quote! {
                let (found_low, found_high) = (#low, #high);
                #add_low
                #add_high
            }
        };
        self.look_up(panels, tables, codes, adds)
    }

    /// Three trits a nibble: four bytes of nibble pairs, then a byte of signs, shifted up from group to group.
    fn step_t3(&self, panels: usize) -> TokenStream {
        let w = self.words;
        let signs = (0..panels).map(|panel| {
            let (signs, value) = (ident("signs", panel), self.weights(panel, 4));
            quote!(let mut #signs = #value;)
        });
        let groups = (0..8).map(|group| self.group_t3(panels, group));
        let nibble = w.splat8(0x0f);
        quote! {
            let nibble = #nibble;
            #(#signs)*
            #(#groups)*
        }
    }

    /// One group of [`Lut::step_t3`].
    fn group_t3(&self, panels: usize, group: usize) -> TokenStream {
        let w = self.words;
        let tables = |token: usize| {
            let start = group * 2 * w.table_bytes();
            let (low, high) = (
                self.table(token, start),
                self.table(token, start + w.table_bytes()),
            );
            quote!(let (low_table, high_table) = (#low, #high);)
        };
        let names = |panel: usize| ["codes", "sign"].map(|name| self.shared(name, panel));
        let next = |panel: usize| {
            let signs = ident("signs", panel);
            let doubled = w.add(8, quote!(#signs), quote!(#signs));
            (group < 7).then(|| quote!(#signs = #doubled;))
        };
        let taken_apart = |panel: usize| {
            let (pair, signs) = (ident("pair", panel), ident("signs", panel));
            let load = group.is_multiple_of(2).then(|| {
                let codes = self.weights(panel, group / 2);
                quote!(let #pair = #codes;)
            });
            let place = 4 * (group % 2) as u32;
            let ([codes, sign], nibbles) = (
                names(panel),
                w.byte_bits(quote!(#pair), place, 0x0f, quote!(nibble)),
            );
            let spread = w.spread_highest_bit(quote!(#signs));
            quote! {
                #load
                let #codes = #nibbles;
                let #sign = #spread;
            }
        };
        let adds = |token: usize, panel: usize| {
            let [codes, sign] = names(panel);
            let low = w.lookup(&[quote!(low_table)], quote!(#codes));
            let high = w.lookup(&[quote!(high_table)], quote!(#codes));
            let low = w.xor(low, quote!(#sign));
            let add_low = match self.spec.code {
                Code::P3 => bytes::add_wide(w, self.own(token, panel), "low", low),
                _ => self.add("low", token, panel, low),
            };
            let add_high = self.add("high", token, panel, w.xor(high, quote!(#sign)));
            // The signs move up when the last token has taken its own.
            let next = (token + 1 == self.spec.batch).then(|| next(panel));
            quote!(#add_low #add_high #next)
        };
        self.look_up(panels, tables, taken_apart, adds)
    }

    /// Three trits in five bits: four bytes of nibble pairs, then a byte of fifth bits, four of low nibbles and four of high ones.
    fn step_f3(&self, panels: usize) -> TokenStream {
        let w = self.words;
        let fifths = (0..panels).map(|panel| {
            let (fifths, value) = (ident("fifths", panel), self.weights(panel, 4));
            quote!(let #fifths = #value;)
        });
        let groups = (0..8).map(|group| self.group_f3(panels, group));
        // The fifth bit of a low nibble, and that of the high nibble beside it.
        let places = w.splat8(0x11);
        quote! {
            let places = #places;
            #(#fifths)*
            #(#groups)*
        }
    }

    /// One group of [`Lut::step_f3`].
    fn group_f3(&self, panels: usize, group: usize) -> TokenStream {
        let w = self.words;
        let tables = |token: usize| {
            let tables = [0, 1, 2, 3].map(|i| self.table(token, (4 * group + i) * w.table_bytes()));
            let [low0, low1, high0, high1] = tables;
            quote! {
                let (low_table0, low_table1) = (#low0, #low1);
                let (high_table0, high_table1) = (#high0, #high1);
            }
        };
        let taken_apart = |panel: usize| {
            let (pair, bits) = (ident("pair", panel), ident("bits", panel));
            let load = group.is_multiple_of(2).then(|| {
                let (codes, fifths) = (self.weights(panel, group / 2), ident("fifths", panel));
                let picked = w.byte_bits(quote!(#fifths), group as u32 / 2, 0x11, quote!(places));
                quote!(let (#pair, #bits) = (#codes, #picked);)
            });
            let inserted = match group % 2 {
                0 => w.low_nibbles(quote!(#pair), quote!(#bits)),
                _ => w.high_nibbles(quote!(#pair), quote!(#bits)),
            };
            let codes = self.shared("codes", panel);
            quote! {
                #load
                let #codes = #inserted;
            }
        };
        let adds = |token: usize, panel: usize| {
            let codes = self.shared("codes", panel);
            let low = w.lookup(&[quote!(low_table0), quote!(low_table1)], quote!(#codes));
            let high = w.lookup(&[quote!(high_table0), quote!(high_table1)], quote!(#codes));
            let add_low = self.add("low", token, panel, low);
            let add_high = self.add("high", token, panel, high);
            quote!(#add_low #add_high)
        };
        self.look_up(panels, tables, taken_apart, adds)
    }

    /// Seven trits in two codes of six bits: three vectors hold four codes, the fourth in their highest two bits.
    ///
    /// The lookup ignores the two highest bits of an index, so the first three codes are the vectors as they are.
    fn step_t7(&self, panels: usize) -> TokenStream {
        let w = self.words;
        let halves = (0..2).map(|half| {
            let codes = (0..panels).map(|panel| self.codes_t7(panel, half));
            let lookups = (0..4).map(|code| {
                let start = (4 * half + code) * 2 * w.table_bytes();
                let tables = |token: usize| {
                    let (low, high) = (
                        self.table(token, start),
                        self.table(token, start + w.table_bytes()),
                    );
                    quote!(let (low_table, high_table) = (#low, #high);)
                };
                let adds = |token: usize, panel: usize| {
                    let codes = ident(&format!("codes{panel}_"), code);
                    let low = w.lookup(&[quote!(low_table)], quote!(#codes));
                    let high = w.lookup(&[quote!(high_table)], quote!(#codes));
                    let low = self.add("low", token, panel, low);
                    let high = self.add("high", token, panel, high);
                    quote!(#low #high)
                };
                // The codes of all panels are taken apart before.
                self.look_up(panels, tables, |_| TokenStream::new(), adds)
            });
            quote!(#(#codes)* #(#lookups)*)
        });
        let (two, four) = (w.splat8(0x03), w.splat8(0x0f));
        quote! {
            let (two_bits, four_bits) = (#two, #four);
            #(#halves)*
        }
    }

    /// `let codes<panel>_<0..4> = …;` for one half of a step.
    fn codes_t7(&self, panel: usize, half: usize) -> TokenStream {
        let w = self.words;
        let names: Vec<_> = (0..4)
            .map(|i| ident(&format!("codes{panel}_"), i))
            .collect();
        let [c0, c1, c2, c3] = &names[..] else {
            unreachable!("four names")
        };
        let [v0, v1, v2] = [0, 1, 2].map(|i| self.weights(panel, 3 * half + i));
        // Bits 0 and 1 from the first vector, 2 and 3 from the second, 4 and 5 from the third.
        let [s0, s1, s2] =
            [(c0, 6), (c1, 4), (c2, 2)].map(|(c, by)| w.shift_right(16, quote!(#c), by));
        let low = w.merge_bits(quote!(two_bits), s0, s1);
        let merged = w.merge_bits(quote!(four_bits), low, s2);
        quote! {
            let (#c0, #c1, #c2) = (#v0, #v1, #v2);
            let #c3 = #merged;
        }
    }
}
