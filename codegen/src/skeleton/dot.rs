//! Dot products without anything around them: the most byte products that an ISA can add up, the ceiling of every kernel that
//! multiplies each weight.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};

use super::{at, comment, features, ident, number};
use crate::isa::Isa;
use crate::spec::Family;

/// Sums side by side. A dot product takes 4 to 5 cycles and up to two start in each, so ten cover that; with the factors, what was
/// loaded and a product, twelve sums fill 16 registers.
const SUMS: usize = 12;

/// Vectors of factors that all that is loaded is multiplied with: with one, the loads of some CPUs would be the limit.
const FACTORS: usize = 2;

/// Whether `isa` has a dot product: its kernels multiply and add with it.
pub fn has_dot(isa: Isa) -> bool {
    let multiplies = |(family, _): &(Family, _)| *family == Family::Mad;
    isa.vocabulary().is_some() && isa.skeletons().iter().any(multiplies)
}

/// `pub unsafe fn dot__<isa>(args: &DotArgs) -> u64 { … }`, or nothing for an ISA without a dot product.
pub fn dot(isa: Isa) -> TokenStream {
    let Some(words) = isa.vocabulary().filter(|_| has_dot(isa)) else {
        return TokenStream::new();
    };
    let (name, features) = (format_ident!("dot__{}", isa.name()), features(isa));
    let title = format!(" Adds up products of bytes as fast as {} can.", isa.name());
    let safety = comment("SAFETY: by the contract of `DotArgs`, which gives every byte.");
    let (vector, width) = (words.vector(), isa.vector_bytes());
    // Where products of one vector need two of sums, each half of its bytes has one.
    let vectors = SUMS / FACTORS / words.dot_parts();
    let block = number(vectors * width);
    let count = number(SUMS);
    let factors = (0..FACTORS).map(|i| {
        let (name, load) = (ident("factors", i), words.load(at("first", i * width)));
        quote!(let #name = #load;)
    });
    let open = (0..SUMS).map(|i| {
        let (sum, zero) = (ident("sum", i), words.zero());
        quote!(let mut #sum = #zero;)
    });
    let steps = (0..vectors).map(|i| {
        let load = words.load(at("block", i * width));
        let products = (0..FACTORS).map(|factor| {
            let (factors, first) = (ident("factors", factor), factor * vectors + i);
            let sum = ident("sum", first);
            let added = words.dot(quote!(#sum), quote!(value), quote!(#factors));
            let rest = (words.dot_parts() > 1).then(|| {
                let sum = ident("sum", SUMS / 2 + first);
                let added = words.dot_high(quote!(#sum), quote!(value), quote!(#factors));
                quote!(#sum = #added;)
            });
            quote!(#sum = #added; #rest)
        });
        quote! {
            let value = #load;
            #(#products)*
        }
    });
    let store = words.store(quote!(lanes.as_mut_ptr().cast::<u8>()), quote!(sum));
    let lanes = number(width / 8);
    let sums = (0..SUMS).map(|i| ident("sum", i));
    quote! {
        #[doc = #title]
        #[doc = ""]
        #[doc = " # Safety"]
        #[doc = ""]
        #[doc = " `args` meets the contract of [`DotArgs`]."]
        #features
        pub unsafe fn #name(args: &DotArgs) -> u64 {
            #safety
            unsafe {
                let first = args.bytes;
                #(#factors)*
                #(#open)*
                for _ in 0..args.laps {
                    for offset in (0..args.len).step_by(#block) {
                        let block = args.bytes.add(offset);
                        #(#steps)*
                    }
                }
                let sums: [#vector; #count] = [#(#sums),*];
                let mut mixed = 0;
                for sum in sums {
                    let mut lanes = [0u64; #lanes];
                    #store;
                    mixed = lanes.iter().fold(mixed, |mixed, &lane| u64::wrapping_add(mixed, lane));
                }
                mixed
            }
        }
    }
}
