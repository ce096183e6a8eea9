//! The kernels, each algorithm written once: loops and arithmetic in the words of a [`Vocabulary`], without an intrinsic.

mod addsub;
mod bitserial;
mod bytes;
mod decode;
mod dot;
mod fields;
mod gemm;
mod gemm2x2;
mod lut;
mod lut16;
mod mad;
mod mixed;
mod operand;
mod portable;
mod read;
mod rows;
mod unpack;

use proc_macro2::{Ident, Literal, TokenStream};
use quote::{format_ident, quote};

use crate::budget;
use crate::isa::{Helper, Isa, Vocabulary};
use crate::spec::{Code, Family, KernelSpec, Prefetch, Scales, Strips};

pub use dot::{dot, has_dot};
pub use gemm::{gemm, gemm_statements};
pub use operand::{build, step_bytes as operand_step_bytes};
pub use read::read;
pub use unpack::{unpack, unpack_statements};

/// A numbered variable.
fn ident(name: &str, number: usize) -> Ident {
    format_ident!("{name}{number}")
}

/// A number as it is written.
fn number(n: usize) -> Literal {
    Literal::usize_unsuffixed(n)
}

/// `base`, or `base.add(offset)`; `ahead` may point anywhere, so it wraps.
fn at(base: &str, offset: usize) -> TokenStream {
    let (base, offset_written) = (format_ident!("{base}"), number(offset));
    match offset {
        0 => quote!(#base),
        _ if base == "ahead" => quote!(#base.wrapping_add(#offset_written)),
        _ => quote!(#base.add(#offset_written)),
    }
}

/// `base`, or `base.add(index * stride)`: what lies `index` strides further on.
fn strided(base: &str, index: usize, stride: &str) -> TokenStream {
    let (base, stride) = (format_ident!("{base}"), format_ident!("{stride}"));
    let index_written = number(index);
    match index {
        0 => quote!(#base),
        1 => quote!(#base.add(#stride)),
        _ => quote!(#base.add(#index_written * #stride)),
    }
}

/// The variable `name` as token `token` has it: with the token's number, in a kernel that takes several at once.
fn of_token(spec: &KernelSpec, name: &str, token: usize) -> Ident {
    match spec.batch {
        1 => format_ident!("{name}"),
        _ => format_ident!("{name}_t{token}"),
    }
}

/// Where a panel's weights of a step are: between those of its neighbours, or at a pointer of its own.
fn weights_at(spec: &KernelSpec, panel: usize, offset: usize) -> TokenStream {
    match spec.strips {
        Strips::Adjacent => at("weights", panel * spec.panel_step_bytes() + offset),
        Strips::Distant => at(&stream(panel).to_string(), offset),
    }
}

/// The pointer to a panel's weights where strips are distant.
fn stream(panel: usize) -> Ident {
    match panel {
        0 => format_ident!("weights"),
        _ => ident("weights", panel),
    }
}

/// What lies `offset` bytes behind `base`, which has 32 bits for each row of a strip.
fn rows_at(spec: &KernelSpec, base: &str, offset: usize) -> TokenStream {
    let panel_bytes = spec.lanes() * 4;
    match (spec.strips, offset / panel_bytes) {
        (Strips::Adjacent, _) | (_, 0) => at(base, offset),
        (Strips::Distant, panel) => match offset % panel_bytes {
            0 => strided(base, panel, "row_stride"),
            rest => {
                let (panel, rest) = (strided(base, panel, "row_stride"), number(rest));
                quote!(#panel.add(#rest))
            }
        },
    }
}

/// For every token of a batch, how it calls a variable.
fn own_names(spec: &KernelSpec) -> impl Iterator<Item = impl Fn(&str) -> Ident> {
    (0..spec.batch).map(move |token| move |name: &str| of_token(spec, name, token))
}

/// `base`, or `base.add(offset)`, where `base` is a pointer that every token has.
fn at_token(spec: &KernelSpec, base: &str, token: usize, offset: usize) -> TokenStream {
    at(&of_token(spec, base, token).to_string(), offset)
}

/// A comment line of the generated text: `emit` turns the marker into `// …`.
fn comment(text: &str) -> TokenStream {
    quote!(comment!(#text);)
}

/// One algorithm, for the loops around it in [`gemv`].
///
/// Where a kernel takes several tokens at once, each of these is for all of them: a step loads and unpacks its weights once, and then
/// serves token after token.
trait Skeleton {
    /// Constants of the function: tables that are the same for all weights and activations.
    fn tables(&self) -> TokenStream {
        TokenStream::new()
    }
    /// Statements before all loops: constants that every strip shares.
    fn constants(&self) -> TokenStream;
    /// Statements that open a strip of `panels` panels: its sums.
    fn open(&self, panels: usize) -> TokenStream;
    /// Statements that open a window: its narrow sums.
    fn open_window(&self, panels: usize) -> TokenStream;
    /// Statements of one step. `weights` and, for every token, `at` point to the step's weights and prepared activations.
    fn step(&self, panels: usize) -> TokenStream;
    /// Statements that close a window: narrow sums into wide ones.
    fn close_window(&self, panels: usize) -> TokenStream;
    /// Statements that close a strip: sums into each token's `out`.
    fn close(&self, panels: usize) -> TokenStream;
}

/// The skeleton of a kernel.
fn skeleton<'a>(spec: &'a KernelSpec, words: &'a dyn Vocabulary) -> Box<dyn Skeleton + 'a> {
    match spec.family {
        Family::Lut if spec.code == Code::W3 => Box::new(lut16::Lut16 { spec, words }),
        Family::Lut => Box::new(lut::Lut { spec, words }),
        Family::Bitserial => Box::new(bitserial::Bitserial { spec, words }),
        Family::Decode if spec.code == Code::M5 => Box::new(mixed::Mixed { spec, words }),
        Family::Decode if spec.code == Code::R5 => Box::new(rows::Rows { spec, words }),
        Family::Decode => Box::new(decode::Decode { spec, words }),
        Family::Mad => Box::new(mad::Mad { spec, words }),
        Family::Addsub => Box::new(addsub::Addsub { spec, words }),
    }
}

/// The statements of a whole strip, for those who count them.
pub struct Statements {
    /// What runs once a step.
    pub step: TokenStream,
    /// What runs once a window.
    pub window: TokenStream,
}

/// What a kernel runs again and again, as [`gemv`] emits it; `None` for plain Rust.
pub fn statements(spec: &KernelSpec) -> Option<Statements> {
    let words = spec.isa.vocabulary()?;
    let skeleton = skeleton(spec, words);
    let (streams, together) = spec.strips.streams(spec.panels);
    let (of_window, of_step) = prefetches(spec, words, streams, together);
    let step = skeleton.step(spec.panels);
    let (open, close) = (
        skeleton.open_window(spec.panels),
        skeleton.close_window(spec.panels),
    );
    Some(Statements {
        step: quote!(#of_step #step),
        window: quote!(#of_window #open #close),
    })
}

/// `pub unsafe fn <id>(args: &GemvArgs) { … }`: loops over strips, windows and steps around a skeleton.
pub fn gemv(spec: &KernelSpec) -> TokenStream {
    let Some(words) = spec.isa.vocabulary() else {
        return portable::gemv(spec);
    };
    let skeleton = skeleton(spec, words);
    let (id, docs, features) = (
        format_ident!("{}", spec.id()),
        docs(spec),
        features(spec.isa),
    );
    let tables = skeleton.tables();
    let product = product(spec, words, skeleton.as_ref());
    let tokens = match spec.batch {
        1 => quote! {
            for token in core::slice::from_raw_parts(tokens, count) { #product }
        },
        _ => batches(spec, product),
    };
    let safety = comment(
        "SAFETY: by the contract of `GemvArgs`, which gives every byte that is read or written here, and the CPU's ISA.",
    );
    let prefetch = words
        .prefetch(TokenStream::new())
        .map(|_| quote!(prefetch,));
    quote! {
        #docs
        #features
        pub unsafe fn #id(args: &GemvArgs) {
            #tables
            let GemvArgs { tokens, count, steps, #prefetch .. } = *args;
            #safety
            unsafe { #tokens }
        }
    }
}

/// The product of the whole run of units with one token, or with one batch of them.
fn product(spec: &KernelSpec, words: &dyn Vocabulary, skeleton: &dyn Skeleton) -> TokenStream {
    let tokens = own_names(spec).enumerate().map(|(token, own)| {
        let (operand, out, correction) = (own("operand"), own("out"), own("correction"));
        let (from, fields) = match spec.batch {
            1 => (format_ident!("token"), quote!(operand, out)),
            _ => (ident("t", token), quote!(operand: #operand, out: #out)),
        };
        let correction = match (spec.family.is_biased(), spec.batch) {
            (false, _) => quote!(..),
            (true, 1) => quote!(correction),
            (true, _) => quote!(correction: #correction),
        };
        quote!(let Token { #fields, #correction } = *#from;)
    });
    let outs = own_names(spec).map(|own| {
        let out = own("out");
        quote!(let mut #out = #out.cast::<u8>();)
    });
    let constants = skeleton.constants();
    let scales =
        (spec.scales == Scales::Groups).then(|| quote!(let mut scales = args.scales.cast::<u8>();));
    let strips = strip(spec, words, skeleton, spec.panels);
    let singles = (spec.panels > 1).then(|| {
        let body = strip(spec, words, skeleton, 1);
        let note = comment("Panels that fill no strip follow one by one.");
        let jump = (spec.strips == Strips::Distant).then(|| jump(spec));
        quote! {
            #note
            #jump
            for _ in 0..args.singles { #body }
        }
    });
    let streams = (spec.strips == Strips::Distant).then(|| streams(spec));
    quote! {
        #(#tokens)*
        #constants
        let mut weights = args.weights;
        #streams
        #(#outs)*
        #scales
        for _ in 0..args.strips { #strips }
        #singles
    }
}

/// The pointers of a strip whose panels lie far apart: panel j of strip i is panel `j * strips + i`.
fn streams(spec: &KernelSpec) -> TokenStream {
    let note = comment("The panels of a strip lie far apart, so that each is a stream of its own.");
    let bytes = number(spec.panel_step_bytes());
    let row_bytes = number(spec.lanes() * 4);
    let pointers = (1..spec.panels).map(|panel| {
        let (stream, start) = (stream(panel), strided("weights", panel, "stream_bytes"));
        quote!(let mut #stream = #start;)
    });
    quote! {
        #note
        let stream_bytes = args.strips * steps * #bytes;
        let row_stride = args.strips * #row_bytes;
        #(#pointers)*
    }
}

/// From the first panel's place behind the last strip to that of the last panel.
fn jump(spec: &KernelSpec) -> TokenStream {
    let last = stream(spec.panels - 1);
    let behind = |base: &str| strided(base, spec.panels - 1, "row_stride");
    let outs = own_names(spec).map(|own| {
        let (out, after) = (own("out"), behind(&own("out").to_string()));
        quote!(#out = #after;)
    });
    let scales = (spec.scales == Scales::Groups).then(|| {
        let after = behind("scales");
        quote!(scales = #after;)
    });
    quote! {
        weights = #last;
        #(#outs)*
        #scales
    }
}

/// `product` for every whole batch of tokens; the kernel for one token takes the rest.
fn batches(spec: &KernelSpec, product: TokenStream) -> TokenStream {
    let batch = number(spec.batch);
    let names = (0..spec.batch).map(|token| ident("t", token));
    let single = format_ident!("{}", spec.single().id());
    let note = comment("Tokens that fill no batch follow one by one.");
    quote! {
        let (batches, rest) = core::slice::from_raw_parts(tokens, count).as_chunks::<#batch>();
        for [#(#names),*] in batches { #product }
        #note
        #single(&GemvArgs { tokens: rest.as_ptr(), count: rest.len(), ..*args });
    }
}

/// The body of the loop over strips.
fn strip(
    spec: &KernelSpec,
    words: &dyn Vocabulary,
    skeleton: &dyn Skeleton,
    panels: usize,
) -> TokenStream {
    let (open, close) = (skeleton.open(panels), skeleton.close(panels));
    let (open_window, close_window) = (skeleton.open_window(panels), skeleton.close_window(panels));
    let step = skeleton.step(panels);
    // A step of all panels together, or of each by itself.
    let (streams, together) = spec.strips.streams(panels);
    let (of_window, of_step) = prefetches(spec, words, streams, together);
    let bytes = number(together * spec.panel_step_bytes());
    let operand_bytes = number(operand::step_bytes(spec));
    let next_weights = (0..streams).map(|panel| {
        let stream = stream(panel);
        quote!(#stream = #stream.add(#bytes);)
    });
    let next_at = own_names(spec).map(|own| {
        let at = own("at");
        quote!(#at = #at.add(#operand_bytes);)
    });
    let step = quote! {
        #of_step
        #step
        #(#next_weights)*
        #(#next_at)*
    };
    let window = number(spec.window);
    let steps = match spec.window {
        1 => quote! {
            for _ in 0..steps { #of_window #open_window #step #close_window }
        },
        _ => quote! {
            let mut left = steps;
            while left >= #window {
                #of_window
                #open_window
                for _ in 0..#window { #step }
                #close_window
                left -= #window;
            }
            if left > 0 {
                #of_window
                #open_window
                for _ in 0..left { #step }
                #close_window
            }
        },
    };
    // One sum of 32 bits a row, and one scale of 32 bits.
    let out_bytes = number(together * spec.lanes() * 4);
    let next_scales =
        (spec.scales == Scales::Groups).then(|| quote!(scales = scales.add(#out_bytes);));
    let first_at = own_names(spec).map(|own| {
        let (at, operand) = (own("at"), own("operand"));
        quote!(let mut #at = #operand;)
    });
    let next_out = own_names(spec).map(|own| {
        let out = own("out");
        quote!(#out = #out.add(#out_bytes);)
    });
    quote! {
        #open
        #(#first_at)*
        #steps
        #close
        #(#next_out)*
        #next_scales
    }
}

/// Adds a vector of 32-bit sums to the rows at byte `offset` of a token's `out`, with their group's scales where the kernel has them.
fn add_to_rows(
    spec: &KernelSpec,
    words: &dyn Vocabulary,
    token: usize,
    offset: usize,
    sums: TokenStream,
) -> TokenStream {
    let rows = rows_at(spec, &of_token(spec, "out", token).to_string(), offset);
    let before = words.load(rows.clone());
    let after = match spec.scales {
        Scales::Whole => words.add(32, sums, before),
        Scales::Groups => {
            words.add_scaled(before, sums, words.load(rows_at(spec, "scales", offset)))
        }
    };
    let store = words.store(rows, after);
    quote!(#store;)
}

/// What `streams` streams, each with `panels` panels side by side, prefetch once a window, and once a step.
fn prefetches(
    spec: &KernelSpec,
    words: &dyn Vocabulary,
    streams: usize,
    panels: usize,
) -> (Option<TokenStream>, Option<TokenStream>) {
    let prefetch = |lines: usize| {
        let fetches = (0..lines).map(|line| words.prefetch(at("ahead", 64 * line)));
        let fetches: Vec<TokenStream> = fetches.collect::<Option<_>>()?;
        let fetches = (0..streams).map(|panel| {
            let stream = stream(panel);
            quote! {
                let ahead = #stream.wrapping_add(prefetch);
                #(#fetches;)*
            }
        });
        Some(fetches.collect::<TokenStream>())
    };
    let lines = (panels * spec.panel_step_bytes()).div_ceil(64);
    match spec.prefetch {
        Prefetch::Dense => (None, prefetch(lines)),
        Prefetch::Sparse => (prefetch(1), None),
    }
}

/// The documentation of a generated kernel: what it is, its numbers, where it comes from.
fn docs(spec: &KernelSpec) -> TokenStream {
    let id = spec.id();
    let file = match (spec.isa, spec.family) {
        (Isa::Scalar, _) => "portable.rs",
        (_, Family::Lut) if spec.code == Code::W3 => "lut16.rs",
        (_, Family::Lut) => "lut.rs",
        (_, Family::Bitserial) => "bitserial.rs",
        (_, Family::Decode) if spec.code == Code::M5 => "mixed.rs",
        (_, Family::Decode) if spec.code == Code::R5 => "rows.rs",
        (_, Family::Decode) => "decode.rs",
        (_, Family::Mad) => "mad.rs",
        (_, Family::Addsub) => "addsub.rs",
    };
    let title = format!(" `{id}`: {} on {}.", title(spec), spec.isa.name());
    let packing = format!(
        " Packing `{}`: {} rows x {} columns in {} bytes a step and panel, {:.3} bits a weight.",
        spec.packing(),
        spec.lanes(),
        spec.code.step_cols(),
        spec.panel_step_bytes(),
        spec.code.bits_per_weight(),
    );
    let numbers = match spec.isa {
        Isa::Scalar => " Sums are `i32` throughout.".to_owned(),
        isa if !budget::is_narrow(spec) => format!(
            " {} of {} vector registers. Sums are `i32` throughout. Steps in a K block: {} (bound {}).",
            budget::registers(spec),
            isa.registers(),
            spec.block,
            budget::block_max(spec),
        ),
        isa => format!(
            " {} of {} vector registers. Steps before narrow sums are widened: {} (bound {}). Steps in a K block: {} (bound {}).",
            budget::registers(spec),
            isa.registers(),
            spec.window,
            budget::window_max(spec).unwrap_or(1),
            spec.block,
            budget::block_max(spec),
        ),
    };
    let output = match spec.scales {
        Scales::Whole => "Adds the `i32` sum of each row to `out`.",
        Scales::Groups => "Adds each row's sum times its scale, as `f32`, to `out`.",
    };
    let batch = match spec.batch {
        1 => String::new(),
        n => format!(" Reads the weights once for {n} tokens."),
    };
    let numbers = format!("{numbers} {output}{batch}");
    let emitted =
        format!(" Emitted by `codegen/src/skeleton/{file}`. Change that file, not this text.");
    quote! {
        #[doc = #title]
        #[doc = ""]
        #[doc = #packing]
        #[doc = #numbers]
        #[doc = #emitted]
        #[doc = ""]
        #[doc = " # Safety"]
        #[doc = ""]
        #[doc = " `args` meets the contract of [`GemvArgs`]."]
    }
}

/// What a kernel does, in a few words.
pub fn title(spec: &KernelSpec) -> String {
    match (spec.family, spec.code) {
        (Family::Lut, Code::T2) => "lookup of two trits".into(),
        (Family::Lut, Code::T3) => "lookup of three trits, mirrored".into(),
        (Family::Lut, Code::P3) => {
            "lookup of three trits, mirrored, its sums in byte planes".into()
        }
        (Family::Lut, Code::F3) => "lookup of three trits, all 27 sums".into(),
        (Family::Lut, Code::T5) => "lookup of five trits, mirrored".into(),
        (Family::Lut, Code::W3) => "lookup of three trits in words".into(),
        (Family::Lut, _) => "lookup of three and a half trits".into(),
        (Family::Bitserial, _) => "lookup of four columns of each bit plane".into(),
        (Family::Decode, Code::D3) => {
            "three trits decoded by a constant table, multiply-add".into()
        }
        (Family::Decode, Code::M5) => {
            "five trits decoded by small constant tables, multiply-add".into()
        }
        (Family::Decode, Code::R5) => "five rows a byte, multiply-add without masks".into(),
        (Family::Decode, _) => "five trits decoded by constant tables, multiply-add".into(),
        (Family::Mad, _) => match spec.variant {
            Some(variant) => format!("two-bit multiply-add, {}", variant.name()),
            None => "two-bit multiply-add".into(),
        },
        (Family::Addsub, _) => "masked additions and subtractions".into(),
    }
}

/// The name of a helper: the first word of its signature.
pub fn helper_name(helper: &Helper) -> String {
    let name = helper.signature.clone().into_iter().next();
    name.map(|name| name.to_string()).unwrap_or_default()
}

/// `fn <name>(…) { … }`: a helper with the features of `isa`.
pub fn helper(isa: Isa, helper: &Helper) -> TokenStream {
    let (doc, features) = (format!(" {}", helper.doc), features(isa));
    let Helper {
        signature, body, ..
    } = helper;
    quote! {
        #[doc = #doc]
        #[inline]
        #features
        fn #signature { #body }
    }
}

/// `#[target_feature(enable = "…")]`, or nothing for plain Rust.
fn features(isa: Isa) -> TokenStream {
    let features = isa.features().join(",");
    match features.is_empty() {
        true => TokenStream::new(),
        false => quote!(#[target_feature(enable = #features)]),
    }
}
