//! The kernel generator of tern: TOML specs in, Rust source text out.
//!
//! 1. `configs/kernels/<isa>.toml` lists the variants to build, with the reason for each group.
//! 2. [`spec`] parses and checks them, [`batched`] those of products with many tokens; [`budget`] is the arithmetic of what fits registers and accumulators.
//! 3. [`skeleton`] holds each algorithm once, as loops over the words of a [`isa::Vocabulary`]; an ISA spells the words.
//! 4. [`emit`] formats tokens as a readable file.
//! 5. [`KernelSet`] puts it together: one file of kernels for each ISA, and the registry rows that name them.
//!
//! `tern-kernels` calls [`write()`] from its build script. This crate knows nothing of the crates that use its text, and the same input
//! gives the same bytes.

pub mod batched;
pub mod budget;
pub mod emit;
pub mod explain;
pub mod isa;
pub mod ports;
mod registry;
pub mod skeleton;
pub mod spec;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub use batched::{GemmSpec, UnpackSpec};
use isa::Isa;
use registry::emulated::{self, in_emulation};
use spec::Specs;
pub use spec::{Error, KernelSpec, Scales, Strips};

/// Names a directory of kernel configs that replaces the built-in one at build time.
pub const CONFIGS_VARIABLE: &str = "TERN_KERNEL_CONFIGS";

/// The kernel configs to build: the directory that [`CONFIGS_VARIABLE`] names, or the repository's own.
pub fn config_dir() -> PathBuf {
    match std::env::var_os(CONFIGS_VARIABLE) {
        Some(dir) => PathBuf::from(dir),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/kernels"),
    }
}

/// What kernels are built for.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// The architecture, as `CARGO_CFG_TARGET_ARCH` names it.
    pub arch: &'a str,
    /// The features that everything is built with, as `CARGO_CFG_TARGET_FEATURE` lists them, with commas.
    pub features: &'a str,
}

impl Target<'_> {
    /// Whether kernels of `isa` are built. WebAssembly gets only those of the features that the whole module is built with: an engine
    /// refuses to load a module that holds an instruction it does not know, even one that is never reached. Other architectures get
    /// all of theirs, since the CPU is asked when the program runs.
    fn builds(&self, isa: Isa) -> bool {
        let built_with = |feature: &&str| self.features.split(',').any(|f| f == *feature);
        isa.arch().is_none_or(|arch| arch == self.arch)
            && (self.arch != "wasm32" || isa.features().iter().all(built_with))
    }
}

/// The kernels of a set of configs.
pub struct KernelSet {
    /// The configs, by file name.
    configs: BTreeMap<String, String>,
    /// Every kernel, in the order of ISAs and rows.
    specs: Specs,
}

