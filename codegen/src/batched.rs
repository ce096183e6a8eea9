//! Specs of batched products: many tokens against the same packed weights that the matrix-vector kernels read.
//!
//! A batched product has two halves. `unpack` puts a run of a panel's steps into the *dot-product layout*, in a buffer that stays
//! in cache; `gemm` multiplies that buffer with the activations of many tokens. So there is one `unpack` for each code and ISA,
//! one `gemm` for each ISA and register tile, and any of the first goes with any of the second.
//!
//! The dot-product layout is `[K / 4][rows][4]`: bytes `u = t + 1`, four neighbouring columns (a *quad*) of a row together, since
//! a dot-product instruction adds four neighbours. `sum of t * a` is `sum of u * a` less the sum of the activations.
//!
//! ```toml
//! [[unpack]]
//! code = ["t5", "t7"]
//!
//! [[gemm]]
//! vectors = [4]   # vectors of rows side by side
//! tokens = [6]    # tokens side by side
//! ```

use serde::Deserialize;

use crate::budget;
use crate::isa::Isa;
use crate::spec::{Code, Error, lanes};

/// A kernel that unpacks a code into the dot-product layout.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnpackSpec {
    /// The ISA whose vocabulary spells it.
    pub isa: Isa,
    /// The code that it reads, with the lanes that the ISA's matrix-vector kernels give it.
    pub code: Code,
}

impl UnpackSpec {
    /// The kernel's id, for example `unpack_t5__avx512vbmi`.
    pub fn id(&self) -> String {
        format!("unpack_{}__{}", self.code.name(), self.isa.name())
    }

    /// The spec that an id names: the inverse of [`UnpackSpec::id`].
    ///
    /// # Errors
    ///
    /// The id does not parse, or names a kernel that cannot be built.
    pub fn from_id(id: &str) -> Result<Self, String> {
        let parts = id
            .strip_prefix("unpack_")
            .and_then(|rest| rest.split_once("__"));
        let spec = parts.and_then(|(code, isa)| {
            Some(UnpackSpec {
                isa: Isa::from_name(isa)?,
                code: Code::ALL.into_iter().find(|c| c.name() == code)?,
            })
        });
        let spec =
            spec.ok_or_else(|| format!("`{id}` is not a kernel id like `unpack_t5__avx512vbmi`"))?;
        spec.validate().map(|()| spec)
    }

    /// Rows of a panel.
    pub fn lanes(&self) -> usize {
        lanes(self.isa, self.code)
    }

    /// Bytes of one step of a panel.
    pub fn panel_step_bytes(&self) -> usize {
        self.lanes() / self.code.rows_in_byte() * self.code.step_bytes()
    }

    /// Steps after which a whole number of quads is done: four for five columns a step, one where four divides the columns.
    pub fn period(&self) -> usize {
        let cols = self.code.step_cols();
        (1..=4)
            .find(|steps| (steps * cols).is_multiple_of(4))
            .unwrap_or(4)
    }

    /// Checks everything that can be wrong with a spec.
    ///
    /// # Errors
    ///
    /// One sentence that says what is wrong.
    pub fn validate(&self) -> Result<(), String> {
        let (code, isa) = (self.code.name(), self.isa.name());
        if self.isa == Isa::Scalar {
            return Err(
                "scalar has no unpack kernels: without vectors any code is decoded trit by trit"
                    .into(),
            );
        }
        match self.isa.skeletons().iter().any(|(_, c)| *c == self.code) {
            true => Ok(()),
            false => Err(format!(
                "{isa} has no matrix-vector kernel for code {code}, so no matrix is packed that way"
            )),
        }
    }
}

/// A kernel that multiplies the dot-product layout with the activations of many tokens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GemmSpec {
    /// The ISA whose vocabulary spells it.
    pub isa: Isa,
    /// Vectors of rows in the register tile.
    pub vectors: usize,
    /// Tokens in the register tile.
    pub tokens: usize,
    /// Quads that 16-bit sums take before they are widened; `None` where sums are 32 bits wide from the start.
    pub window: Option<usize>,
}

impl GemmSpec {
    /// A spec with the widest window that is safe.
    pub fn new(isa: Isa, vectors: usize, tokens: usize) -> GemmSpec {
        GemmSpec {
            isa,
            vectors,
            tokens,
            window: budget::gemm_window_max(isa),
        }
    }

    /// The kernel's id, for example `gemm_i8__avx512vnni_r4n6`: the activations' type, then vectors of rows and tokens.
    pub fn id(&self) -> String {
        // As for matrix-vector kernels, the window shows only where it is not the widest that is safe.
        let window = match self.window {
            Some(window) if self.window != budget::gemm_window_max(self.isa) => {
                format!("w{window}")
            }
            _ => String::new(),
        };
        let (isa, vectors, tokens) = (self.isa.name(), self.vectors, self.tokens);
        format!("gemm_i8__{isa}_r{vectors}n{tokens}{window}")
    }

