//! The registry rows and the module that includes the files of all ISAs.

pub mod emulated;

use proc_macro2::{Literal, TokenStream};
use quote::{format_ident, quote};

use crate::isa::{
    AVX512VL_FEATURES, Isa, gemm_instructions, in_avx512vl, instructions, unpack_instructions,
};
use crate::spec::{Error, KernelSpec, Scales};
use crate::{
    GemmSpec, KernelSet, UnpackSpec, budget, build_name, build_text, emit, gemm_text, helper_texts,
    kernel_text, skeleton, unpack_text, with_helpers,
};

/// The text of `kernels.rs`: modules, features, registry, configs.
pub fn root(set: &KernelSet, isas: &[Isa], tables: &TokenStream) -> Result<String, Error> {
    let modules = isas
        .iter()
        .map(|isa| module(*isa, &format!("/{}.rs", isa.name())));
    let arch = arch(isas);
    let detections = isas.iter().map(|isa| {
        let variant = format_ident!("{}", isa.variant());
        let detected = isa.features().iter().map(|f| detected(arch, f));
        match isa.features() {
            [] => quote!(Isa::#variant => true),
            _ => quote!(Isa::#variant => #(#detected)&&*),
        }
    });
    let configs = set
        .configs
        .iter()
        .map(|(name, text)| quote!((#name, #text)));
    let imports = root_imports();
    emit::format(
        "kernels.rs",
        quote! {
            #imports

            #(#modules)*

            #[doc = " Whether this CPU has every feature that the kernels of `isa` use. The only list of those features."]
            pub fn isa_detected(isa: Isa) -> bool {
                match isa {
                    #(#detections,)*
                    _ => false,
                }
            }

            #tables

            #[doc = " The configs that the kernels were generated from: file name and text."]
            pub static CONFIGS: &[(&str, &str)] = &[#(#configs),*];
        },
    )
}

/// What the registry's tables name.
fn root_imports() -> TokenStream {
    quote! {
        use crate::contract::{DotFn, ReadFn};
        use crate::cpu::Isa;
        use crate::packing::{Code, Packing};
        use crate::registry::{Family, GemmDesc, KernelDesc, Operation, Scales, UnpackDesc};
    }
}

/// The registry's tables: a row for each kernel of `isas`, in the module of its ISA.
pub fn tables(set: &KernelSet, isas: &[Isa]) -> Result<TokenStream, Error> {
    let rows: Vec<TokenStream> = isas
        .iter()
        .flat_map(|isa| set.of_isa(*isa))
        .map(|spec| row(spec, spec.isa.name()))
        .collect::<Result<_, _>>()?;
    let unpacks: Vec<TokenStream> = (set.unpacks().iter())
        .filter(|spec| isas.contains(&spec.isa))
        .map(unpack_row)
        .collect::<Result<_, _>>()?;
    let gemms: Vec<TokenStream> = (set.gemms().iter())
        .filter(|spec| isas.contains(&spec.isa))
        .map(|spec| gemm_row(spec, spec.isa.name()))
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
    Ok(quote! {
        #[doc = " One row for each generated kernel, ISA by ISA."]
        pub static KERNELS: &[KernelDesc] = &[#(#rows),*];

        #[doc = " One row for each generated kernel that unpacks a code, ISA by ISA."]
        pub static UNPACKS: &[UnpackDesc] = &[#(#unpacks),*];

        #[doc = " One row for each generated kernel of batched products, ISA by ISA."]
        pub static GEMMS: &[GemmDesc] = &[#(#gemms),*];

        #[doc = " The streaming read of each ISA."]
        pub static READS: &[(Isa, ReadFn)] = &[#(#reads),*];

        #[doc = " The dot product of each ISA that has one."]
        pub static DOTS: &[(Isa, DotFn)] = &[#(#dots),*];
    })
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
        Some("aarch64") => quote!(std::arch::is_aarch64_feature_detected!(#feature)),
        _ => quote!(std::arch::is_x86_feature_detected!(#feature)),
    }
}

/// What a file of kernels for a test starts with, after a comment that says what they are.
const TEST_FILE: &str = "
use crate::contract::{BuildArgs, GemmArgs, GemvArgs, Token};
use crate::cpu::Isa;
use crate::packing::{Code, Packing};
use crate::registry::{Family, GemmDesc, KernelDesc, Operation, Scales};
";

/// Adds a kernel's text to a file of kernels for a test, and the helpers that the file does not have yet.
fn push_with_helpers(text: &mut String, isa: Isa, kernel: &str) -> Result<(), Error> {
    text.push_str(kernel);
    for helper in helper_texts(isa, kernel)? {
        if !text.contains(&helper) {
            text.push_str(&helper);
        }
    }
    Ok(())
}

/// Adds a kernel to a file of kernels for a test, and what it calls and its build function where the file has none of that name yet.
fn push_kernel(text: &mut String, spec: &KernelSpec) -> Result<(), Error> {
    if text.contains(&format!("fn {}(", spec.id())) {
        return Ok(());
    }
    if spec.batch > 1 {
        push_kernel(text, &spec.single())?;
    }
    push_with_helpers(text, spec.isa, &kernel_text(spec)?)?;
    if !text.contains(&format!("fn {}(", build_name(spec))) {
        text.push_str(&build_text(spec)?);
    }
    Ok(())
}

/// The text of `overflowing.rs`: kernels whose window is one step too long, for the test that must catch them.
pub fn overflowing(set: &KernelSet, isas: &[Isa]) -> Result<String, Error> {
    let mut text = format!(
        "// Kernels with a window beyond the bound. Only a test sees them: it must find that they are wrong.\n{TEST_FILE}"
    );
    if let Some(arch) = arch(isas) {
        text.push_str(&format!("use core::arch::{arch}::*;\n"));
    }
    let mut rows = Vec::new();
    let mut built = Vec::new();
    for spec in isas.iter().flat_map(|isa| set.of_isa(*isa)) {
        let widest = budget::window_max(spec).ok() == Some(spec.window);
        // One kernel of a kind is enough.
        let kind = (spec.isa, spec.code, spec.variant, spec.batch);
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
        push_kernel(&mut text, &spec)?;
        rows.push(row(&spec, "self")?);
    }
    let mut gemms = Vec::new();
    for spec in set.gemms().iter().filter(|spec| isas.contains(&spec.isa)) {
        let Some(window) = spec.window else { continue };
        let spec = GemmSpec {
            window: Some(window + 1),
            ..spec.clone()
        };
        push_with_helpers(&mut text, spec.isa, &gemm_text(&spec)?)?;
        gemms.push(gemm_row(&spec, "self")?);
    }
    let table = quote! {
        #[doc = " The rows of these kernels."]
        pub static KERNELS: &[KernelDesc] = &[#(#rows),*];

        #[doc = " The rows of those for batched products."]
        pub static GEMMS: &[GemmDesc] = &[#(#gemms),*];
    };
    text.push_str(&emit::format("overflowing.rs", table)?);
    Ok(text)
}

/// The text of `avx512vl.rs`: the kernels of AVX-VNNI in the encoding of AVX-512VL, for the test that runs them there.
pub fn avx512vl(set: &KernelSet) -> Result<String, Error> {
    let mut text = format!(
        "// Kernels of AVX-VNNI in the encoding of AVX-512VL. Only a test sees them.\n{TEST_FILE}use core::arch::x86_64::*;\n"
    );
    let mut rows = Vec::new();
    let whole = |spec: &&KernelSpec| spec.scales == Scales::Whole;
    for spec in set.of_isa(Isa::AvxVnni).filter(whole) {
        push_kernel(&mut text, spec)?;
        rows.push(row(spec, "self")?);
    }
    let mut gemms = Vec::new();
    for spec in set.gemms().iter().filter(|spec| spec.isa == Isa::AvxVnni) {
        push_with_helpers(&mut text, spec.isa, &gemm_text(spec)?)?;
        gemms.push(gemm_row(spec, "self")?);
    }
    let features = AVX512VL_FEATURES;
    let table = quote! {
        #[doc = " Whether this CPU runs these kernels."]
        pub fn detected() -> bool {
            #(std::arch::is_x86_feature_detected!(#features))&&*
        }

        #[doc = " The rows of these kernels."]
        pub static KERNELS: &[KernelDesc] = &[#(#rows),*];

        #[doc = " Those of batched products."]
        pub static GEMMS: &[GemmDesc] = &[#(#gemms),*];
    };
    text.push_str(&emit::format("avx512vl.rs", table)?);
    Ok(in_avx512vl(&text))
}

/// `pub mod <isa> { use …; include!(…); }`
fn module(isa: Isa, file: &str) -> TokenStream {
    let name = format_ident!("{}", isa.name());
    let doc = format!(" Kernels for {}.", isa.name());
    let imports = module_imports(isa);
    let intrinsics = isa.arch().map(|arch| {
        let arch = format_ident!("{arch}");
        quote!(
            use core::arch::#arch::*;
        )
    });
    quote! {
        #[doc = #doc]
        pub mod #name {
            #imports
            #intrinsics
            include!(concat!(env!("OUT_DIR"), #file));
        }
    }
}

/// What the file of an ISA uses of the contract.
fn module_imports(isa: Isa) -> TokenStream {
    let token = isa.arch().map(|_| {
        quote!(
            use crate::contract::Token;
        )
    });
    let dot = skeleton::has_dot(isa).then(|| {
        quote!(
            use crate::contract::DotArgs;
        )
    });
    quote! {
        #[allow(unused_imports, reason = "which kernels an ISA has depends on the configs")]
        use crate::contract::{BuildArgs, GemmArgs, GemvArgs, ReadArgs, UnpackArgs};
        #dot
        #token
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
    let [
        lanes,
        panels,
        packed_panels,
        block,
        batch,
        window,
        registers,
        operand,
    ] = [
        spec.lanes(),
        spec.panels,
        spec.packed_panels(),
        spec.block,
        spec.batch,
        spec.window,
        budget::registers(spec),
        skeleton::operand_step_bytes(spec),
    ]
    .map(Literal::usize_unsuffixed);
    let scales = format_ident!("{}", spec.scales.variant());
    let biased = spec.family.is_biased();
    let operations = Literal::f64_unsuffixed(budget::operations(spec));
    let instructions = instructions(spec);
    let kernel = kernel_text(spec)?;
    let helpers = helper_texts(spec.isa, &kernel)?.concat();
    let build_text = build_text(spec)?;
    let fingerprint = match spec.batch {
        1 => emit::fingerprint(&[&id, &(kernel + &helpers), &build_text]),
        // What becomes of the last tokens is part of it.
        _ => {
            let single = kernel_text(&spec.single())?;
            emit::fingerprint(&[&id, &(kernel + &helpers), &build_text, &single])
        }
    };
    Ok(quote! {
        KernelDesc {
            id: #id,
            operation: Operation::Gemv,
            family: Family::#family,
            variant: #variant,
            isa: Isa::#isa,
            packing: Packing { code: Code::#code, lanes: #lanes, panels: #packed_panels, block: #block, group: 0 },
            panels: #panels,
            batch: #batch,
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

/// `UnpackDesc { … }` of a kernel.
fn unpack_row(spec: &UnpackSpec) -> Result<TokenStream, Error> {
    let id = spec.id();
    let [isa, code, module, unpack] = [
        spec.isa.variant(),
        spec.code.variant(),
        spec.isa.name(),
        id.as_str(),
    ]
    .map(|name| format_ident!("{name}"));
    let lanes = Literal::usize_unsuffixed(spec.lanes());
    let instructions = unpack_instructions(spec);
    let text = with_helpers(spec.isa, unpack_text(spec)?)?;
    let fingerprint = emit::fingerprint(&[&id, &text]);
    Ok(quote! {
        UnpackDesc {
            id: #id,
            isa: Isa::#isa,
            code: Code::#code,
            lanes: #lanes,
            instructions: &[#(#instructions),*],
            fingerprint: #fingerprint,
            unpack: #module::#unpack,
        }
    })
}

/// `GemmDesc { … }` of a kernel in module `module`.
fn gemm_row(spec: &GemmSpec, module: &str) -> Result<TokenStream, Error> {
    let id = spec.id();
    let [isa, module, gemm] =
        [spec.isa.variant(), module, id.as_str()].map(|name| format_ident!("{name}"));
    let [lanes, vectors, tokens, registers] = [
        spec.lanes(),
        spec.vectors,
        spec.tokens,
        budget::gemm_registers(spec),
    ]
    .map(Literal::usize_unsuffixed);
    let window = match spec.window {
        Some(window) => {
            let window = Literal::usize_unsuffixed(window);
            quote!(Some(#window))
        }
        None => quote!(None),
    };
    let operations = Literal::f64_unsuffixed(budget::gemm_operations(spec));
    let instructions = gemm_instructions(spec);
    let text = with_helpers(spec.isa, gemm_text(spec)?)?;
    let fingerprint = emit::fingerprint(&[&id, &text]);
    Ok(quote! {
        GemmDesc {
            id: #id,
            isa: Isa::#isa,
            lanes: #lanes,
            vectors: #vectors,
            tokens: #tokens,
            window: #window,
            registers: #registers,
            ops_per_quad: #operations,
            instructions: &[#(#instructions),*],
            fingerprint: #fingerprint,
            gemm: #module::#gemm,
        }
    })
}
