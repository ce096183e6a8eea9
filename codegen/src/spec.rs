//! Kernel specs: which variants to build, read from `configs/kernels/<isa>.toml` and checked before a line is emitted.
//!
//! A row lists the families and tiles of one kernel; lists multiply out:
//!
//! ```toml
//! [[gemv]]
//! family = "lut"
//! code = "t7"
//! panels = [1, 2]     # vectors of rows side by side
//! block = [16, 32]    # steps in a K block
//! prefetch = ["dense", "sparse"]  # left out: dense
//! batch = [1, 2]      # tokens at once; left out: 1
//! strips = "distant"  # each panel a stream of its own; left out: adjacent
//! ```

use std::fmt;
use std::path::PathBuf;

use serde::Deserialize;

use crate::batched::{GemmRow, GemmSpec, UnpackRow, UnpackSpec};
use crate::budget;
use crate::isa::{Isa, Tokens, Vocabulary};

/// One algorithm for the ternary matrix-vector product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// Tables of partial sums.
    Lut,
    /// Tables of partial sums, a lookup for each bit plane.
    Bitserial,
    /// Decode by constant tables and multiply-add.
    Decode,
    /// Unpack and multiply-add.
    Mad,
    /// Masked add and subtract.
    Addsub,
}

impl Family {
    /// Every family.
    pub const ALL: [Family; 5] = [
        Family::Lut,
        Family::Bitserial,
        Family::Decode,
        Family::Mad,
        Family::Addsub,
    ];

    /// The name in ids and configs.
    pub const fn name(self) -> &'static str {
        match self {
            Family::Lut => "lut",
            Family::Bitserial => "bitserial",
            Family::Decode => "decode",
            Family::Mad => "mad",
            Family::Addsub => "addsub",
        }
    }

    /// The variant's name in `tern_kernels::Family`.
    pub const fn variant(self) -> &'static str {
        match self {
            Family::Lut => "Lut",
            Family::Bitserial => "Bitserial",
            Family::Decode => "Decode",
            Family::Mad => "Mad",
            Family::Addsub => "Addsub",
        }
    }

    /// Whether its fields are `t + 1`, so that the sum of the activations has to be taken back.
    pub const fn is_biased(self) -> bool {
        matches!(self, Family::Decode | Family::Mad)
    }
}

/// How trits become bits; `tern_kernels::packing::Code` documents each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Code {
    /// Two bits a trit.
    B2,
    /// Twelve codes of three trits in eight bytes, for a constant table.
    D3,
    /// Five trits a byte, for constant tables.
    D5,
    /// Five trits a byte as a number of mixed digits, for smaller constant tables.
    M5,
    /// One column of five rows a byte: the numbers of `M5`.
    R5,
    /// Two bit planes.
    Planes,
    /// Two trits in a nibble.
    T2,
    /// Three trits in a 4-bit magnitude and a sign.
    T3,
    /// The same codes, for sums kept as the bytes of 16-bit words.
    P3,
    /// Three trits in a 5-bit code.
    F3,
    /// Five trits in a 7-bit magnitude and a sign.
    T5,
    /// Seven trits in two 6-bit codes.
    T7,
    /// Nine trits in three 5-bit codes of a 16-bit word.
    W3,
    /// Four trits in two nibbles, one a bit plane.
    S4,
}

impl Code {
    /// Every code.
    pub const ALL: [Code; 14] = [
        Code::B2,
        Code::D3,
        Code::D5,
        Code::M5,
        Code::R5,
        Code::Planes,
        Code::T2,
        Code::T3,
        Code::P3,
        Code::F3,
        Code::T5,
        Code::T7,
        Code::W3,
        Code::S4,
    ];

