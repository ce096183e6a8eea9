//! Sums of digits in byte lanes, their widening to 16 bits, and the way from there to `i32` rows. Shared by all kernels that add
//! bytes: tables (`lut`) and digits of activations (`addsub`).
//!
//! Every value is `radix * high + low`, with one byte sum for each digit. Widening a byte vector to 16 bits takes three operations
//! without a shuffle: its bytes as 16-bit words are `even + 256 odd`, so one sum takes the words and another the words shifted
//! right by 8 (`odd`); at the end `even = words - 256 odd`, modulo 2^16. That needs unsigned bytes, so signed byte sums start at 128.

use proc_macro2::{Literal, TokenStream};
use quote::quote;

use super::{at, ident, number};
use crate::budget::{BYTE_EXCESS, Digits, T7_EXCESS};
use crate::isa::Vocabulary;
use crate::spec::{Code, KernelSpec};

/// The names of the two digits.
pub const DIGITS: [&str; 2] = ["low", "high"];

/// The 16-bit sums of a strip: words and odd bytes of each digit and panel.
pub fn open(words: &dyn Vocabulary, panels: usize) -> TokenStream {
    let sums = (0..panels).flat_map(|panel| {
        DIGITS.map(|digit| {
            let (all, odd) = names(digit, panel);
            let (zero, zero_too) = (words.zero(), words.zero());
            quote! {
                let mut #all = #zero;
                let mut #odd = #zero_too;
            }
        })
    });
    quote!(#(#sums)*)
}

/// The byte sums of a window.
pub fn open_window(words: &dyn Vocabulary, code: Code, panels: usize) -> TokenStream {
    let sums = (0..panels).flat_map(|panel| {
        DIGITS.map(|digit| {
            let sum = ident(digit, panel);
            let start = match code {
                Code::T7 => words.zero(),
                _ => words.splat8(BYTE_EXCESS as u8),
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
            let (all, odd) = names(digit, panel);
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
    let window = number(spec.window);
    let (each, times) = match spec.code {
        // Every entry carries the same excess.
        Code::T7 => (T7_EXCESS * digits.per_step, quote!(steps)),
        // Every window, full or not, starts both digits at 128.
        _ => (
            BYTE_EXCESS * (digits.radix + 1),
            quote!(steps.div_ceil(#window)),
        ),
    };
    let each = Literal::i32_unsuffixed(each);
    let total = words.splat32(quote!(correction - #each * #times as i32));
    let (radix, low16) = (
        Literal::i32_unsuffixed(digits.radix),
        Literal::i32_unsuffixed(0xffff),
    );
    let (radix, low16) = (words.splat32(quote!(#radix)), words.splat32(quote!(#low16)));
    let quarters = (0..panels).flat_map(|panel| (0..4).map(move |quarter| (panel, quarter)));
    let stores = quarters.map(|(panel, quarter)| store(words, spec, panel, quarter));
    let evens = (0..panels).flat_map(|panel| {
        DIGITS.map(|digit| {
            let (all, odd) = names(digit, panel);
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

/// Adds a quarter of a panel's rows to `out`: the 16-bit sums that lie in the low or high half of each 32-bit lane.
fn store(words: &dyn Vocabulary, spec: &KernelSpec, panel: usize, quarter: usize) -> TokenStream {
    let half = |digit: &str| {
        let name = match quarter % 2 {
            0 => ident(&format!("{digit}_even"), panel),
            _ => names(digit, panel).1,
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
    let rows = at("out", (panel * 4 + quarter) * spec.lanes());
    let before = words.load(rows.clone());
    let sum = words.add(32, words.add(32, value, quote!(total)), before);
    let store = words.store(rows, sum);
    quote!(#store;)
}

/// The 16-bit sums of a digit: of whole words, and of odd bytes.
fn names(digit: &str, panel: usize) -> (proc_macro2::Ident, proc_macro2::Ident) {
    (
        ident(&format!("{digit}_words"), panel),
        ident(&format!("{digit}_odd"), panel),
    )
}
