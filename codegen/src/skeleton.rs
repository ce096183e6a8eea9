//! The kernels, each algorithm written once: loops and arithmetic in the words of a [`Vocabulary`], without an intrinsic.

mod addsub;
mod bitserial;
mod bytes;
mod decode;
mod dot;
mod fields;
mod gemm;
mod lut;
mod lut16;
mod mad;
mod mixed;
mod operand;
mod portable;
mod read;
mod unpack;

use proc_macro2::{Ident, Literal, TokenStream};
use quote::{format_ident, quote};

use crate::budget;
use crate::isa::{Helper, Isa, Vocabulary};
use crate::spec::{Code, Family, KernelSpec, Prefetch, Scales};

pub use dot::{dot, has_dot};
pub use gemm::gemm;
pub use operand::{build, step_bytes as operand_step_bytes};
pub use read::read;
pub use unpack::unpack;

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

/// A comment line of the generated text: `emit` turns the marker into `// …`.
fn comment(text: &str) -> TokenStream {
    quote!(comment!(#text);)
}

/// One algorithm, for the loops around it in [`gemv`].
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
    /// Statements of one step. `weights` and `at` point to the step's weights and prepared activations.
    fn step(&self, panels: usize) -> TokenStream;
    /// Statements that close a window: narrow sums into wide ones.
    fn close_window(&self, panels: usize) -> TokenStream;
    /// Statements that close a strip: sums into `out`.
    fn close(&self, panels: usize) -> TokenStream;
}

/// The skeleton of a kernel.
fn skeleton<'a>(spec: &'a KernelSpec, words: &'a dyn Vocabulary) -> Box<dyn Skeleton + 'a> {
    match spec.family {
        Family::Lut if spec.code == Code::W3 => Box::new(lut16::Lut16 { spec, words }),
        Family::Lut => Box::new(lut::Lut { spec, words }),
        Family::Bitserial => Box::new(bitserial::Bitserial { spec, words }),
        Family::Decode if spec.code == Code::M5 => Box::new(mixed::Mixed { spec, words }),
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
    let (of_window, of_step) = prefetches(spec, words, spec.panels);
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
    let (tables, constants) = (skeleton.tables(), skeleton.constants());
    let correction = match spec.family.is_biased() {
        true => quote!(correction),
        false => quote!(..),
    };
    let scales =
        (spec.scales == Scales::Groups).then(|| quote!(let mut scales = args.scales.cast::<u8>();));
    let strips = strip(spec, words, skeleton.as_ref(), spec.panels);
    let singles = (spec.panels > 1).then(|| {
        let body = strip(spec, words, skeleton.as_ref(), 1);
        let note = comment("Panels that fill no strip follow one by one.");
        quote! {
            #note
            for _ in 0..args.singles { #body }
        }
    });
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
            unsafe {
                for token in core::slice::from_raw_parts(tokens, count) {
                    let Token { operand, out, #correction } = *token;
                    #constants
                    let mut weights = args.weights;
                    let mut out = out.cast::<u8>();
                    #scales
                    for _ in 0..args.strips { #strips }
                    #singles
                }
            }
        }
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
    let bytes = panels * spec.panel_step_bytes();
    let (of_window, of_step) = prefetches(spec, words, panels);
    let (bytes, operand_bytes) = (number(bytes), number(operand::step_bytes(spec)));
    let step = quote! {
        #of_step
        #step
        weights = weights.add(#bytes);
        at = at.add(#operand_bytes);
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
    let out_bytes = number(panels * spec.lanes() * 4);
    let next_scales =
        (spec.scales == Scales::Groups).then(|| quote!(scales = scales.add(#out_bytes);));
    quote! {
        #open
        let mut at = operand;
        #steps
        #close
        out = out.add(#out_bytes);
        #next_scales
    }
}

/// Adds a vector of 32-bit sums to the rows at byte `offset` of `out`, with their group's scales where the kernel has them.
fn add_to_rows(
    spec: &KernelSpec,
    words: &dyn Vocabulary,
    offset: usize,
    sums: TokenStream,
) -> TokenStream {
    let rows = at("out", offset);
    let before = words.load(rows.clone());
    let after = match spec.scales {
        Scales::Whole => words.add(32, sums, before),
        Scales::Groups => words.add_scaled(before, sums, words.load(at("scales", offset))),
    };
    let store = words.store(rows, after);
    quote!(#store;)
}

/// What a strip of `panels` panels prefetches once a window, and once a step.
fn prefetches(
    spec: &KernelSpec,
    words: &dyn Vocabulary,
    panels: usize,
) -> (Option<TokenStream>, Option<TokenStream>) {
    let prefetch = |lines: usize| {
        let fetches = (0..lines).map(|line| words.prefetch(at("ahead", 64 * line)));
        let fetches: Vec<TokenStream> = fetches.collect::<Option<_>>()?;
        Some(quote! {
            let ahead = weights.wrapping_add(prefetch);
            #(#fetches;)*
        })
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
        8.0 * spec.code.step_bytes() as f64 / spec.code.step_cols() as f64,
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
    let numbers = format!("{numbers} {output}");
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
