//! The planner: the only place that chooses a kernel.
//!
//! The chain is: what the user forced, the profile's entry for the shape and thread count, the entry of the nearest shape, the same in
//! the profile that ships with the program for this microarchitecture, and last a closed-form estimate. Every choice says which. It is a choice for one token: kernels that take several at once from the same packing come with it
//! ([`Kernel::wider`]). A plan is made once, when a model is loaded; the hot path calls a stored function pointer.

mod estimate;

use std::fmt;
use std::str::FromStr;

use crate::cpu::Cpu;
use crate::gemv::{Tables, Tile};
use crate::memory::Pages;
use crate::packing::Packing;
use crate::plan::estimate::{estimate, gemm_estimate};
use crate::profile::{BatchEntry, Entry, Profile};
use crate::registry::{
    Family, GemmKernel, Kernel, KernelDesc, UnpackKernel, group_kernels, kernels,
};

/// Rows and columns of a matrix (M x K, outputs x inputs).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Shape {
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub cols: usize,
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.rows, self.cols)
    }
}

/// Where a choice came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The profile has this shape and thread count.
    Profile,
    /// The profile has this shape only for another number of threads, or another shape that is near.
    Nearest {
        /// The entry's shape.
        shape: Shape,
        /// The entry's threads.
        threads: usize,
    },
    /// The profile that ships with the program for this microarchitecture; its entry, which may be one that is near.
    Shipped {
        /// The entry's shape.
        shape: Shape,
        /// The entry's threads.
        threads: usize,
    },
    /// No profile: the closed form.
    Estimate,
    /// The user asked for it.
    Forced,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Profile => f.write_str("profile"),
            Source::Nearest { shape, threads } => {
                write!(f, "profile entry {shape}, {threads} threads (nearest)")
            }
            Source::Shipped { shape, threads } => {
                write!(f, "shipped profile, entry {shape}, {threads} threads")
            }
            Source::Estimate => f.write_str("estimate"),
            Source::Forced => f.write_str("forced"),
        }
    }
}

/// A kernel and tile for one matrix, and where they came from.
#[derive(Clone, Debug)]
pub struct Choice {
    /// The kernel.
    pub kernel: Kernel,
    /// Its tile.
    pub tile: Tile,
    /// Who chose it.
    pub source: Source,
}

/// The kernels of a batched product.
#[derive(Clone, Copy, Debug)]
pub struct GemmChoice {
    /// What multiplies.
    pub kernel: GemmKernel,
    /// What unpacks the weights; `None` for a packing that no kernel unpacks, which is then decoded trit by trit.
    pub unpack: Option<UnpackKernel>,
}

/// How many tokens at once are multiplied with one matrix.
#[derive(Clone, Copy, Debug)]
pub enum BatchKernel {
    /// One after another, or a few at a time, by the matrix's [`Gemv`](crate::Gemv).
    Gemv,
    /// By a batched product.
    Gemm(GemmChoice),
}

/// A way to multiply several tokens, and where it came from.
#[derive(Clone, Copy, Debug)]
pub struct BatchChoice {
    /// The way.
    pub kernel: BatchKernel,
    /// Who chose it.
    pub source: Source,
}

/// Tiles of tokens from which on a batched product is taken where nobody timed it: it must pay for unpacking the weights.
const TILES_FOR_GEMM: usize = 2;

/// Numbers of tokens from which on another way is taken, for one matrix at most.
const BATCH_STEPS_MAX: usize = 16;

/// A kernel or family that the user wants everywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Force {
    /// The best kernel of a family.
    Family(Family),
    /// One kernel by its id. It stands for its kin where it does not apply: for matrices with scales by groups of columns the kernels
    /// of its instruction set, family and code that read those, and the other way round.
    Id(String),
}

impl Force {
    /// Whether `kernel` is wanted.
    fn wants(&self, kernel: &KernelDesc) -> bool {
        let family = match self {
            Force::Family(family) => return kernel.family == *family,
            Force::Id(id) if kernel.id == id => return true,
            Force::Id(id) => kernels().chain(group_kernels()).find(|k| k.id == id),
        };
        family.is_some_and(|named| {
            let kin = |k: &KernelDesc| (k.isa, k.family, k.packing.code);
            named.scales != kernel.scales && kin(named) == kin(kernel)
        })
    }
}

