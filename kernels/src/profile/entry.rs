//! The entries of a profile: a winner for a shape, with the evidence, and the test whether it still holds.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::cpu::{Cpu, Isa};
use crate::gemv::Tile;
use crate::plan::{DEFAULT_TILE, Shape};
use crate::registry::{Kernel, gemms, kernels};

/// The largest distance of a prefetch in bytes that an entry may ask for.
const PREFETCH_MAX: usize = 1 << 24;

/// By how much small pages must be faster to be taken.
const SMALL_PAGES_GAIN: f64 = 0.02;

/// More threads than this are a slip of the finger.
pub const THREADS_MAX: usize = 1024;

/// How thoroughly something was searched. (The words are those of FFTW's planner.)
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Rigor {
    /// Not timed: the closed form.
    #[default]
    Estimate,
    /// Kernels with a few tiles each, some seconds a shape. Entries written by hand count as this.
    Measure,
    /// The tiles of the best kernels, and longer run-offs.
    Patient,
    /// All tiles of all kernels that may win.
    Exhaustive,
}

impl Rigor {
    /// All, in order.
    pub const ALL: [Rigor; 4] = [
        Rigor::Estimate,
        Rigor::Measure,
        Rigor::Patient,
        Rigor::Exhaustive,
    ];

    /// Its name in profiles and options.
    pub fn name(self) -> &'static str {
        match self {
            Rigor::Estimate => "estimate",
            Rigor::Measure => "measure",
            Rigor::Patient => "patient",
            Rigor::Exhaustive => "exhaustive",
        }
    }

    fn by_hand() -> Rigor {
        Rigor::Measure
    }
}

impl fmt::Display for Rigor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Rigor {
    type Err = String;

    fn from_str(name: &str) -> Result<Rigor, String> {
        let found = Rigor::ALL.into_iter().find(|rigor| rigor.name() == name);
        found.ok_or_else(|| {
            format!("`{name}` is no rigor; expected one of estimate, measure, patient, exhaustive")
        })
    }
}

/// The winner for one shape and thread count, with the evidence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Rows of the matrix.
    pub rows: usize,
    /// Columns of the matrix.
    pub cols: usize,
    /// Threads that it was tuned with.
    pub threads: usize,
    /// Id of the winning kernel.
    pub kernel: String,
    /// Its fingerprint when it was timed; empty or left out in an entry that was written by hand, which is then trusted.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub fingerprint: String,
    /// How it was searched for.
    #[serde(default = "Rigor::by_hand")]
    pub rigor: Rigor,
    /// When, UTC, as RFC 3339 writes it; empty in an entry that was written by hand.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub date: String,
    /// Matrices that share prepared activations, on average over the model's matrices of this shape: the product that was timed
    /// bears one part in so many of the time that preparing them takes.
    #[serde(default = "unshared", skip_serializing_if = "is_unshared")]
    pub sharing: f64,
    /// Median time of one product with its part of preparing the activations, in microseconds; 0 where it was not timed.
    #[serde(default)]
    pub median_us: f64,
    /// Median absolute deviation of that, in microseconds.
    #[serde(default)]
    pub mad_us: f64,
    /// Median time of one product whose weights are in the caches, in microseconds, where it was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warm_us: Option<f64>,
    /// Median time for one token of a long prompt in the winner's packing, in microseconds, where it was measured: the winner is the
    /// fastest for a token and a prompt's token together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_us: Option<f64>,
    /// How many times as long a product takes whose weights lie on small pages, where it was measured; 1 where that is within the noise.
    /// Well below 1, the weights go to small pages: see [`Entry::wants_small_pages`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub small_pages: Option<f64>,
    /// Id of the kernel that is fastest with its weights in the caches, which is what other tuners measure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warm_kernel: Option<String>,
    /// What part of the winner's time, for a token and a prompt's token together, the comparison with the runner-up may be wrong by: two
    /// standard errors.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub noise: f64,
    /// Whether the machine was too noisy to tell, and the user wanted the entry all the same.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub noisy: bool,
    /// Its best tile.
    #[serde(default = "default_tile")]
    pub tile: Tile,
    /// The best other kernel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runner_up: Option<RunnerUp>,
}

