//! The registry rows and the module that includes the files of all ISAs.

use proc_macro2::{Literal, TokenStream};
use quote::{format_ident, quote};

use crate::isa::{Isa, WITHOUT_KERNELS, instructions};
use crate::spec::{Error, KernelSpec, Scales};
use crate::{KernelSet, budget, build_name, build_text, emit, kernel_text, skeleton};

/// The text of `kernels.rs`: modules, features, registry, configs.
pub fn root(set: &KernelSet, isas: &[Isa]) -> Result<String, Error> {
    let modules = isas
        .iter()
        .map(|isa| module(*isa, &format!("/{}.rs", isa.name())));
    let arch = arch(isas);
    let detection = |variant: &str, features: &[&str]| {
        let variant = format_ident!("{variant}");
        let detected = features.iter().map(|feature| detected(arch, feature));
        match features {
            [] => quote!(Isa::#variant => true),
            _ => quote!(Isa::#variant => #(#detected)&&*),
        }
    };
    let detections = isas
        .iter()
        .map(|isa| detection(isa.variant(), isa.features()));
    let others = WITHOUT_KERNELS
        .iter()
        .filter(|_| arch == Some("x86_64"))
        .map(|(v, f)| detection(v, f));
    let detections = detections.chain(others);
    let rows: Vec<TokenStream> = isas
        .iter()
        .flat_map(|isa| set.of_isa(*isa))
        .map(|spec| row(spec, spec.isa.name()))
        .collect::<Result<_, _>>()?;
    let reads = isas.iter().map(|isa| {
        let (variant, module) = (
            format_ident!("{}", isa.variant()),
            format_ident!("{}", isa.name()),
        );
        let read = format_ident!("read__{}", isa.name());
        quote!((Isa::#variant, #module::#read))
    });
    let dots = isas
        .iter()
        .filter(|isa| skeleton::has_dot(**isa))
        .map(|isa| {
            let (variant, module) = (
                format_ident!("{}", isa.variant()),
                format_ident!("{}", isa.name()),
            );
            let dot = format_ident!("dot__{}", isa.name());
            quote!((Isa::#variant, #module::#dot))
        });
    let configs = set
        .configs
        .iter()
        .map(|(name, text)| quote!((#name, #text)));
    emit::format(
        "kernels.rs",
        quote! {
            use crate::contract::{DotFn, ReadFn};
            use crate::cpu::Isa;
            use crate::packing::{Code, Packing};
            use crate::registry::{Family, KernelDesc, Operation, Scales};

            #(#modules)*

            #[doc = " Whether this CPU has every feature that the kernels of `isa` use. The only list of those features."]
            pub fn isa_detected(isa: Isa) -> bool {
                match isa {
                    #(#detections,)*
                    _ => false,
                }
            }

            #[doc = " One row for each generated kernel, ISA by ISA."]
            pub static KERNELS: &[KernelDesc] = &[#(#rows),*];

            #[doc = " The streaming read of each ISA."]
            pub static READS: &[(Isa, ReadFn)] = &[#(#reads),*];

            #[doc = " The dot product of each ISA that has one."]
            pub static DOTS: &[(Isa, DotFn)] = &[#(#dots),*];

            #[doc = " The configs that the kernels were generated from: file name and text."]
            pub static CONFIGS: &[(&str, &str)] = &[#(#configs),*];
        },
    )
}

/// The architecture that the vector ISAs among `isas` belong to.
fn arch(isas: &[Isa]) -> Option<&'static str> {
    isas.iter().find_map(|isa| isa.arch())
}

/// An expression: whether the CPU has `feature`. WebAssembly cannot ask: an engine without a module's features refuses to load it,
/// so what the module was built with is there.
fn detected(arch: Option<&str>, feature: &str) -> TokenStream {
    match arch {
        Some("wasm32") => quote!(cfg!(target_feature = #feature)),
        _ => quote!(std::arch::is_x86_feature_detected!(#feature)),
    }
}

/// The text of `overflowing.rs`: kernels whose window is one step too long, for the test that must catch them.
pub fn overflowing(set: &KernelSet, isas: &[Isa]) -> Result<String, Error> {
    let mut text = String::from(
        "// Kernels with a window beyond the bound. Only a test sees them: it must find that they are wrong.\n\nuse crate::contract::{BuildArgs, GemvArgs, Token};\nuse crate::cpu::Isa;\nuse crate::packing::{Code, Packing};\nuse crate::registry::{Family, KernelDesc, Operation, Scales};\n",
    );
    if let Some(arch) = arch(isas) {
        text.push_str(&format!("use core::arch::{arch}::*;\n"));
    }
    let mut rows = Vec::new();
    let mut built = Vec::new();
    for spec in isas.iter().flat_map(|isa| set.of_isa(*isa)) {
        let widest = budget::window_max(spec).ok() == Some(spec.window);
        // One kernel of a kind is enough.
        let kind = (spec.isa, spec.code, spec.variant);
        if spec.scales != Scales::Whole
            || !budget::is_narrow(spec)
            || !widest
            || built.contains(&kind)
        {
            continue;
        }
        built.push(kind);
        let spec = KernelSpec {
            window: spec.window + 1,
            // A block as long as the right window would never fill the wrong one.
            block: spec.block.max(spec.window + 1),
            ..spec.clone()
        };
        text.push_str(&kernel_text(&spec)?);
        let build = build_text(&spec)?;
        if !text.contains(&build) {
            text.push_str(&build);
        }
        rows.push(row(&spec, "self")?);
    }
    let table = quote! {
        #[doc = " The rows of these kernels."]
        pub static KERNELS: &[KernelDesc] = &[#(#rows),*];
    };
    text.push_str(&emit::format("overflowing.rs", table)?);
    Ok(text)
}

/// `pub mod <isa> { use …; include!(…); }`
fn module(isa: Isa, file: &str) -> TokenStream {
    let name = format_ident!("{}", isa.name());
    let doc = format!(" Kernels for {}.", isa.name());
    let arch = isa.arch().map(|arch| {
        let arch = format_ident!("{arch}");
        quote! {
            use crate::contract::Token;
            use core::arch::#arch::*;
        }
    });
    let dot = skeleton::has_dot(isa).then(|| {
        quote!(
            use crate::contract::DotArgs;
        )
    });
    quote! {
        #[doc = #doc]
        pub mod #name {
            use crate::contract::{BuildArgs, GemvArgs, ReadArgs};
            #dot
            #arch
            include!(concat!(env!("OUT_DIR"), #file));
        }
    }
}

/// `KernelDesc { … }` of a kernel in module `module`.
fn row(spec: &KernelSpec, module: &str) -> Result<TokenStream, Error> {
    let id = spec.id();
    let variant = spec.variant.map_or("", |v| v.name());
    let [family, isa, code, module, gemv, build] = [
        spec.family.variant(),
        spec.isa.variant(),
        spec.code.variant(),
        module,
        id.as_str(),
        &build_name(spec),
    ]
    .map(|name| format_ident!("{name}"));
    let [lanes, panels, block, window, registers, operand] = [
        spec.lanes(),
        spec.panels,
        spec.block,
        spec.window,
        budget::registers(spec),
        skeleton::operand_step_bytes(spec),
    ]
    .map(Literal::usize_unsuffixed);
    let scales = format_ident!("{}", spec.scales.variant());
    let biased = spec.family.is_biased();
    let operations = Literal::f64_unsuffixed(budget::operations(spec));
    let instructions = instructions(spec);
    let fingerprint = emit::fingerprint(&[&id, &kernel_text(spec)?, &build_text(spec)?]);
    Ok(quote! {
        KernelDesc {
            id: #id,
            operation: Operation::Gemv,
            family: Family::#family,
            variant: #variant,
            isa: Isa::#isa,
            packing: Packing { code: Code::#code, lanes: #lanes, panels: #panels, block: #block, group: 0 },
            batch: 1,
            scales: Scales::#scales,
            operand_step_bytes: #operand,
            biased: #biased,
            window: #window,
            registers: #registers,
            ops_per_step: #operations,
            instructions: &[#(#instructions),*],
            fingerprint: #fingerprint,
            gemv: #module::#gemv,
            build: #module::#build,
        }
    })
}