    /// The name in ids and configs.
    pub const fn name(self) -> &'static str {
        match self {
            Code::B2 => "b2",
            Code::D3 => "d3",
            Code::D5 => "d5",
            Code::M5 => "m5",
            Code::R5 => "r5",
            Code::Planes => "planes",
            Code::T2 => "t2",
            Code::T3 => "t3",
            Code::P3 => "p3",
            Code::F3 => "f3",
            Code::T5 => "t5",
            Code::T7 => "t7",
            Code::W3 => "w3",
            Code::S4 => "s4",
        }
    }

    /// The variant's name in `tern_kernels::Code`.
    pub const fn variant(self) -> &'static str {
        match self {
            Code::B2 => "B2",
            Code::D3 => "D3",
            Code::D5 => "D5",
            Code::M5 => "M5",
            Code::R5 => "R5",
            Code::Planes => "Planes",
            Code::T2 => "T2",
            Code::T3 => "T3",
            Code::P3 => "P3",
            Code::F3 => "F3",
            Code::T5 => "T5",
            Code::T7 => "T7",
            Code::W3 => "W3",
            Code::S4 => "S4",
        }
    }

    /// Columns in a step.
    pub const fn step_cols(self) -> usize {
        match self {
            Code::B2 => 16,
            Code::D3 => 36,
            Code::D5 | Code::M5 => 20,
            Code::Planes => 8,
            Code::T3 | Code::P3 | Code::F3 => 24,
            Code::T5 => 5,
            Code::T7 => 28,
            Code::W3 => 9,
            Code::R5 | Code::T2 | Code::S4 => 4,
        }
    }

    /// Rows whose trits of a column share a byte.
    pub const fn rows_in_byte(self) -> usize {
        match self {
            Code::R5 => 5,
            _ => 1,
        }
    }

    /// Stored bits a weight, padding excluded.
    pub fn bits_per_weight(self) -> f64 {
        8.0 * self.step_bytes() as f64 / (self.step_cols() * self.rows_in_byte()) as f64
    }

    /// Bytes in a step, for each row or, where rows share bytes, for as many as share them.
    pub const fn step_bytes(self) -> usize {
        match self {
            Code::B2 | Code::D5 | Code::M5 | Code::R5 => 4,
            Code::D3 => 8,
            Code::Planes | Code::W3 => 2,
            Code::T3 | Code::P3 | Code::F3 => 5,
            Code::T2 | Code::T5 | Code::S4 => 1,
            Code::T7 => 6,
        }
    }
}

/// Which form of `mad`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Variant {
    /// Every bit plane is shifted down before it is masked.
    Classic,
    /// Planes are masked in place and their sums shifted once, at the end.
    Shiftfree,
}

impl Variant {
    /// The name in ids and configs.
    pub const fn name(self) -> &'static str {
        match self {
            Variant::Classic => "classic",
            Variant::Shiftfree => "shiftfree",
        }
    }
}

/// Which cache lines a kernel prefetches; the distance is part of the tile, which is chosen at run time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Prefetch {
    /// Every line of the weights, for CPUs whose own prefetchers fall behind.
    Dense,
    /// One line in each window, or each step where there is no window: enough to show the CPU's own prefetchers the next page,
    /// where a dense prefetch takes the queue entries of the loads that it should help.
    Sparse,
}

impl Prefetch {
    /// What an id ends with.
    const fn suffix(self) -> &'static str {
        match self {
            Prefetch::Dense => "",
            Prefetch::Sparse => "s",
        }
    }
}

/// How the panels of a strip lie in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Strips {
    /// Side by side, step by step: a strip is one stream of bytes.
    Adjacent,
    /// Far apart, each panel a stream of its own, in a packing of single panels: for CPUs on which one stream alone does not
    /// reach the speed of the memory.
    Distant,
}

impl Strips {
    /// What an id ends with.
    const fn suffix(self) -> &'static str {
        match self {
            Strips::Adjacent => "",
            Strips::Distant => "d",
        }
    }

    /// The streams of a strip of `panels` panels, and the panels that each of them holds.
    pub(crate) const fn streams(self, panels: usize) -> (usize, usize) {
        match self {
            Strips::Adjacent => (1, panels),
            Strips::Distant => (panels, 1),
        }
    }
}

/// What a kernel does with the sums of a K block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scales {
    /// Adds them to `i32` outputs: one scale for the matrix or for each row is applied when all of K is summed.
    Whole,
    /// A K block is a group of columns with scales of its own: adds `sum * scale`, for each row, to `f32` outputs.
    Groups,
}

impl Scales {
    /// What the first half of an id ends with.
    const fn suffix(self) -> &'static str {
        match self {
            Scales::Whole => "",
            Scales::Groups => "_groups",
        }
    }

    /// The weight scales that it serves, as `tern_kernels::Granularity` names them.
    pub const fn granularities(self) -> &'static [&'static str] {
        match self {
            Scales::Whole => &["matrix", "row"],
            Scales::Groups => &["group"],
        }
    }

    /// The variant's name in `tern_kernels::Scales`.
    pub const fn variant(self) -> &'static str {
        match self {
            Scales::Whole => "Whole",
            Scales::Groups => "Groups",
        }
    }
}

