//! A study of this CPU: the comparison at several thread counts, and what explains it.
//!
//! A comparison says which family is fastest. A study also measures why: the ceilings that memory and the dot product
//! set, the best kernel of each way to store weights, what each ISA adds, and how far a tile can miss. The parts share
//! the budget. [`Study::write`] makes a page of it, with figures and all numbers.

mod limits;
mod page;
mod parts;
mod peak;
mod race;
mod record;
mod tiles;

use std::cmp::Reverse;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use serde::Serialize;
use tern_kernels::{Cpu, Family, Kernel, Pages, Shape};

use crate::bench::Residence;
use crate::compare::{Comparison, ComparisonRow};
use crate::error::TuneError;
use crate::figure::style::contender_name;
use crate::progress::Progress;
use crate::shapes::Work;

use parts::{CODES_SHARE, ISAS_SHARE, Parts};
pub use peak::{DotPeak, dot_peak};
pub use race::Standing;
pub use tiles::{TileCell, TileMap};

/// How many families' tiles are mapped.
const MAPPED_FAMILIES: usize = 2;

/// What to study, and for how long.
#[derive(Clone, Debug)]
pub struct StudyOptions {
    /// Thread counts of the comparisons. What is measured with one thread count only is measured with the largest.
    pub threads: Vec<usize>,
    /// Pages of the packed weights.
    pub pages: Pages,
    /// Time for everything together; exceeded by the last rounds only.
    pub budget: Duration,
    /// Interleaved rounds of each run that is reported.
    pub rounds: usize,
}

impl StudyOptions {
    /// One thread and all usable cores, huge pages, ten minutes at most, 31 rounds.
    pub fn new(cpu: &Cpu) -> StudyOptions {
        let mut threads = vec![1, cpu.cores.max(1)];
        threads.dedup();
        StudyOptions {
            threads,
            pages: Pages::Huge,
            budget: Duration::from_secs(600),
            rounds: 31,
        }
    }
}

/// What a thread count can reach at the most.
#[derive(Clone, Debug, Serialize)]
pub struct Ceiling {
    /// Threads.
    pub threads: usize,
    /// The dot product's peak; `None` where the CPU has none, or its time never came.
    pub dot: Option<DotPeak>,
}

/// All that was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Study {
    /// The CPU's name.
    pub cpu: String,
    /// ISAs of the CPU, within the cap, in the order of `--max-isa`.
    pub isas: Vec<&'static str>,
    /// One comparison for each thread count, from memory and in cache.
    pub comparisons: Vec<Comparison>,
    /// One for each thread count.
    pub ceilings: Vec<Ceiling>,
    /// The best kernel of each contender and code, on the largest shape with the most threads.
    pub codes: Vec<Standing>,
    /// The best kernel of each ISA's own, on the same.
    pub by_isa: Vec<Standing>,
    /// The tiles of the best families, on the same.
    pub tiles: Vec<TileMap>,
    /// What the reader should know beside the notes of the comparisons, a sentence each.
    pub notes: Vec<String>,
    /// Whether the user stopped it.
    pub cancelled: bool,
    /// Seconds in all.
    pub seconds: f64,
}

/// Measures everything. The parts that the time does not suffice for are left out, with a note.
///
/// # Errors
/// Nothing to do, an absurd thread count, no memory.
pub fn study(
    cpu: &Cpu,
    work: &[Work],
    options: &StudyOptions,
    progress: &mut dyn FnMut(&Progress),
    cancel: &AtomicBool,
) -> Result<Study, TuneError> {
    let mut parts = Parts::new(cpu, work, options, cancel)?;
    let mut study = Study {
        cpu: cpu.brand.clone(),
        isas: cpu.isas().into_iter().map(|isa| isa.name()).collect(),
        comparisons: Vec::new(),
        ceilings: Vec::new(),
        codes: Vec::new(),
        by_isa: Vec::new(),
        tiles: Vec::new(),
        notes: Vec::new(),
        cancelled: false,
        seconds: 0.0,
    };
    parts.compare(&mut study, work, progress)?;
    study.ceilings = parts.ceilings(progress)?;
    let name = "each way to store weights";
    study.codes = parts.standings(name, CODES_SHARE, code_name, progress)?;
    study.by_isa = parts.standings("each ISA", ISAS_SHARE, isa_name, progress)?;
    study.tiles = parts.tiles(&study, progress)?;
    study.cancelled = parts.cancelled();
    study.seconds = parts.seconds();
    study.note_gaps();
    Ok(study)
}