impl FromStr for Force {
    type Err = PlanError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        if let Ok(family) = name.parse() {
            return Ok(Force::Family(family));
        }
        match kernels().chain(group_kernels()).any(|k| k.id == name) {
            true => Ok(Force::Id(name.to_owned())),
            false => Err(PlanError::UnknownKernel(name.to_owned())),
        }
    }
}

/// Why there is no plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// No such kernel or family.
    #[error(
        "`{0}` is neither a kernel family (lut, bitserial, decode, mad, addsub, reference) nor a kernel id; `tern codegen list` shows the ids"
    )]
    UnknownKernel(String),
    /// The kernel exists, but not for this CPU.
    #[error("kernel {id} needs the ISA {isa}, which this CPU lacks or --max-isa excludes")]
    NotHere {
        /// The kernel.
        id: String,
        /// The ISA that it needs.
        isa: &'static str,
    },
    /// The family has no kernel for this CPU.
    #[error("no kernel of family {0} runs on this CPU within --max-isa")]
    EmptyFamily(Family),
}

/// Chooses kernels.
pub struct Planner {
    cpu: Cpu,
    profile: Option<Profile>,
    /// What ships with the program, for where the profile has nothing.
    shipped: Option<Profile>,
    force: Option<Force>,
    /// Whether this CPU runs no kernel but the reference.
    only_reference: bool,
}

/// The tile of an entry that names none: the whole of a worker's rows for each K block, in the order of memory, with a
/// prefetch that hides the latency of memory. (Kernels with several streams have one of their own: [`KernelDesc::default_tile`].)
///
/// [`KernelDesc::default_tile`]: crate::registry::KernelDesc::default_tile
pub const DEFAULT_TILE: Tile = Tile {
    k_blocks: 1,
    chunk: 0,
    prefetch: 8192,
    tables: Tables::Shared,
};

impl Planner {
    /// A planner for `cpu`, with an optional profile and an optional kernel that the user wants everywhere.
    ///
    /// # Errors
    ///
    /// The forced kernel or family does not run here.
    pub fn new(
        cpu: Cpu,
        profile: Option<Profile>,
        force: Option<Force>,
    ) -> Result<Self, PlanError> {
        match &force {
            Some(Force::Id(id))
                if !cpu.kernels().chain(cpu.group_kernels()).any(|k| k.id == id) =>
            {
                return Err(
                    match kernels().chain(group_kernels()).find(|k| k.id == id) {
                        Some(k) => PlanError::NotHere {
                            id: id.clone(),
                            isa: k.isa.name(),
                        },
                        None => PlanError::UnknownKernel(id.clone()),
                    },
                );
            }
            Some(Force::Family(family)) if !cpu.kernels().any(|k| k.family == *family) => {
                return Err(PlanError::EmptyFamily(*family));
            }
            _ => {}
        }
        let only_reference = cpu.kernels().all(|k| k.family == Family::Reference);
        Ok(Planner {
            cpu,
            profile,
            shipped: None,
            force,
            only_reference,
        })
    }

    /// The planner with a profile that ships with the program (see [`Profile::shipped`]).
    #[must_use]
    pub fn with_shipped(self, shipped: Option<Profile>) -> Planner {
        Planner { shipped, ..self }
    }

    /// The CPU that is planned for.
    pub fn cpu(&self) -> &Cpu {
        &self.cpu
    }

    /// The profile in use.
    pub fn profile(&self) -> Option<&Profile> {
        self.profile.as_ref()
    }

    /// How many threads the user's profile says are fastest on the cores that may be used here: see [`Profile::team_size`].
    ///
    /// The profile that ships with the program does not count. It is of the same microarchitecture, but how many threads the memory feeds
    /// depends on the machine.
    pub fn team_size(&self) -> Option<usize> {
        self.profile.as_ref()?.team_size(self.cpu.cores)
    }

    /// The kernel and tile for one matrix on `threads` threads.
    pub fn choose(&self, shape: Shape, threads: usize) -> Choice {
        self.choose_among(shape, threads, |_| true)
            // The reference runs everywhere, and `new` refused a forced kernel or family that does not.
            .expect("every CPU runs a kernel of every accepted choice")
    }

