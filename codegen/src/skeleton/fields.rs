//! Sums of dot products, one sum for each power of two that its fields carry, and the way from there to the rows. Shared by the
//! families that multiply two-bit fields: `mad` and `decode`.
//!
//! A field `u = t + 1` is masked where it stands in its byte, at bit `s`, and not shifted down: its sum carries the factor
//! `2^s`, which one exact shift takes out of the sum of a whole K block. `sum of t * a` is `sum of u * a` less the sum of the
//! activations, which the kernel gets as a constant (`correction`).
//!
//! Where an ISA adds products into 16 bits only, those are the sums of a window, and one 32-bit sum a panel takes them at its end,
//! each brought to the largest power of two.

use proc_macro2::{Ident, TokenStream};
use quote::quote;

use super::{add_to_rows, at_token, ident, of_token, own_names};
use crate::isa::Vocabulary;
use crate::spec::KernelSpec;

/// The sums of a strip: for each panel one for each of `scales`.
pub struct Sums<'a> {
    pub spec: &'a KernelSpec,
    pub words: &'a dyn Vocabulary,
    /// The power of two that each sum carries.
    pub scales: &'static [u32],
}

impl Sums<'_> {
    /// `let total = …;`: what is added to every row of a token.
    pub fn constants(&self) -> TokenStream {
        let totals = own_names(self.spec).map(|own| {
            let (total, correction) = (own("total"), own("correction"));
            let value = self.words.splat32(quote!(#correction));
            quote!(let #total = #value;)
        });
        quote!(#(#totals)*)
    }

    /// A token's sum number `accumulator` of a panel, or of one of the two parts that some ISAs' products come in.
    pub fn name(&self, token: usize, panel: usize, accumulator: usize, part: usize) -> Ident {
        let name = format!("{}sum{panel}_{accumulator}", self.part(part));
        of_token(self.spec, &name, token)
    }

    /// How the names of a part's sums start.
    fn part(&self, part: usize) -> &'static str {
        match (self.words.dot_parts(), part) {
            (1, _) => "",
            (_, 0) => "low_",
            _ => "high_",
        }
    }

    /// Whether products are added into 16 bits first.
    fn narrow(&self) -> bool {
        self.words.dot_bits() == 16
    }

    /// The largest power of two that a sum carries.
    fn top_scale(&self) -> u32 {
        self.scales.iter().copied().max().unwrap_or(0)
    }

    /// A token's 32-bit sum of a panel, or of one of its parts, where products are added into 16 bits first.
    fn wide(&self, token: usize, panel: usize, part: usize) -> Ident {
        let name = format!("{}wide{panel}", self.part(part));
        of_token(self.spec, &name, token)
    }

    /// `let mut <sum> = 0;` for every token, panel, accumulator and part.
    fn zero(&self, panels: usize) -> TokenStream {
        let mut sums = TokenStream::new();
        for (token, panel) in self.tokens_and_panels(panels) {
            for accumulator in 0..self.scales.len() {
                for part in 0..self.words.dot_parts() {
                    let (sum, zero) = (
                        self.name(token, panel, accumulator, part),
                        self.words.zero(),
                    );
                    sums.extend(quote!(let mut #sum = #zero;));
                }
            }
        }
        sums
    }

    /// The sums of a K block, at zero.
    pub fn open(&self, panels: usize) -> TokenStream {
        if !self.narrow() {
            return self.zero(panels);
        }
        let parts = self.words.dot_parts();
        let sums = self.tokens_and_panels(panels);
        let sums = sums.flat_map(|sum| (0..parts).map(move |part| (sum, part)));
        let sums = sums.map(|((token, panel), part)| {
            let (wide, zero) = (self.wide(token, panel, part), self.words.zero());
            quote!(let mut #wide = #zero;)
        });
        quote!(#(#sums)*)
    }

    /// The sums of a window, at zero, where they are not those of the K block.
    pub fn open_window(&self, panels: usize) -> TokenStream {
        if self.narrow() {
            self.zero(panels)
        } else {
            TokenStream::new()
        }
    }

    /// Adds the sums of a window to those of the K block.
    pub fn close_window(&self, panels: usize) -> TokenStream {
        if !self.narrow() {
            return TokenStream::new();
        }
        let w = self.words;
        let mut widened = TokenStream::new();
        for (token, panel) in self.tokens_and_panels(panels) {
            for (accumulator, &scale) in self.scales.iter().enumerate() {
                // Widening brings every sum to the largest scale of all.
                let up = self.top_scale() - scale;
                for part in 0..w.dot_parts() {
                    let (wide, sum) = (
                        self.wide(token, panel, part),
                        self.name(token, panel, accumulator, part),
                    );
                    let added = w.add_pairs16(quote!(#wide), quote!(#sum), up);
                    widened.extend(quote!(#wide = #added;));
                }
            }
        }
        widened
    }

    /// Adds the sums of a K block to the rows.
    pub fn close(&self, panels: usize) -> TokenStream {
        let w = self.words;
        let stores = self.tokens_and_panels(panels).map(|(token, panel)| {
            let value = match (self.narrow(), w.dot_parts()) {
                (false, _) => self.whole(token, panel),
                (true, parts) => {
                    let [wide, rest] = [0, 1].map(|part| self.wide(token, panel, part));
                    let rows = match parts {
                        1 => quote!(#wide),
                        _ => w.join_parts(quote!(#wide), quote!(#rest)),
                    };
                    self.scaled_down(rows, self.top_scale())
                }
            };
            self.add_to_rows(token, panel, value)
        });
        quote!(#(#stores)*)
    }

    /// Every token with every panel.
    fn tokens_and_panels(&self, panels: usize) -> impl Iterator<Item = (usize, usize)> {
        (0..self.spec.batch).flat_map(move |token| (0..panels).map(move |panel| (token, panel)))
    }

    /// `let activations<i> = …;` for `groups` runs of four neighbouring activations, each in every 32-bit lane.
    pub fn activations(&self, groups: usize) -> TokenStream {
        let loads = (0..groups).map(|group| self.activations_of(0, group));
        quote!(#(#loads)*)
    }

    /// One of [`Sums::activations`] of one token.
    fn activations_of(&self, token: usize, group: usize) -> TokenStream {
        let name = ident("activations", group);
        let load = self
            .words
            .load_splat32(at_token(self.spec, "at", token, 4 * group));
        quote!(let #name = #load;)
    }

    /// `<sum> += fields * activations<group>`, four neighbouring products at a time; `fields` is a name where products come in parts.
    pub fn add(
        &self,
        (token, panel): (usize, usize),
        accumulator: usize,
        fields: TokenStream,
        group: usize,
    ) -> TokenStream {
        let w = self.words;
        let activations = ident("activations", group);
        let parts = (0..w.dot_parts()).map(|part| {
            let sum = self.name(token, panel, accumulator, part);
            let (fields, activations) = (fields.clone(), quote!(#activations));
            let dot = match part {
                0 if self.spec.batch > 1 => w.dot_in_order(quote!(#sum), fields, activations),
                0 => w.dot(quote!(#sum), fields, activations),
                _ => w.dot_high(quote!(#sum), fields, activations),
            };
            quote!(#sum = #dot;)
        });
        quote!(#(#parts)*)
    }

    /// Adds a group's products for all tokens of a batch: `fields` of every panel once, then token after token. So it takes
    /// registers for one group of activations, and the sums get the rest.
    pub fn add_for_all(
        &self,
        panels: usize,
        accumulator: usize,
        fields: impl Fn(usize) -> TokenStream,
        group: usize,
    ) -> TokenStream {
        let unpacked = (0..panels).map(|panel| {
            let (name, value) = (ident("fields", panel), fields(panel));
            quote!(let #name = #value;)
        });
        let products = (0..self.spec.batch).map(|token| {
            let load = self.activations_of(token, group);
            let adds = (0..panels).map(|panel| {
                let fields = ident("fields", panel);
                self.add((token, panel), accumulator, quote!(#fields), group)
            });
            quote!(#load #(#adds)*)
        });
        quote! {
            #(#unpacked)*
            #(#products)*
        }
    }

    /// `sum / 2^scale`, exact.
    fn scaled_down(&self, sum: TokenStream, scale: u32) -> TokenStream {
        match scale {
            0 => sum,
            by => self.words.shift_right_signed32(sum, by),
        }
    }

    /// A token's sums of a panel, scaled down and added.
    fn whole(&self, token: usize, panel: usize) -> TokenStream {
        let parts = self.scales.iter().enumerate().map(|(accumulator, &scale)| {
            let sum = self.name(token, panel, accumulator, 0);
            self.scaled_down(quote!(#sum), scale)
        });
        parts
            .reduce(|a, b| self.words.add(32, a, b))
            .unwrap_or_else(|| self.words.zero())
    }

    /// Adds `value` and the constant to a token's rows of a panel.
    fn add_to_rows(&self, token: usize, panel: usize, value: TokenStream) -> TokenStream {
        let total = of_token(self.spec, "total", token);
        let value = self.words.add(32, value, quote!(#total));
        let offset = panel * self.spec.lanes() * 4;
        add_to_rows(self.spec, self.words, token, offset, value)
    }
}