    /// The spec that an id names: the inverse of [`GemmSpec::id`].
    ///
    /// # Errors
    ///
    /// The id does not parse, or names a kernel that cannot be built.
    pub fn from_id(id: &str) -> Result<Self, String> {
        let parse = || {
            let (isa, tile) = id.strip_prefix("gemm_i8__")?.rsplit_once('_')?;
            let (vectors, rest) = tile.strip_prefix('r')?.split_once('n')?;
            let (tokens, window) = match rest.split_once('w') {
                Some((tokens, window)) => (tokens, Some(window.parse().ok()?)),
                None => (rest, None),
            };
            let isa = Isa::from_name(isa)?;
            let mut spec = GemmSpec::new(isa, vectors.parse().ok()?, tokens.parse().ok()?);
            spec.window = window.or(spec.window);
            // Leading zeros and a window that needs no saying would give a second name.
            Some(spec).filter(|spec| spec.id() == id)
        };
        let spec = parse()
            .ok_or_else(|| format!("`{id}` is not a kernel id like `gemm_i8__avx512vnni_r4n6`"))?;
        spec.validate().map(|()| spec)
    }

    /// Rows that one vector covers: a 32-bit lane for each.
    pub fn lanes(&self) -> usize {
        lanes(self.isa, Code::B2)
    }

    /// Checks everything that can be wrong with a spec.
    ///
    /// # Errors
    ///
    /// One sentence that says what is wrong, what was found and what is allowed.
    pub fn validate(&self) -> Result<(), String> {
        let isa = self.isa.name();
        if !self.isa.has_gemm() {
            return Err(format!(
                "{isa} has no multiply-add kernels, and so no gemm kernel"
            ));
        }
        if !(1..=16).contains(&self.vectors) || !(1..=16).contains(&self.tokens) {
            return Err(format!(
                "vectors = {} and tokens = {} must be 1 to 16",
                self.vectors, self.tokens
            ));
        }
        if self.isa.multiplies_2x2() && self.tokens > 1 && self.tokens % 2 == 1 {
            return Err(format!(
                "tokens = {} must be 1 or even: {isa} multiplies two tokens at once",
                self.tokens
            ));
        }
        let registers = budget::gemm_registers(self);
        if self.isa != Isa::Scalar && registers > self.isa.registers() {
            return Err(format!(
                "vectors = {} and tokens = {} need {registers} vector registers, but {isa} has {}",
                self.vectors,
                self.tokens,
                self.isa.registers()
            ));
        }
        match (self.window, budget::gemm_window_max(self.isa)) {
            (None, None) => Ok(()),
            (Some(window), Some(max)) if (1..=max).contains(&window) => Ok(()),
            (Some(window), Some(max)) => Err(format!(
                "window = {window} quads, expected 1 to {max}: then the 16-bit sums may overflow"
            )),
            (window, _) => Err(format!(
                "window = {window:?} does not go with the sums of {isa}"
            )),
        }
    }
}

/// A `[[unpack]]` row of a config file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct UnpackRow {
    code: Vec<Code>,
}

impl UnpackRow {
    /// Its specs, in order and checked.
    pub(crate) fn specs(&self, file: &str, row: usize, isa: Isa) -> Result<Vec<UnpackSpec>, Error> {
        let specs = self.code.iter().map(|&code| UnpackSpec { isa, code });
        checked(file, row, specs, UnpackSpec::id, UnpackSpec::validate)
    }
}

/// A `[[gemm]]` row of a config file: lists multiply out.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GemmRow {
    vectors: Vec<usize>,
    tokens: Vec<usize>,
}

impl GemmRow {
    /// Its specs, in order and checked.
    pub(crate) fn specs(&self, file: &str, row: usize, isa: Isa) -> Result<Vec<GemmSpec>, Error> {
        let tiles = self.vectors.iter().flat_map(|&vectors| {
            self.tokens
                .iter()
                .map(move |&tokens| GemmSpec::new(isa, vectors, tokens))
        });
        checked(file, row, tiles, GemmSpec::id, GemmSpec::validate)
    }
}

/// Checks the specs of one row; an empty row is a mistake too.
fn checked<S>(
    file: &str,
    row: usize,
    specs: impl Iterator<Item = S>,
    id: fn(&S) -> String,
    validate: fn(&S) -> Result<(), String>,
) -> Result<Vec<S>, Error> {
    let bad = |id: String, reason: String| Error::BadRow {
        file: file.to_owned(),
        row: row + 1,
        id,
        reason,
    };
    let specs: Vec<S> = specs.collect();
    if specs.is_empty() {
        return Err(bad("empty".into(), "its lists must not be empty".into()));
    }
    for spec in &specs {
        validate(spec).map_err(|reason| bad(id(spec), reason))?;
    }
    Ok(specs)
}