/// One kernel to build.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KernelSpec {
    /// The ISA whose vocabulary spells it.
    pub isa: Isa,
    /// The algorithm.
    pub family: Family,
    /// The code it reads.
    pub code: Code,
    /// Which form, where there are several.
    pub variant: Option<Variant>,
    /// Panels in a strip.
    pub panels: usize,
    /// Steps in a K block.
    pub block: usize,
    /// Steps that the narrowest accumulator takes before it is widened.
    pub window: usize,
    /// Which lines it prefetches.
    pub prefetch: Prefetch,
    /// What it does with its sums.
    pub scales: Scales,
    /// Tokens that it takes at once, from one reading of the weights.
    pub batch: usize,
    /// How the panels of a strip lie in memory.
    pub strips: Strips,
}

impl KernelSpec {
    /// The kernel's id: what it computes, `__`, how.
    pub fn id(&self) -> String {
        let (family, code, isa) = (self.family.name(), self.code.name(), self.isa.name());
        let variant = self
            .variant
            .map_or(String::new(), |v| format!("{}_", v.name()));
        // The window shows only where it is not the widest that is safe.
        let window = match budget::window_max(self) {
            Ok(max) if max == self.window => String::new(),
            _ => format!("w{}", self.window),
        };
        let batch = match self.batch {
            1 => String::new(),
            n => format!("n{n}"),
        };
        format!(
            "gemv_{family}_{code}{}__{isa}_{variant}p{}k{}{window}{batch}{}{}",
            self.scales.suffix(),
            self.panels,
            self.block,
            self.strips.suffix(),
            self.prefetch.suffix()
        )
    }

    /// The spec that an id names: the inverse of [`KernelSpec::id`].
    ///
    /// # Errors
    ///
    /// The id does not parse, or names a kernel that cannot be built.
    pub fn from_id(id: &str) -> Result<Self, String> {
        let unknown = || format!("`{id}` is not a kernel id like `gemv_lut_t5__avx512vbmi_p2k48`");
        let (what, how) = id.split_once("__").ok_or_else(unknown)?;
        let (family, code) = what
            .strip_prefix("gemv_")
            .and_then(|w| w.split_once('_'))
            .ok_or_else(unknown)?;
        let (code, scales) = match code.strip_suffix(Scales::Groups.suffix()) {
            Some(code) => (code, Scales::Groups),
            None => (code, Scales::Whole),
        };
        let family = Family::ALL.into_iter().find(|f| f.name() == family);
        let code = Code::ALL.into_iter().find(|c| c.name() == code);
        let mut parts: Vec<&str> = how.split('_').collect();
        let tile = parts
            .pop()
            .and_then(|tile| tile.strip_prefix('p'))
            .ok_or_else(unknown)?;
        let (tile, prefetch) = match tile.strip_suffix(Prefetch::Sparse.suffix()) {
            Some(tile) => (tile, Prefetch::Sparse),
            None => (tile, Prefetch::Dense),
        };
        let (tile, strips) = match tile.strip_suffix(Strips::Distant.suffix()) {
            Some(tile) => (tile, Strips::Distant),
            None => (tile, Strips::Adjacent),
        };
        let (tile, batch) = tile.split_once('n').unwrap_or((tile, "1"));
        let (panels, rest) = tile.split_once('k').ok_or_else(unknown)?;
        let (block, window) = rest
            .split_once('w')
            .map_or((rest, None), |(b, w)| (b, Some(w)));
        let isa = parts.first().copied().and_then(Isa::from_name);
        let variant = match parts.get(1..).unwrap_or_default() {
            [] => None,
            ["classic"] => Some(Variant::Classic),
            ["shiftfree"] => Some(Variant::Shiftfree),
            _ => return Err(unknown()),
        };
        let number = |digits: &str| digits.parse::<usize>().map_err(|_| unknown());
        let mut spec = KernelSpec {
            isa: isa.ok_or_else(unknown)?,
            family: family.ok_or_else(unknown)?,
            code: code.ok_or_else(unknown)?,
            variant,
            panels: number(panels)?,
            block: number(block)?,
            window: 1,
            prefetch,
            scales,
            batch: number(batch)?,
            strips,
        };
        spec.window = match window {
            Some(window) => number(window)?,
            None => budget::window_max(&spec)?,
        };
        spec.validate()?;
        // Leading zeros, and a window or a batch that needs no saying, would give a second name.
        if spec.id() == id {
            Ok(spec)
        } else {
            Err(unknown())
        }
    }

