//! The kernels of x86-64 with emulated intrinsics: the text of their files, but for the features that a CPU must have and for where
//! the names of the intrinsics come from. `kernels/src/internal_tests/emulated.rs` has plain Rust functions of those names, so its
//! tests run every kernel on every x86-64 machine.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};

use super::{module_imports, root_imports};
use crate::emit;
use crate::isa::Isa;
use crate::spec::Error;

/// The ISAs that are emulated: all of x86-64.
pub const ARCH: &str = "x86_64";

/// Where the tests have the emulated intrinsics.
const INTRINSICS: &str = "crate::internal_tests::emulated::intrinsics";

/// The text of `emulated.rs`: a module for each ISA, which includes that ISA's emulated file, and the registry's `tables` in terms of
/// these modules. Plain Rust needs no emulation: its kernels are those of the registry itself.
pub fn root(isas: &[Isa], tables: &TokenStream) -> Result<String, Error> {
    let modules = isas.iter().map(|isa| module(*isa));
    let imports = root_imports();
    let texts = isas.iter().filter(|isa| isa.arch().is_some()).map(|isa| {
        let file = format!("/{}", file_name(*isa));
        quote!(include_str!(concat!(env!("OUT_DIR"), #file)))
    });
    emit::format(
        "emulated.rs",
        quote! {
            #imports

            #(#modules)*

            #tables

            #[doc = " The text of the files with emulated intrinsics."]
            pub static TEXTS: &[&str] = &[#(#texts),*];
        },
    )
}

/// The name of an ISA's emulated file.
pub fn file_name(isa: Isa) -> String {
    format!("emulated_{}.rs", isa.name())
}

/// `pub mod <isa> { use …; include!(…); }`
fn module(isa: Isa) -> TokenStream {
    let name = format_ident!("{}", isa.name());
    if isa.arch().is_none() {
        return quote!(
            use crate::generated::#name;
        );
    }
    let doc = format!(" Kernels for {}, emulated.", isa.name());
    let file = format!("/{}", file_name(isa));
    let imports = module_imports(isa);
    let intrinsics: TokenStream = INTRINSICS.parse().expect("a path");
    quote! {
        #[doc = #doc]
        pub mod #name {
            #imports
            use #intrinsics::*;
            include!(concat!(env!("OUT_DIR"), #file));
        }
    }
}

/// `text` with emulated intrinsics: no function asks for CPU features, and the names are those of the tests.
pub fn in_emulation(text: &str) -> String {
    let kept = text
        .lines()
        .filter(|line| !line.starts_with("#[target_feature("));
    let text: String = kept.flat_map(|line| [line, "\n"]).collect();
    text.replace(&format!("core::arch::{ARCH}"), INTRINSICS)
}