/// The best other kernel of an [`Entry`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunnerUp {
    /// Its id.
    pub kernel: String,
    /// By which part of the winner's time, for a token and a prompt's token together, it was slower in the same rounds: 0.05 for 5 %.
    pub margin: f64,
    /// Median time for one token of a long prompt in its packing, in microseconds, where it was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_us: Option<f64>,
    /// Its best tile.
    #[serde(default = "default_tile")]
    pub tile: Tile,
}

/// What an entry is for: rows, columns, threads, tokens, packing.
pub type Key = (usize, usize, usize, usize, String);

/// How a matrix is multiplied with several tokens at once: from so many tokens on, up to the next entry of the shape.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchEntry {
    /// Rows of the matrix.
    pub rows: usize,
    /// Columns of the matrix.
    pub cols: usize,
    /// Threads that it was tuned with.
    pub threads: usize,
    /// The least number of tokens that it is for.
    pub tokens: usize,
    /// The packing of the matrix, that of the winner for one token: the weights are held once.
    pub packing: String,
    /// Id of a kernel of batched products, or `gemv`: the winner for one token and its forms for several.
    pub kernel: String,
    /// Fingerprint of the kernel of batched products when it was timed; empty for `gemv` and in an entry that was written by hand.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub fingerprint: String,
    /// How it was searched for.
    #[serde(default = "Rigor::by_hand")]
    pub rigor: Rigor,
    /// When, UTC, as RFC 3339 writes it; empty in an entry that was written by hand.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub date: String,
    /// Median time for one token in microseconds, at [`BatchEntry::tokens`] tokens; 0 where it was not timed.
    #[serde(default)]
    pub median_us: f64,
    /// Median absolute deviation of that, in microseconds.
    #[serde(default)]
    pub mad_us: f64,
}

fn unshared() -> f64 {
    1.0
}