    /// The same kernel for one token at a time, which takes the tokens that fill no batch.
    pub fn single(&self) -> KernelSpec {
        KernelSpec {
            batch: 1,
            ..self.clone()
        }
    }

    /// Rows that one vector covers.
    pub fn lanes(&self) -> usize {
        lanes(self.isa, self.code)
    }

    /// Name of the packing that it reads.
    pub fn packing(&self) -> String {
        format!(
            "{}_l{}_p{}_k{}",
            self.code.name(),
            self.lanes(),
            self.packed_panels(),
            self.block
        )
    }

    /// Panels in a strip of its packing.
    pub fn packed_panels(&self) -> usize {
        self.strips.streams(self.panels).1
    }

    /// Bytes of one step of one panel.
    pub fn panel_step_bytes(&self) -> usize {
        self.lanes() / self.code.rows_in_byte() * self.code.step_bytes()
    }

    /// Checks everything that can be wrong with a spec.
    ///
    /// # Errors
    ///
    /// One sentence that says what is wrong, what was found and what is allowed.
    pub fn validate(&self) -> Result<(), String> {
        let (family, code, isa) = (self.family.name(), self.code.name(), self.isa.name());
        if !self.isa.skeletons().contains(&(self.family, self.code)) {
            let known: Vec<String> = self
                .isa
                .skeletons()
                .iter()
                .map(|(f, c)| format!("{} {}", f.name(), c.name()))
                .collect();
            return Err(format!(
                "{isa} has no {family} kernel for code {code}; it has: {}",
                known.join(", ")
            ));
        }
        match (self.family, self.variant) {
            (Family::Mad, None) if self.isa != Isa::Scalar => {
                return Err("a mad kernel needs variant = \"classic\" or \"shiftfree\"".into());
            }
            (Family::Mad, Some(v)) if self.isa == Isa::Scalar => {
                return Err(format!(
                    "variant \"{}\" belongs to vector kernels, not to scalar ones",
                    v.name()
                ));
            }
            (Family::Lut | Family::Bitserial | Family::Decode | Family::Addsub, Some(v)) => {
                return Err(format!(
                    "variant \"{}\" belongs to mad, not to {family}",
                    v.name()
                ));
            }
            _ => {}
        }
        if self.panels == 0 || self.block == 0 || self.window == 0 {
            return Err("panels, block and window must be at least 1".into());
        }
        // No skeleton fits more panels than there are registers; the caps also keep the arithmetic below in range.
        if self.panels > 64 || self.block > 1 << 20 {
            return Err(format!(
                "panels = {} and block = {} are beyond any use (at most 64 and 2^20)",
                self.panels, self.block
            ));
        }
        if self.isa == Isa::Scalar && self.panels != 1 {
            return Err(format!(
                "panels = {}, but scalar kernels work on one panel",
                self.panels
            ));
        }
        if self.strips == Strips::Distant && self.panels == 1 {
            return Err("strips = \"distant\", but a strip of one panel is one stream".into());
        }
        if !self.block.is_multiple_of(self.window) {
            return Err(format!(
                "block = {} is not divided by the window of {} steps",
                self.block, self.window
            ));
        }
        let prefetches = |words: &dyn Vocabulary| words.prefetch(Tokens::new()).is_some();
        if self.prefetch != Prefetch::Dense && !self.isa.vocabulary().is_some_and(prefetches) {
            return Err(format!(
                "prefetch = \"sparse\", but {isa} kernels do not prefetch"
            ));
        }
        self.check_batch()?;
        let registers = budget::registers(self);
        if registers > self.isa.registers() {
            let batch = match self.batch {
                1 => String::new(),
                n => format!(" with batch = {n}"),
            };
            return Err(format!(
                "panels = {}{batch} needs {registers} vector registers, but {isa} has {}",
                self.panels,
                self.isa.registers()
            ));
        }
        budget::check_window(self)?;
        budget::check_block(self)
    }