impl KernelSet {
    /// Reads every `<isa>.toml` of a directory.
    ///
    /// # Errors
    ///
    /// A file cannot be read, or a row is wrong; see [`Error`].
    pub fn from_dir(dir: &Path) -> Result<Self, Error> {
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source| Error::Io { path, source }
        };
        let mut configs = Vec::new();
        for entry in std::fs::read_dir(dir).map_err(io(dir))? {
            let path = entry.map_err(io(dir))?.path();
            if path.extension().is_some_and(|e| e == "toml") {
                let name = path
                    .file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned();
                configs.push((name, std::fs::read_to_string(&path).map_err(io(&path))?));
            }
        }
        if configs.is_empty() {
            return Err(Error::NoConfigs(dir.to_owned()));
        }
        Self::from_texts(configs)
    }

    /// Parses configs given as file name and text.
    ///
    /// # Errors
    ///
    /// A row is wrong; see [`Error`].
    pub fn from_texts(configs: impl IntoIterator<Item = (String, String)>) -> Result<Self, Error> {
        let configs: BTreeMap<String, String> = configs.into_iter().collect();
        let mut specs = Specs::default();
        for (name, text) in &configs {
            let Specs { gemv, unpack, gemm } = spec::parse(name, text)?;
            specs.gemv.extend(gemv);
            specs.unpack.extend(unpack);
            specs.gemm.extend(gemm);
        }
        specs.gemv.sort();
        specs.unpack.sort();
        specs.gemm.sort();
        let gemv = specs.gemv.iter().map(|spec| (spec.id(), spec.isa));
        let unpack = specs.unpack.iter().map(|spec| (spec.id(), spec.isa));
        let gemm = specs.gemm.iter().map(|spec| (spec.id(), spec.isa));
        let mut ids = std::collections::BTreeSet::new();
        for (id, isa) in gemv.chain(unpack).chain(gemm) {
            if !ids.insert(id.clone()) {
                return Err(Error::Malformed {
                    file: format!("{}.toml", isa.name()),
                    reason: format!("kernel {id} is asked for twice"),
                });
            }
        }
        Ok(KernelSet { configs, specs })
    }

    /// Every matrix-vector kernel.
    pub fn specs(&self) -> &[KernelSpec] {
        &self.specs.gemv
    }

    /// Every kernel that unpacks a code for batched products.
    pub fn unpacks(&self) -> &[UnpackSpec] {
        &self.specs.unpack
    }

    /// Every kernel of batched products.
    pub fn gemms(&self) -> &[GemmSpec] {
        &self.specs.gemm
    }

    /// The matrix-vector kernels of one ISA.
    pub fn of_isa(&self, isa: Isa) -> impl Iterator<Item = &KernelSpec> {
        self.specs.gemv.iter().filter(move |spec| spec.isa == isa)
    }

    /// The matrix-vector kernel called `id`.
    ///
    /// # Errors
    ///
    /// No such kernel is called `id`.
    pub fn spec(&self, id: &str) -> Result<&KernelSpec, Error> {
        let spec = self.specs.gemv.iter().find(|spec| spec.id() == id);
        spec.ok_or_else(|| Error::UnknownKernel(id.to_owned()))
    }

    /// The text of one kernel, with the helpers that it calls, for a matrix-vector kernel with the build function of its packing too.
    ///
    /// # Errors
    ///
    /// No kernel is called `id`.
    pub fn show(&self, id: &str) -> Result<String, Error> {
        if let Some(spec) = self.specs.unpack.iter().find(|spec| spec.id() == id) {
            return with_helpers(spec.isa, unpack_text(spec)?);
        }
        if let Some(spec) = self.specs.gemm.iter().find(|spec| spec.id() == id) {
            return with_helpers(spec.isa, gemm_text(spec)?);
        }
        let spec = self.spec(id)?;
        let kernel = kernel_text(spec)?;
        let mut text = format!("{kernel}\n{}", build_text(spec)?);
        for helper in helper_texts(spec.isa, &kernel)? {
            text.push('\n');
            text.push_str(&helper);
        }
        Ok(text)
    }

    /// The file of one ISA: its streaming read and its dot product, the build functions of its packings, its kernels, those of batched
    /// products, the helpers that all of them call.
    ///
    /// # Errors
    ///
    /// A skeleton emitted something that is not Rust.
    pub fn file(&self, isa: Isa) -> Result<String, Error> {
        let mut text = format!(
            "// Kernels for {}, from configs/kernels/{}.toml. Written by tern-codegen; changes here are lost.\n\n",
            isa.name(),
            isa.name(),
        );
        text.push_str(&emit::format(isa.name(), skeleton::read(isa))?);
        if skeleton::has_dot(isa) {
            text.push('\n');
            text.push_str(&emit::format(isa.name(), skeleton::dot(isa))?);
        }
        let mut built = Vec::new();
        for spec in self.of_isa(isa) {
            let name = build_name(spec);
            if !built.contains(&name) {
                text.push('\n');
                text.push_str(&build_text(spec)?);
                built.push(name);
            }
            text.push('\n');
            text.push_str(&kernel_text(spec)?);
        }
        for spec in self.specs.unpack.iter().filter(|spec| spec.isa == isa) {
            text.push('\n');
            text.push_str(&unpack_text(spec)?);
        }
        for spec in self.specs.gemm.iter().filter(|spec| spec.isa == isa) {
            text.push('\n');
            text.push_str(&gemm_text(spec)?);
        }
        for helper in helper_texts(isa, &text)? {
            text.push('\n');
            text.push_str(&helper);
        }
        Ok(text)
    }

    /// Writes the files of the ISAs of `target`, and `kernels.rs`, which includes them and holds the registry.
    ///
    /// # Errors
    ///
    /// A file cannot be written, or a skeleton emitted something that is not Rust.
    pub fn write(&self, target: &Target<'_>, out: &Path) -> Result<(), Error> {
        let save = |name: &str, text: String| {
            let path = out.join(name);
            std::fs::write(&path, text).map_err(|source| Error::Io { path, source })
        };
        let isas: Vec<Isa> = Isa::ALL
            .into_iter()
            .filter(|&isa| target.builds(isa))
            .collect();
        let emulates = target.arch == emulated::ARCH;
        for &isa in &isas {
            let text = self.file(isa)?;
            if emulates && isa.arch().is_some() {
                save(&emulated::file_name(isa), in_emulation(&text))?;
            }
            save(&format!("{}.rs", isa.name()), text)?;
        }
        let tables = registry::tables(self, &isas)?;
        save("kernels.rs", registry::root(self, &isas, &tables)?)?;
        if isas.contains(&Isa::AvxVnni) {
            save("avx512vl.rs", registry::avx512vl(self)?)?;
        }
        let overflowing = registry::overflowing(self, &isas)?;
        if emulates {
            save("emulated.rs", emulated::root(&isas, &tables)?)?;
            save("emulated_overflowing.rs", in_emulation(&overflowing))?;
        }
        save("overflowing.rs", overflowing)
    }
}

