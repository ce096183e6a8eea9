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

use super::{add_to_rows, at, ident};
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
    /// `let total = …;`: what is added to every row.
    pub fn constants(&self) -> TokenStream {
        let total = self.words.splat32(quote!(correction));
        quote!(let total = #total;)
    }

    /// The sum number `accumulator` of a panel, or of one of the two parts that some ISAs' products come in.
    pub fn name(&self, panel: usize, accumulator: usize, part: usize) -> Ident {
        ident(&format!("{}sum{panel}_", self.part(part)), accumulator)
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

    /// The 32-bit sum of a panel, or of one of its parts, where products are added into 16 bits first.
    fn wide(&self, panel: usize, part: usize) -> Ident {
        ident(&format!("{}wide", self.part(part)), panel)
    }

    /// `let mut <sum> = 0;` for every panel, accumulator and part.
    fn zero(&self, panels: usize) -> TokenStream {
        let mut sums = TokenStream::new();
        for panel in 0..panels {
            for accumulator in 0..self.scales.len() {
                for part in 0..self.words.dot_parts() {
                    let (sum, zero) = (self.name(panel, accumulator, part), self.words.zero());
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
        let sums = (0..panels).flat_map(|panel| (0..parts).map(move |part| (panel, part)));
        let sums = sums.map(|(panel, part)| {
            let (wide, zero) = (self.wide(panel, part), self.words.zero());
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
        for panel in 0..panels {
            for (accumulator, &scale) in self.scales.iter().enumerate() {
                // Widening brings every sum to the largest scale of all.
                let up = self.top_scale() - scale;
                for part in 0..w.dot_parts() {
                    let (wide, sum) = (self.wide(panel, part), self.name(panel, accumulator, part));
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
        let stores = (0..panels).map(|panel| {
            let value = match (self.narrow(), w.dot_parts()) {
                (false, _) => self.whole(panel),
                (true, parts) => {
                    let (wide, rest) = (self.wide(panel, 0), self.wide(panel, 1));
                    let rows = match parts {
                        1 => quote!(#wide),
                        _ => w.join_parts(quote!(#wide), quote!(#rest)),
                    };
                    self.scaled_down(rows, self.top_scale())
                }
            };
            self.add_to_rows(panel, value)
        });
        quote!(#(#stores)*)
    }

    /// `let activations<i> = …;` for `groups` runs of four neighbouring activations, each in every 32-bit lane.
    pub fn activations(&self, groups: usize) -> TokenStream {
        let loads = (0..groups).map(|group| {
            let name = ident("activations", group);
            let load = self.words.load_splat32(at("at", 4 * group));
            quote!(let #name = #load;)
        });
        quote!(#(#loads)*)
    }

    /// `<sum> += fields * activations<group>`, four neighbouring products at a time.
    pub fn add(
        &self,
        panel: usize,
        accumulator: usize,
        fields: TokenStream,
        group: usize,
    ) -> TokenStream {
        let (sum, activations) = (
            self.name(panel, accumulator, 0),
            ident("activations", group),
        );
        let dot = self.words.dot(quote!(#sum), fields, quote!(#activations));
        quote!(#sum = #dot;)
    }

    /// `sum / 2^scale`, exact.
    fn scaled_down(&self, sum: TokenStream, scale: u32) -> TokenStream {
        match scale {
            0 => sum,
            by => self.words.shift_right_signed32(sum, by),
        }
    }

    /// The sums of a panel, scaled down and added.
    fn whole(&self, panel: usize) -> TokenStream {
        let parts = self.scales.iter().enumerate().map(|(accumulator, &scale)| {
            let sum = self.name(panel, accumulator, 0);
            self.scaled_down(quote!(#sum), scale)
        });
        parts
            .reduce(|a, b| self.words.add(32, a, b))
            .unwrap_or_else(|| self.words.zero())
    }

    /// Adds `value` and the constant to a panel's rows.
    fn add_to_rows(&self, panel: usize, value: TokenStream) -> TokenStream {
        let value = self.words.add(32, value, quote!(total));
        add_to_rows(self.spec, self.words, panel * self.spec.lanes() * 4, value)
    }
}
