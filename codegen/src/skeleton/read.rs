//! Streaming reads: the widest loads of an ISA over several runs of memory, to measure what memory gives.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};

use super::{at, comment, features, ident, number};
use crate::isa::Isa;

/// `pub unsafe fn read__<isa>(args: &ReadArgs) -> u64 { … }`
pub fn read(isa: Isa) -> TokenStream {
    let (name, features) = (format_ident!("read__{}", isa.name()), features(isa));
    let title = format!(" Reads memory with the widest loads of {}.", isa.name());
    let safety =
        comment("SAFETY: by the contract of `ReadArgs`, which gives every byte of every stream.");
    let (vector, zero, load, fold) = match isa.vocabulary() {
        None => (
            quote!(u64),
            quote!(0),
            quote!(at.cast::<u64>().read_unaligned()),
            quote!(mixed |= sum;),
        ),
        Some(w) => {
            let store = w.store(quote!(lanes.as_mut_ptr().cast::<u8>()), quote!(sum));
            let lanes = number(isa.vector_bytes() / 8);
            let fold = quote! {
                let mut lanes = [0u64; #lanes];
                #store;
                mixed |= lanes.iter().fold(0, |mixed, lane| mixed | lane);
            };
            (w.vector(), w.zero(), w.load(quote!(at)), fold)
        }
    };
    let width = isa.vector_bytes().max(8);
    let steps = (0..256 / width).map(|step| {
        let (sum, start) = (ident("sum", step % 4), at("block", step * width));
        let merge = match isa.vocabulary() {
            None => quote!(#sum |= value;),
            Some(w) => {
                // `sum ? sum : value` for each bit.
                let merged = w.merge_bits(quote!(#sum), quote!(#sum), quote!(value));
                quote!(#sum = #merged;)
            }
        };
        quote! {
            let at = #start;
            let value = #load;
            #merge
        }
    });
    let folds = (0..4).map(|i| {
        let sum = ident("sum", i);
        quote! {
            let sum: #vector = #sum;
            #fold
        }
    });
    quote! {
        #[doc = #title]
        #[doc = ""]
        #[doc = " # Safety"]
        #[doc = ""]
        #[doc = " `args` meets the contract of [`ReadArgs`]."]
        #features
        pub unsafe fn #name(args: &ReadArgs) -> u64 {
            #safety
            unsafe {
                let mut mixed = 0;
                let (mut sum0, mut sum1, mut sum2, mut sum3) = (#zero, #zero, #zero, #zero);
                for offset in (0..args.len).step_by(256) {
                    for stream in 0..args.streams {
                        let block = args.bytes.add(stream * args.len + offset);
                        #(#steps)*
                    }
                }
                #(#folds)*
                mixed
            }
        }
    }
}