    /// The same for a matrix that is packed already; `None` where no kernel that may be chosen reads the packing.
    pub fn choose_for(&self, shape: Shape, threads: usize, packing: Packing) -> Option<Choice> {
        self.choose_among(shape, threads, |kernel| kernel.reads(packing))
    }

    fn choose_among(
        &self,
        shape: Shape,
        threads: usize,
        fits: impl Fn(&Kernel) -> bool,
    ) -> Option<Choice> {
        // A kernel for groups whose kin is not in this build forces nothing here.
        let any = |force: &&Force| self.cpu.kernels().any(|k| force.wants(&k));
        let force = self.force.as_ref().filter(any);
        let is_allowed = |kernel: &Kernel| match force {
            // The reference is for a build whose configs hold nothing that this CPU runs.
            None => kernel.family != Family::Reference || self.only_reference,
            Some(force) => force.wants(kernel),
        };
        let wanted = |kernel: &Kernel| is_allowed(kernel) && fits(kernel);
        if let Some(mut choice) = self.profiled(shape, threads, wanted) {
            if force.is_some() {
                choice.source = Source::Forced;
            }
            return Some(choice);
        }
        // One that takes several tokens at once serves a single one no better; `Gemv` finds those for the tokens it gets.
        let is_named = |kernel: &Kernel| force.is_some_and(|f| *f == Force::Id(kernel.id.into()));
        let cost = |kernel: &Kernel| estimate(kernel, shape, &self.cpu.caches);
        let kernel = self
            .cpu
            .kernels()
            .filter(|k| wanted(k) && (k.batch == 1 || is_named(k)))
            .min_by(|a, b| cost(a).total_cmp(&cost(b)).then(a.id.cmp(b.id)))?;
        let source = if force.is_some() {
            Source::Forced
        } else {
            Source::Estimate
        };
        Some(Choice {
            tile: kernel.default_tile(),
            kernel,
            source,
        })
    }

    /// The kernel for a matrix with scales by groups of `group` columns, of its weights or of its activations; `None` where this CPU runs
    /// none that reads such groups.
    ///
    /// By the closed form, since profiles have no entries for them yet, among the kernels that the user wants, if any of those has groups.
    pub fn choose_groups(&self, shape: Shape, group: usize) -> Option<Choice> {
        self.choose_groups_among(shape, |kernel| kernel.reads(kernel.packing.grouped(group)))
    }

    /// The same for a matrix that is packed already.
    pub fn choose_groups_for(&self, shape: Shape, packing: Packing) -> Option<Choice> {
        self.choose_groups_among(shape, |kernel| kernel.reads(packing))
    }

    fn choose_groups_among(&self, shape: Shape, fits: impl Fn(&Kernel) -> bool) -> Option<Choice> {
        let fitting: Vec<Kernel> = self.cpu.group_kernels().filter(fits).collect();
        let wants = |kernel: &&Kernel| self.force.as_ref().is_some_and(|f| f.wants(kernel));
        let forced: Vec<Kernel> = fitting.iter().filter(wants).copied().collect();
        let (source, kernels) = match forced.is_empty() {
            true => (Source::Estimate, fitting),
            false => (Source::Forced, forced),
        };
        let cost = |kernel: &Kernel| estimate(kernel, shape, &self.cpu.caches);
        // A wider one comes with one for a single token, unless it was asked for by name.
        let width = kernels.iter().map(|k| k.batch).min()?;
        let named = |k: &Kernel| self.force == Some(Force::Id(k.id.to_owned()));
        let kernel = kernels
            .iter()
            .copied()
            .filter(|k| k.batch == width || named(k))
            .min_by(|a, b| {
                let by_name = named(b).cmp(&named(a));
                by_name
                    .then(cost(a).total_cmp(&cost(b)))
                    .then(a.id.cmp(b.id))
            })?;
        Some(Choice {
            tile: kernel.default_tile(),
            kernel,
            source,
        })
    }

