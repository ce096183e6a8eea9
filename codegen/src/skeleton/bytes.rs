//! Sums of digits in byte lanes, their widening to 16 bits, and the way from there to `i32` rows. Shared by all kernels that add
//! bytes: tables (`lut`, `bitserial`) and digits of activations (`addsub`).
//!
//! Every value is `radix * high + low`, with one byte sum for each digit. Widening a byte vector to 16 bits takes three operations
//! without a shuffle: its bytes as 16-bit words are `even + 256 odd`, so one sum takes the words and another the words shifted
//! right by 8 (`odd`); at the end `even = words - 256 odd`, modulo 2^16. That needs unsigned bytes, so signed byte sums start at 128.

use proc_macro2::{Ident, Literal, TokenStream};
use quote::{format_ident, quote};

use super::{add_to_rows, number, of_token};
use crate::budget::{self, BYTE_EXCESS, Digits};
use crate::isa::Vocabulary;
use crate::spec::{Code, KernelSpec};

/// The names of the two digits.
pub const DIGITS: [&str; 2] = ["low", "high"];

/// The panels of every token.
fn all(spec: &KernelSpec, panels: usize) -> impl Iterator<Item = Own<'_>> {
    let tokens = 0..spec.batch;
    tokens.flat_map(move |token| (0..panels).map(move |panel| Own { spec, token, panel }))
}

/// One panel of one token, and what its sums are called.
#[derive(Clone, Copy)]
pub struct Own<'a> {
    pub spec: &'a KernelSpec,
    pub token: usize,
    pub panel: usize,
}

impl Own<'_> {
    /// The byte sums of a digit.
    pub fn bytes(self, digit: &str) -> Ident {
        self.named(digit)
    }

    /// The 16-bit sums of a digit's byte pairs, taken as words.
    fn words(self, digit: &str) -> Ident {
        self.named(&format!("{digit}_words"))
    }

    /// The 16-bit sums of a digit's odd bytes.
    fn odd(self, digit: &str) -> Ident {
        self.named(&format!("{digit}_odd"))
    }

    fn named(self, name: &str) -> Ident {
        of_token(self.spec, &format!("{name}{}", self.panel), self.token)
    }
}

/// The 16-bit sums of a strip: words and odd bytes of each digit, panel and token.
pub fn open(words: &dyn Vocabulary, spec: &KernelSpec, panels: usize) -> TokenStream {
    let sums = all(spec, panels).flat_map(|own| {
        DIGITS.map(|digit| {
            let (all, odd) = (own.words(digit), own.odd(digit));
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

/// The digits that byte lanes add up for a window; of code P3 the low one is widened at once.
fn windowed(spec: &KernelSpec) -> &'static [&'static str] {
    match spec.code {
        Code::P3 => &DIGITS[1..],
        _ => &DIGITS,
    }
}

/// The byte sums of a window.
pub fn open_window(words: &dyn Vocabulary, spec: &KernelSpec, panels: usize) -> TokenStream {
    let sums = all(spec, panels).flat_map(|own| {
        windowed(spec).iter().map(move |digit| {
            let sum = own.bytes(digit);
            let start = match window_start(spec.code) {
                0 => words.zero(),
                start => words.splat8(start as u8),
            };
            quote!(let mut #sum = #start;)
        })
    });
    quote!(#(#sums)*)
}

/// Widens the byte sums of a window into the 16-bit sums.
pub fn close_window(words: &dyn Vocabulary, spec: &KernelSpec, panels: usize) -> TokenStream {
    let sums = all(spec, panels).flat_map(|own| {
        windowed(spec)
            .iter()
            .map(move |digit| widen_bytes(words, own, digit, own.bytes(digit)))
    });
    quote!(#(#sums)*)
}

/// Adds unsigned bytes called `name` to the 16-bit sums of a digit.
fn widen_bytes(words: &dyn Vocabulary, own: Own<'_>, digit: &str, name: Ident) -> TokenStream {
    let (all, odd) = (own.words(digit), own.odd(digit));
    let add_all = words.add(16, quote!(#all), quote!(#name));
    let add_odd = words.add(16, quote!(#odd), words.shift_right(16, quote!(#name), 8));
    quote! {
        #all = #add_all;
        #odd = #add_odd;
    }
}

/// Adds unsigned bytes to the 16-bit sums of a digit, without a byte sum between.
pub fn add_wide(
    words: &dyn Vocabulary,
    own: Own<'_>,
    digit: &str,
    bytes: TokenStream,
) -> TokenStream {
    let added = widen_bytes(words, own, digit, format_ident!("found"));
    quote! {
        let found = #bytes;
        #added
    }
}

/// Adds the 16-bit sums of a strip to each token's `out`: four vectors of neighbouring rows a panel.
pub fn close(words: &dyn Vocabulary, spec: &KernelSpec, panels: usize) -> TokenStream {
    let digits = Digits::of(spec.code).expect("byte sums belong to codes with digits");
    // Every entry carries the same excess; every window of signed digits, full or not, starts both at 128. Low bytes of code P3 each
    // start at 128 instead, which is the excess of their entry.
    let (excess, starts) = match spec.code {
        Code::P3 => (0, digits.radix),
        _ => (digits.excess, digits.radix + 1),
    };
    let entries = Literal::i32_unsuffixed(-excess * digits.per_step);
    let starts = Literal::i32_unsuffixed(window_start(spec.code) * starts);
    let window = number(spec.window);
    let total = match (excess, window_start(spec.code)) {
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
    let whole = |low: Ident, high: Ident| {
        words.add(
            16,
            quote!(#low),
            words.multiply16(quote!(#high), quote!(radix)),
        )
    };
    let panels = all(spec, panels).map(|own| {
        let both = whole(own.words("low"), own.words("high"));
        let odd = whole(own.odd("low"), own.odd("high"));
        let even = words.sub(16, quote!(both), words.shift_left(16, quote!(odd), 8));
        let even = words.add(16, even, quote!(total));
        let odd_too = words.add(16, quote!(odd), quote!(total));
        let stores = (0..4).map(|quarter| {
            let sums = [quote!(even), quote!(odd)][quarter % 2].clone();
            let pick = [quote!(first), quote!(second)][quarter / 2].clone();
            let offset = (own.panel * 4 + quarter) * spec.lanes();
            let rows = words.multiply_pairs16(sums, pick);
            add_to_rows(spec, words, own.token, offset, rows)
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
    let quarters = all(spec, panels).flat_map(|own| (0..4).map(move |quarter| (own, quarter)));
    let stores = quarters.map(|(own, quarter)| widen(words, own, quarter));
    let evens = all(spec, panels).flat_map(|own| {
        DIGITS.map(|digit| {
            let (all, odd) = (own.words(digit), own.odd(digit));
            let even = own.named(&format!("{digit}_even"));
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
fn widen(words: &dyn Vocabulary, own: Own<'_>, quarter: usize) -> TokenStream {
    let half = |digit: &str| {
        let name = match quarter % 2 {
            0 => own.named(&format!("{digit}_even")),
            _ => own.odd(digit),
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
    let offset = (own.panel * 4 + quarter) * own.spec.lanes();
    let rows = words.add(32, value, quote!(total));
    add_to_rows(own.spec, words, own.token, offset, rows)
}