    /// Checks that a skeleton takes so many tokens at once.
    fn check_batch(&self) -> Result<(), String> {
        if !(1..=BATCH_MAX).contains(&self.batch) {
            return Err(format!(
                "batch = {} is not a number of tokens from 1 to {BATCH_MAX}",
                self.batch
            ));
        }
        let (family, code) = (self.family.name(), self.code.name());
        // Plain Rust is never short of memory bandwidth, which is what a batch saves.
        let fused = match self.family {
            _ if self.isa == Isa::Scalar => false,
            Family::Mad | Family::Decode | Family::Lut => true,
            Family::Bitserial | Family::Addsub => false,
        };
        match self.batch == 1 || fused {
            true => Ok(()),
            false => Err(format!(
                "batch = {}, but {family} {code} kernels of {} take one token at a time",
                self.batch,
                self.isa.name()
            )),
        }
    }
}

/// The most tokens that a kernel takes at once: beyond it batched products (`gemm`) are the better way.
const BATCH_MAX: usize = 16;

/// Rows that one vector of `isa` covers in code `code`: the lanes of its packings.
pub fn lanes(isa: Isa, code: Code) -> usize {
    match code {
        // Plain Rust takes eight rows at a time.
        _ if isa == Isa::Scalar => 8 * code.rows_in_byte(),
        // A 32-bit lane holds four bytes of one row.
        Code::B2 | Code::D3 | Code::D5 | Code::M5 => isa.vector_bytes() / 4,
        // Of five rows.
        Code::R5 => isa.vector_bytes() / 4 * code.rows_in_byte(),
        Code::W3 => isa.vector_bytes() / 2,
        _ => isa.vector_bytes(),
    }
}

/// One row of a config file: lists multiply out.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    family: Family,
    code: Code,
    variant: Option<Variant>,
    panels: Vec<usize>,
    block: Vec<usize>,
    /// Steps before widening; left out, the largest that cannot overflow.
    window: Option<usize>,
    #[serde(default = "dense")]
    prefetch: Vec<Prefetch>,
    /// One scale for the whole of a row, or for each group of columns.
    #[serde(default = "whole")]
    scales: Scales,
    /// Tokens at once.
    #[serde(default = "one_token")]
    batch: Vec<usize>,
    /// How the panels of a strip lie in memory.
    #[serde(default = "adjacent")]
    strips: Strips,
}

fn adjacent() -> Strips {
    Strips::Adjacent
}

fn one_token() -> Vec<usize> {
    vec![1]
}

fn whole() -> Scales {
    Scales::Whole
}

fn dense() -> Vec<Prefetch> {
    vec![Prefetch::Dense]
}

/// A config file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    gemv: Vec<Row>,
    #[serde(default)]
    unpack: Vec<UnpackRow>,
    #[serde(default)]
    gemm: Vec<GemmRow>,
}

/// The kernels of one config file, in its order, all of them checked.
#[derive(Debug, Default)]
pub(crate) struct Specs {
    /// Matrix-vector kernels.
    pub(crate) gemv: Vec<KernelSpec>,
    /// Kernels that unpack a code for batched products.
    pub(crate) unpack: Vec<UnpackSpec>,
    /// Batched products.
    pub(crate) gemm: Vec<GemmSpec>,
}

