//! A map of the tiles of one kind of kernel: panels, block and prefetch, each with its speed from memory.

use std::time::Duration;

use serde::Serialize;
use tern_kernels::plan::DEFAULT_TILE;
use tern_kernels::{Family, Kernel, Shape, Tile};

use super::race::Course;
use crate::bench::{Bench as _, GemvBench, Index, ROUNDS_PER_DEAL, in_round};
use crate::candidates::prefetches;
use crate::error::TuneError;
use crate::figure::style::contender_name;
use crate::measure::Candidate;
use crate::progress::Progress;
use crate::spread::Spread;

/// Rounds over all tiles, if there is time.
const ROUNDS: usize = 15;

/// The part of the time in which kernels are packed and checked.
const ADMISSION_SHARE: f64 = 0.5;

/// The tiles of a contender's kernels of one ISA.
#[derive(Clone, Debug, Serialize)]
pub struct TileMap {
    /// The family.
    #[serde(serialize_with = "crate::report::as_text")]
    pub family: Family,
    /// The variant, where the family has several.
    pub variant: &'static str,
    /// The ISA.
    pub isa: &'static str,
    /// The shape that was measured.
    #[serde(serialize_with = "crate::report::as_text")]
    pub shape: Shape,
    /// Threads.
    pub threads: usize,
    /// What was measured.
    pub cells: Vec<TileCell>,
}

/// One tile.
#[derive(Clone, Debug, Serialize)]
pub struct TileCell {
    /// Id of the kernel.
    pub kernel: &'static str,
    /// The code, and what the id says beside the panels: `t5 k48s`.
    pub form: String,
    /// Panels in a strip.
    pub panels: usize,
    /// Bytes ahead of the weights that are prefetched.
    pub prefetch: usize,
    /// Microseconds per product.
    pub time_us: Spread,
    /// Weights per second.
    pub weights_per_s: f64,
}

impl TileMap {
    /// Family and variant: `mad shiftfree`.
    pub fn contender(&self) -> String {
        contender_name(self.family, self.variant)
    }

    /// The fastest cell and the slowest.
    pub(crate) fn extremes(&self) -> Option<(&TileCell, &TileCell)> {
        let by_speed = |a: &&TileCell, b: &&TileCell| a.weights_per_s.total_cmp(&b.weights_per_s);
        self.cells
            .iter()
            .max_by(by_speed)
            .zip(self.cells.iter().min_by(by_speed))
    }
}

/// Times every tile of the kernels of the same kind as `best`.
///
/// # Errors
/// The system refuses memory or threads.
pub(crate) fn map(
    course: &Course<'_>,
    best: Kernel,
    kernels: &[Kernel],
    budget: Duration,
    progress: &mut dyn FnMut(&Progress),
) -> Result<TileMap, TuneError> {
    let kind = |kernel: &Kernel| (kernel.family, kernel.variant, kernel.isa);
    let alike: Vec<Kernel> = kernels
        .iter()
        .copied()
        .filter(|kernel| kind(kernel) == kind(&best))
        .collect();
    let candidates: Vec<Candidate> = prefetches()
        .into_iter()
        .flat_map(|prefetch| {
            let tile = Tile {
                prefetch,
                ..DEFAULT_TILE
            };
            alike.iter().map(move |&kernel| Candidate { kernel, tile })
        })
        .collect();
    progress(&Progress::Stage {
        name: best.family.name(),
        candidates: candidates.len(),
    });
    let mut weights = course.weights();
    let shape = weights.shape();
    let mut bench = GemvBench::new(&mut weights, &candidates, course.threads, course.cancel)?;
    let samples = sample_all(&mut bench, candidates.len(), budget);
    let per_product = shape.rows as f64 * shape.cols as f64 * 1e6;
    let cells = candidates
        .iter()
        .zip(samples)
        .filter_map(|(candidate, samples)| {
            let time_us = Spread::of(samples)?;
            Some(TileCell {
                kernel: candidate.kernel.id,
                form: form(&candidate.kernel),
                panels: candidate.kernel.panels,
                prefetch: candidate.tile.prefetch,
                weights_per_s: per_product / time_us.median,
                time_us,
            })
        });
    Ok(TileMap {
        family: best.family,
        variant: best.variant,
        isa: best.isa.name(),
        shape,
        threads: course.threads,
        cells: cells.collect(),
    })
}

/// Interleaved rounds over all candidates that are exact, until the time is up; one round at the least.
fn sample_all(bench: &mut GemvBench<'_>, count: usize, budget: Duration) -> Vec<Vec<f64>> {
    let mut admitted: Vec<Index> = Vec::new();
    for index in 0..count {
        let late = bench.elapsed() >= budget.mul_f64(ADMISSION_SHARE) || bench.cancelled();
        if (admitted.is_empty() || !late) && bench.admit(index).is_ok() {
            admitted.push(index);
        }
    }
    let mut samples = vec![Vec::new(); count];
    for round in 0..ROUNDS {
        if round % ROUNDS_PER_DEAL == 0 {
            bench.enter(&admitted);
        }
        for position in in_round(round, admitted.len()) {
            let index = admitted[position];
            if round > 0 && (bench.elapsed() >= budget || bench.cancelled()) {
                return samples;
            }
            samples[index].push(bench.sample(index));
        }
    }
    samples
}

/// The code and what a kernel's id says after its panels: block, window, way of prefetching.
fn form(kernel: &Kernel) -> String {
    let code = kernel.packing.code.name();
    let tile = kernel.id.rsplit('_').next().unwrap_or_default();
    let rest = tile
        .strip_prefix(&format!("p{}", kernel.panels))
        .unwrap_or(tile);
    format!("{code} {rest}")
}