/// Reads the configs of `configs` and writes the text for `target` to `out`: what a build script calls.
///
/// # Errors
///
/// See [`Error`]; the message names file, row and reason.
pub fn write(configs: &Path, target: &Target<'_>, out: &Path) -> Result<(), Error> {
    KernelSet::from_dir(configs)?.write(target, out)
}

/// The text of one kernel.
fn kernel_text(spec: &KernelSpec) -> Result<String, Error> {
    emit::format(&spec.id(), skeleton::gemv(spec))
}

/// The text of one kernel that unpacks a code.
fn unpack_text(spec: &UnpackSpec) -> Result<String, Error> {
    emit::format(&spec.id(), skeleton::unpack(spec))
}

/// The text of one kernel of batched products.
fn gemm_text(spec: &GemmSpec) -> Result<String, Error> {
    emit::format(&spec.id(), skeleton::gemm(spec))
}

/// The text of one kernel of a batched product, and those of the helpers that it calls.
fn with_helpers(isa: Isa, kernel: String) -> Result<String, Error> {
    let helpers = helper_texts(isa, &kernel)?;
    let texts = helpers.into_iter().map(|helper| format!("\n{helper}"));
    Ok(texts.fold(kernel, |text, helper| text + &helper))
}

/// The texts of the helpers of `isa` that `text` calls. No helper calls another.
fn helper_texts(isa: Isa, text: &str) -> Result<Vec<String>, Error> {
    let helpers = isa.vocabulary().map_or(Vec::new(), |w| w.helpers());
    let named = helpers
        .iter()
        .map(|helper| (skeleton::helper_name(helper), helper));
    let used = named.filter(|(name, _)| {
        text.contains(&format!("{name}(")) || text.contains(&format!("{name}::<"))
    });
    used.map(|(name, helper)| emit::format(&name, skeleton::helper(isa, helper)))
        .collect()
}

/// The name of the function that prepares activations for a kernel's packing.
///
/// It depends on the code and the ISA alone: panels and K blocks do not change the prepared form.
fn build_name(spec: &KernelSpec) -> String {
    format!("build_{}__{}", spec.code.name(), spec.isa.name())
}

/// The text of that function.
fn build_text(spec: &KernelSpec) -> Result<String, Error> {
    let name = build_name(spec);
    emit::format(&name, skeleton::build(spec, &name))
}