/// Why kernels could not be generated.
#[derive(Debug)]
pub enum Error {
    /// A file could not be read or written.
    Io {
        /// Its path.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A config directory without a single kernel.
    NoConfigs(PathBuf),
    /// A file name that is not an ISA.
    UnknownIsa {
        /// The file.
        file: String,
    },
    /// A file that is not a kernel config.
    Malformed {
        /// The file.
        file: String,
        /// What the TOML parser said.
        reason: String,
    },
    /// A row that cannot be built.
    BadRow {
        /// The file.
        file: String,
        /// Its row, from 1.
        row: usize,
        /// The kernel.
        id: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A kernel that no config lists.
    UnknownKernel(String),
    /// Generated text that does not parse: a mistake in a skeleton.
    Emit {
        /// The kernel or file.
        what: String,
        /// What the parser said.
        reason: String,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Io { path, source } => write!(f, "{}: {source}", path.display()),
            Error::NoConfigs(dir) => write!(
                f,
                "{}: no kernel configs found; expected files named <isa>.toml, such as avx2.toml",
                dir.display()
            ),
            Error::UnknownIsa { file } => {
                let names: Vec<&str> = Isa::ALL.iter().map(|isa| isa.name()).collect();
                write!(
                    f,
                    "{file}: the file name must be an ISA: {}",
                    names.join(", ")
                )
            }
            Error::Malformed { file, reason } => write!(f, "{file}: {reason}"),
            Error::BadRow {
                file,
                row,
                id,
                reason,
            } => {
                write!(f, "{file}: row {row} ({id}): {reason}")
            }
            Error::UnknownKernel(id) => {
                write!(
                    f,
                    "no kernel is called `{id}`; `tern codegen list` shows the ids"
                )
            }
            Error::Emit { what, reason } => {
                write!(f, "{what}: the generated text is not Rust: {reason}")
            }
        }
    }
}

impl std::error::Error for Error {}

/// Parses one config file, named for its ISA, into checked specs in the order of the file.
///
/// # Errors
///
/// The file's name, TOML or one of its rows is wrong; the error names file, row and reason.
pub(crate) fn parse(file: &str, text: &str) -> Result<Specs, Error> {
    let stem = file
        .rsplit('/')
        .next()
        .unwrap_or(file)
        .strip_suffix(".toml");
    let isa = stem
        .and_then(Isa::from_name)
        .ok_or_else(|| Error::UnknownIsa { file: file.into() })?;
    let parsed: File = toml::from_str(text).map_err(|e| Error::Malformed {
        file: file.into(),
        reason: e.to_string(),
    })?;
    let mut specs = Specs {
        gemv: gemv_specs(file, isa, &parsed.gemv)?,
        ..Specs::default()
    };
    for (index, row) in parsed.unpack.iter().enumerate() {
        specs.unpack.extend(row.specs(file, index, isa)?);
    }
    for (index, row) in parsed.gemm.iter().enumerate() {
        specs.gemm.extend(row.specs(file, index, isa)?);
    }
    Ok(specs)
}

/// The specs of the `[[gemv]]` rows.
fn gemv_specs(file: &str, isa: Isa, rows: &[Row]) -> Result<Vec<KernelSpec>, Error> {
    let bad = |index: usize, id: String, reason: String| Error::BadRow {
        file: file.into(),
        row: index + 1,
        id,
        reason,
    };
    let mut specs: Vec<KernelSpec> = Vec::new();
    let mut fused = Vec::new();
    for (index, row) in rows.iter().enumerate() {
        let lists = [&row.panels, &row.block, &row.batch];
        if lists.iter().any(|list| list.is_empty()) || row.prefetch.is_empty() {
            return Err(bad(
                index,
                row.family.name().into(),
                "panels, block, prefetch and batch must not be empty".into(),
            ));
        }
        for mut spec in tiles(isa, row) {
            spec.window = match row.window {
                Some(window) => window,
                None => budget::window_max(&spec)
                    .map_err(|e| bad(index, spec.id(), e))?
                    .min(spec.block),
            };
            spec.validate()
                .map_err(|reason| bad(index, spec.id(), reason))?;
            if specs.contains(&spec) {
                return Err(bad(
                    index,
                    spec.id(),
                    "this kernel stands in the file twice".into(),
                ));
            }
            if spec.batch > 1 {
                fused.push((index, spec.clone()));
            }
            specs.push(spec);
        }
    }
    for (index, spec) in fused {
        let single = spec.single();
        if !specs.contains(&single) {
            let reason = format!(
                "tokens that fill no batch are left to {}, which no row of this file asks for; batch = [1, {}] asks for both",
                single.id(),
                spec.batch
            );
            return Err(bad(index, spec.id(), reason));
        }
    }
    Ok(specs)
}

/// The product of a row's lists: panels, block, prefetch, batch. Their windows are not yet known.
fn tiles(isa: Isa, row: &Row) -> impl Iterator<Item = KernelSpec> {
    let panels = row.panels.iter().copied();
    let with_blocks = panels.flat_map(|panels| row.block.iter().map(move |&block| (panels, block)));
    let with_prefetches = with_blocks.flat_map(|(panels, block)| {
        let prefetches = row.prefetch.iter().copied();
        prefetches.map(move |prefetch| (panels, block, prefetch))
    });
    with_prefetches.flat_map(move |(panels, block, prefetch)| {
        let batches = row.batch.iter().copied();
        batches.map(move |batch| KernelSpec {
            isa,
            family: row.family,
            code: row.code,
            variant: row.variant,
            panels,
            block,
            window: 1,
            prefetch,
            scales: row.scales,
            batch,
            strips: row.strips,
        })
    })
}