    /// Pages for the weights of one matrix: huge ones, unless the profile's entry for this shape and thread count found small ones faster.
    pub fn pages(&self, shape: Shape, threads: usize) -> Pages {
        let mut entries = self.profile.iter().flat_map(|profile| &profile.entries);
        let entry = entries.find(|e| (e.shape(), e.threads) == (shape, threads));
        match entry.is_some_and(Entry::wants_small_pages) {
            true => Pages::Small,
            false => Pages::Huge,
        }
    }

    /// The kernels for batched products of a matrix in `packing`; `None` where the configs hold none that this CPU runs, or the matrix
    /// has a scale for each group of columns, whose sums do not run over all of K.
    ///
    /// By the closed form: the tile with the fewest operations for a product. All return the same integers.
    pub fn choose_gemm(&self, packing: Packing) -> Option<GemmChoice> {
        self.gemms(packing).into_iter().next()
    }

    /// All kernels for batched products of a matrix in `packing`, by the closed form, the fastest first.
    pub fn gemms(&self, packing: Packing) -> Vec<GemmChoice> {
        if packing.group != 0 {
            return Vec::new();
        }
        let mut gemms: Vec<GemmKernel> = self.cpu.gemms().collect();
        gemms.sort_by(|a, b| {
            let (cost, other) = (gemm_estimate(a), gemm_estimate(b));
            cost.total_cmp(&other).then(a.id.cmp(b.id))
        });
        let with = |kernel| self.gemm_with(kernel, packing);
        gemms.into_iter().map(with).collect()
    }

    /// Batched products by `kernel`, with what unpacks `packing` for it.
    pub fn gemm_with(&self, kernel: GemmKernel, packing: Packing) -> GemmChoice {
        let mut unpacks = self.cpu.unpacks();
        let unpack = unpacks.find(|u| (u.code, u.lanes) == (packing.code, packing.lanes));
        GemmChoice { kernel, unpack }
    }

    /// How a matrix that is held in `packing` is multiplied with `tokens` tokens at once: by the profile's entry for that packing
    /// and the nearest shape, or else by the closed form.
    pub fn choose_batch(
        &self,
        shape: Shape,
        threads: usize,
        packing: Packing,
        tokens: usize,
    ) -> BatchChoice {
        let profiles = [(&self.profile, false), (&self.shipped, true)];
        for (profile, is_shipped) in profiles {
            let batches = profile.iter().flat_map(|profile| &profile.batches);
            let name = packing.to_string();
            // Batched products sum over all of K, which a scale for each group of columns forbids.
            let is_served = |e: &&BatchEntry| packing.group == 0 || e.kernel == BatchEntry::GEMV;
            let fitting = batches.filter(|e| e.packing == name && e.tokens <= tokens);
            let fitting = fitting.filter(is_served);
            let far = |e: &BatchEntry| distance((e.rows, e.cols, e.threads), shape, threads);
            // Of one shape the entry that begins last before so many tokens.
            let nearest =
                fitting.min_by(|a, b| far(a).total_cmp(&far(b)).then(b.tokens.cmp(&a.tokens)));
            let choice = nearest.and_then(|entry| {
                let kernel = match entry.kernel.as_str() {
                    BatchEntry::GEMV => BatchKernel::Gemv,
                    id => {
                        let gemm = self.cpu.gemms().find(|k| k.id == id)?;
                        BatchKernel::Gemm(self.gemm_with(gemm, packing))
                    }
                };
                let found = (entry.rows, entry.cols, entry.threads);
                let source = source(found, shape, threads, is_shipped);
                Some(BatchChoice { kernel, source })
            });
            if let Some(choice) = choice {
                return choice;
            }
        }
        let gemm = self.choose_gemm(packing);
        let gemm = gemm.filter(|gemm| tokens >= TILES_FOR_GEMM * gemm.kernel.tokens);
        BatchChoice {
            kernel: gemm.map_or(BatchKernel::Gemv, BatchKernel::Gemm),
            source: Source::Estimate,
        }
    }

