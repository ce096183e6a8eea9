//! Sums of dot products in 32-bit lanes, one sum for each power of two that its fields carry, and the way from there to the rows.
//! Shared by the families that multiply two-bit fields: `mad` and `decode`.
//!
//! A field `u = t + 1` is masked where it stands in its byte, at bit `s`, and not shifted down: its sum carries the factor
//! `2^s`, which one exact shift takes out of the sum of a whole K block. `sum of t * a` is `sum of u * a` less the sum of the
//! activations, which the kernel gets as a constant (`correction`).

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
    pub fn part(&self, part: usize) -> &'static str {
        match (self.words.dot_parts(), part) {
            (1, _) => "",
            (_, 0) => "low_",
            _ => "high_",
        }
    }

    /// `let mut <sum> = 0;` for every panel, accumulator and part.
    pub fn zero(&self, panels: usize) -> TokenStream {
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
    pub fn scaled_down(&self, sum: TokenStream, scale: u32) -> TokenStream {
        match scale {
            0 => sum,
            by => self.words.shift_right_signed32(sum, by),
        }
    }

    /// The sums of a panel, scaled down and added.
    pub fn whole(&self, panel: usize) -> TokenStream {
        let parts = self.scales.iter().enumerate().map(|(accumulator, &scale)| {
            let sum = self.name(panel, accumulator, 0);
            self.scaled_down(quote!(#sum), scale)
        });
        parts
            .reduce(|a, b| self.words.add(32, a, b))
            .unwrap_or_else(|| self.words.zero())
    }

    /// Adds `value` and the constant to a panel's rows.
    pub fn add_to_rows(&self, panel: usize, value: TokenStream) -> TokenStream {
        let value = self.words.add(32, value, quote!(total));
        add_to_rows(self.spec, self.words, panel * self.spec.lanes() * 4, value)
    }
}