fn default_tile() -> Tile {
    DEFAULT_TILE
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_unshared(sharing: &f64) -> bool {
    *sharing == unshared()
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_zero(value: &f64) -> bool {
    *value == 0.0
}

impl Entry {
    /// An entry as a person would write it: this kernel with its default tile, not timed.
    pub fn by_hand(shape: Shape, threads: usize, kernel: &str) -> Entry {
        Entry {
            rows: shape.rows,
            cols: shape.cols,
            threads,
            kernel: kernel.to_owned(),
            fingerprint: String::new(),
            rigor: Rigor::by_hand(),
            date: String::new(),
            sharing: unshared(),
            median_us: 0.0,
            mad_us: 0.0,
            warm_us: None,
            prompt_us: None,
            small_pages: None,
            warm_kernel: None,
            noise: 0.0,
            noisy: false,
            tile: DEFAULT_TILE,
            runner_up: None,
        }
    }

    /// The same for a kernel of this program, which it names by its fingerprint too.
    pub fn of(shape: Shape, threads: usize, kernel: &Kernel) -> Entry {
        Entry {
            fingerprint: kernel.fingerprint.to_owned(),
            ..Entry::by_hand(shape, threads, kernel.id)
        }
    }

    /// The shape.
    pub fn shape(&self) -> Shape {
        Shape {
            rows: self.rows,
            cols: self.cols,
        }
    }

    /// Whether its weights belong on small pages, which were clearly faster.
    pub fn wants_small_pages(&self) -> bool {
        self.small_pages
            .is_some_and(|ratio| ratio <= 1.0 - SMALL_PAGES_GAIN)
    }

    /// What it is for: rows, columns, threads, 1 for one token, and no packing, since that is what it chooses.
    pub fn key(&self) -> Key {
        (self.rows, self.cols, self.threads, 1, String::new())
    }

    /// The same for people.
    pub fn name(&self) -> String {
        format!("{} x{}", self.shape(), self.threads)
    }

    /// Whether this binary, on this CPU, has exactly the kernel that was timed.
    pub(super) fn check(&self, cpu: &Cpu) -> Result<(), String> {
        let id = &self.kernel;
        check_numbers(
            &[self.rows, self.cols, self.threads],
            "rows, cols and threads",
            &[self.median_us, self.mad_us, self.noise],
        )?;
        let runner_up = self.runner_up.as_ref();
        let prompts = [self.prompt_us, runner_up.and_then(|other| other.prompt_us)];
        let times: Vec<f64> = prompts
            .into_iter()
            .chain([self.warm_us, self.small_pages])
            .flatten()
            .collect();
        check_numbers(&[], "", &times)?;
        check_threads(self.threads)?;
        if let Some(other) = runner_up.filter(|other| !other.margin.is_finite()) {
            return Err(format!("margin = {} is no part of a time", other.margin));
        }
        for tile in [Some(&self.tile), runner_up.map(|other| &other.tile)]
            .into_iter()
            .flatten()
        {
            if tile.prefetch > PREFETCH_MAX {
                return Err(format!(
                    "prefetch = {} is beyond any use (at most {PREFETCH_MAX})",
                    tile.prefetch
                ));
            }
        }
        if !(self.sharing >= 1.0 && self.sharing.is_finite()) {
            return Err(format!(
                "sharing = {} is not a number of matrices, at least 1",
                self.sharing
            ));
        }
        let Some(kernel) = kernels().find(|k| k.id == id) else {
            return Err(format!("kernel {id:?} is not in this version of tern"));
        };
        check_kernel(id, kernel.isa, kernel.fingerprint, &self.fingerprint, cpu)
    }
}

impl BatchEntry {
    /// The kernel's name where the forms of the kernel for one token do it.
    pub const GEMV: &str = "gemv";

    /// What it is for: rows, columns, threads, tokens and packing.
    pub fn key(&self) -> Key {
        let packing = self.packing.clone();
        (self.rows, self.cols, self.threads, self.tokens, packing)
    }

    /// The same for people.
    pub fn name(&self) -> String {
        let BatchEntry {
            rows,
            cols,
            threads,
            tokens,
            ..
        } = self;
        format!("{rows}x{cols} x{threads} from {tokens} tokens")
    }

    /// Whether this binary, on this CPU, has exactly the kernel that was timed.
    pub(super) fn check(&self, cpu: &Cpu) -> Result<(), String> {
        let id = &self.kernel;
        check_numbers(
            &[self.rows, self.cols, self.threads],
            "rows, cols and threads",
            &[self.median_us, self.mad_us],
        )?;
        check_threads(self.threads)?;
        if self.tokens < 2 {
            return Err("tokens must be above 1; `gemv` entries are for one".to_owned());
        }
        if id == BatchEntry::GEMV {
            return Ok(());
        }
        let Some(kernel) = gemms().find(|k| k.id == id) else {
            return Err(format!("kernel {id:?} is not in this version of tern"));
        };
        check_kernel(id, kernel.isa, kernel.fingerprint, &self.fingerprint, cpu)
    }
}

/// Whether a number of threads is one that a machine may have.
fn check_threads(threads: usize) -> Result<(), String> {
    match threads > THREADS_MAX {
        true => Err(format!(
            "threads = {threads} is beyond any use (at most {THREADS_MAX})"
        )),
        false => Ok(()),
    }
}

/// Whether counts are above 0 and times are no nonsense.
fn check_numbers(counts: &[usize], names: &str, times: &[f64]) -> Result<(), String> {
    if counts.contains(&0) {
        return Err(format!("{names} must be above 0"));
    }
    match times.iter().find(|&&us| !(us >= 0.0 && us.is_finite())) {
        Some(us) => Err(format!("{us} is no time")),
        None => Ok(()),
    }
}

fn check_kernel(
    id: &str,
    isa: Isa,
    fingerprint: &str,
    timed: &str,
    cpu: &Cpu,
) -> Result<(), String> {
    if !timed.is_empty() && fingerprint != timed {
        return Err(format!(
            "kernel {id} is not the one that was timed; tune again, or delete the entry's fingerprint if you chose it by hand"
        ));
    }
    if !cpu.has(isa) {
        return Err(format!(
            "kernel {id} needs {isa}, which is absent or capped"
        ));
    }
    Ok(())
}
