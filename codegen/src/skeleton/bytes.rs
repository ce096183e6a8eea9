//! Sums of digits in byte lanes, their widening to 16 bits, and the way from there to `i32` rows. Shared by all kernels that add
//! bytes: tables (`lut`, `bitserial`) and digits of activations (`addsub`).
//!
//! Every value is `radix * high + low`, with one byte sum for each digit. Widening a byte vector to 16 bits takes three operations
//! without a shuffle: its bytes as 16-bit words are `even + 256 odd`, so one sum takes the words and another the words shifted
//! right by 8 (`odd`); at the end `even = words - 256 odd`, modulo 2^16. That needs unsigned bytes, so signed byte sums start at 128.

use proc_macro2::{Ident, Literal, TokenStream};
use quote::quote;

use super::{add_to_rows, ident, number};
use crate::budget::{self, BYTE_EXCESS, Digits};
use crate::isa::Vocabulary;
use crate::spec::{Code, KernelSpec};

/// The names of the two digits.
pub const DIGITS: [&str; 2] = ["low", "high"];

/// The 16-bit sums of a strip: words and odd bytes of each digit and panel.
pub fn open(words: &dyn Vocabulary, panels: usize) -> TokenStream {
    let sums = (0..panels).flat_map(|panel| {
        DIGITS.map(|digit| {
            let (all, odd) = (words_name(digit, panel), odd_name(digit, panel));
            let (zero, zero_too) = (words.zero(), words.zero());
            quote! {
                let mut #all = #zero;
                let mut #odd = #zero_too;
            }
        })
    });
    quote!(#(#sums)*)
}

/// Where a byte sum starts: signed digits must not fall below zero, since they are widened as unsigned.
fn window_start(code: Code) -> i32 {
    match code {
        Code::T2 | Code::T7 => 0,
        _ => BYTE_EXCESS,
    }
}

/// The byte sums of a window.
pub fn open_window(words: &dyn Vocabulary, code: Code, panels: usize) -> TokenStream {
    let sums = (0..panels).flat_map(|panel| {
        DIGITS.map(|digit| {
            let sum = ident(digit, panel);
            let start = match window_start(code) {
                0 => words.zero(),
                start => words.splat8(start as u8),
            };
            quote!(let mut #sum = #start;)
        })
    });
    quote!(#(#sums)*)
}

/// Widens the byte sums of a window into the 16-bit sums.
pub fn close_window(words: &dyn Vocabulary, panels: usize) -> TokenStream {
    let sums = (0..panels).flat_map(|panel| {
        DIGITS.map(|digit| {
            let sum = ident(digit, panel);
            let (all, odd) = (words_name(digit, panel), odd_name(digit, panel));
            let add_all = words.add(16, quote!(#all), quote!(#sum));
            let add_odd = words.add(16, quote!(#odd), words.shift_right(16, quote!(#sum), 8));
            quote! {
                #all = #add_all;
                #odd = #add_odd;
            }
        })
    });
    quote!(#(#sums)*)
}

/// Adds the 16-bit sums of a strip to `out`: four vectors of neighbouring rows a panel.
pub fn close(words: &dyn Vocabulary, spec: &KernelSpec, panels: usize) -> TokenStream {
    let digits = Digits::of(spec.code).expect("byte sums belong to codes with digits");
    // Every entry carries the same excess; every window of signed digits, full or not, starts both at 128.
    let entries = Literal::i32_unsuffixed(-digits.excess * digits.per_step);
    let starts = Literal::i32_unsuffixed(window_start(spec.code) * (digits.radix + 1));
    let window = number(spec.window);
    let total = match (digits.excess, window_start(spec.code)) {
        (_, 0) => quote!(#entries * steps as i32),
        (0, _) => quote!(-#starts * steps.div_ceil(#window) as i32),
        _ => quote!(#entries * steps as i32 - #starts * steps.div_ceil(#window) as i32),
    };
    match budget::sums_fit_16_bits(spec) {
        true => close_narrow(words, spec, digits, total, panels),
        false => close_wide(words, spec, digits, total, panels),
    }
}

/// [`close`] where a K block's sums fit 16 bits: the digits are put together there, modulo 2^16, which loses nothing.
fn close_narrow(
    words: &dyn Vocabulary,
    spec: &KernelSpec,
    digits: Digits,
    total: TokenStream,
    panels: usize,
) -> TokenStream {
    let radix = Literal::i16_unsuffixed(digits.radix as i16);
    let (radix, total) = (
        words.splat16(quote!(#radix)),
        words.splat16(quote!((#total) as i16)),
    );
    // Products with these pick one of two neighbouring 16-bit lanes and widen it.
    let (first, second) = (words.splat32(quote!(1)), words.splat32(quote!(1 << 16)));
    let whole = |panel: usize, part: fn(&str, usize) -> Ident| {
        let (low, high) = (part("low", panel), part("high", panel));
        words.add(
            16,
            quote!(#low),
            words.multiply16(quote!(#high), quote!(radix)),
        )
    };
    let panels = (0..panels).map(|panel| {
        let (both, odd) = (whole(panel, words_name), whole(panel, odd_name));
        let even = words.sub(16, quote!(both), words.shift_left(16, quote!(odd), 8));
        let even = words.add(16, even, quote!(total));
        let odd_too = words.add(16, quote!(odd), quote!(total));
        let stores = (0..4).map(|quarter| {
            let sums = [quote!(even), quote!(odd)][quarter % 2].clone();
            let pick = [quote!(first), quote!(second)][quarter / 2].clone();
            let offset = (panel * 4 + quarter) * spec.lanes();
            add_to_rows(spec, words, offset, words.multiply_pairs16(sums, pick))
        });
        quote! {
            let (both, odd) = (#both, #odd);
            let (even, odd) = (#even, #odd_too);
            #(#stores)*
        }
    });
    quote! {
        let (radix, total, first, second) = (#radix, #total, #first, #second);
        #(#panels)*
    }
}

/// [`close`] for any K block: the lanes are widened first.
fn close_wide(
    words: &dyn Vocabulary,
    spec: &KernelSpec,
    digits: Digits,
    total: TokenStream,
    panels: usize,
) -> TokenStream {
    let (radix, low16) = (
        Literal::i32_unsuffixed(digits.radix),
        Literal::i32_unsuffixed(0xffff),
    );
    let (radix, low16) = (words.splat32(quote!(#radix)), words.splat32(quote!(#low16)));
    let total = words.splat32(total);
    let quarters = (0..panels).flat_map(|panel| (0..4).map(move |quarter| (panel, quarter)));
    let stores = quarters.map(|(panel, quarter)| widen(words, spec, panel, quarter));
    let evens = (0..panels).flat_map(|panel| {
        DIGITS.map(|digit| {
            let (all, odd) = (words_name(digit, panel), odd_name(digit, panel));
            let even = ident(&format!("{digit}_even"), panel);
            let value = words.sub(16, quote!(#all), words.shift_left(16, quote!(#odd), 8));
            quote!(let #even = #value;)
        })
    });
    quote! {
        let (radix, low16, total) = (#radix, #low16, #total);
        #(#evens)*
        #(#stores)*
    }
}

/// The sums of a quarter of a panel's rows, which lie in the low or high half of each 32-bit lane.
fn widen(words: &dyn Vocabulary, spec: &KernelSpec, panel: usize, quarter: usize) -> TokenStream {
    let half = |digit: &str| {
        let name = match quarter % 2 {
            0 => ident(&format!("{digit}_even"), panel),
            _ => odd_name(digit, panel),
        };
        match quarter / 2 {
            0 => words.and(quote!(#name), quote!(low16)),
            _ => words.shift_right(32, quote!(#name), 16),
        }
    };
    let value = words.add(
        32,
        half("low"),
        words.multiply32(half("high"), quote!(radix)),
    );
    let offset = (panel * 4 + quarter) * spec.lanes();
    add_to_rows(spec, words, offset, words.add(32, value, quote!(total)))
}

/// The 16-bit sums of a digit's byte pairs, taken as words.
fn words_name(digit: &str, panel: usize) -> Ident {
    ident(&format!("{digit}_words"), panel)
}

/// The 16-bit sums of a digit's odd bytes.
fn odd_name(digit: &str, panel: usize) -> Ident {
    ident(&format!("{digit}_odd"), panel)
}