    /// [`Planner::choose_batch`] for every number of tokens from 2 on: each holds from so many tokens up to the next.
    pub fn batches(
        &self,
        shape: Shape,
        threads: usize,
        packing: Packing,
    ) -> Vec<(usize, BatchChoice)> {
        let name = packing.to_string();
        let entries = self.profile.iter().chain(&self.shipped);
        let entries = entries.flat_map(|profile| &profile.batches);
        let fitting: Vec<&BatchEntry> = entries.filter(|entry| entry.packing == name).collect();
        // Of the nearest shape and thread count: what is further away matters only below its first number of tokens.
        let far = |e: &&BatchEntry| distance((e.rows, e.cols, e.threads), shape, threads);
        let least = fitting.iter().map(far).fold(f64::INFINITY, f64::min);
        let nearest = fitting.iter().filter(|entry| far(entry) <= least);
        let mut steps: Vec<usize> = nearest.map(|entry| entry.tokens).collect();
        steps.push(2);
        let estimated = self.choose_gemm(packing);
        steps.extend(estimated.map(|gemm| TILES_FOR_GEMM * gemm.kernel.tokens));
        steps.sort_unstable();
        steps.dedup();
        let steps = steps.into_iter().filter(|&tokens| tokens >= 2);
        // No tuner writes more; a profile that does is not to make loading slow.
        let steps = steps.take(BATCH_STEPS_MAX);
        steps
            .map(|tokens| (tokens, self.choose_batch(shape, threads, packing, tokens)))
            .collect()
    }

    /// The entry of the profile, or else of the shipped one, for the shape, or the nearest one.
    fn profiled(
        &self,
        shape: Shape,
        threads: usize,
        wanted: impl Fn(&Kernel) -> bool,
    ) -> Option<Choice> {
        let profiles = [(&self.profile, false), (&self.shipped, true)];
        profiles.into_iter().find_map(|(profile, is_shipped)| {
            let entries = profile.iter().flat_map(|profile| &profile.entries);
            let far = |e: &Entry| distance((e.rows, e.cols, e.threads), shape, threads);
            let (entry, kernel) = entries
                .filter_map(|entry| Some((entry, self.cpu.kernel(&entry.kernel)?)))
                .filter(|(_, kernel)| wanted(kernel))
                .min_by(|(a, _), (b, _)| far(a).total_cmp(&far(b)))?;
            let found = (entry.rows, entry.cols, entry.threads);
            Some(Choice {
                kernel,
                tile: entry.tile,
                source: source(found, shape, threads, is_shipped),
            })
        })
    }
}

/// Where the choice of an entry for `found` comes from when it is for `shape` and `threads`.
fn source(found: (usize, usize, usize), shape: Shape, threads: usize, is_shipped: bool) -> Source {
    let (rows, cols, of_threads) = found;
    let entry = Shape { rows, cols };
    match is_shipped {
        true => Source::Shipped {
            shape: entry,
            threads: of_threads,
        },
        false if (entry, of_threads) == (shape, threads) => Source::Profile,
        false => Source::Nearest {
            shape: entry,
            threads: of_threads,
        },
    }
}

/// How far an entry for `(rows, cols, threads)` is from what is asked for: the ratios of rows, columns and threads, in powers of two.
fn distance(entry: (usize, usize, usize), shape: Shape, threads: usize) -> f64 {
    let ratio = |a: usize, b: usize| (a.max(1) as f64 / b.max(1) as f64).log2().abs();
    let (rows, cols, of_threads) = entry;
    ratio(rows, shape.rows)
        + ratio(cols, shape.cols)
        // Another thread count matters less than another shape, but more than none at all.
        + 0.5 * ratio(of_threads, threads)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn force_parses_families_and_ids_and_explains_the_rest() {
        assert_eq!("lut".parse(), Ok(Force::Family(Family::Lut)));
        let id = kernels().last().map(|k| k.id).unwrap();
        assert_eq!(id.parse(), Ok(Force::Id(id.to_owned())));
        let error = "lutt".parse::<Force>().unwrap_err().to_string();
        assert!(error.contains("tern codegen list"), "{error}");
    }

    #[test]
    fn the_default_is_never_the_reference() {
        let planner = Planner::new(Cpu::detect(), None, None).unwrap();
        let choice = planner.choose(
            Shape {
                rows: 640,
                cols: 2560,
            },
            1,
        );
        assert_ne!(choice.kernel.family, Family::Reference);
        assert_eq!(choice.source, Source::Estimate);
    }
}