/// The first of the shapes that have the most weights.
fn largest(shapes: impl Iterator<Item = Shape>) -> Option<Shape> {
    shapes.min_by_key(|shape| Reverse(shape.rows as u128 * shape.cols as u128))
}

fn isa_name(kernel: &Kernel) -> String {
    kernel.isa.name().to_string()
}

/// Contender and code: `lut t5`, `mad shiftfree b2`.
fn code_name(kernel: &Kernel) -> String {
    let contender = contender_name(kernel.family, kernel.variant);
    format!("{contender} {}", kernel.packing.code.name())
}

impl Study {
    /// The rows of all comparisons with their thread counts.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (usize, &ComparisonRow)> {
        let of = |comparison: &'_ Comparison| comparison.threads;
        self.comparisons.iter().flat_map(move |comparison| {
            comparison.rows.iter().map(move |row| (of(comparison), row))
        })
    }

    /// The first of the shapes that have the most weights, of those that were compared.
    pub(crate) fn largest(&self) -> Option<Shape> {
        let from_memory = self
            .rows()
            .filter(|(_, row)| row.residence == Residence::Memory);
        largest(from_memory.map(|(_, row)| row.shape))
    }

    /// The rows of the largest shape, or of the part of it that fits the caches; fastest first.
    pub(crate) fn largest_rows(&self, threads: usize, residence: Residence) -> Vec<&ComparisonRow> {
        let of = |row: &ComparisonRow| row.residence == residence;
        let rows = || {
            self.rows()
                .filter(|(count, row)| *count == threads && of(row))
        };
        let cols = self.largest().map(|shape| shape.cols);
        let shapes = rows()
            .map(|(_, row)| row.shape)
            .filter(|shape| Some(shape.cols) == cols);
        let shape = shapes.max_by_key(|shape| shape.rows);
        rows()
            .map(|(_, row)| row)
            .filter(|row| Some(row.shape) == shape)
            .collect()
    }

    /// Thread counts that were compared.
    pub(crate) fn threads(&self) -> Vec<usize> {
        self.comparisons
            .iter()
            .map(|comparison| comparison.threads)
            .collect()
    }

    /// Streaming bandwidth with `threads` threads, in 10^9 bytes a second.
    pub(crate) fn stream(&self, threads: usize) -> Option<f64> {
        let comparison = self.comparisons.iter().find(|c| c.threads == threads)?;
        Some(comparison.bandwidth.as_ref()?.gb_per_s.median)
    }

    /// The dot product's peak with `threads` threads.
    pub(crate) fn dot(&self, threads: usize) -> Option<&DotPeak> {
        let ceiling = self
            .ceilings
            .iter()
            .find(|ceiling| ceiling.threads == threads)?;
        ceiling.dot.as_ref()
    }

    /// The fastest kernels from memory of the best families at one place, best family first.
    fn best_kernels(&self, (shape, threads): (Shape, usize)) -> Vec<&'static str> {
        let here = self.rows().filter(|(count, row)| {
            (*count, row.shape, row.residence) == (threads, shape, Residence::Memory)
        });
        let mut best: Vec<&ComparisonRow> = Vec::new();
        for (_, row) in here {
            if best.iter().all(|other| other.family != row.family) {
                best.push(row);
            }
        }
        best.into_iter()
            .take(MAPPED_FAMILIES)
            .map(|row| row.kernel)
            .collect()
    }

    /// Says which parts are missing.
    fn note_gaps(&mut self) {
        let parts = [
            ("the best kernels by code", self.codes.is_empty()),
            ("the best kernels by ISA", self.by_isa.is_empty()),
            ("the tiles", self.tiles.is_empty()),
        ];
        for (name, _) in parts.iter().filter(|(_, missing)| *missing) {
            self.notes
                .push(format!("not measured, because the time was up: {name}"));
        }
    }
}

/// Vector operations of a kernel for 1000 weights; `None` if no kernel of this binary is called `id`.
pub(crate) fn operations(id: &str) -> Option<f64> {
    let kernel = tern_kernels::kernels().find(|kernel| kernel.id == id)?;
    let is_vector = kernel.registers > 0 && kernel.family != Family::Reference;
    is_vector.then(|| 1000.0 * kernel.ops_per_step / kernel.weights_per_step() as f64)
}

#[cfg(test)]
#[path = "study_tests.rs"]
pub(crate) mod tests;
